"""A history made by hand: items taken out, items found and put in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from storage.errors import RecsysError
from storage.records import Category, Item
from tui.shown import shown
from tui.widgets.people import PAUSE

if TYPE_CHECKING:
    from storage.store import Store
    from tui.app import RecsysApp

FOUND = 12


class EditHistory(ModalScreen["tuple[Item, ...] | None"]):
    """Ends with the items, oldest first, or None where nothing is to change."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Back"),
        Binding("ctrl+s", "done", "Use it"),
        Binding("delete", "take_out", "Take out"),
    ]
    DEFAULT_CSS = """
    EditHistory > Vertical { width: 76; height: 90%; }
    EditHistory Input { padding: 0 1; background: $boost; width: 66; max-width: 100%; }
    EditHistory OptionList { height: 1fr; text-wrap: nowrap; }
    EditHistory #found { height: 8; }
    """

    def __init__(self, category: Category, items: Sequence[Item]) -> None:
        """Begin with these items, oldest first."""
        super().__init__()
        self.category = category
        self.items = list(items)
        self.found: list[Item] = []

    def compose(self) -> ComposeResult:
        """Make the search, what it found, and the history."""
        with Vertical():
            yield Static("find an item by title or id; enter puts it in", markup=False)
            yield Input(id="wanted", compact=True)
            yield OptionList(id="found", markup=False, compact=True)
            yield Static("the history, newest first; delete takes out, ctrl+s uses it")
            yield OptionList(id="chosen", markup=False, compact=True)

    def on_mount(self) -> None:
        """Show what there is."""
        self._paint()
        self.query_one("#wanted", Input).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Search while it is typed."""
        self.search(event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Put the first item that was found in."""
        if self.found:
            self._put_in(self.found[0])

    @work(exclusive=True, group="items")
    async def search(self, text: str) -> None:
        """Show the items a text finds."""
        await asyncio.sleep(PAUSE)
        app = cast("RecsysApp", self.app)
        try:
            self.found = await app.ask_store(_named(self.category.id, text))
        except RecsysError as error:
            app.say(error)
            return
        rows = [Option(shown(item.title or item.id, 70)) for item in self.found]
        none = [Option("nothing is called so", disabled=True)] if text.strip() else []
        self.query_one("#found", OptionList).set_options(rows or none)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Put an item in, or take one out."""
        if event.option_list.id == "found":
            self._put_in(self.found[event.option_index])
        else:
            self.action_take_out()

    def action_take_out(self) -> None:
        """Take the item under the cursor out of the history."""
        place = self.query_one("#chosen", OptionList).highlighted
        if place is not None and place < len(self.items):
            del self.items[len(self.items) - 1 - place]
            self._paint()

    def action_done(self) -> None:
        """End with the history as it is now."""
        self.dismiss(tuple(self.items))

    def _put_in(self, item: Item) -> None:
        self.items.append(item)
        self._paint()

    def _paint(self) -> None:
        chosen = self.query_one("#chosen", OptionList)
        place = chosen.highlighted
        chosen.set_options(Option(shown(i.title or i.id, 70)) for i in reversed(self.items))
        if self.items:
            chosen.highlighted = min(place or 0, len(self.items) - 1)


def _named(category: int, text: str) -> Callable[[Store], list[Item]]:
    return lambda store: store.browsing.find_items(category, text, FOUND)
