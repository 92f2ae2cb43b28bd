"""What the Compare screen shows: one person, a live column a ranker, and how they agree.

Apart from the keys, which stand in `compare`: here are the person and the processes behind the
columns, and everything is painted from one `Comparison`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import events, work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Static

from recommender.live.messages import Ended, LiveItem, Message, Piece, Refused
from storage.errors import RecsysError
from tui import compare_data, mending
from tui.blind import Blind
from tui.columns import LiveColumns
from tui.comparing import Comparison
from tui.rows import Marks
from tui.screens.room import Room
from tui.shown import shown
from tui.widgets.column import Look, RankerColumn
from tui.widgets.figures import FigureLines
from tui.widgets.no_data import NoData
from tui.widgets.people import PeoplePanel
from tui.widgets.side_by_side import SideBySide

if TYPE_CHECKING:
    from recommender.people import Person
    from recommender.protocol import Protocol
    from storage.records import Category


LISTED = 10
FOLDED, NARROW, BROAD = 100, 120, 170
"""Cells of the terminal below which the people are folded away or take less room, and from
which they take more."""
TALL = 40
"""Lines of the terminal from which lists are twice as long."""
TICK = 0.2
"""Seconds between two looks at how long somebody thinks."""
DONE = ("answered", "refused", "cancelled")


class Compared(Room):
    """Shows a comparison; what can be done with it is in `Compare`."""

    DEFAULT_CSS = """
    Compared #sides { height: 1fr; }
    Compared #who, Compared #pointed { height: 1; padding: 0 1; text-wrap: nowrap;
        text-overflow: ellipsis; }
    Compared #who { display: none; background: $boost; }
    Compared #pointed { color: $text-muted; }
    Compared.-narrow PeoplePanel { width: 25; }
    Compared.-broad PeoplePanel { width: 46; }
    Compared.-folded PeoplePanel { display: none; }
    Compared.-folded #who { display: block; }
    Compared NoData { display: none; }
    Compared.-missing NoData { display: block; }
    Compared.-missing #comparison { display: none; }
    """
    COLUMNS: ClassVar[tuple[str, ...]] = ("student", "teacher", "popularity")
    """What one begins with; movement is against the first."""
    CLOCK: ClassVar[Callable[[], float]] = time.monotonic
    """Gives the seconds that elapse while somebody thinks."""

    AUTO_FOCUS = "RankerColumn OptionList"

    def __init__(self) -> None:
        """Compare nothing yet."""
        super().__init__()
        self.category: Category | None = None
        self.comparison = Comparison(self.COLUMNS, clock=type(self).CLOCK)
        self.live: LiveColumns | None = None
        self.blind: Blind | None = None
        self.opinions: dict[int, int] = {}
        self.mending: dict[str, str] = {}
        """Column -> how far the job is that is to mend it."""
        self.folded: bool | None = None
        """Whether the people are folded away by hand; None leaves it to the width."""
        self._protocol: Protocol | None = None

    def body(self) -> ComposeResult:
        """Make the people, the columns and the figures."""
        with Vertical(id="comparison"):
            yield Static("", id="who", markup=False)
            with Horizontal(id="sides"):
                yield PeoplePanel()
                yield SideBySide()
            yield Static("", id="pointed", markup=False)
            yield FigureLines()
        yield NoData()

    def on_mount(self) -> None:
        """Look now and then how long somebody thinks."""
        self.set_interval(TICK, self._tick)

    async def on_unmount(self) -> None:
        """Leave no process behind, and say what the blind comparison came to."""
        if self.blind is not None:
            self.recsys.last_words += self.blind.words()
        if self.live is not None:
            await self.live.close()

    def on_resize(self, event: events.Resize) -> None:
        """Give the columns room."""
        self.fold()

    def fold(self) -> None:
        """Show the people beside the columns, or one line of them above."""
        width = self.app.size.width
        folded = width < FOLDED if self.folded is None else self.folded
        self.set_class(folded, "-folded")
        self.set_class(width < NARROW, "-narrow")
        self.set_class(width >= BROAD, "-broad")

    def refocus(self) -> None:
        """Bring the keys to the columns, or to what is offered where there are none."""
        if self.has_class("-missing"):
            super().refocus()
        else:
            self.side.turn_by(0)

    @property
    def side(self) -> SideBySide:
        """The columns."""
        return self.query_one(SideBySide)

    @property
    def people(self) -> PeoplePanel:
        """The people."""
        return self.query_one(PeoplePanel)

    # The category and the person.

    def category_changed(self, category: Category | None) -> None:
        """Compare for another category."""
        if category is None:
            if self.recsys.loaded:
                self.add_class("-missing")
                self.refresh_bindings()
                self.query_one(NoData).look()
        elif category != self.category or self.has_class("-missing"):
            self.category, self._protocol = category, None
            self.begin()

    @work(exclusive=True, group="begin")
    async def begin(self) -> None:
        """Start the columns of a category, and show its first person."""
        category = self.category
        assert category is not None
        self.remove_class("-missing")
        self.refresh_bindings()
        self.end_blind()
        names = [column.by for column in self.comparison.columns]
        n = LISTED if self.app.size.height < TALL else 2 * LISTED
        old, self.comparison = self.live, Comparison(names, n=n, clock=type(self).CLOCK)
        self.live = LiveColumns(self.comparison, category.name, self.recsys.settings)
        self.mending = {}
        if old is not None:
            await old.close()
        await self.side.remove_children()
        self.people.show_category(category)
        self.say("looking for somebody with something held out …")
        for name in names:
            await self.start(name)
        self.side.turn_to(0)
        self.paint()
        self.show_person(compare_data.with_held_out(category, 0, compare_data.FIRST))

    async def start(self, by: str) -> None:
        """Start the process of a column, and show it."""
        self._paint_column(await self.side.add(by))
        self.listen(by)

    @work(group="listening")
    async def listen(self, by: str) -> None:
        """Take in what a column says, until it ends."""
        live = self.live
        if live is None:
            return
        async for message in live.listen(by):
            self._heard(by, message)

    def _heard(self, by: str, message: Message) -> None:
        if isinstance(message, Piece | Ended | Refused):
            self._reason(by, message)
        if self.comparison.hear(by, message):
            self.paint()

    def _reason(self, by: str, message: Piece | Ended | Refused) -> None:
        """Add to the reason that is being written, if this belongs to it."""
        reason = self.live.explaining.get(by) if self.live is not None else None
        if self.live is None or reason is None or message.number != reason.number:
            return
        if not isinstance(message, Piece):
            del self.live.explaining[by]
        column = self.side.of(reason.shown_in)
        if column is None or column.reason is None or column.reason[0] != reason.item:
            return
        if isinstance(message, Piece):
            column.reason = (reason.item, column.reason[1] + message.text)
        elif isinstance(message, Refused):
            column.reason = (reason.item, f"({message.what})")
        column.paint_list()

    @work(exclusive=True, group="person")
    async def show_person(self, who: str | compare_data.Who) -> None:
        """Show a person by id, or whom the Store names, and ask every column."""
        category = self.category
        if category is None:
            return
        try:
            found = await self.recsys.ask_store(compare_data.looking(category, who, self._protocol))
        except RecsysError as error:
            self.say(f"{error} (r tries again)")
            return
        self._protocol, self.opinions = found.protocol, found.opinions
        self._turn_to(found.person)

    def _turn_to(self, person: Person) -> None:
        self.stop_all()
        self.comparison.show(person)
        if self.blind is not None:
            self.shuffle(self.blind)
        self.ask()

    def ask(self) -> None:
        """Ask all columns about what is shown now."""
        self.paint_person()
        if self.live is not None:
            self.live.ask_all()
        self.paint()

    def stop_all(self) -> None:
        """Let nobody go on with what is not shown any more."""
        for column in self.comparison.columns:
            if self.live is not None:
                self.live.stop(column.by)

    def say(self, text: str) -> None:
        """Show a sentence in place of a person."""
        self.people.say(text)
        self.query_one("#who", Static).update(shown(text))

    # Blind.

    def shuffle(self, blind: Blind) -> None:
        """Hide who is who again; nothing stays where it could be known by."""
        blind.shuffle([one.by for one in self.comparison.columns if not one.dead])
        self.side.put_in_order(blind.order)
        for column in self.side.columns:
            column.to_top()
        self.side.turn_to(0)

    def end_blind(self) -> None:
        """Show who is who, and what was preferred."""
        if self.blind is None:
            return
        for line in self.blind.words():
            self.recsys.tell(line)
            self.recsys.last_words.append(line)
        self.blind = None
        self.paint_person()

    @property
    def is_waiting(self) -> bool:
        """Whether a column that is not dead has no answer yet."""
        return any(one.state not in DONE for one in self.comparison.columns)

    # What is painted.

    def paint_person(self) -> None:
        """Show whom it is about; in a blind comparison not what is held out."""
        person = self.comparison.person
        if person is not None:
            told = self.blind is None
            self.people.show_person(person, self.comparison.edited, told=told)
            self.query_one("#who", Static).update(self._who(person))

    def paint(self) -> None:
        """Show everything as it is now."""
        self.side.put_in_order(self._order())
        for column in self.side.columns:
            self._paint_column(column)
        says = "" if self.blind is None else self._blind_says(self.blind)
        self.query_one(FigureLines).paint(self.comparison.figures(), self.comparison.n, says)
        self.point(self.side.current)

    def point(self, column: RankerColumn | None) -> None:
        """Show the item under the cursor in full, where a row may be cut."""
        item = None if column is None else column.selected
        score = "" if item is None or self.blind else f" · score {score_of(item, column)}"
        line = "" if item is None else f"{item.title or item.id}"
        width = max(20, self.app.size.width - 2 - len(score))
        self.query_one("#pointed", Static).update(
            Content.assemble(shown(line, width), (score, "dim"))
        )

    def _order(self) -> Sequence[str]:
        if self.blind is not None:
            return self.blind.order
        return [one.by for one in self.comparison.columns]

    def _paint_column(self, widget: RankerColumn) -> None:
        now, first = self.comparison.column(widget.by), self.comparison.columns[0]
        hidden = self.blind is not None
        moves = not hidden and now is not first and now.answer is not None and bool(first.items)
        marks = Marks(
            movement=tuple(self.comparison.movement(now.by)) if moves else (),
            hit=None if hidden else self.comparison.hit(now.by),
            opinions=self.opinions,
            hidden=hidden,
        )
        look = Look(
            name=f"ranker {self.blind.name(now.by)}" if self.blind else now.by,
            marks=marks,
            waiting=hidden and self.is_waiting,
            offers=() if hidden or now.by in self.mending else mending.offers(now.by, now.refused),
            mending=self.mending.get(now.by, ""),
        )
        widget.paint(now, look, self._elapsed(now.asked_at))

    def _elapsed(self, asked_at: float) -> float:
        return self.comparison.clock() - asked_at if asked_at else 0.0

    def _blind_says(self, blind: Blind) -> str:
        told = "1 preference" if blind.count == 1 else f"{blind.count} preferences"
        return f"blind: {told} told · enter prefers the current column · b ends it"

    def _tick(self) -> None:
        if self.blind is not None:
            return
        for widget in self.side.columns:
            column = self.comparison.column(widget.by)
            if column.state in ("opening", "thinking"):
                widget.paint_state(self._elapsed(column.asked_at))

    def _who(self, person: Person) -> Content:
        edited, true = self.comparison.edited, self.comparison.held_out
        words = f" · {len(self.comparison.history):,} events · "
        if edited is not None:
            words += "history edited by hand"
        elif true is not None and self.blind is not None:
            words += "last event held out, not told"
        elif true is not None:
            words += f"last event held out: {true.title or true.id}"
        else:
            words += f"nothing held out: {person.why}"
        return Content.assemble(shown(person.id, 30, "bold"), shown_after(words))


def score_of(item: LiveItem, column: RankerColumn | None) -> str:
    """Return a score with the digits that are the same when it is asked again.

    A teacher computes in a coarse format: its third digit differs between two runs.

    >>> heat = LiveItem(7, "m7", "Heat", -3.14159)
    >>> score_of(heat, RankerColumn("teacher")), score_of(heat, RankerColumn("student"))
    ('~-3.1', '-3.142')
    """
    if column is not None and column.by.partition(":")[0] == "teacher":
        return f"~{item.score:.2g}"
    return f"{item.score:.4g}"


def shown_after(words: str) -> Content:
    """Return words that follow others on a line, their first space kept.

    >>> shown_after(" · 3 events").plain
    ' · 3 events'
    """
    return Content.assemble(" ", shown(words, 300))
