"""The comparison as one meets it: people, lists, what is held out, and how the columns agree."""

from __future__ import annotations

import asyncio

import pytest
from textual.widgets import Input

from recommender.live.messages import LiveItem
from storage.store import Store
from tests.cli.shop import HOSTILE_SHOWN, NAME
from tests.tui.shop import Shop, compare_of, opened, settled, text_of, until
from tui.screens.compare import Compare
from tui.widgets.people import PeoplePanel

SIZES = [(80, 24), (100, 30), (200, 50)]


def items(screen: Compare, by: str) -> list[LiveItem]:
    answer = screen.comparison.column(by).answer
    assert answer is not None
    return list(answer.items)


@pytest.mark.parametrize("size", SIZES)
def test_three_columns_for_somebody_with_something_held_out(
    shop: Shop, size: tuple[int, int]
) -> None:
    async def flow() -> None:
        app = shop.app()
        async with opened(app, size) as pilot:
            await settled(pilot)
            screen = compare_of(app)
            shown = text_of(app)
            person, true = screen.comparison.person, screen.comparison.held_out
            assert person is not None
            assert true is not None
            assert person.id in shown
            assert "last event held out" in shown
            assert true.number not in {item.number for item in screen.comparison.history}
            for by in ("student", "teacher", "popularity"):
                assert by in shown
                place = screen.comparison.hit(by)
                assert place == 1 + [one.item for one in items(screen, by)].index(true.number)
            assert shown.count("✓") == 3 + 3  # a state and a hit a column
            assert "1 of 1" in shown
            assert len(items(screen, "student")) == (10 if size[1] < 40 else 11)  # 16 less 5
            assert f"overlap@{screen.comparison.n}" in shown
            assert all(column.region.width >= 24 for column in screen.side.columns)
            assert all(len(line) <= size[0] for line in shown.splitlines())
            assert screen.query_one(PeoplePanel).display == (size[0] > 80)

    asyncio.run(flow())


def test_people_are_walked_and_found(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Compare, "COLUMNS", ("popularity",))

    async def flow() -> None:
        app = shop.app()
        async with opened(app) as pilot:
            await settled(pilot)
            screen = compare_of(app)

            def who() -> str:
                assert screen.comparison.person is not None
                return screen.comparison.person.id

            first = who()
            await pilot.press("n")
            await until(pilot, lambda: who() != first)
            assert who() == f"u{int(first[1:]) + 1}"
            await pilot.press("p", "p")  # as fast as one types
            await until(pilot, lambda: who() == f"u{int(first[1:]) - 1}" or who() == first)
            await settled(pilot)

            await pilot.press("slash", *"u0")
            await until(pilot, lambda: screen.people.found == ["u0"], "u0 is found")
            await pilot.press("enter")
            await until(pilot, lambda: who() == "u0")
            assert not screen.query_one("#search", Input).has_focus
            assert "nothing held out" in text_of(app)
            await pilot.press("p")
            await until(pilot, lambda: who() == "u39", "before the first is the last")
            await pilot.press("n")
            await until(pilot, lambda: who() == "u0", "behind the last is the first")
            await pilot.press("N")
            await until(pilot, lambda: screen.comparison.held_out is not None)

            await pilot.press("slash", *"nobody", "enter")
            await until(pilot, lambda: app._notifications, "nobody is called so")
            assert who() != "nobody"
            await pilot.press("escape", "n")
            await settled(pilot)

    asyncio.run(flow())


def test_hits_are_counted_once_a_person(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Compare, "COLUMNS", ("student", "popularity"))

    async def flow() -> None:
        app = shop.app()
        async with opened(app) as pilot:
            await settled(pilot)
            screen = compare_of(app)
            for _ in range(2):
                before = screen.comparison.person
                await pilot.press("N")
                await until(pilot, lambda was=before: screen.comparison.person is not was)  # type: ignore[misc]
                await settled(pilot)
            await pilot.press("p")
            await pilot.pause(0.3)
            await settled(pilot)
            figures = screen.comparison.figures()
            assert [one.visited for one in figures] == [3, 3]
            assert all(one.last is not None and one.p50 is not None for one in figures)
            assert figures[0].overlap is None
            assert figures[1].overlap is not None
            assert "3 of 3" in text_of(app)

    asyncio.run(flow())


def test_foreign_titles_stay_text(shop: Shop) -> None:
    with Store.open(shop.settings.db, shop.settings.artifacts) as store:
        category = store.catalogue.category(NAME)
        assert "\x1b" in store.catalogue.item_titles(category.id)[0]

    async def flow() -> None:
        app = shop.app()
        async with opened(app, (200, 50)) as pilot:
            await settled(pilot)
            await pilot.press("n")
            await until(pilot, lambda: HOSTILE_SHOWN in text_of(app), "the title of a pen")
            assert "\x1b" not in text_of(app)
            assert "\u202e" not in text_of(app)

    asyncio.run(flow())


def test_light_and_dark_and_another_size(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Compare, "COLUMNS", ("student", "popularity"))

    async def flow() -> None:
        app = shop.app()
        async with opened(app, (120, 30)) as pilot:
            await settled(pilot)
            screen = compare_of(app)
            assert not screen.has_class("-folded")
            await pilot.press("ctrl+t")
            assert app.theme == "textual-light"
            await pilot.press("f")
            assert screen.has_class("-folded")
            await pilot.resize_terminal(80, 24)
            await pilot.press("f")
            assert not screen.has_class("-folded"), "by hand, whatever the width"
            await pilot.resize_terminal(50, 12)
            await pilot.pause()
            assert "too small" in text_of(app)
            await pilot.resize_terminal(200, 50)
            await pilot.pause(0.2)
            assert "student" in text_of(app)

    asyncio.run(flow())


def test_help_names_the_keys(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Compare, "COLUMNS", ("popularity",))

    async def flow() -> None:
        app = shop.app()
        async with opened(app, (100, 50)) as pilot:
            await settled(pilot)
            await pilot.press("question_mark")
            await pilot.pause()
            shown = text_of(app)
            for words in ("Next person", "Previous person", "Blind", "Copy the title", "Dislike"):
                assert words in shown

    asyncio.run(flow())
