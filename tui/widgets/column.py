"""One ranker beside the others: how it stands, its list, and a reason under the selected item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from recommender.live.messages import LiveItem
from tui.comparing import ColumnNow
from tui.shown import shown
from tui.text import REASON, duration, plain

BLOCKS = " ▏▎▍▌▋▊▉█"
SIGNS = {
    "opening": "…",
    "ready": "·",
    "thinking": "…",
    "answered": "✓",
    "cancelled": "×",
    "refused": "!",
}
BAR = 6
WIDE = 36
"""Cells from which there is room for a bar."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a column shows besides its own state."""

    name: str
    first: bool
    """Nothing moves against the first."""
    movement: Sequence[int | None] = ()
    hit: int | None = None
    feedback: Mapping[int, int] | None = None
    hidden: bool = False
    """Nothing may tell who it is."""
    waiting: bool = False
    """Hidden, and the others are not done: its list is kept back."""


def bar(share: float, width: int = BAR) -> str:
    """Return a bar of a share of its width, in eighths of a cell.

    >>> bar(0.5, 4), bar(1.0, 2), bar(0.0, 2)
    ('██  ', '██', '  ')
    """
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + (BLOCKS[rest] if rest else "")).ljust(width)


def moved(places: int | None) -> str:
    """Return the sign of a movement against the first column, three cells.

    >>> moved(2), moved(-11), moved(0), moved(None)
    ('▲2 ', '▼11', ' = ', 'new')
    """
    if places is None:
        return "new"
    if places == 0:
        return " = "
    sign = "▲" if places > 0 else "▼"
    return f"{sign}{min(abs(places), 99)}".ljust(3)


