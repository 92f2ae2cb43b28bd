"""The app watched while real work is under way, in a process that has nothing else in it.

`python -m tests.tui.watched load|distil FOLDER`: prints how long its window was held up, usually
and at worst, in milliseconds. torch in the same process would make the garbage collector slow.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from distill.config import DistilConfig
from distill.jobs.records import JobSpec
from recommender.config import Settings
from tests.tui.begun import until
from tests.tui.heartbeat import Heartbeat, heartbeat
from tui.app import RecsysApp
from tui.screens.compare import Compare

SIZE = (120, 40)
PATIENCE = 120.0


async def load(app: RecsysApp) -> Heartbeat:
    """The embedded teacher is loaded, and ranks for six people."""
    async with app.run_test(size=SIZE) as pilot:
        screen = app.screen
        assert isinstance(screen, Compare)
        await until(pilot, lambda: screen.comparison.person is not None, "a person", PATIENCE)
        await pilot.pause(1.0)
        async with heartbeat() as beat:
            for _ in range(6):
                column = screen.comparison.column("teacher")
                await until(pilot, lambda: column.answer is not None, "an answer", PATIENCE)  # noqa: B023
                await pilot.press("n")
                await pilot.pause(0.2)
        return beat


async def distil(app: RecsysApp) -> Heartbeat:
    """A student is distilled by the embedded teacher, and its screen is looked at."""
    config = DistilConfig("Electronics").with_teacher(requests=40, ignore_gate=True)
    spec = JobSpec("distil", "Electronics", "distil", config.with_student(epochs=6).as_dict())
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.category is not None, "a category", PATIENCE)
        await pilot.press("2")
        await pilot.pause(1.0)
        job = await app.jobs.start(spec)
        async with heartbeat() as beat:
            while job.going:
                await pilot.pause(1.0)
                job = next(one for one in await app.jobs.all() if one.id == job.id)
        assert job.state == "done", job.error
        return beat


def main(what: str, folder: str) -> None:
    app = RecsysApp(Settings(data_dir=Path(folder)))
    beat = asyncio.run({"load": load, "distil": distil}[what](app))
    late = sorted(beat.delays)[-5:]
    print(json.dumps({"usual": beat.usual * 1e3, "worst": [round(x * 1e3) for x in late]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
