"""A history is made by hand: by keys, by mouse, and faster than the Store answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from recommender.config import Settings
from storage.records import Category, Item, ItemRow
from tests.tui.hosting import Host, item, stocked
from tests.tui.shop import text_of, until
from tui.reading import StoreReader
from tui.screens.finding import FOUND, EditHistory

TITLES = ["Heat", "Heat 2", "[b]Alien[/b]", "Alien\x1b[2J II", *(f"Film {n}" for n in range(40))]
OWN = (item(3, "Old one"), item(4, "New one", "Norvik"))
Shop = tuple[Settings, Category]
Flow = Callable[["Pilot[None]", Host, EditHistory], Awaitable[None]]
NOT_YET = "not yet"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    items = [ItemRow(f"i{n}", title, brand="Norvik") for n, title in enumerate(TITLES)]
    with stocked(tmp_path_factory.mktemp("films"), ["ann"], items) as made:
        yield made


def run(
    shop: Shop, flow: Flow, items: Sequence[Item] = OWN, size: tuple[int, int] = (80, 24)
) -> object:
    """Run a flow over the screen and return what it ended with."""
    ended: list[object] = []

    async def go() -> None:
        settings, category = shop
        app, screen = Host(settings), EditHistory(category, items)
        async with app.run_test(size=size) as pilot:
            app.push_screen(screen, ended.append)
            await pilot.pause()
            await flow(pilot, app, screen)
            await pilot.pause()

    asyncio.run(go())
    return ended[0] if ended else NOT_YET


def titles(items: object) -> list[str]:
    assert isinstance(items, tuple)
    return [one.title for one in items]


def chosen(screen: EditHistory) -> OptionList:
    return screen.query_one("#chosen", OptionList)


def test_an_item_is_found_and_put_in_as_the_newest(shop: Shop) -> None:
    async def flow(pilot: Pilot[None], app: Host, screen: EditHistory) -> None:
        await pilot.press(*"heat")
        await until(pilot, lambda: len(screen.found) == 2, "found")
        assert "Heat · Norvik" in text_of(app)
        await pilot.press("enter")
        assert chosen(screen).highlighted == 0
        await pilot.press("tab", "down", "down", "enter", "ctrl+s")

    assert titles(run(shop, flow)) == ["Old one", "New one", "Heat", "Heat 2"]


def test_typed_faster_than_it_is_looked_for_what_was_typed_is_put_in(shop: Shop) -> None:
    async def flow(pilot: Pilot[None], app: Host, screen: EditHistory) -> None:
        await pilot.press(*"heat")
        await until(pilot, lambda: screen.found, "found")
        screen.query_one(Input).value = "[b]alien"
        await pilot.press("enter", "ctrl+s")

    assert titles(run(shop, flow)) == ["Old one", "New one", "[b]Alien[/b]"]


@pytest.mark.parametrize("typed", ["nothing like it", "%", " ", "", "x" * 5000])
def test_what_is_not_found_is_not_put_in(shop: Shop, typed: str) -> None:
    async def flow(pilot: Pilot[None], app: Host, screen: EditHistory) -> None:
        await pilot.press(*"heat")
        await until(pilot, lambda: screen.found, "found")
        screen.query_one(Input).value = typed
        await pilot.press("enter")
        assert ("nothing is called so" in text_of(app)) == bool(typed.strip())
        await pilot.press("tab", "enter", "ctrl+s")

    assert run(shop, flow) == OWN


def test_many_are_found_but_not_all(shop: Shop) -> None:
    async def flow(pilot: Pilot[None], app: Host, screen: EditHistory) -> None:
        await pilot.press(*"film")
        await until(pilot, lambda: screen.found, "found")
        assert len(screen.found) == FOUND
        await pilot.press("escape")

    assert run(shop, flow) is None


def test_items_are_taken_out_by_key_and_by_mouse(shop: Shop) -> None:
    own = [item(n) for n in range(6)]

    async def flow(pilot: Pilot[None], app: Host, screen: EditHistory) -> None:
        await pilot.press("tab", "tab", "down", "delete")  # newest first: the fifth of six
        assert chosen(screen).highlighted == 1
        await pilot.press("enter")
        await pilot.click("#chosen", offset=(2, 3))
        await pilot.press("ctrl+s")

    assert titles(run(shop, flow, own)) == ["Item 1", "Item 2", "Item 5"]


def test_delete_elsewhere_takes_nothing_out(shop: Shop) -> None:
    async def flow(pilot: Pilot[None], app: Host, screen: EditHistory) -> None:
        await pilot.press(*"heat", "home", "delete")
        assert screen.query_one(Input).value == "eat", "in a line it takes a letter"
        await until(pilot, lambda: screen.found, "found")
        await pilot.press("tab", "down", "delete", "ctrl+s")

    assert run(shop, flow) == OWN


def test_everything_can_be_taken_out(shop: Shop) -> None:
    async def flow(pilot: Pilot[None], app: Host, screen: EditHistory) -> None:
        await pilot.press("tab", "tab", *["delete"] * 4, "ctrl+s")

    assert run(shop, flow) == ()


def test_with_nothing_at_first(shop: Shop) -> None:
    async def flow(pilot: Pilot[None], app: Host, screen: EditHistory) -> None:
        await pilot.press("tab", "tab", "delete", "enter", "shift+tab", "shift+tab")
        await pilot.press(*"heat", "enter", "enter", "ctrl+s")

    assert titles(run(shop, flow, ())) == ["Heat", "Heat"]


def test_a_store_that_cannot_be_read_is_a_sentence(shop: Shop, tmp_path: Path) -> None:
    broken = shop[0].model_copy(update={"db": str(tmp_path / "broken.sqlite")})
    Path(broken.db).write_bytes(b"no database at all" * 100)

    async def flow(pilot: Pilot[None], app: Host, screen: EditHistory) -> None:
        await pilot.press(*"heat", "enter")
        await until(pilot, lambda: app.said, "said")
        await pilot.press("ctrl+s")

    assert run((broken, shop[1]), flow) == OWN


def test_what_was_found_before_is_not_put_in_for_what_cannot_be_looked_for(
    shop: Shop, tmp_path: Path
) -> None:
    broken = shop[0].model_copy(update={"db": str(tmp_path / "broken.sqlite")})
    Path(broken.db).write_bytes(b"no database at all" * 100)

    async def flow(pilot: Pilot[None], app: Host, screen: EditHistory) -> None:
        await pilot.press(*"heat")
        await until(pilot, lambda: screen.found, "found")
        app.reader.close()
        app.reader = StoreReader(broken)
        screen.query_one(Input).value = "alien"
        await pilot.press("enter")
        await until(pilot, lambda: app.said, "said")
        await pilot.press("ctrl+s")

    assert run(shop, flow) == OWN


@pytest.mark.parametrize("size", [(60, 18), (80, 24), (200, 50)])
def test_it_says_its_keys_and_fits(shop: Shop, size: tuple[int, int]) -> None:
    async def flow(pilot: Pilot[None], app: Host, screen: EditHistory) -> None:
        await pilot.press(*"alien")
        await until(pilot, lambda: screen.found, "found")
        await pilot.pause()
        shown = text_of(app)
        assert "[b]Alien[/b] · Norvik" in shown
        assert "Alien II" in shown, "an escape sequence is taken out whole"
        assert "ctrl+s uses" in shown
        assert "…" not in shown, "what fits is not cut"
        assert "New one" in shown
        assert all(one.region.height > 0 for one in screen.query("Static, OptionList, Input"))
        for widget in screen.query("Static, OptionList, Input"):
            assert widget.region.right <= size[0]
            assert widget.region.bottom <= size[1]
        await pilot.press("escape")

    assert run(shop, flow, size=size) is None


@pytest.mark.parametrize("title", ["A usual title of a film (1995)", "a\u200b" * 5_000, "宽" * 200])
def test_a_long_history_is_drawn_between_two_frames(shop: Shop, title: str) -> None:
    own = [item(n, f"{n} {title}") for n in range(500)]

    async def flow(pilot: Pilot[None], app: Host, screen: EditHistory) -> None:
        await pilot.press("tab", "tab")
        await pilot.pause()
        assert chosen(screen).virtual_size.height == 500, "a line each"
        took = []
        for _ in range(3):
            start = time.process_time()
            screen.action_take_out()
            took.append(time.process_time() - start)
        assert min(took) < 0.1
        await pilot.press("ctrl+s")

    assert run(shop, flow, own) == tuple(own[:-3])
