"""How soon the app is painted over a big shop, and how long its window is ever held up."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from statistics import median

import pytest

from recommender.config import Settings
from recommender.datasets.sample import import_sample
from storage.store import Store
from tests.bench.test_store_bench import PROGRAM
from tests.tiny import finished

ROWS = 10_000_000
"""One million people; the catalogue is cut to 100,000 items by the program's own arithmetic."""


def seconds_until(home: Path, *words: bytes) -> list[float]:
    """Start the app in a terminal and return when each of the words was first drawn."""
    near, far = pty.openpty()
    fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    environment = os.environ | {"RECSYS_HOME": str(home), "TERM": "xterm-256color"}
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "tui.cli", "tui"],
        stdin=far, stdout=far, stderr=far, env=environment, close_fds=True,
    )  # fmt: skip
    os.close(far)
    drawn, found = b"", dict.fromkeys(words, 0.0)
    try:
        while not all(found.values()) and time.perf_counter() - started < 60:
            if select.select([near], [], [], 0.05)[0]:
                drawn += os.read(near, 1 << 16)
                now = time.perf_counter() - started
                found |= {w: now for w in words if not found[w] and w in drawn}
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)
        os.close(near)
    assert all(found.values()), found
    return [found[word] for word in words]


@pytest.mark.bench
def test_a_shop_of_a_million_people(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path), str(ROWS)], check=True)
    rounds = [seconds_until(tmp_path, b"Compare", b"A000") for _ in range(5)]
    painted, people = (median(column) for column in zip(*rounds, strict=True))
    print(f"first paint after {painted:.2f} s, people after {people:.2f} s")
    assert painted < 1.0


def shop_with_models(folder: Path, models: Path) -> None:
    """The synthetic shop, and the real embedded models."""
    folder.mkdir()
    (folder / "models").symlink_to(models)
    settings = Settings(data_dir=folder)
    with Store.open(settings.db, settings.artifacts) as store:
        finished(import_sample(store))


@pytest.mark.bench
@pytest.mark.models
@pytest.mark.parametrize("what", ["load", "distil"])
def test_the_window_is_not_held_up(what: str, tmp_path: Path, models: Path) -> None:
    folder = tmp_path / "shop"
    shop_with_models(folder, models)
    command = [sys.executable, "-m", "tests.tui.watched", what, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert not done.returncode, done.stderr
    found = json.loads(done.stdout)
    print(f"{what}: usually {found['usual']:.1f} ms, worst {found['worst']} ms")
    assert found["worst"][-1] < 100
