"""Teacher and student live, side by side: one person, one column a ranker, and what keys do."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.widgets import Input

from recommender.live.messages import LiveItem
from storage.errors import RecsysError
from tui import compare_data
from tui.blind import Blind
from tui.saved import as_json, as_markdown
from tui.screens.adding import AddColumn
from tui.screens.finding import EditHistory
from tui.screens.mended import Mended
from tui.screens.saving import SaveComparison
from tui.text import plain
from tui.widgets.column import RankerColumn
from tui.widgets.people import PeoplePanel

COPIED = 500
"""Characters of a title in the clipboard."""
KEPT_FOR = "kept in the Store and in a saved comparison (s); no ranker learns from it yet"
NO_REASONS = "no column gives reasons: add a teacher that writes text (a)"
IS_BLIND = "that would tell who is who: b ends the blind mode first"


class Compare(Mended):
    """The start screen."""

    TITLE = "Compare"
    ABOUT = (
        "One person, one column a ranker. ▲ and ▼ count places against the first column, • is new "
        "to it, ~ is tied by the teacher's own noise. The last event of the person is held out "
        "where no student was trained on it; ✓ marks it in a list. In blind mode (b) columns are "
        "shuffled and unnamed, and enter counts the one you prefer. + and - say that you like an "
        "item or not: that is kept in the Store and in a saved comparison; no ranker learns from "
        "it yet."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "walk(1)", "Next person"),
        Binding("p", "walk(-1)", "Previous person", show=False),
        Binding("N", "held_out", "Next with something held out", show=False),
        # Before the widgets, so that what is typed right behind it goes to where it leads.
        Binding("slash", "search", "Search", key_display="/", priority=True),
        Binding("escape", "back", "Back to the columns", show=False),
        Binding("h", "edit", "History"),
        Binding("plus", "opinion(1)", "Like", show=False, key_display="+"),
        Binding("minus", "opinion(-1)", "Dislike", show=False, key_display="-"),
        Binding("e", "explain", "Why"),
        Binding("x", "cancel", "Stop what it is at", show=False),
        Binding("b", "blind", "Blind"),
        Binding("a", "add", "Add"),
        Binding("d", "remove", "Drop the column", show=False),
        Binding("i", "notices", "Notices of the column", show=False),
        Binding("r", "again", "Ask the column again", show=False),
        Binding("y", "copy(False)", "Copy the title", show=False),
        Binding("Y", "copy(True)", "Copy the list", show=False),
        Binding("s", "save", "Save"),
        Binding("f", "fold", "Fold the people away", show=False),
        Binding("left", "turn(-1)", "Column to the left", show=False),
        Binding("right", "turn(1)", "Column to the right", show=False),
    ]
    SEED: ClassVar[Callable[[], int]] = time.time_ns
    """Shuffles a blind comparison."""
    told_why = False
    """Whether it was said what opinions are for."""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer no key of a comparison where there is none, and no search in the search."""
        if action == "search" and isinstance(self.focused, Input):
            return False
        return not (self.has_class("-missing") and action in OWN)

    # Whom it is about.

    def on_people_panel_picked(self, event: PeoplePanel.Picked) -> None:
        """Show whom was picked."""
        self.show_person(event.user)
        self.action_back()

    def action_walk(self, by: int) -> None:
        """Go on to the next person, or back."""
        person, category = self.comparison.person, self.category
        if person is not None and category is not None:
            self.show_person(compare_data.numbered(category, person.number + by))

    def action_held_out(self) -> None:
        """Go on to the next person with something held out."""
        person, category = self.comparison.person, self.category
        if person is not None and category is not None:
            look = compare_data.with_held_out(category, person.number + 1, compare_data.NEXT)
            self.show_person(look)

    def action_search(self) -> None:
        """Bring the keys to the search."""
        self.remove_class("-folded")
        self.set_focus(self.query_one("#search"))

    def action_back(self) -> None:
        """Bring the keys back to the columns."""
        self.fold()
        self.side.turn_by(0)

    def action_fold(self) -> None:
        """Give the people's room to the columns, or back."""
        self.folded = not self.has_class("-folded")
        self.action_back()

    @work(exclusive=True, group="modal")
    async def action_edit(self) -> None:
        """Make a history by hand; the person's own history is that again."""
        person, category = self.comparison.person, self.category
        if category is None or person is None:
            return
        items = self.comparison.history
        changed = await self.app.push_screen_wait(EditHistory(category, items))
        if changed is None or changed == items:
            return
        own = changed == tuple(event.item for event in person.history)
        try:
            self.opinions = await self.recsys.ask_store(
                lambda store: store.feedback.of(category.id, person.id if own else "")
            )
        except RecsysError as error:
            self.recsys.say(error)
            return
        self.stop_all()
        self.comparison.edit(None if own else changed)
        self.ask()

    # The item under the cursor.

    def on_ranker_column_pointed(self, event: RankerColumn.Pointed) -> None:
        """Show it in full."""
        if event.column is self.side.current:
            self.point(event.column)

    @work(exclusive=True, group="opinion")
    async def action_opinion(self, value: int) -> None:
        """Keep that it is liked or not; the same again takes it back."""
        item, category, person = self._selected, self.category, self.comparison.person
        if item is None or category is None or person is None:
            return
        user = "" if self.comparison.edited is not None else person.id
        value = 0 if self.opinions.get(item.item) == value else value
        try:
            opinions = await self.recsys.ask_store(
                compare_data.saying(category, user, item.item, value)
            )
        except RecsysError as error:
            self.recsys.say(error)
            return
        if person is self.comparison.person:
            self.opinions = opinions
            self.paint()
        said = {1: "liked", -1: "disliked", 0: "taken back"}[value]
        why = "" if self.told_why else f" · {KEPT_FOR}"
        self.told_why = True
        self.recsys.tell(f"{said}: {item.title or item.id}{why}")

    def action_explain(self) -> None:
        """Let a model say why it might suit: the column's own, else the first that can."""
        column, item = self.side.current, self._selected
        if column is None or item is None or self.live is None or self._is_blind():
            return
        by = self._writer(column.by)
        if by is None:
            self.recsys.tell(NO_REASONS)
            return
        column.reason = (item.item, "")
        column.paint_list()
        self.live.explain(by, item.item, column.by)

    def _writer(self, by: str) -> str | None:
        columns = sorted(self.comparison.columns, key=lambda one: one.by != by)
        able = (one for one in columns if one.opened and one.opened.explains and not one.dead)
        return next((one.by for one in able), None)

    def action_copy(self, all_of_them: bool) -> None:
        """Copy the title, or the whole list, as plain text."""
        column, item = self.side.current, self._selected
        if column is None or item is None or column.now.answer is None:
            return
        titles = [plain(one.title or one.id, COPIED) for one in column.now.answer.items]
        lines = [f"{place}. {title}" for place, title in enumerate(titles, start=1)]
        text = "\n".join(lines) if all_of_them else plain(item.title or item.id, COPIED)
        self.app.copy_to_clipboard(text)
        self.recsys.tell(f"copied {len(lines)} titles" if all_of_them else f"copied: {text}")

    @property
    def _selected(self) -> LiveItem | None:
        column = self.side.current
        return None if column is None else column.selected

    # The columns.

    def action_turn(self, by: int) -> None:
        """Go to the next column."""
        self.side.turn_by(by)

    def action_cancel(self) -> None:
        """Stop what the current column is at, or whoever writes a reason for it."""
        column = self.side.current
        if column is None or self.live is None:
            return
        writing = [by for by, one in self.live.explaining.items() if one.shown_in == column.by]
        for by in writing or [column.by]:
            self.live.stop(by)
        self.paint()

    def action_again(self) -> None:
        """Ask a column once more, starting it anew where its process has ended."""
        column, category = self.side.current, self.category
        if category is not None and self.comparison.person is None:
            self.show_person(compare_data.numbered(category, 0))
        if column is None or self.live is None or self._is_blind():
            return
        if self.comparison.column(column.by).dead:
            self.replace(column.by, column.by)
        else:
            self.live.ask(column.by)
            self.paint()

    @work(exclusive=True, group="modal")
    async def action_add(self) -> None:
        """Put another ranker beside the others."""
        if self.category is None or self.live is None or self._is_blind():
            return
        there = {one.by for one in self.comparison.columns}
        try:
            found = await self.recsys.ask_store(
                compare_data.rankers(self.category, self.recsys.settings)
            )
        except RecsysError as error:
            self.recsys.say(error)
            return
        names = [one for one in found if one[0] not in there]
        by = await self.app.push_screen_wait(AddColumn(names))
        if by and self.side.of(by) is None:
            self.comparison.add(by)
            await self.start(by)
            self.paint()
            self.side.turn_to(len(self.side.columns) - 1)

    @work(exclusive=True, group="modal")
    async def action_remove(self) -> None:
        """Take the current column away; one stays."""
        column = self.side.current
        if column is None or self.live is None or self._is_blind():
            return
        if len(self.comparison.columns) > 1:
            await self.take_away(column)
            self.side.turn_to(0)

    def action_notices(self) -> None:
        """Show what an answer says besides."""
        column = self.side.current
        if column is None or self._is_blind():
            return
        notices = column.now.opened.notices if column.now.opened else ()
        notices += column.now.answer.notices if column.now.answer else ()
        for notice in notices or (f"{column.by}: no notices",):
            self.recsys.tell(notice)

    # The whole comparison.

    @work(exclusive=True, group="modal")
    async def action_save(self) -> None:
        """Write it down."""
        person, category = self.comparison.person, self.category
        if person is None or category is None or self._is_blind():
            return
        at = datetime.now()
        folder = self.recsys.settings.data_dir / "comparisons"
        proposed = folder / compare_data.file_name(person.id, at)
        path = await self.app.push_screen_wait(SaveComparison(proposed))
        if path is None:
            return
        write = as_json if path.suffix == ".json" else as_markdown
        try:
            opinions = await self.recsys.ask_store(compare_data.named(category, self.opinions))
            await compare_data.keep(path, write(self.comparison, category.name, at, opinions))
        except RecsysError as error:
            self.recsys.say(error)
            return
        except OSError as error:
            self.recsys.tell(f"cannot write {path}: {error.strerror}")
            return
        self.recsys.tell(f"saved to {path}")

    def action_blind(self) -> None:
        """Hide who is who, or end that."""
        alive = [one.by for one in self.comparison.columns if not one.dead]
        if self.blind is not None:
            self.end_blind()
        elif len(alive) < 2:
            self.recsys.tell("a blind comparison takes two columns that answer")
        else:
            self.blind = Blind(alive, seed=type(self).SEED())
            self.shuffle(self.blind)
        self.paint_person()
        self.paint()

    def on_ranker_column_chosen(self, event: RankerColumn.Chosen) -> None:
        """Count the column as preferred, where it is blind; then to the next person."""
        if self.blind is not None and not self.is_waiting:
            self.blind.prefer(event.by)
            self.action_walk(1)

    def _is_blind(self) -> bool:
        if self.blind is not None:
            self.recsys.tell(IS_BLIND)
        return self.blind is not None


OWN = frozenset(
    one.action.partition("(")[0] for one in Compare.BINDINGS if isinstance(one, Binding)
)
"""What is of no use without data."""
