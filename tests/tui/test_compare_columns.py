"""Columns that come, think, fail and go: each in a process of its own, and none left behind."""

from __future__ import annotations

import asyncio
import re
import time

import pytest
from textual.widgets import Input, OptionList

from tests.tui.shop import (
    Shop,
    children,
    compare_of,
    opened,
    settled,
    text_of,
    until,
)
from tui.app import RecsysApp
from tui.screens.adding import AddColumn
from tui.screens.compare import Compare
from tui.widgets.column import RankerColumn

SLOW = "600"
"""Seconds: for ever, as far as a test goes."""


def state(screen: Compare, by: str) -> str:
    return screen.comparison.column(by).state


def elapsed(app: RecsysApp) -> list[str]:
    """The seconds that somebody is shown to think for."""
    return re.findall(r"… (\d+\.\d) s · x stops", text_of(app))


def test_the_student_is_there_while_the_teacher_thinks(shop: Shop) -> None:
    shop.turn("delay", SLOW)

    async def flow() -> None:
        app = shop.app()
        async with opened(app) as pilot:
            screen = compare_of(app)
            await until(pilot, lambda: state(screen, "student") == "answered", "the student")
            await until(pilot, lambda: state(screen, "teacher") == "thinking", "the teacher")
            seen: set[str] = set()
            await until(pilot, lambda: seen.update(elapsed(app)) or len(seen) > 2, "it counts")
            assert len(children()) == 3
            await pilot.press("right", "x")
            await until(pilot, lambda: state(screen, "teacher") == "cancelled", "cancelled")
            assert "stopped · r: again" in text_of(app)

            shop.turn("delay", "0")  # the answer that is too late is dropped
            await pilot.pause(0.5)
            assert screen.comparison.column("teacher").answer is None
            await pilot.press("r")
            await until(pilot, lambda: state(screen, "teacher") == "answered", "asked again")

    asyncio.run(flow())


def test_walking_on_drops_what_is_not_shown_any_more(shop: Shop) -> None:
    shop.turn("delay", SLOW)

    async def flow() -> None:
        app = shop.app()
        async with opened(app) as pilot:
            screen = compare_of(app)
            await until(pilot, lambda: state(screen, "teacher") == "thinking", "the teacher")
            first = screen.comparison.person
            for _ in range(3):
                await pilot.press("n")
                await pilot.pause(0.05)
            await until(pilot, lambda: screen.comparison.person is not first, "another person")
            await until(pilot, lambda: state(screen, "student") == "answered", "the student")
            shop.turn("delay", "0")
            await settled(pilot)
            teacher = screen.comparison.column("teacher")
            assert len(teacher.latencies) == 1, "answers to others are not counted"
            history = {item.number for item in screen.comparison.history}
            assert not history & set(teacher.items)

    asyncio.run(flow())


def test_closing_with_work_running_leaves_nobody(shop: Shop) -> None:
    shop.turn("delay", SLOW)

    async def flow() -> None:
        app = shop.app()
        async with opened(app) as pilot:
            await until(pilot, lambda: state(compare_of(app), "teacher") == "thinking", "thinking")
            started = time.monotonic()
            await pilot.press("q")
        assert time.monotonic() - started < 5

    asyncio.run(flow())


def test_closing_at_once_leaves_nobody(shop: Shop) -> None:
    async def flow() -> None:
        app = shop.app()
        async with opened(app) as pilot:
            await until(pilot, children, "a first process")

    asyncio.run(flow())


def test_a_teacher_that_fails_is_a_state(shop: Shop) -> None:
    shop.turn("failure", "TooSlow")

    async def flow() -> None:
        app = shop.app()
        async with opened(app) as pilot:
            screen = compare_of(app)
            await settled(pilot)
            assert state(screen, "teacher") == "refused"
            shown = text_of(app)
            assert "the script fails" in shown
            assert "use teacher:embedded" in shown
            assert state(screen, "student") == "answered"
            await pilot.press("right")
            shop.turn("failure", "")
            await pilot.press("n")  # its process lives: the next question is a new chance
            await pilot.pause(0.2)
            await settled(pilot)
            assert state(screen, "teacher") == "answered"
            assert "the script fails" not in text_of(app)

    asyncio.run(flow())


