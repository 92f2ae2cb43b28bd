"""Whom it is about: search among everybody, the person's history, and what is held out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from storage.errors import RecsysError
from storage.records import NO_TIME, Category, Item
from tui.shown import filling, shown
from tui.text import day

if TYPE_CHECKING:
    from recommender.people import Person
    from storage.browsing import PastEvent
    from storage.store import Store
    from tui.app import RecsysApp

SHOWN = 20
"""People a search shows."""
NEWEST = 300
"""Events of a history that are shown."""
PAUSE = 0.08
"""Seconds of not typing before the Store is asked."""


class Search(Input):
    """The search line; its keys stand in the foot while it has them."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "Show who begins so"),
        Binding("escape", "screen.back", "Back to the columns", priority=True),
    ]


class PeoplePanel(Vertical):
    """A search line, who was found, and the history of whom was picked."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "to_found", "To who was found", show=False)
    ]
    DEFAULT_CSS = """
    PeoplePanel { width: 34; height: 1fr; padding: 0 1 0 0; }
    PeoplePanel Input { padding: 0 1; background: $boost; }
    PeoplePanel #found { height: auto; max-height: 8; display: none;
        background: $surface; text-wrap: nowrap; text-overflow: ellipsis; }
    PeoplePanel.-searching #found { display: block; }
    PeoplePanel #whose { height: auto; padding: 0 1; }
    PeoplePanel #past { height: 1fr; background: transparent;
        text-wrap: nowrap; text-overflow: ellipsis; scrollbar-size-vertical: 1; }
    """

    class Picked(Message):
        """Somebody was picked."""

        def __init__(self, user: str) -> None:
            """`user` is an id."""
            super().__init__()
            self.user = user

    def __init__(self) -> None:
        """Show nobody yet."""
        super().__init__()
        self.category: Category | None = None
        self.found: list[str] = []
        self._painted: Callable[[], None] = lambda: None

    def compose(self) -> ComposeResult:
        """Make the search line, the list of people and the history."""
        yield Search(placeholder="/ an id, or its start", id="search", compact=True)
        yield OptionList(id="found", markup=False, compact=True)
        yield Static("", id="whose", markup=False)
        yield OptionList(id="past", markup=False, compact=True)

    def show_category(self, category: Category) -> None:
        """Search among other people."""
        self.category, self.found = category, []
        self.query_one("#search", Input).value = ""
        self.say("")

    def say(self, text: str) -> None:
        """Show a sentence in place of a person."""
        self.query_one("#whose", Static).update(shown(text))
        self.query_one("#past", OptionList).clear_options()
        self._painted = lambda: None

    def show_person(
        self, person: Person, edited: Sequence[Item] | None, *, told: bool = True
    ) -> None:
        """Show a person and what they had, or what was put in its place by hand.

        What is held out is named where `told`.
        """
        self._painted = lambda: self._paint(person, edited, told)
        self._painted()

    def _paint(self, person: Person, edited: Sequence[Item] | None, told: bool) -> None:
        count = len(person.history) if edited is None else len(edited)
        whose = [shown(f"{person.id}", 60).stylize("bold"), Content(f"{count:,} events")]
        if edited is not None:
            whose.append(Content.styled("history edited by hand (h)", "$text-warning"))
        elif person.held_out is not None and not told:
            whose.append(Content.styled("last event held out, not told", "$text-success"))
        elif person.held_out is not None:
            whose.append(Content.styled("last event held out:", "$text-success"))
            whose.append(shown(_title(person.held_out.item), 60))
        else:
            whose.append(shown(f"nothing held out: {person.why}"))
        self.query_one("#whose", Static).update(Content("\n").join(whose))
        past = self.query_one("#past", OptionList)
        width = max(16, self.size.width - 3)
        if edited is not None:
            rows = [_row(Content("  "), item, width) for item in reversed(edited)]
        else:
            rows = [_event(event, width) for event in reversed(person.history)]
        left = len(rows) - NEWEST
        options = [Option(row) for row in rows[:NEWEST]]
        if left > 0:
            options.append(Option(f"… and {left:,} older", disabled=True))
        past.set_options(options)

    def on_resize(self) -> None:
        """Cut the rows anew."""
        self.call_after_refresh(lambda: self._painted())

    def on_input_changed(self, event: Input.Changed) -> None:
        """Search while it is typed."""
        event.stop()
        self.search(event.value)

    @work(exclusive=True, group="search")
    async def search(self, text: str) -> None:
        """Show whose ids begin so."""
        self.set_class(bool(text.strip()), "-searching")
        category = self.category
        if category is None or not text.strip():
            return
        await asyncio.sleep(PAUSE)
        app = cast("RecsysApp", self.app)
        try:
            found = await app.ask_store(_beginning(category.id, text.strip(), SHOWN + 1))
        except RecsysError as error:
            app.say(error)
            return
        self.found = found[:SHOWN]
        rows = [Option(shown(one, 60)) for one in self.found]
        if not rows:
            rows = [Option("nobody's id begins so", disabled=True)]
        elif len(found) > SHOWN:
            rows.append(Option("… and others: type on", disabled=True))
        self.query_one("#found", OptionList).set_options(rows)

    def action_to_found(self) -> None:
        """Go from the search line to who was found."""
        found = self.query_one("#found", OptionList)
        if self.has_class("-searching") and self.found:
            found.highlighted = 0
            found.focus()

    def on_descendant_blur(self) -> None:
        """Give the history its room back when the search is left, and forget what was sought."""
        # Another window of the desktop takes the keys only for a while.
        if not self.has_focus_within and self.app.app_focus:
            self.query_one("#search", Input).value = ""
            self.set_class(False, "-searching")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Pick the person that was typed, or the first that was found."""
        event.stop()
        if event.value.strip():
            self.pick_typed(event.value.strip())

    @work(exclusive=True, group="search")
    async def pick_typed(self, text: str) -> None:
        """Pick whom a text names whole, else the first whose id begins so."""
        category = self.category
        if category is None:
            return
        app = cast("RecsysApp", self.app)
        try:
            found = await app.ask_store(_beginning(category.id, text, 1))
        except RecsysError as error:
            app.say(error)
            return
        if not found:
            app.tell(f"nobody in {category.name!r} has an id that begins with {text!r}")
            return
        self._pick(found[0])  # a whole id stands before those that it begins

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Pick a person of the list."""
        event.stop()
        if event.option_list.id == "found" and event.option_index < len(self.found):
            self._pick(self.found[event.option_index])

    def _pick(self, user: str) -> None:
        self.set_class(False, "-searching")
        self.query_one("#search", Input).value = ""
        self.post_message(self.Picked(user))


def _beginning(category: int, text: str, most: int) -> Callable[[Store], list[str]]:
    return lambda store: store.catalogue.find_users(category, text, most)


def _event(event: PastEvent, width: int) -> Content:
    rating = "" if event.rating is None else f"{event.rating:g}"
    when = "" if event.time == NO_TIME else day(event.time)
    return _row(Content(f"{rating:>3} "), event.item, width, when)


def _row(before: Content, item: Item, width: int, when: str = "") -> Content:
    after = f" {when}" if when and width >= 30 else ""
    room = max(6, width - before.cell_length - len(after))
    brand = f" · {item.brand}" if item.brand else ""
    return Content.assemble(before, filling(_title(item) + brand, room), (after, "dim"))


def _title(item: Item) -> str:
    return item.title or item.id
