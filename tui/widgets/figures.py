"""The foot of the comparison: how fast each column is, and how far they agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from textual.app import RenderResult
from textual.content import Content
from textual.widget import Widget

from tui.comparing import Figures
from tui.shown import filling, shown
from tui.text import duration

SPARKS = "▁▂▃▄▅▆▇█"
NAME, LONGEST_NAME = 12, 40
"""Cells of a name: at least, and where there is room."""
SPARK, LONGEST_SPARK = 16, 48
"""The same of the bars of past answers."""
EXPENDABLE = ("latency", "tau", "last")
"""Parts that are left out where there is no room, the first of them first."""


def sparkline(values: Sequence[float], width: int) -> str:
    """Return the last values as one line of bars, each against the highest of them.

    >>> sparkline([1.0, 4.0, 2.0], 5)
    '▂█▄  '
    >>> sparkline([], 3)
    '   '
    """
    last = list(values)[-width:]
    top = max(last, default=0.0) or 1.0
    bars = (SPARKS[max(0, min(7, round(v / top * 8) - 1))] for v in last)
    return "".join(bars).ljust(width)


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that is said of every column."""

    head: str
    cells: int
    says: Callable[[Figures, int], str]
    """Of so many cells at most."""


class FigureLines(Widget):
    """One line a column under one of heads; parts that find no room are left out."""

    DEFAULT_CSS = """
    FigureLines { height: auto; max-height: 40%; width: 1fr; padding: 0 1;
        border-top: solid $panel; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    def __init__(self) -> None:
        """Show nothing yet."""
        super().__init__()
        self._figures: tuple[Figures, ...] = ()
        self._n = 10
        self._says = ""

    def paint(self, figures: Sequence[Figures], n: int, says: str = "") -> None:
        """Show other figures; `says` stands in their place, as in a blind comparison."""
        self._figures, self._n, self._says = tuple(figures), n, says
        self.refresh(layout=True)

    def render(self) -> RenderResult:
        """Draw the lines."""
        if self._says:
            return shown(self._says)
        longest = max((len(one.by) for one in self._figures), default=0)
        name, parts = laid_out(self.size.width, longest, self._n)
        heads = "".join(_set(part.head, part) for part in parts)
        lines = [Content.styled(" " * name + heads, "dim")]
        for one in self._figures:
            words = (_set(part.says(one, part.cells - 1), part) for part in parts)
            lines.append(Content.assemble(filling(one.by, name), *words))
        return Content("\n").join(lines)


def laid_out(width: int, longest: int, n: int) -> tuple[int, list[Part]]:
    """Return the cells of a name, and the parts that fit beside it.

    >>> for width in (58, 78, 94, 198):
    ...     name, parts = laid_out(width, 10, 10)
    ...     print(name, [part.head for part in parts])
    12 ['p50', 'slower', 'overlap@10', 'hits']
    12 ['last', 'p50', 'slower', 'overlap@10', 'tau', 'hits']
    12 ['latency', 'last', 'p50', 'slower', 'overlap@10', 'tau', 'hits']
    12 ['latency', 'last', 'p50', 'slower', 'overlap@10', 'tau', 'held-out hits']
    """
    parts = _parts(n, SPARK)
    for least in EXPENDABLE:
        if _cells(parts) + NAME > width:
            parts = [part for part in parts if part.head != least]
    spare = max(0, width - _cells(parts) - NAME)
    more = min(spare, max(0, min(longest, LONGEST_NAME) - NAME))
    if spare - more >= 4:
        parts[-1] = replace(parts[-1], head="held-out hits", cells=parts[-1].cells + 4)
        spare -= 4
    if parts[0].head == "latency":
        parts[0] = _parts(n, min(LONGEST_SPARK, SPARK + spare - more))[0]
    return NAME + more, parts


def _parts(n: int, spark: int) -> list[Part]:
    return [
        Part("latency", spark + 1, lambda one, cells: sparkline(one.latencies, cells)),
        Part("last", 12, lambda one, cells: _span(one.last)),
        Part("p50", 12, lambda one, cells: _span(one.p50)),
        Part("slower", 12, lambda one, cells: _times(one.ratio)),
        Part(f"overlap@{n}", 11, lambda one, cells: _share(one.overlap)),
        Part("tau", 6, lambda one, cells: _share(one.tau)),
        Part("hits", 11, lambda one, cells: f"{one.hits} of {one.visited}" if one.visited else "-"),
    ]


def _cells(parts: Sequence[Part]) -> int:
    return sum(part.cells for part in parts)


def _set(words: str, part: Part) -> str:
    if part.head == "latency":
        return f" {words}".ljust(part.cells)
    return words.rjust(part.cells)


def _span(seconds: float | None) -> str:
    return "-" if seconds is None else duration(seconds)


def _times(ratio: float | None) -> str:
    if ratio is None:
        return "-"
    return "1 ×" if ratio < 1.05 else f"{ratio:,.0f} ×" if ratio >= 10 else f"{ratio:.1f} ×"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
