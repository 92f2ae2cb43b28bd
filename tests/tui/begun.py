"""The app begun at one of its screens, without a terminal: no other screen is opened."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

from textual.app import App
from textual.pilot import Pilot

import tui.app
from recommender.config import Settings
from tui.app import RecsysApp

PATIENCE = 40.0
"""Seconds until something that was to happen did not."""

Flow = Callable[[Pilot[None]], Awaitable[None]]


def app_at(mode: str, settings: Settings) -> RecsysApp:
    """Return the app as it would be if it began with that screen."""
    made = type(
        "RecsysApp",
        (RecsysApp,),
        {"CSS_PATH": Path(tui.app.__file__).with_name("app.tcss"), "DEFAULT_MODE": mode},
    )
    return cast("RecsysApp", made(settings))


def play(app: RecsysApp, flow: Flow, size: tuple[int, int] = (100, 30)) -> None:
    """Run a flow against the app."""

    async def whole() -> None:
        async with app.run_test(size=size) as pilot:
            await flow(pilot)

    asyncio.run(whole())


async def until(
    pilot: Pilot[None], true: Callable[[], object], what: str = "", seconds: float = PATIENCE
) -> None:
    """Wait until something holds, while the app goes on."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        await pilot.pause(0.02)
        if true():
            return
    raise AssertionError(f"not within {seconds:g} s: {what}\n{text_of(pilot.app)}")


def text_of(app: App[Any]) -> str:
    """What the screen shows, line by line."""
    strips = app.screen._compositor.render_strips()
    return "\n".join(strip.text.rstrip() for strip in strips)
