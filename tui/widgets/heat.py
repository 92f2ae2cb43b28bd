"""Criteria by layers as a map of shades, each with its number: it reads without colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.color import Color
from textual.content import Content
from textual.style import Style
from textual.widgets import OptionList

from tui.text import plain

WIDEST = 5
"""Characters of a cell beyond which nothing is gained."""
SHADES = 10


class HeatList(OptionList):
    """Lines of a heat map to choose from; the arrows to the sides go along the layers."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "screen.layer(-1)", "Layer before", show=False),
        Binding("right", "screen.layer(1)", "Layer", key_display="←→"),
    ]


@dataclass(frozen=True, slots=True)
class Grid:
    """How wide names and cells are.

    `layers` is how many of them fit.
    """

    gutter: int
    cell: int
    layers: int

    @classmethod
    def fitting(cls, width: int, layers: int, longest: int) -> Grid:
        """Return the widest cells for which names are not cut much.

        >>> Grid.fitting(80, 30, 23), Grid.fitting(200, 30, 23), Grid.fitting(60, 80, 23)
        (Grid(gutter=20, cell=2, layers=30), Grid(gutter=24, cell=5, layers=30), \
Grid(gutter=10, cell=1, layers=50))
        """
        for cell in range(WIDEST, 0, -1):
            least = longest + 1 if cell > 2 else 14 if cell == 2 else 10
            if layers * cell + least <= width:
                return cls(min(longest + 1, width - layers * cell), cell, layers)
        return cls(10, 1, max(1, min(layers, width - 10)))


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours of a theme that shades are mixed from."""

    low: Color
    high: Color
    below: Color
    """Of values below zero."""

    def style(self, share: float) -> Style:
        """Return the shade of a share, with letters that can be read on it."""
        if share < 0:
            ground = self.low.blend(self.below, 0.5)
        else:
            ground = self.low.blend(self.high, min(SHADES, round(share * SHADES)) / SHADES)
        return Style(background=ground, foreground=ground.get_contrast_text(1.0))


def cell_text(share: float, width: int) -> str:
    """Return what a cell says: tenths of the largest, 9 being more than nine of them, or percent.

    >>> cell_text(0.42, 1), cell_text(1.0, 2), cell_text(1.0, 4), cell_text(-0.1, 2)
    ('4', ' 9', ' 100', ' -')
    """
    if share < 0:
        return "-".rjust(width)
    if width >= 4:
        return f"{round(share * 100)}".rjust(width)
    return str(min(9, int(share * 10 + 1e-9))).rjust(width)


def heat_line(name: str, shares: Sequence[float], grid: Grid, palette: Palette) -> Content:
    """Return one criterion as a line."""
    cells = ((cell_text(one, grid.cell), palette.style(one)) for one in shares[: grid.layers])
    return Content.assemble(plain(name, grid.gutter - 1).ljust(grid.gutter), *cells)


def numbers_line(grid: Grid, cursor: int | None = None) -> Content:
    """Return the numbers of layers, as many as can be told apart, that of the cursor among them.

    >>> numbers_line(Grid(3, 2, 6)).plain
    '    0 1 2 3 4 5'
    >>> numbers_line(Grid(3, 1, 12)).plain
    '   0    5    10'
    """
    room = len(str(grid.layers - 1)) + 1
    step = next((n for n in (1, 2, 5, 10) if n * grid.cell >= room), 20)
    line = [" "] * (grid.gutter + grid.cell * grid.layers + 2)
    marked = [layer for layer in range(0, grid.layers, step) if _apart(layer, cursor, step)]
    span = (0, 0)
    for layer in [*marked, *([] if cursor is None else [cursor])]:
        text = str(layer)
        end = grid.gutter + grid.cell * (layer + 1)
        begin = end - len(text) if grid.cell > 1 else end - 1
        line[begin : begin + len(text)] = text
        if layer == cursor:
            span = (begin, begin + len(text))
    said = "".join(line).rstrip()
    return Content(said).stylize("bold underline", *span) if span != (0, 0) else Content(said)


def _apart(layer: int, cursor: int | None, step: int) -> bool:
    return cursor is None or layer == cursor or abs(layer - cursor) >= max(1, step)
