"""The foot of the comparison: how fast each column is, and how far they agree."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import RenderResult
from textual.content import Content
from textual.widget import Widget

from tui.comparing import Figures
from tui.shown import shown
from tui.text import duration

SPARKS = "▁▂▃▄▅▆▇█"
NAME, SPARK = 14, 16
WIDE = 94


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


class FigureLines(Widget):
    """One line a column under one of heads; parts that find no room are left out."""

    DEFAULT_CSS = """
    FigureLines { height: auto; width: 1fr; padding: 0 1; border-top: solid $panel; }
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
        wide = self.size.width >= WIDE
        head = "".ljust(NAME) + (" latency".ljust(SPARK + 1) if wide else "")
        head += f"{'last':>10}{'p50':>10}{'slower':>9}{f'overlap@{self._n}':>12}{'tau':>7}"
        head += f"{'held-out hits':>15}" if wide else f"{'hits':>9}"
        lines = [Content.styled(head, "dim")]
        lines += [self._line(one, wide) for one in self._figures]
        return Content("\n").join(lines)

    def _line(self, one: Figures, wide: bool) -> Content:
        hits = f"{one.hits} of {one.visited}" if one.visited else "-"
        spark = f" {sparkline(one.latencies, SPARK)}" if wide else ""
        line = shown(one.by).truncate(NAME, ellipsis=True, pad=True)
        words = (
            f"{spark}{_span(one.last):>10}{_span(one.p50):>10}{_times(one.ratio):>9}"
            f"{_share(one.overlap):>12}{_share(one.tau):>7}"
        )
        return Content.assemble(line, words, f"{hits:>15}" if wide else f"{hits:>9}")


def _span(seconds: float | None) -> str:
    return "-" if seconds is None else duration(seconds)


def _times(ratio: float | None) -> str:
    if ratio is None:
        return "-"
    return "1 ×" if ratio < 1.05 else f"{ratio:,.0f} ×" if ratio >= 10 else f"{ratio:.1f} ×"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