def test_a_teacher_that_is_not_there_can_be_replaced(shop: Shop) -> None:
    shop.turn("opening", "ServerDown")

    async def flow() -> None:
        app = shop.app()
        async with opened(app) as pilot:
            screen = compare_of(app)
            await settled(pilot)
            assert "no such teacher now" in text_of(app)
            assert screen.comparison.column("teacher").dead
            await until(pilot, lambda: len(children()) == 2, "its process ends")
            await pilot.press("right")
            await pilot.press("down", "enter")  # try again
            await pilot.pause(0.3)
            await settled(pilot)
            assert [one.by for one in screen.side.columns] == ["student", "teacher", "popularity"]
            assert screen.comparison.column("teacher").dead

            shop.turn("opening", "")
            await pilot.press("r")
            await until(pilot, lambda: state(screen, "teacher") == "answered", "it is there now")
            assert len(children()) == 3

            shop.turn("opening", "ServerDown")
            current = screen.side.current
            assert current is not None
            current.post_message(RankerColumn.Taken("teacher", "embedded"))
            await until(pilot, lambda: screen.side.of("teacher:embedded"), "replaced")
            await until(pilot, lambda: state(screen, "teacher:embedded") == "refused", "no model")
            order = ["student", "teacher:embedded", "popularity"]
            assert [one.by for one in screen.side.columns] == order
            assert "fetch the models" in text_of(app)

    asyncio.run(flow())


def test_no_student_yet_offers_to_distil_one(tmp_path_factory: pytest.TempPathFactory) -> None:
    shop = Shop.filled(tmp_path_factory.mktemp("bare") / "shop", student=False)

    async def flow() -> None:
        app = shop.app()
        async with opened(app) as pilot:
            screen = compare_of(app)
            await settled(pilot)
            assert "! 'Tiny shop' has no" in text_of(app)
            assert "distil a student (2)" in text_of(app)
            assert screen.side.current is not None
            assert screen.side.current.by == "student"
            await pilot.click(screen.side.current.query_one(OptionList), offset=(3, 0))
            await until(pilot, lambda: app.current_mode == "distil", "the Distil screen")
            await pilot.press("1")
            await pilot.pause()
            assert app.screen is screen

    asyncio.run(flow())


def test_a_column_is_added_and_taken_away(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Compare, "COLUMNS", ("student", "popularity"))

    async def flow() -> None:
        app = shop.app()
        async with opened(app) as pilot:
            screen = compare_of(app)
            await settled(pilot)
            await pilot.press("a")
            await until(pilot, lambda: isinstance(app.screen, AddColumn), "the list of rankers")
            shown = text_of(app)
            for name in ("item-knn", "teacher:slow", "student:distilled-1"):
                assert name in shown
            assert "popularity" not in shown, "it is there already"
            await pilot.press("escape")
            await pilot.press("a")
            await until(pilot, lambda: isinstance(app.screen, AddColumn), "the list of rankers")
            app.screen.query_one(Input).focus()
            await pilot.press(*"item-knn", "enter")
            await until(pilot, lambda: screen.side.of("item-knn"), "a third column")
            await settled(pilot)
            assert screen.side.current is screen.side.of("item-knn")
            assert len(children()) == 3

            await pilot.press("d")
            await until(pilot, lambda: len(screen.side.columns) == 2, "two columns")
            await until(pilot, lambda: len(children()) == 2, "its process ends")
            await pilot.press("d")
            await until(pilot, lambda: len(screen.side.columns) == 1, "one column")
            await pilot.press("d")
            await pilot.pause(0.1)
            assert [one.by for one in screen.side.columns] == ["popularity"], "one stays"
            assert not screen.comparison.columns[0].dead

            await pilot.press("a")
            await until(pilot, lambda: isinstance(app.screen, AddColumn), "the list of rankers")
            app.screen.query_one(Input).focus()
            await pilot.press(*"[b]no", "enter")
            await settled(pilot)
            assert "no ranker '[b]no'" in text_of(app)

    asyncio.run(flow())


def test_arrows_turn_between_columns_and_items(shop: Shop) -> None:
    async def flow() -> None:
        app = shop.app()
        async with opened(app, (80, 24)) as pilot:
            screen = compare_of(app)
            await settled(pilot)

            def current() -> str:
                assert screen.side.current is not None
                return screen.side.current.by

            assert current() == "student"
            await pilot.press("right", "right", "right")
            assert current() == "popularity"
            await pilot.press("left")
            assert current() == "teacher"
            await pilot.press("down", "down")
            await pilot.pause()
            assert screen.side.current is not None
            chosen = screen.side.current.selected
            assert chosen is not None
            assert chosen == screen.comparison.column("teacher").answer.items[2]  # type: ignore[union-attr]
            # A teacher's score is as sure as its noise floor lets it be.
            assert f"{chosen.title} · score ~{chosen.score:.2g}" in text_of(app)
            await pilot.click(screen.side.of("student").query_one(OptionList), offset=(5, 4))  # type: ignore[union-attr]
            await pilot.pause()
            assert current() == "student"

    asyncio.run(flow())
