"""What keys do to the item under the cursor, to the history, and to the whole comparison."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from textual.widgets import Button, Input

from storage.store import Store
from tests.cli.shop import NAME
from tests.tui.shop import Shop, compare_of, opened, settled, text_of, until
from tui.screens.compare import KEPT_FOR, NO_REASONS, Compare
from tui.screens.finding import EditHistory
from tui.screens.saving import SaveComparison
from tui.widgets.column import RankerColumn

TWO = ("student", "popularity")


def current(screen: Compare) -> RankerColumn:
    assert screen.side.current is not None
    return screen.side.current


def opinions(shop: Shop, user: str) -> dict[int, int]:
    with Store.open(shop.settings.db, shop.settings.artifacts) as store:
        return store.feedback.of(store.catalogue.category(NAME).id, user)


def test_a_history_is_edited_by_hand(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Compare, "COLUMNS", TWO)

    async def flow() -> None:
        app = shop.app()
        async with opened(app) as pilot:
            await settled(pilot)
            screen = compare_of(app)
            own = screen.comparison.history
            before = screen.comparison.column("student").items

            await pilot.press("h")
            await until(pilot, lambda: isinstance(app.screen, EditHistory), "the editor")
            await pilot.press("escape")
            await settled(pilot)
            assert screen.comparison.edited is None

            await pilot.press("h")
            await until(pilot, lambda: isinstance(app.screen, EditHistory), "the editor")
            editor = app.screen
            assert isinstance(editor, EditHistory)
            await pilot.press(*"item 15")
            await until(pilot, lambda: len(editor.found) == 1, "one item is found")
            await pilot.press("enter", "tab", "tab", "down", "delete", "ctrl+s")
            await until(pilot, lambda: app.screen is screen, "back")
            await settled(pilot)
            edited = [item.title for item in screen.comparison.history]
            assert edited == [item.title for item in own[:-1]] + ["Item 15"]
            assert screen.comparison.held_out is None
            assert "edited by hand" in " ".join(text_of(app).split("│"))
            after = screen.comparison.column("student").items
            assert 15 not in after
            assert before != after

            await pilot.press("plus")  # of a history that is nobody's
            await until(pilot, lambda: screen.opinions, "liked")
            assert opinions(shop, "") == screen.opinions
            await pilot.press("n")
            await until(pilot, lambda: screen.comparison.edited is None, "another person")
            assert screen.opinions == {}

    asyncio.run(flow())


def test_an_empty_history_is_answered_too(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Compare, "COLUMNS", TWO)

    async def flow() -> None:
        app = shop.app()
        async with opened(app) as pilot:
            await settled(pilot)
            screen = compare_of(app)
            await pilot.press("h")
            await until(pilot, lambda: isinstance(app.screen, EditHistory), "the editor")
            await pilot.press("tab", "tab", *["delete"] * 6, "ctrl+s")
            await until(pilot, lambda: app.screen is screen, "back")
            await settled(pilot)
            assert screen.comparison.history == ()
            assert len(screen.comparison.column("student").items) == 10

    asyncio.run(flow())


def test_feedback_is_kept(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Compare, "COLUMNS", TWO)

    async def flow() -> None:
        app = shop.app()
        async with opened(app) as pilot:
            await settled(pilot)
            screen = compare_of(app)
            assert screen.comparison.person is not None
            user = screen.comparison.person.id
            first = screen.comparison.column("student").items
            await pilot.press("plus", "down")
            await until(pilot, lambda: len(screen.opinions) == 1, "liked")
            await pilot.press("minus")
            await until(pilot, lambda: len(screen.opinions) == 2, "disliked")
            assert opinions(shop, user) == {first[0]: 1, first[1]: -1}
            told = [note.message for note in app._notifications]
            assert [KEPT_FOR in one for one in told] == [True, False], "once is enough"
            assert told[1].startswith("disliked: ")
            shown = text_of(app)
            assert "█ +" in shown
            assert "−" in shown
            await pilot.press("minus")  # the same again takes it back
            await until(pilot, lambda: len(screen.opinions) == 1, "taken back")
            assert opinions(shop, user) == {first[0]: 1}
        async with opened(shop.app()) as pilot:
            await settled(pilot)
            assert compare_of(pilot.app).opinions == {first[0]: 1}, "found again"

    asyncio.run(flow())


def test_a_reason_streams_under_the_item(shop: Shop) -> None:
    shop.turn("words", "You \x1b[31mbought [b]pens[/b] \u202eoften. And more. ")

    async def flow() -> None:
        app = shop.app()
        async with opened(app, (160, 40)) as pilot:
            await settled(pilot)
            screen = compare_of(app)
            await pilot.press("right", "down", "e")
            await until(pilot, lambda: "You bought [b]pens[/b] often." in text_of(app), "a reason")
            assert "And more" not in text_of(app)
            lines = text_of(app).splitlines()
            selected = current(screen).selected
            assert selected is not None
            row = next(at for at, line in enumerate(lines) if "You bought" in line)
            assert selected.title in lines[row - 1]

            await pilot.press("left", "e")  # a student's item, in the words of the teacher
            await until(pilot, lambda: text_of(app).count("You bought") == 2, "a second reason")
            assert current(screen).by == "student"

            shop.turn("failure", "Busy")
            await pilot.press("down", "e")
            await until(pilot, lambda: "the script fails" in text_of(app), "it says so")
            assert screen.comparison.column("teacher").state == "answered"

    asyncio.run(flow())


def test_who_writes_no_text_says_so(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Compare, "COLUMNS", TWO)

    async def flow() -> None:
        app = shop.app()
        async with opened(app) as pilot:
            await settled(pilot)
            await pilot.press("e", "i", "x", "r", "x")
            await settled(pilot)
            said = [one.message for one in app._notifications]
            assert NO_REASONS in said
            assert "student: no notices" in said

    asyncio.run(flow())


def test_the_clipboard_gets_plain_text(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Compare, "COLUMNS", ("popularity",))

    async def flow() -> None:
        app = shop.app()
        async with opened(app) as pilot:
            await settled(pilot)
            screen = compare_of(app)
            await pilot.press("n")
            await until(pilot, lambda: 0 in screen.comparison.column("popularity").items, "a pen")
            await pilot.pause()
            await pilot.press(*["down"] * screen.comparison.column("popularity").items.index(0))
            await pilot.press("y")
            assert app.clipboard == "[bold red]Pen[/bold red] echo"
            await pilot.press("Y")
            lines = app.clipboard.splitlines()
            assert len(lines) == 10
            assert lines[0].startswith("1. Item")
            assert "\x1b" not in app.clipboard

    asyncio.run(flow())


def test_a_comparison_is_saved(shop: Shop, tmp_path: Path) -> None:
    async def flow() -> None:
        app = shop.app()
        async with opened(app) as pilot:
            await settled(pilot)
            screen = compare_of(app)

            async def save(path: str, *, button: str = "") -> None:
                await pilot.press("s")
                await until(pilot, lambda: isinstance(app.screen, SaveComparison), "the question")
                if path:
                    app.screen.query_one(Input).value = path
                if button:
                    app.screen.query(Button).filter(f"#{button}").first().press()
                else:
                    await pilot.press("enter")

            await save("")
            folder = shop.folder / "comparisons"
            await until(pilot, lambda: list(folder.glob("*.md")), "Markdown")
            page = next(folder.glob("*.md")).read_text()
            assert "student" in page
            assert "Held out: " in page

            await until(pilot, lambda: app.screen is screen, "back")
            await pilot.press("plus")
            await until(pilot, lambda: screen.opinions, "liked")
            path = tmp_path / "deep" / "one.json"
            await save(str(path))
            await until(pilot, path.exists, "JSON")
            said = json.loads(path.read_text())
            assert [one["by"] for one in said["columns"]] == ["student", "teacher", "popularity"]
            assert said["held_out"]["title"] == screen.comparison.held_out.title  # type: ignore[union-attr]
            assert len(said["figures"]) == 3
            liked = said["columns"][0]["answer"]["items"][0]
            assert said["opinions"] == [{"id": liked["id"], "title": liked["title"], "value": 1}]

            before = path.read_text()
            await save(str(path))
            await until(pilot, lambda: any("exists" in n.message for n in app._notifications), "no")
            assert path.read_text() == before, "nothing is written over"

            await save(str(tmp_path / "one.txt"))
            await until(pilot, lambda: "must end in" in text_of(app), "no such ending")
            await pilot.press("escape")
            await save(str(shop.folder / "recsys.toml" / "one.md"))
            await until(
                pilot, lambda: any("cannot write" in n.message for n in app._notifications), "no"
            )
            assert app.screen is screen

            await save(str(tmp_path / "two.md"), button="json")
            await until(pilot, (tmp_path / "two.json").exists, "the button's ending")

    asyncio.run(flow())
