"""Where the keys go: back to the columns after too small a terminal, at once into the search."""

from __future__ import annotations

import asyncio

import pytest
from textual import events
from textual.widgets import Footer, Input

from tests.tui.shop import Shop, compare_of, opened, settled, text_of, until
from tui.screens.compare import Compare


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Compare, "COLUMNS", ("popularity", "item-knn"))


def test_a_terminal_that_was_too_small_gives_the_keys_to_the_columns(shop: Shop) -> None:
    async def flow() -> None:
        app = shop.app()
        async with opened(app, (40, 10)) as pilot:
            await settled(pilot)
            assert "too small" in text_of(app)
            await pilot.resize_terminal(200, 50)
            await pilot.pause(0.2)
            screen = compare_of(app)
            before = screen.comparison.person
            await pilot.press("n")
            await until(pilot, lambda: screen.comparison.person != before, "another person")
            assert screen.query_one("#search", Input).value == ""
            assert screen.side.columns[0].has_focus_within
            # What had them before has them again.
            await pilot.press("right")
            await pilot.resize_terminal(40, 10)
            await pilot.pause(0.2)
            assert screen.focused is None, "nobody would see what is typed"
            await pilot.resize_terminal(200, 50)
            await until(pilot, lambda: screen.side.columns[1].has_focus_within, "the same column")

    asyncio.run(flow())


def test_what_is_typed_right_behind_the_slash_is_searched_for(shop: Shop) -> None:
    async def flow() -> None:
        app = shop.app()
        async with opened(app, (120, 30)) as pilot:
            await settled(pilot)
            screen = compare_of(app)
            for key, character in (("slash", "/"), ("2", "2"), ("1", "1")):
                app.post_message(events.Key(key, character))  # as fast as a paste
            await until(pilot, lambda: screen.query_one("#search", Input).value == "21", "typed")
            assert app.screen is screen
            # In the search a slash is a character like any other.
            await pilot.press("slash")
            assert screen.query_one("#search", Input).value == "21/"

    asyncio.run(flow())


def test_what_is_typed_right_behind_escape_is_a_command_again(shop: Shop) -> None:
    async def flow() -> None:
        app = shop.app()
        async with opened(app, (120, 30)) as pilot:
            await settled(pilot)
            screen = compare_of(app)
            before = screen.comparison.person
            await pilot.press("slash", "x")
            app.post_message(events.Key("escape", None))
            app.post_message(events.Key("n", "n"))
            await until(pilot, lambda: screen.comparison.person != before, "another person")

    asyncio.run(flow())


def test_the_open_search_says_its_keys_and_is_empty_when_it_was_left(shop: Shop) -> None:
    async def flow() -> None:
        app = shop.app()
        async with opened(app, (120, 30)) as pilot:
            await settled(pilot)
            screen = compare_of(app)
            line = screen.query_one("#search", Input)
            assert "start" in line.placeholder
            await pilot.press("slash", "z")
            await until(pilot, lambda: "Back to the columns" in foot(app), "the foot")
            assert "Show who begins so" in foot(app)
            assert "/ Search" not in foot(app)
            app.app_focus = False  # another window of the desktop
            await pilot.pause(0.1)
            app.app_focus = True
            await pilot.pause(0.1)
            assert line.value == "z"
            await pilot.press("escape")
            await until(pilot, lambda: line.value == "", "forgotten")
            await until(pilot, lambda: "/ Search" in foot(app), "the foot again")
            assert not screen.people.has_class("-searching")

    asyncio.run(flow())


def foot(app: object) -> str:
    screen = compare_of(app)  # type: ignore[arg-type]
    return text_of(app).splitlines()[screen.query_one(Footer).region.y]  # type: ignore[arg-type]
