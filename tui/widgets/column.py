"""One ranker beside the others: how it stands, its list, and a reason under the selected item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from recommender.live.messages import Answered, LiveItem
from tui.comparing import ColumnNow
from tui.rows import Marks, row, shares, with_reason
from tui.shown import shown
from tui.text import duration
from tui.widgets.missing import Offer

SIGNS = {
    "opening": "…",
    "ready": "·",
    "thinking": "…",
    "answered": "✓",
    "cancelled": "×",
    "refused": "!",
}


@dataclass(frozen=True, slots=True)
class Look:
    """What a column shows besides its own state."""

    name: str
    marks: Marks = field(default_factory=Marks)
    waiting: bool = False
    """Hidden, and the others are not done: its list is kept back."""
    offers: tuple[Offer, ...] = ()
    """What would mend it, in place of a list."""
    mending: str = ""
    """How far what mends it is."""


class RankerColumn(Vertical):
    """A head over a list that is walked with the arrows."""

    DEFAULT_CSS = """
    RankerColumn { width: 1fr; height: 1fr; border-left: solid $panel-lighten-2; }
    RankerColumn:focus-within { border-left: thick $primary; }
    RankerColumn .name { height: 1; padding: 0 1; text-style: bold; text-wrap: nowrap;
        text-overflow: ellipsis; background: $panel; }
    RankerColumn:focus-within .name { background: $primary; color: $text; }
    RankerColumn .state { height: 1; padding: 0 1; color: $text-muted; text-wrap: nowrap;
        text-overflow: ellipsis; }
    RankerColumn.-thinking .state { color: $text-warning; height: auto; max-height: 2;
        text-wrap: wrap; }
    RankerColumn.-refused .state { height: auto; max-height: 8; color: $text-error;
        text-wrap: wrap; }
    RankerColumn OptionList { height: 1fr; background: transparent; text-wrap: nowrap;
        scrollbar-size-vertical: 1; }
    """

    class Chosen(Message):
        """Enter or a click on an item."""

        def __init__(self, by: str, item: LiveItem) -> None:
            """`item` of the column `by`."""
            super().__init__()
            self.by, self.item = by, item

    class Taken(Message):
        """Enter or a click on what would mend the column."""

        def __init__(self, by: str, action: str) -> None:
            """`action` is the offer's."""
            super().__init__()
            self.by, self.action = by, action

    class Pointed(Message):
        """The cursor stands on another item."""

        def __init__(self, column: RankerColumn) -> None:
            """`column` is where."""
            super().__init__()
            self.column = column

    def __init__(self, by: str) -> None:
        """Show the ranker of that name."""
        super().__init__()
        self.by = by
        self.look = Look(by)
        self.now = ColumnNow(by)
        self.reason: tuple[int, str] | None = None
        """The item that a reason is about, and the reason so far, raw."""
        # Kept, not looked for: a column may be told something while it comes or goes.
        self._head = Static("", classes="name", markup=False)
        self._line = Static("", classes="state", markup=False)
        self._list = OptionList(markup=False, compact=True)
        self._answer: Answered | None = None
        self._drawn: object = None

    def compose(self) -> ComposeResult:
        """Make the head and the list."""
        yield self._head
        yield self._line
        yield self._list

    @property
    def selected(self) -> LiveItem | None:
        """The item the cursor stands on."""
        place, items = self._list.highlighted, self._items
        return items[place] if place is not None and place < len(items) else None

    def focus_list(self) -> None:
        """Bring the keys here, at once: what is typed next is for this list."""
        self.screen.set_focus(self._list)

    def to_top(self) -> None:
        """Put the cursor on the first item."""
        if self._list.option_count:
            self._list.highlighted = 0

    def paint(self, now: ColumnNow, look: Look, elapsed: float) -> None:
        """Show another state; `elapsed` are the seconds since it was asked."""
        self.now, self.look = now, look
        if self.reason is not None and self.reason[0] not in now.items:
            self.reason = None
        hidden = look.marks.hidden
        self.set_class(now.state == "refused" and not hidden, "-refused")
        self.set_class(now.state in ("opening", "thinking") and not hidden, "-thinking")
        self._head.update(shown(look.name))
        self.paint_state(elapsed)
        self.paint_list()

    def paint_state(self, elapsed: float) -> None:
        """Show how it stands."""
        self._line.update(shown(state_line(self.now, self.look, elapsed)))

    def paint_list(self) -> None:
        """Show the items, or what would mend the column; nothing is drawn twice."""
        width = max(12, self._list.scrollable_content_region.width)
        answer, look = self.now.answer, self.look
        opinions = tuple(sorted((look.marks.opinions or {}).items()))
        drawn = (answer, look, opinions, width, self.reason)
        if drawn == self._drawn:
            return
        same = answer is not None and answer is self._answer
        self._drawn, self._answer = drawn, answer
        place = (self._list.highlighted or 0) if same else 0
        rows = self._rows(width) or [shown(f"▸ {one.label}", 200) for one in look.offers]
        if same and self._list.option_count == len(rows):
            for at, line in enumerate(rows):
                self._list.replace_option_prompt_at_index(at, line)
        else:
            self._list.set_options(Option(line) for line in rows)
            self._list.highlighted = min(place, len(rows) - 1) if rows else None

    def on_resize(self, event: events.Resize) -> None:
        """Cut the rows anew, when the list has its new size too."""
        self.call_after_refresh(self.paint_list)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Say which item was chosen, or which offer taken."""
        event.stop()
        if self.selected is not None:
            self.post_message(self.Chosen(self.by, self.selected))
        elif event.option_index < len(self.look.offers):
            self.post_message(self.Taken(self.by, self.look.offers[event.option_index].action))

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Say that the cursor has moved."""
        event.stop()
        self.post_message(self.Pointed(self))

    def on_descendant_focus(self) -> None:
        """Say that the cursor is here now."""
        self.post_message(self.Pointed(self))

    @property
    def _items(self) -> Sequence[LiveItem]:
        if self.now.answer is None or self.look.waiting:
            return ()
        return self.now.answer.items

    def _rows(self, width: int) -> list[Content]:
        lines = []
        for place, (item, share) in enumerate(zip(self._items, shares(self._items), strict=True)):
            line = row(place, item, share, self.look.marks, width)
            if self.reason is not None and self.reason[0] == item.item:
                line = with_reason(line, self.reason[1], width)
            lines.append(line)
        return lines


