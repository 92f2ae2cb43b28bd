"""What teachers were asked and answered about a category, counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import DataTable, Static

from tui.fitting import fitting, left_out
from tui.shown import shown
from tui.teacher_data import label_rows
from tui.text import plain

if TYPE_CHECKING:
    from storage.label_records import LabelStatistics

HEADS = (
    "teacher", "method", "purpose", "status", "requests", "answers", "p50", "p95", "failed",
)  # fmt: skip
NUMBERS = HEADS[4:]
PLACES = (0, 3, 4, 5, 8, 6, 1, 2, 7)
"""Of the columns, the most important first."""
MORE = "widen the window, or: recsys labels stats"
LONGEST = 30


class LabelCounts(Vertical):
    """A table, or a sentence where there is nothing to count."""

    DEFAULT_CSS = """
    LabelCounts { height: 1fr; min-height: 4; }
    LabelCounts #label-title { height: auto; padding: 0 1; background: $boost; }
    LabelCounts DataTable { height: 1fr; scrollbar-size-vertical: 1; }
    LabelCounts #silent { height: auto; max-height: 3; padding: 0 1; color: $text-muted; }
    LabelCounts.-empty DataTable { display: none; }
    """

    def __init__(self) -> None:
        """Count nothing yet."""
        super().__init__()
        self.rows: list[tuple[str, ...]] = []
        self.said = ""
        self._title = ""

    def compose(self) -> ComposeResult:
        """Make the title, the table and the line below."""
        yield Static("labels", id="label-title", markup=False)
        yield DataTable[Text](cursor_type="row", zebra_stripes=True, fixed_columns=1)
        yield Static("", id="silent", markup=False)

    def say(self, title: str, text: str) -> None:
        """Show a sentence in place of figures."""
        self.said, self.rows, self._title = text, [], ""
        self.set_class(True, "-empty")
        self.query_one("#label-title", Static).update(shown(title))
        self.query_one("#silent", Static).update(shown(text))

    def show(self, title: str, found: Sequence[LabelStatistics]) -> None:
        """Show counts; the cursor stays where it is."""
        self.set_class(False, "-empty")
        if self.said:
            self.query_one("#silent", Static).update("")
            self.said = ""
        rows = label_rows(found)
        if rows == self.rows and title == self._title:
            return
        self.rows, self._title = rows, title
        self._paint()

    def on_resize(self) -> None:
        """Show as many columns as there is room for."""
        if self.rows:
            self.call_after_refresh(self._paint)

    def _paint(self) -> None:
        table: DataTable[Text] = self.query_one(DataTable)
        before = table.cursor_row
        table.clear(columns=True)
        rows = [[_cell(head, text) for head, text in zip(HEADS, r, strict=True)] for r in self.rows]
        widths = [
            max(len(head), *(row[place].cell_len for row in rows))
            for place, head in enumerate(HEADS)
        ]
        kept = fitting(widths, self.size.width, order=PLACES)
        for place in kept:
            table.add_column(Text(HEADS[place], no_wrap=True), width=widths[place])
        for row in rows:
            table.add_row(*(row[place] for place in kept))
        table.move_cursor(row=min(before, len(rows) - 1), animate=False)
        more = left_out([h for place, h in enumerate(HEADS) if place not in kept], MORE)
        title = Content.assemble(shown(self._title), (f"  {more}" if more else "", "dim"))
        self.query_one("#label-title", Static).update(title)

    def show_silent(self, silent: Mapping[str, int]) -> None:
        """Say whose answers only repeat the order that was offered."""
        lines = [
            f"{plain(teacher, 60)}: {count:,} questions whose answers only repeat the order "
            "offered: no labels"
            for teacher, count in silent.items()
        ]
        if not self.said:
            self.query_one("#silent", Static).update(Content("\n".join(lines)))


def _cell(head: str, text: str) -> Text:
    if head in NUMBERS:
        return Text(text, justify="right", no_wrap=True)
    return Text(plain(text, LONGEST), no_wrap=True)