class RankerColumn(Vertical):
    """A head of two lines over a list that is walked with the arrows."""

    DEFAULT_CSS = """
    RankerColumn { width: 1fr; min-width: 27; height: 1fr; border-left: solid $panel; }
    RankerColumn:focus-within { border-left: thick $primary; }
    RankerColumn .name { height: 1; text-style: bold; padding: 0 1; text-wrap: nowrap;
        text-overflow: ellipsis; }
    RankerColumn .state { height: auto; min-height: 1; max-height: 8; padding: 0 1;
        color: $text-muted; }
    RankerColumn.-refused .state { color: $text-error; }
    RankerColumn OptionList { height: 1fr; border: none; padding: 0; background: transparent;
        text-wrap: nowrap; scrollbar-size-vertical: 1; }
    RankerColumn OptionList:focus { border: none; }
    """

    class Selected(Message):
        """An item was chosen by enter or a click."""

        def __init__(self, by: str, item: LiveItem) -> None:
            """`item` of the column `by`."""
            super().__init__()
            self.by, self.item = by, item

    def __init__(self, by: str) -> None:
        """Show the ranker of that name."""
        super().__init__()
        self.by = by
        self.look = Look(by, first=False)
        self.now = ColumnNow(by)
        self.reason: tuple[int, str] | None = None
        """The item that a reason is about, and the reason so far, raw."""

    def compose(self) -> ComposeResult:
        """Make the head and the list."""
        yield Static("", classes="name", markup=False)
        yield Static("", classes="state", markup=False)
        yield OptionList(markup=False)

    @property
    def selected(self) -> LiveItem | None:
        """The item the cursor stands on."""
        place = self.query_one(OptionList).highlighted
        items = self._items
        return items[place] if place is not None and place < len(items) else None

    def focus_list(self) -> None:
        """Bring the keys here."""
        self.query_one(OptionList).focus()

    def paint(self, now: ColumnNow, look: Look) -> None:
        """Show another state."""
        self.now, self.look = now, look
        if self.reason is not None and self.reason[0] not in now.items:
            self.reason = None
        self.set_class(now.state == "refused", "-refused")
        self.paint_head(0.0)
        self.paint_list()

    def paint_head(self, elapsed: float) -> None:
        """Show how it stands; `elapsed` are the seconds since it was asked."""
        self.query_one(".name", Static).update(shown(self.look.name))
        line = _state_line(self.now, self.look, elapsed)
        self.query_one(".state", Static).update(shown(line))

    def paint_list(self) -> None:
        """Show the items, the reason under the one it is about."""
        listing = self.query_one(OptionList)
        width = max(12, listing.size.width - 1)
        rows = [Option(row) for row in self._rows(width)]
        place = listing.highlighted
        listing.set_options(rows)
        if rows:
            listing.highlighted = min(place or 0, len(rows) - 1)

    def on_resize(self, event: events.Resize) -> None:
        """Cut the rows anew."""
        self.call_after_refresh(self.paint_list)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Say which item was chosen."""
        event.stop()
        if self.selected is not None:
            self.post_message(self.Selected(self.by, self.selected))

    @property
    def _items(self) -> Sequence[LiveItem]:
        if self.now.answer is None or self.look.waiting:
            return ()
        return self.now.answer.items

    def _rows(self, width: int) -> list[Content]:
        items = self._items
        scores = [item.score for item in items]
        low, high = min(scores, default=0.0), max(scores, default=0.0)
        span = (high - low) or 1.0
        return [
            self._row(place, item, 0.1 + 0.9 * (item.score - low) / span, width)
            for place, item in enumerate(items)
        ]

    def _row(self, place: int, item: LiveItem, share: float, width: int) -> Content:
        look = self.look
        rank = f"{place + 1:>2} "
        move = "" if look.first or look.hidden else moved(look.movement[place]) + " "
        said = (look.feedback or {}).get(item.item, 0)
        hit = look.hit == place + 1
        marks = f" {'✓' if hit else ' '}{ {1: '+', -1: '-'}.get(said, ' ') }"
        ending = (f" {bar(share)}" if width >= WIDE and not look.hidden else "") + marks
        room = max(4, width - len(rank) - len(move) - len(ending))
        title = shown(("~ " if item.tied else "") + (item.title or item.id), room * 2)
        cut = title.truncate(room, ellipsis=True, pad=True)
        style = "bold $text-success" if hit else ""
        row = Content.assemble(
            (rank, "dim"), (move, "$text-muted"), cut.stylize(style) if style else cut, ending
        )
        if self.reason is not None and self.reason[0] == item.item:
            for line in wrap(plain(self.reason[1], REASON) or "…", max(8, width - 3)):
                row = Content.assemble(row, "\n", (f"   {line}", "italic $text-muted"))
        return row


def _state_line(now: ColumnNow, look: Look, elapsed: float) -> str:
    """Return how a column stands, in words and a sign."""
    sign = SIGNS[now.state]
    if look.hidden:
        if now.state == "refused":
            return f"{sign} has no answer"
        return "… waiting until all have answered" if look.waiting else "✓ enter: I prefer this"
    if now.state == "refused" and now.refused is not None:
        step = f"; next: {now.refused.next_step}" if now.refused.next_step else ""
        return f"{sign} {now.refused.what}{step}"
    if now.state == "thinking":
        return f"{sign} {_thinking(now, elapsed)}"
    if now.state == "answered" and now.answer is not None:
        notices = f", {len(now.answer.notices)} notices (i)" if now.answer.notices else ""
        about = now.answer.ranker if now.answer.ranker != now.by.partition(":")[0] else ""
        words = about or (now.opened.about if now.opened else "")
        return f"{sign} {duration(now.answer.seconds)}{notices} · {words}"
    if now.state == "opening":
        return f"{sign} {now.note or 'starting'} {elapsed:.0f} s"
    return f"{sign} {now.state}"


def _thinking(now: ColumnNow, elapsed: float) -> str:
    words = f"thinking {elapsed:.1f} s"
    at = now.thinking
    if at is not None and at.total > 1:
        words += f", {at.done}/{at.total}"
    if at is not None and at.tokens and at.seconds > 0:
        words += f", {at.tokens / at.seconds:,.0f} tokens/s"
    return f"{words} (x stops)"
