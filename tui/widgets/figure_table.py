"""Rankers in rows, metrics in columns: every figure with its interval, ordered by any column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.text import Text
from textual.message import Message
from textual.widgets import DataTable

from tui.fitting import fitting
from tui.intervals import bar, figure, scale_of
from tui.standings import Standing, metrics_of, ordered
from tui.text import plain

NARROW, MEDIUM, WIDE = 80, 110, 150
"""Cells for which names are cut, from which figures have four digits, and bars."""
BAR = 16
NAME = 17
LONGEST_NAME = 48
BAR_OF = "bar of "
SIGNS = "AB"
"""What marks the rows that are compared."""
FALLS = ("requests", "made")
"""Columns besides the metrics that begin with their highest."""


@dataclass(frozen=True, slots=True)
class _Column:
    key: str
    label: str
    width: int
    cell: Callable[[Standing], Text]


class FigureTable(DataTable[Text]):
    """The rows of one scope."""

    DEFAULT_CSS = "FigureTable { height: 1fr; scrollbar-size-vertical: 1; }"

    class Sorted(Message):
        """The rows stand in another order, or other columns are shown."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        super().__init__(cursor_type="row", zebra_stripes=True, fixed_columns=2)
        self.scope = ""
        self.standings: tuple[Standing, ...] = ()
        self.shown: list[Standing] = []
        """The rows as they stand."""
        self.marked: list[str] = []
        """Ids of rows, the first that was marked first."""
        self.by, self.falling = "", True
        self.hidden: list[str] = []
        """Heads of the columns there is no room for."""

    def put(self, scope: str, rows: Sequence[Standing]) -> None:
        """Show other rows; order and marks are kept where they still mean something."""
        metrics = metrics_of(scope, rows)
        if scope != self.scope or self.by not in self._keys(metrics):
            self.by, self.falling = metrics[0], True
        self.scope, self.standings = scope, tuple(rows)
        known = {row.id for row in rows}
        self.marked = [one for one in self.marked if one in known]
        self.paint()

    @property
    def current(self) -> Standing | None:
        """The row that is highlighted."""
        return self.shown[self.cursor_row] if self.cursor_row < len(self.shown) else None

    def marked_rows(self) -> list[Standing]:
        """Return the rows that are marked, the first that was marked first."""
        rows = {row.id: row for row in self.standings}
        return [rows[one] for one in self.marked]

    def mark(self) -> None:
        """Mark the highlighted row, or take its mark off; of three the oldest is let go."""
        row = self.current
        if row is None:
            return
        if row.id in self.marked:
            self.marked.remove(row.id)
        else:
            self.marked = [*self.marked, row.id][-len(SIGNS) :]
        self.paint()

    def order(self, by: str | None = None) -> None:
        """Order by a column, or by the next one; by the same again, the other way round."""
        keys = self._keys(metrics_of(self.scope, self.standings))
        if by is None:
            by = keys[(keys.index(self.by) + 1) % len(keys)] if self.by in keys else keys[0]
            falling = None
        else:
            falling = not self.falling if by == self.by else None
        self.by = by
        self.falling = self._falls(by) if falling is None else falling
        self.paint()
        self.post_message(self.Sorted())

    def turn_round(self) -> None:
        """Order the other way round."""
        self.order(self.by)

    def on_data_table_header_selected(self, event: DataTable.HeaderSelected) -> None:
        """Order by the column whose head was clicked."""
        event.stop()
        key = (event.column_key.value or "").removeprefix(BAR_OF)
        if key != "mark":
            self.order(key)

    def on_resize(self) -> None:
        """Show as many columns, and as much of each figure, as there is room for."""
        self.call_after_refresh(self._fit)

    def _fit(self) -> None:
        self.paint()
        self.post_message(self.Sorted())

    def paint(self) -> None:
        """Draw all rows anew; the cursor stays with its row."""
        before = self.current.id if self.current else ""
        at = self.scroll_offset
        self.shown = ordered(self.standings, self.by, reverse=self.falling)
        columns = self._fitting(self._columns())
        self.clear(columns=True)
        for column in columns:
            self.add_column(self._head(column), width=self._wide(column), key=column.key)
        for row in self.shown:
            self.add_row(*(column.cell(row) for column in columns), key=row.id)
        place = next((n for n, row in enumerate(self.shown) if row.id == before), 0)
        self.move_cursor(row=place, animate=False)
        self.scroll_to(at.x, None, animate=False)

    def _fitting(self, columns: list[_Column]) -> list[_Column]:
        """Return the columns there is room for: the name, then what the rows are ordered by."""

        def rank(place: int) -> tuple[bool, bool, int]:
            key = columns[place].key
            return key not in ("mark", "name", self.by), key.startswith(BAR_OF), place

        order = sorted(range(len(columns)), key=rank)
        widths = [self._wide(column) for column in columns]
        kept = fitting(widths, self.size.width, order=order)
        hidden = [one for place, one in enumerate(columns) if place not in kept]
        self.hidden = [one.label for one in hidden if not one.key.startswith(BAR_OF)]
        return [columns[place] for place in kept]

    def _head(self, column: _Column) -> Text:
        sign = (" ▼" if self.falling else " ▲") if column.key == self.by else ""
        return Text(f"{column.label}{sign}", no_wrap=True)

    def _wide(self, column: _Column) -> int:
        return max(column.width, self._head(column).cell_len)

    def _keys(self, metrics: Sequence[str]) -> list[str]:
        return [*metrics, "name", "kind", "requests", "seed", "made", "run"]

    def _falls(self, by: str) -> bool:
        return by in FALLS or by in metrics_of(self.scope, self.standings)

    def _columns(self) -> list[_Column]:
        width = self.size.width
        name = self._name_width(width)
        found = [
            _Column("mark", "", 1, self._sign),
            _Column("name", "ranker", name, lambda row: _text(_name(row), name)),
        ]
        for metric in metrics_of(self.scope, self.standings):
            found += self._metric(metric, width)
        return [
            *found,
            _Column("kind", "kind", 8, lambda row: _text(row.run.kind, 20)),
            _Column("requests", "requests", 9, _requests),
            _Column("seed", "seed", 4, lambda row: _number(row.run.seed)),
            _Column("made", "made", 10, lambda row: _text(row.run.created_at[:10])),
            _Column("run", "run", 20, lambda row: _text(row.run.id, 40)),
        ]

    def _metric(self, metric: str, width: int) -> list[_Column]:
        digits = 4 if width >= MEDIUM else 3
        shows = _Column(
            metric,
            metric,
            23 if digits == 4 else 17,
            lambda row: _text(figure(row.figures.get(metric), digits=digits)),
        )
        if width < WIDE:
            return [shows]
        scale = scale_of(row.figures.get(metric) for row in self.standings)
        drawn = _Column(
            f"{BAR_OF}{metric}",
            f"{scale[0]:.3f} … {scale[1]:.3f}",
            BAR,
            lambda row: Text(bar(row.figures.get(metric), scale, BAR), no_wrap=True),
        )
        return [shows, drawn]

    def _name_width(self, width: int) -> int:
        longest = max((len(_name(row)) for row in self.standings), default=NAME)
        room = NAME + width - NARROW if width < MEDIUM else width // 5
        return max(NAME, min(longest, LONGEST_NAME, room))

    def _sign(self, row: Standing) -> Text:
        return Text(SIGNS[self.marked.index(row.id)] if row.id in self.marked else "", "bold")


def _name(row: Standing) -> str:
    return f"{row.name}, {row.note}" if row.note else row.name


def _text(text: str, width: int | None = None) -> Text:
    return Text(plain(text, width), no_wrap=True)


def _number(value: int) -> Text:
    return Text(f"{value:,}", justify="right", no_wrap=True)


def _requests(row: Standing) -> Text:
    one = row.any_figure
    return _number(one.n) if one else Text("")
