"""People are searched while one types, picked by key and by mouse, and their history is read."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event
from textual.content import Content
from textual.pilot import Pilot
from textual.widgets import Input, OptionList, Static

from recommender.config import Settings
from recommender.people import Person
from storage.browsing import PastEvent
from storage.records import NO_TIME, Category, ItemRow
from tests.tui.hosting import Host, item, stocked
from tests.tui.shop import text_of, until
from tui.shown import filling
from tui.widgets.people import NEWEST, SHOWN, PeoplePanel

PEOPLE = [f"u{number:04}" for number in range(300)] + ["Ünal", "u0012b", "[b]x", "100%_a"]
DAY = 86_400_000
Shop = tuple[Settings, Category]
Flow = Callable[["Pilot[None]", Host, PeoplePanel], Awaitable[None]]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with stocked(tmp_path_factory.mktemp("people"), PEOPLE, [ItemRow("i0", "Item 0")]) as made:
        yield made


def run(shop: Shop, flow: Flow, size: tuple[int, int] = (80, 24)) -> None:
    """Run a flow over the panel, the keys on its search line."""

    async def go() -> None:
        settings, category = shop
        panel = PeoplePanel()
        app = Host(settings, panel, OptionList("elsewhere", id="elsewhere"))
        async with app.run_test(size=size) as pilot:
            panel.show_category(category)
            panel.query_one("#search").focus()
            await pilot.pause()
            await flow(pilot, app, panel)

    asyncio.run(go())


def picked(app: Host) -> list[str]:
    return [one.user for one in app.messages if isinstance(one, PeoplePanel.Picked)]


def rows(panel: PeoplePanel, which: str) -> list[str]:
    listed = panel.query_one(which, OptionList)
    prompts = [listed.get_option_at_index(n).prompt for n in range(listed.option_count)]
    return [one.plain if isinstance(one, Content) else str(one) for one in prompts]


def whose(panel: PeoplePanel) -> str:
    return str(panel.query_one("#whose", Static).content)


def test_who_begins_so_is_shown_while_one_types(shop: Shop) -> None:
    async def flow(pilot: Pilot[None], app: Host, panel: PeoplePanel) -> None:
        found = panel.query_one("#found", OptionList)
        assert not found.display
        await pilot.press("u")
        await until(pilot, lambda: panel.found, "found")
        assert found.display
        assert panel.found == sorted(PEOPLE)[2 : 2 + SHOWN]
        assert rows(panel, "#found")[-1] == "… and others: type on"
        await pilot.press(*"0012")
        await until(pilot, lambda: panel.found == ["u0012", "u0012b"], "two")
        assert rows(panel, "#found") == ["u0012", "u0012b"]
        await pilot.press("x")
        await until(pilot, lambda: not panel.found, "nobody")
        assert rows(panel, "#found") == ["nobody's id begins so"]
        await pilot.press("down")  # to nobody: the keys stay where they are
        assert panel.query_one("#search").has_focus
        panel.query_one(Input).value = "  "
        await pilot.pause()
        assert not found.display
        assert (picked(app), app.said) == ([], [])

    run(shop, flow)


def test_typing_fast_asks_the_store_once(shop: Shop) -> None:
    async def flow(pilot: Pilot[None], app: Host, panel: PeoplePanel) -> None:
        line = panel.query_one(Input)
        for end in range(1, 6):
            line.value = "u0012"[:end]
            await pilot.pause()
        await until(pilot, lambda: panel.found, "found")
        await pilot.pause(0.2)
        assert panel.found == ["u0012", "u0012b"]
        assert app.asked == 1

    run(shop, flow)


@pytest.mark.parametrize(
    ("typed", "who"),
    [
        ("u0250", "u0250"),
        (" u0012 ", "u0012"),
        ("u0012b", "u0012b"),
        ("u029", "u0290"),  # begins so: the first that does
        ("Ünal", "Ünal"),
        ("[b]x", "[b]x"),
        ("100%_a", "100%_a"),
    ],
)
def test_enter_picks_who_is_typed_without_waiting_for_the_list(
    shop: Shop, typed: str, who: str
) -> None:
    async def flow(pilot: Pilot[None], app: Host, panel: PeoplePanel) -> None:
        line = panel.query_one(Input)
        line.value = typed
        await pilot.press("enter")
        await until(pilot, lambda: picked(app), "picked")
        assert picked(app) == [who]
        assert line.value == ""
        await pilot.pause(0.2)
        assert not panel.query_one("#found").display
        assert app.said == []

    run(shop, flow)


@pytest.mark.parametrize("typed", ["nobody", "%", "_", "u0012'; drop", "u" * 5000, "\x1b[31m", "É"])
def test_who_is_unknown_is_a_sentence(shop: Shop, typed: str) -> None:
    async def flow(pilot: Pilot[None], app: Host, panel: PeoplePanel) -> None:
        panel.query_one(Input).value = typed
        await pilot.press("enter")
        await until(pilot, lambda: app.said, "a sentence")
        assert app.said[0].startswith("nobody in 'Pens' has an id that begins with ")
        assert "\x1b" not in app.said[0]
        assert picked(app) == []

    run(shop, flow)


def test_nothing_typed_picks_nobody(shop: Shop) -> None:
    async def flow(pilot: Pilot[None], app: Host, panel: PeoplePanel) -> None:
        await pilot.press("enter", "space", "enter")
        await pilot.pause(0.2)
        assert (picked(app), app.said, app.asked) == ([], [], 0)
        panel.category = None
        await pilot.press("u", "enter")
        await pilot.pause(0.2)
        assert (picked(app), app.asked) == ([], 0)

    run(shop, flow)


def test_by_arrows_and_by_mouse(shop: Shop) -> None:
    async def flow(pilot: Pilot[None], app: Host, panel: PeoplePanel) -> None:
        await pilot.press(*"u0012")
        await until(pilot, lambda: len(panel.found) == 2, "two")
        await pilot.press("down", "down", "enter")
        await until(pilot, lambda: picked(app), "picked by key")
        panel.query_one("#search").focus()
        await pilot.press(*"u00")
        await until(pilot, lambda: len(panel.found) == SHOWN, "many")
        await pilot.click("#found", offset=(1, 3))
        await until(pilot, lambda: len(picked(app)) == 2, "picked by mouse")
        assert picked(app) == ["u0012b", "u0003"]

    run(shop, flow)


def test_a_search_that_is_left_gives_its_room_back(shop: Shop) -> None:
    async def flow(pilot: Pilot[None], app: Host, panel: PeoplePanel) -> None:
        found = panel.query_one("#found")
        await pilot.press(*"u00")
        await until(pilot, lambda: panel.found, "found")
        found.focus()
        await pilot.pause()
        assert found.display, "the list is part of the search"
        app.query_one("#elsewhere").focus()
        await pilot.pause()
        assert not found.display
        panel.query_one("#search").focus()
        await pilot.pause()
        assert panel.query_one(Input).value == "", "it begins anew"
        assert not found.display

    run(shop, flow)


def test_another_category_forgets_who_was_found(shop: Shop) -> None:
    async def flow(pilot: Pilot[None], app: Host, panel: PeoplePanel) -> None:
        await pilot.press(*"u00")
        await until(pilot, lambda: panel.found, "found")
        panel.show_category(replace(shop[1], id=99, name="Empty"))
        await pilot.pause()
        assert panel.query_one(Input).value == ""
        assert panel.found == []
        await pilot.press("u", "enter")
        await until(pilot, lambda: app.said, "a sentence")
        assert "'Empty'" in app.said[0]

    run(shop, flow)


def test_a_store_that_cannot_be_read_is_a_sentence(shop: Shop, tmp_path: Path) -> None:
    broken = shop[0].model_copy(update={"db": str(tmp_path / "broken.sqlite")})
    Path(broken.db).write_bytes(b"no database at all" * 100)

    async def flow(pilot: Pilot[None], app: Host, panel: PeoplePanel) -> None:
        await pilot.press("u")
        await until(pilot, lambda: app.said, "said")
        await pilot.press("enter")
        await until(pilot, lambda: len(app.said) == 2, "said again")
        assert picked(app) == []

    run((broken, shop[1]), flow)


def somebody(count: int, *, held_out: bool = True, name: str = "ann") -> Person:
    events = tuple(
        PastEvent(item(n, brand="Norvik" if n % 2 else ""), n * DAY, (n % 10) / 2)
        for n in range(count)
    )
    return Person(name, 0, events, events[-1] if held_out else None, "" if held_out else "had it")


def test_a_history_newest_first_and_what_is_held_out_above_it(shop: Shop) -> None:
    async def flow(pilot: Pilot[None], app: Host, panel: PeoplePanel) -> None:
        panel.styles.width = 46
        await pilot.pause()
        panel.show_person(somebody(5), None)
        await pilot.pause()
        assert whose(panel).split("\n") == ["ann", "4 events", "last event held out:", "Item 4"]
        assert [row.split() for row in rows(panel, "#past")] == [
            ["1.5", "Item", "3", "·", "Norvik", "1970-01-04"],
            ["1", "Item", "2", "1970-01-03"],
            ["0.5", "Item", "1", "·", "Norvik", "1970-01-02"],
            ["0", "Item", "0", "1970-01-01"],
        ]
        panel.show_person(somebody(5), None, told=False)
        await pilot.pause()
        assert "Item 4" not in text_of(app)
        assert "held out, not told" in whose(panel)
        panel.show_person(somebody(5, held_out=False), None)
        assert whose(panel).split("\n")[1:] == ["5 events", "nothing held out: had it"]
        assert len(rows(panel, "#past")) == 5

    run(shop, flow)


def test_a_history_by_hand_is_marked(shop: Shop) -> None:
    async def flow(pilot: Pilot[None], app: Host, panel: PeoplePanel) -> None:
        panel.show_person(somebody(5), [item(8, "Old"), item(9, "New")])
        assert "edited by hand" in whose(panel)
        assert "Item 4" not in whose(panel)
        assert [row.strip() for row in rows(panel, "#past")] == ["New", "Old"]
        panel.show_person(somebody(5), [])
        assert "0 events" in whose(panel)
        assert rows(panel, "#past") == []
        panel.say("no such person")
        assert whose(panel) == "no such person"

    run(shop, flow)


def test_times_and_ratings_that_are_not_known_are_left_out(shop: Shop) -> None:
    async def flow(pilot: Pilot[None], app: Host, panel: PeoplePanel) -> None:
        events = (
            PastEvent(item(1, "A"), NO_TIME, None),
            PastEvent(item(2, "B"), 2**62, 10.0),
            PastEvent(item(3, "C"), -1, 4.25),
        )
        panel.show_person(Person("ann", 0, events, None, "why"), None)
        assert [row.split() for row in rows(panel, "#past")] == [
            ["4.25", "C", "1969-12-31"], ["10", "B"], ["A"],
        ]  # fmt: skip

    run(shop, flow)


def test_a_long_history_is_cut_and_says_so(shop: Shop) -> None:
    async def flow(pilot: Pilot[None], app: Host, panel: PeoplePanel) -> None:
        panel.show_person(somebody(NEWEST + 1236), None)
        assert len(rows(panel, "#past")) == NEWEST + 1
        assert rows(panel, "#past")[-1] == "… and 1,235 older"
        panel.show_person(somebody(NEWEST + 1), None)
        assert len(rows(panel, "#past")) == NEWEST

    run(shop, flow)


@pytest.mark.parametrize(
    "title", ["x" * 10_000, "a\u200b" * 5_000, "宽" * 10_000, "e\u0301" * 5000]
)
def test_long_titles_are_cut_to_the_row_between_two_frames(shop: Shop, title: str) -> None:
    async def flow(pilot: Pilot[None], app: Host, panel: PeoplePanel) -> None:
        events = tuple(PastEvent(item(n, title), n, 1.0) for n in range(NEWEST))
        await pilot.pause()
        took = []
        for _ in range(3):
            start = time.process_time()
            panel.show_person(Person(title, 0, events, events[-1]), None)
            took.append(time.process_time() - start)
        assert min(took) < 0.1
        listed = panel.query_one("#past", OptionList)
        for place in range(3):
            prompt = listed.get_option_at_index(place).prompt
            assert isinstance(prompt, Content)
            assert prompt.cell_length <= panel.size.width - 3

    run(shop, flow)


def test_what_lies_beyond_a_row_is_not_read() -> None:
    assert filling("\u200b" * 300 + "Heat", 6).plain == " " * 6
    assert filling("\u200b" * 10 + "Heat", 6).plain == "Heat  "
    assert filling("Heat" * 1000, 6, pad=False).plain == "HeatH…"


def test_rows_are_cut_anew_when_there_is_more_room(shop: Shop) -> None:
    async def flow(pilot: Pilot[None], app: Host, panel: PeoplePanel) -> None:
        await pilot.pause()
        events = (PastEvent(item(1, "A title of some length for a row"), DAY, 1.0),)
        panel.show_person(Person("ann", 0, events, None, "why"), None)
        panel.styles.width = 25
        await pilot.pause()
        await pilot.pause()
        (narrow,) = rows(panel, "#past")
        panel.styles.width = 60
        await pilot.pause()
        await pilot.pause()
        (wide,) = rows(panel, "#past")
        assert "…" in narrow
        assert "1970" not in narrow
        assert "for a row" in wide
        assert wide.endswith("1970-01-02")

    run(shop, flow)


@contextmanager
def statements() -> Iterator[list[tuple[str, Any]]]:
    """Give the SQL that is run meanwhile, with what is filled in."""
    seen: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, filled: Any, *rest: object) -> None:
        seen.append((statement, filled))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def test_no_search_reads_more_than_it_shows(shop: Shop) -> None:
    """Among a million people, what is read is a range of the index, as long as the list."""

    async def flow(pilot: Pilot[None], app: Host, panel: PeoplePanel) -> None:
        with statements() as seen:
            await pilot.press("u")
            await until(pilot, lambda: panel.found, "found")
        ((select, filled),) = [one for one in seen if "user_id" in one[0]]
        with closing(sqlite3.connect(shop[0].db)) as connection:
            read = connection.execute(select, filled).fetchall()
            plan = connection.execute(f"EXPLAIN QUERY PLAN {select}", filled).fetchall()
        assert len(read) == SHOWN + 1
        (step,) = (row[-1] for row in plan)
        assert step.startswith("SEARCH users USING COVERING INDEX")

    run(shop, flow)
