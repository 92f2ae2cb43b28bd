"""One profile as bars over the layers, with 95 % intervals and what a cut keeps below them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from textual.content import Content
from textual.widget import Widget

from tui.layer_data import CUTS, Row, kept_by
from tui.widgets.heat import Grid, numbers_line

EIGHTHS = " ▁▂▃▄▅▆▇█"
KEPT, GONE = "K", "·"


class ProfileBars(Widget):
    """The bars of a criterion, as high as there is room for."""

    DEFAULT_CSS = "ProfileBars { height: 1fr; min-height: 6; }"

    def __init__(self, *, id: str | None = None) -> None:
        """Show nothing until `show` is called."""
        super().__init__(id=id)
        self._row: Row | None = None
        self._grid = Grid(0, 1, 1)
        self._cursor = 0

    def show(self, row: Row, grid: Grid, cursor: int) -> None:
        """Show a criterion below the columns of a heat map."""
        self._row, self._grid, self._cursor = row, grid, cursor
        self.refresh()

    def render(self) -> Content:
        """Make the lines."""
        if self._row is None:
            return Content("")
        cuts = [cut_line(self._row.profile.layers, cut, self._grid) for cut in CUTS]
        height = max(2, self.size.height - len(cuts) - 1)
        lines = [
            *chart(self._row, self._grid, height),
            numbers_line(self._grid, self._cursor),
            *cuts,
        ]
        return Content("\n").join(lines)


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to lines of text. Zero is always between two lines, never inside of one."""

    unit: float
    """What one line is worth."""
    above: int
    """Lines above zero."""
    below: int

    @classmethod
    def of(cls, row: Row, height: int) -> Scale:
        """Return the scale on which all bars and intervals of a profile fit.

        >>> from storage.records import LayerProfile
        >>> both = LayerProfile("", 1, "", "", 1, (3.0, -1.0), (2.0, -1.0), (4.0, 0.0), "")
        >>> Scale.of(Row("", "", "", both), 5)
        Scale(unit=1.0, above=4, below=1)
        """
        profile = row.profile
        ends = [*profile.layers, *profile.low, *profile.high]
        finite = [one for one in ends if math.isfinite(one)]
        low, high = min(0.0, *finite), max(0.0, *finite)
        if low == high:
            return cls(1.0, height, 0)
        below = math.ceil(height * -low / (high - low)) if low < 0 else 0
        below = min(below, height - 1)
        above = height - below
        return cls(max(high / above, -low / below if below else 0.0), above, below)

    @property
    def height(self) -> int:
        """All lines."""
        return self.above + self.below

    def eighths(self, value: float) -> int:
        """Return how far above the lowest line's foot a value is, in eighths of a line.

        >>> Scale(0.5, 4, 1).eighths(1.0)
        24
        """
        return self.below * 8 + round(value / self.unit * 8)


def chart(row: Row, grid: Grid, height: int) -> list[Content]:
    """Return the bars, their scale at the left."""
    scale = Scale.of(row, height)
    layers = min(grid.layers, len(row.profile.layers))
    columns = [_column(row, layer, grid.cell, scale) for layer in range(layers)]
    labels = {height - 1: f"{-scale.unit * scale.below:.3g}"} if scale.below else {}
    labels |= {0: f"{scale.unit * scale.above:.3g}", scale.above - 1: "0"}
    lines = []
    for line in range(height):
        label = labels.get(line, "")[: grid.gutter - 1].rjust(grid.gutter - 1)
        drawn = (part for column in columns for part in column[line])
        lines.append(Content.assemble((f"{label} ", "$text-muted"), *drawn))
    return lines


def bar_sign(line: int, height: int, begin: int, end: int) -> str:
    """Return what a bar from one height to another, in eighths, is in a line from the top.

    >>> [bar_sign(line, 2, 0, 12) for line in (0, 1)], bar_sign(0, 2, 0, 3)
    (['▄', '█'], ' ')
    >>> [bar_sign(line, 2, 3, 16) for line in (0, 1)], bar_sign(0, 1, 5, 8)
    (['█', '█'], '▀')
    """
    floor = (height - 1 - line) * 8
    top, bottom = min(end - floor, 8), max(begin - floor, 0)
    if top <= bottom:
        return " "
    # Signs grow from the foot of a line; what hangs from its head has but half of it.
    return ("▀" if bottom >= 4 else "█") if bottom else EIGHTHS[top]


def interval_sign(line: int, height: int, begin: int, end: int) -> str:
    """Return what an interval, in eighths, is in a line from the top.

    >>> [interval_sign(line, 3, 4, 20) for line in range(3)], interval_sign(0, 1, 2, 4)
    (['┬', '│', '┴'], '─')
    """
    ceiling = height * 8 - 1
    first = height - 1 - min(end, ceiling) // 8
    last = height - 1 - min(begin, ceiling) // 8
    if not first <= line <= last:
        return " "
    if first == last:
        return "─"
    return {first: "┬", last: "┴"}.get(line, "│")


def cut_line(layers: Sequence[float], cut: float, grid: Grid) -> Content:
    """Return which layers remain where a share of them is taken away.

    >>> cut_line([5.0, 1.0, 4.0, 3.0], 0.5, Grid(12, 2, 4)).plain
    'cut 50 %:  2 K · K ·'
    """
    kept = kept_by(layers, cut)
    name = f"cut {cut:.0%}".replace("%", " %") + f":{len(kept):>3} "
    signs = [KEPT if layer in kept else GONE for layer in range(grid.layers)]
    cells = (
        (sign.rjust(grid.cell), "$success bold" if sign == KEPT else "$text-muted")
        for sign in signs
    )
    return Content.assemble(name[: grid.gutter].ljust(grid.gutter), *cells)


def _column(row: Row, layer: int, cell: int, scale: Scale) -> list[list[tuple[str, str]]]:
    """Return a layer's column: for each line a bar and, where there is room, its interval."""
    profile = row.profile
    value, low, high = profile.layers[layer], profile.low[layer], profile.high[layer]
    ends = sorted((scale.eighths(0.0), scale.eighths(value)))
    style = "$primary" if value >= 0 else "$error"
    width = max(1, cell - 2)
    column = []
    for line in range(scale.height):
        parts = [(bar_sign(line, scale.height, *ends) * width, style)]
        if cell > 2:
            parts.insert(0, (" ", ""))
        if cell > 1:
            drawn = row.has_interval and math.isfinite(low)
            span = (scale.eighths(low), scale.eighths(high)) if drawn else None
            sign = interval_sign(line, scale.height, *span) if span else " "
            parts.append((sign, "$text-muted"))
        column.append(parts)
    return column
