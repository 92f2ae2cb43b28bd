"""Blind mode: nothing on the screen tells who is who, and what is preferred is counted."""

from __future__ import annotations

import asyncio
from itertools import count

import pytest
from textual.widgets import OptionList

from tests.tui.shop import Shop, compare_of, opened, settled, text_of, until
from tui.screens.compare import IS_BLIND, Compare

NAMES = ("student", "teacher", "popularity", "slow", "distilled-1", "training rows")


@pytest.fixture
def shuffled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same shuffles every time, and not the order there was."""
    seeds = count(2)
    monkeypatch.setattr(Compare, "SEED", staticmethod(lambda: next(seeds)))


def order(screen: Compare) -> list[str]:
    return [one.by for one in screen.side.columns]


@pytest.mark.usefixtures("shuffled")
def test_a_blind_comparison(shop: Shop) -> None:
    async def flow() -> None:
        app = shop.app()
        async with opened(app, (130, 30)) as pilot:
            await settled(pilot)
            screen = compare_of(app)
            before = order(screen)
            await pilot.press("right", "down", "down", "b")
            await until(pilot, lambda: screen.blind, "blind")
            assert screen.blind is not None
            await pilot.pause()
            assert order(screen) == screen.blind.order != before
            shown = text_of(app)
            assert [name for name in NAMES if name in shown] == []
            assert all(f"ranker {letter}" in shown for letter in "ABC")
            assert "▲" not in shown
            assert "✓" not in shown
            assert "score" not in shown
            assert "held out, not told" in shown
            current = screen.side.current
            assert current is screen.side.columns[0], "the cursor does not follow a column"
            assert {one.query_one(OptionList).highlighted for one in screen.side.columns} == {0}

            for key in ("a", "d", "s", "e", "i", "r"):
                await pilot.press(key)
            await pilot.pause()
            assert {note.message for note in app._notifications} == {IS_BLIND}
            assert order(screen) == screen.blind.order

            assert screen.comparison.person is not None
            first, preferred = screen.comparison.person.number, []

            def moved_on(told: int) -> bool:
                person = screen.comparison.person
                return person is not None and person.number == first + told

            for _ in range(4):
                preferred.append(order(screen)[1])
                await pilot.press("right", "enter")
                told = len(preferred)
                await until(pilot, lambda n=told: moved_on(n), "the next person")  # type: ignore[misc]
                await settled(pilot)
            assert screen.blind.count == 4
            assert screen.blind.tally == {by: preferred.count(by) for by in before}
            assert len(set(preferred)) > 1, "they were shuffled"
            assert "4 preferences told" in text_of(app)

            await pilot.press("b")
            await pilot.pause()
            assert order(screen) == before
            assert "▲" in text_of(app)
            assert any("of 4" in note.message for note in app._notifications)
        assert len(app.last_words) == 1
        assert app.last_words[0].startswith("blind: ")

    asyncio.run(flow())


def test_lists_are_kept_back_until_all_have_answered(shop: Shop) -> None:
    shop.turn("delay", "600")

    async def flow() -> None:
        app = shop.app()
        async with opened(app) as pilot:
            screen = compare_of(app)
            await until(
                pilot,
                lambda: (
                    [c.state for c in screen.comparison.columns]
                    == ["answered", "thinking", "answered"]
                ),
                "only the teacher thinks",
            )
            await pilot.press("b")
            await until(
                pilot, lambda: text_of(app).count("… until all have") == 3, "all look the same"
            )
            assert all(not one.query_one(OptionList).option_count for one in screen.side.columns)
            await pilot.press("enter")
            assert screen.blind is not None
            assert screen.blind.count == 0
            shop.turn("delay", "0")
            await settled(pilot)
            await until(pilot, lambda: text_of(app).count("enter: I prefer") == 3, "all are shown")
            await pilot.press("enter")
            await until(pilot, lambda: screen.blind.count == 1, "counted")  # type: ignore[union-attr]
        assert "of 1" in app.last_words[0], "told on leaving, too"

    asyncio.run(flow())


def test_who_is_dead_takes_no_part(shop: Shop) -> None:
    shop.turn("opening", "ServerDown")

    async def flow() -> None:
        app = shop.app()
        async with opened(app) as pilot:
            await settled(pilot)
            screen = compare_of(app)
            await pilot.press("b")
            await pilot.pause()
            assert sorted(order(screen)) == ["popularity", "student"]
            assert "ranker C" not in text_of(app)
            await pilot.press("b")
            await pilot.pause()
            assert order(screen) == ["student", "teacher", "popularity"]
            await pilot.press("d", "d")
            await until(pilot, lambda: len(order(screen)) == 1, "one column")
            await pilot.press("b")
            assert screen.blind is None
            assert app.last_words == []

    asyncio.run(flow())
