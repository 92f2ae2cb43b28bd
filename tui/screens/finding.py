"""A history made by hand: items taken out, items found and put in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from storage.errors import RecsysError
from storage.records import Category, Item
from tui.shown import filling
from tui.widgets.people import PAUSE

if TYPE_CHECKING:
    from storage.store import Store
    from tui.app import RecsysApp

FOUND = 12
WIDE = 66
"""Cells of the search, and of a title."""


FINDS = "find an item by title or id; enter or a click puts it in"
TAKES_OUT = "the history, newest first; delete or a click takes it out"
ENDS = "tab goes on · ctrl+s uses it · escape leaves it as it was"


class EditHistory(ModalScreen["tuple[Item, ...] | None"]):
    """Ends with the items, oldest first, or None where nothing is to change."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Back"),
        Binding("ctrl+s", "done", "Use it"),
        Binding("delete", "take_out", "Take out"),
    ]
    DEFAULT_CSS = """
    EditHistory > Vertical { width: 76; max-width: 100%; height: 90%; }
    EditHistory Input { padding: 0 1; background: $boost; width: 66; max-width: 100%; }
    EditHistory .says { color: $text-muted; }
    EditHistory OptionList { height: 1fr; text-wrap: nowrap; text-overflow: ellipsis; }
    EditHistory #found { max-height: 12; }
    """

    def __init__(self, category: Category, items: Sequence[Item]) -> None:
        """Begin with these items, oldest first."""
        super().__init__()
        self.category = category
        self.items = list(items)
        self.found: list[Item] = []
        self._sought = ""
        """What the found items are found by."""
        self._rows: dict[Item, Content] = {}

    def compose(self) -> ComposeResult:
        """Make the search, what it found, and the history."""
        with Vertical():
            yield Static(FINDS, classes="says", markup=False)
            yield Input(placeholder="title or id", id="wanted", compact=True)
            yield OptionList(id="found", markup=False, compact=True)
            yield Static(TAKES_OUT, classes="says", markup=False)
            yield OptionList(id="chosen", markup=False, compact=True)
            yield Static(ENDS, classes="says", markup=False)

    def on_mount(self) -> None:
        """Show what there is."""
        self._paint()
        self.query_one("#wanted", Input).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Search while it is typed."""
        self.search(event.value)

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        """Put the first item that is called so in; what comes after waits for it."""
        if event.value != self._sought:  # typed faster than it is looked for
            await self._look(event.value)
        if self.found and event.value == self._sought:
            self._put_in(self.found[0])

    @work(exclusive=True, group="items")
    async def search(self, text: str) -> None:
        """Show the items a text finds, once nobody types."""
        await asyncio.sleep(PAUSE)
        await self._look(text)

    async def _look(self, text: str) -> None:
        app = cast("RecsysApp", self.app)
        try:
            found = await app.ask_store(_named(self.category.id, text))
        except RecsysError as error:
            app.say(error)
            return
        self.found, self._sought = found, text
        rows = [Option(self._row(item)) for item in self.found]
        none = [Option("nothing is called so", disabled=True)] if text.strip() else []
        self.query_one("#found", OptionList).set_options(rows or none)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Put an item in, or take one out."""
        if event.option_list.id == "found":
            self._put_in(self.found[event.option_index])
        else:
            self.action_take_out()

    def action_take_out(self) -> None:
        """Take the item under the cursor out, if that is in the history."""
        chosen = self.query_one("#chosen", OptionList)
        place = chosen.highlighted
        if place is not None and chosen.has_focus:
            del self.items[len(self.items) - 1 - place]
            self._paint()

    def action_done(self) -> None:
        """End with the history as it is now."""
        self.dismiss(tuple(self.items))

    def _put_in(self, item: Item) -> None:
        self.items.append(item)
        self._paint()
        self.query_one("#chosen", OptionList).highlighted = 0

    def _paint(self) -> None:
        chosen = self.query_one("#chosen", OptionList)
        place = chosen.highlighted
        chosen.set_options(Option(self._row(item)) for item in reversed(self.items))
        if self.items:
            chosen.highlighted = min(place or 0, len(self.items) - 1)

    def _row(self, item: Item) -> Content:
        if item not in self._rows:
            brand = f" · {item.brand}" if item.brand else ""
            self._rows[item] = filling((item.title or item.id) + brand, WIDE, pad=False)
        return self._rows[item]


def _named(category: int, text: str) -> Callable[[Store], list[Item]]:
    return lambda store: store.browsing.find_items(category, text, FOUND)
