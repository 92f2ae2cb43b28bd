"""Screens as they were looked at and found good: fixed sizes, a clock that stands still."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot

from recommender.config import Settings
from tests.tui.begun import app_at
from tests.tui.recorded import distillation, record
from tests.tui.shop import Shop, compare_of, settled, text_of, until
from tests.tui.snapshots import assert_looks_the_same
from tests.tui.test_layers import RISING, keep, profile
from tui.app import RecsysApp
from tui.screens.compare import Compare

NOON = 1_795_521_600
SECONDS = {"student": 0.0006, "teacher": 0.4604, "popularity": 0.0002}


@pytest.fixture
def update(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--snapshot-update"))


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setattr(Compare, "CLOCK", staticmethod(lambda: 100.0))
    monkeypatch.setattr(Compare, "SEED", staticmethod(lambda: 3))
    yield
    monkeypatch.undo()
    time.tzset()


def look(app: RecsysApp, name: str, flow: Flow, size: tuple[int, int], update: bool) -> None:
    async def run() -> None:
        async with app.run_test(size=size) as pilot:
            await flow(pilot)
            await pilot.pause()
            assert_looks_the_same(app, name, update=update)

    asyncio.run(run())


Flow = Callable[[Pilot[None]], Awaitable[None]]


async def answered(pilot: Pilot[None]) -> None:
    """All columns have answered, in a time that is always the same."""
    await settled(pilot)
    screen = compare_of(pilot.app)
    for column in screen.comparison.columns:
        assert column.answer is not None
        taken = SECONDS[column.by]
        column.answer = replace(column.answer, seconds=taken)
        column.latencies = [taken] * 3
    screen.paint()
    await pilot.pause()


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (160, 40)], ids=lambda s: f"{s[0]}x{s[1]}")
def test_compare(shop: Shop, size: tuple[int, int], update: bool) -> None:
    look(shop.app(), f"compare-{size[0]}x{size[1]}", answered, size, update)


def test_compare_in_the_light(shop: Shop, update: bool) -> None:
    async def flow(pilot: Pilot[None]) -> None:
        await pilot.press("ctrl+t")
        await answered(pilot)

    look(shop.app(), "compare-light", flow, (100, 30), update)


def test_compare_blind(shop: Shop, update: bool) -> None:
    async def flow(pilot: Pilot[None]) -> None:
        await answered(pilot)
        await pilot.press("b")
        await pilot.pause(0.2)

    look(shop.app(), "compare-blind", flow, (100, 30), update)


def test_the_help(shop: Shop, update: bool) -> None:
    async def flow(pilot: Pilot[None]) -> None:
        await answered(pilot)
        await pilot.press("question_mark")
        await pilot.pause(0.2)

    look(shop.app(), "help", flow, (100, 40), update)


def test_no_data(tmp_path: Path, update: bool) -> None:
    async def flow(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "There is no data yet" in text_of(pilot.app), "it says so")

    app = RecsysApp(Settings(data_dir=tmp_path / "home"))
    look(app, "no-data", flow, (80, 24), update)


def test_distil(shop: Shop, update: bool) -> None:
    end = {"state": "done", "summary": ["distilled: NDCG@10 0.19"], "run": "run-1"}
    folder = record(shop.settings, "20261124-120000-0001", distillation(), end=end)
    os.utime(folder / "pid", (NOON, NOON))

    async def flow(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "Tiny shop: slow" in text_of(pilot.app), "the job is listed")
        await pilot.press("down", "enter")
        await until(pilot, lambda: "best epoch 4" in text_of(pilot.app), "the job is shown")
        await pilot.pause(0.6)

    look(app_at("distil", shop.settings), "distil", flow, (120, 40), update)


def test_layers(shop: Shop, update: bool) -> None:
    keep(shop.settings, profile(RISING), profile(RISING[::-1], "block-influence"))

    async def flow(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "block-influence" in text_of(pilot.app), "both are there")
        await pilot.pause(0.2)

    look(app_at("layers", shop.settings), "layers", flow, (100, 30), update)


def test_leaderboard(shop: Shop, update: bool) -> None:
    async def flow(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "ndcg@10" in text_of(pilot.app), "figures are there")
        await pilot.pause(0.2)

    look(app_at("leaderboard", shop.settings), "leaderboard", flow, (100, 30), update)
