"""The Distil screen as its tests find it: begun, listed, and looked at."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from textual.pilot import Pilot
from textual.widgets import Button, ContentSwitcher

from recommender.config import Settings
from tests.tui.begun import app_at
from tests.tui.shop import until
from tui.app import RecsysApp
from tui.screens.distil import Distil
from tui.widgets.job_list import JobList


def begun(settings: Settings) -> RecsysApp:
    """The app, begun at this screen."""
    return app_at("distil", settings)


@asynccontextmanager
async def opened(app: RecsysApp, size: tuple[int, int] = (100, 30)) -> AsyncIterator[Pilot[None]]:
    """The app as it runs, with what it notifies of."""
    async with app.run_test(size=size, notifications=True) as pilot:
        yield pilot


def screen_of(pilot: Pilot[None]) -> Distil:
    assert isinstance(pilot.app.screen, Distil), pilot.app.screen
    return pilot.app.screen


def side(pilot: Pilot[None]) -> str:
    return str(screen_of(pilot).query_one("#beside", ContentSwitcher).current)


async def ready(pilot: Pilot[None], jobs: int) -> JobList:
    """Wait until so many jobs are listed, and give the keys to the list."""
    screen = screen_of(pilot)
    listed = screen.query_one(JobList)
    await until(pilot, lambda: listed.option_count == jobs + 1, f"{jobs} jobs")
    await until(pilot, lambda: screen.recsys.category or side(pilot) != "form", "the Store is read")
    if side(pilot) == "no-data":
        await until(pilot, lambda: isinstance(screen.focused, Button), "what brings data")
    listed.focus()
    await pilot.pause()
    return listed
