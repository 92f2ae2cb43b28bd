"""A command line of our own: a private data folder, and exit code, stdout, stderr of a command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tui.cli import main


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder and a working directory of this test's own, and no settings from outside."""
    for variable in [name for name in os.environ if name.startswith("RECSYS_")]:
        monkeypatch.delenv(variable)
    folder = tmp_path / "home"
    monkeypatch.setenv("RECSYS_HOME", str(folder))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return folder


@pytest.fixture
def run(home: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `recsys` in this process, through the same boundary as the installed command."""

    def call(*arguments: str) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        out, err = capsys.readouterr()
        code = stop.value.code
        return Outcome(code if isinstance(code, int) else 0, out, err)

    return call


@pytest.fixture
def recsys(home: Path) -> Run:
    """Run `recsys` as a process of its own."""

    def call(*arguments: str, **changes: str) -> Outcome:
        done = subprocess.run(
            [sys.executable, "-m", "tui.cli", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, **changes},
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return call