def state_line(now: ColumnNow, look: Look, elapsed: float) -> str:
    """Return how a column stands, in words and a sign.

    >>> state_line(ColumnNow("student"), Look("student"), 2.0)
    '… starting 2 s'
    """
    sign = SIGNS[now.state]
    if look.marks.hidden:
        if now.answer is None and not look.waiting:
            return "! has no answer"
        return "… until all have answered" if look.waiting else "enter: I prefer this"
    if look.mending:
        return f"… {look.mending}"
    match now.state:
        case "refused" if now.refused is not None:
            # Where nothing on offer mends it, the command that does is said.
            step = now.refused.next_step if len(look.offers) < 2 else ""
            again = "after a restart: " if now.restarted else ""
            return f"{sign} {again}{now.refused.what}" + (f"; next: {step}" if step else "")
        case "cancelled":
            return f"{sign} stopped · r: again"
        case "thinking":
            return f"{sign} {_thinking(now, elapsed)}"
        case "answered":
            return f"{sign} {_answered(now)}"
        case "opening":
            again = "its process was killed: restarted · " if now.restarted else ""
            return f"{sign} {again}{now.note or 'starting'} {elapsed:.0f} s"
    return f"{sign} {now.state}"


def _answered(now: ColumnNow) -> str:
    assert now.answer is not None
    notices = len(now.answer.notices) + (len(now.opened.notices) if now.opened else 0)
    words = [duration(now.answer.seconds)]
    if now.restarted:
        words.append("restarted")
    if now.answer.tokens and now.answer.seconds > 0:
        words.append(f"{now.answer.tokens / now.answer.seconds:,.0f} tok/s")
    if notices:
        words.append("1 notice (i)" if notices == 1 else f"{notices} notices (i)")
    words.append(now.opened.about if now.opened else now.answer.ranker)
    return " · ".join(word for word in words if word)


def _thinking(now: ColumnNow, elapsed: float) -> str:
    words, at = f"{elapsed:.1f} s", now.thinking
    if at is not None and at.total > 1:
        words += f" · {at.done}/{at.total}"
    if at is not None and at.tokens and at.seconds > 0:
        words += f" · {at.tokens / at.seconds:,.0f} tok/s"
    return f"{words} · x stops"
