"""How soon the app is painted over a big shop, and how long its window is ever held up."""

from __future__ import annotations

import asyncio
import fcntl
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

from distill.config import DistilConfig
from distill.jobs.records import Job, JobSpec
from recommender.config import Settings
from recommender.datasets.sample import import_sample
from storage.store import Store
from tests.bench.test_store_bench import PROGRAM
from tests.tiny import finished
from tests.tui.heartbeat import Heartbeat, heartbeat
from tests.tui.shop import compare_of, until
from tui.app import RecsysApp

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


def shop_with_models(folder: Path, models: Path) -> Settings:
    """The synthetic shop, and the real embedded models."""
    folder.mkdir()
    (folder / "models").symlink_to(models)
    settings = Settings(data_dir=folder)
    with Store.open(settings.db, settings.artifacts) as store:
        finished(import_sample(store))
    return settings


@pytest.mark.bench
@pytest.mark.models
def test_the_window_while_a_model_is_loaded_and_asked(tmp_path: Path, models: Path) -> None:
    app = RecsysApp(shop_with_models(tmp_path / "shop", models))

    async def flow() -> Heartbeat:
        async with app.run_test(size=(120, 40)) as pilot:
            screen = compare_of(app)
            await until(pilot, lambda: screen.comparison.person is not None)
            await pilot.pause(0.5)
            async with heartbeat() as beat:
                for _ in range(6):
                    await until(pilot, lambda: screen.comparison.column("teacher").answer)
                    await pilot.press("n")
                    await pilot.pause(0.2)
            return beat

    beat = asyncio.run(flow())
    print(
        f"loading and scoring: usually {beat.usual * 1e3:.1f} ms, worst {beat.worst * 1e3:.0f} ms"
    )
    assert beat.worst < 0.1


@pytest.mark.bench
@pytest.mark.models
def test_the_window_while_a_student_is_distilled(tmp_path: Path, models: Path) -> None:
    settings = shop_with_models(tmp_path / "shop", models)
    config = DistilConfig("Electronics").with_teacher(requests=40, ignore_gate=True)
    spec = JobSpec("distil", "Electronics", "distil", config.with_student(epochs=6).as_dict())
    app = RecsysApp(settings)

    async def flow() -> tuple[Heartbeat, Job]:
        async with app.run_test(size=(120, 40)) as pilot:
            await until(pilot, lambda: app.category is not None)
            await pilot.press("2")
            await pilot.pause(1.0)
            job = await app.jobs.start(spec)
            async with heartbeat() as beat:
                while job.going:
                    await pilot.pause(1.0)
                    job = next(one for one in await app.jobs.all() if one.id == job.id)
            return beat, job

    beat, job = asyncio.run(flow())
    assert job.state == "done", job.error
    print(f"distilling: usually {beat.usual * 1e3:.1f} ms, worst {beat.worst * 1e3:.0f} ms")
    assert beat.worst < 0.1
