"""The rows of a ranker's list as lines of a given width: cut, marked, and safe to show.

Apart from the widget, which scrolls and listens, because here a line is a function of what is
known: foreign titles go in, plain cells come out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap

from textual.content import Content

from recommender.live.messages import LiveItem
from tui.shown import shown
from tui.text import REASON, safe_pieces

EIGHTHS = " ▏▎▍▌▋▊▉█"
HEIGHTS = "▁▂▃▄▅▆▇█"
BAR = 6
WIDE = 38
"""Cells from which there is room for a bar; below, it is one cell that is more or less full."""
SMALLEST_TITLE = 4


@dataclass(frozen=True, slots=True)
class Marks:
    """What a list shows besides its items."""

    movement: Sequence[int | None] = ()
    """Places against the first column; empty where nothing is to be compared."""
    hit: int | None = None
    """The place of what really came next, from 1."""
    opinions: Mapping[int, int] | None = None
    hidden: bool = False
    """Nothing may tell who it is: no bar, no tie."""


def bar(share: float, width: int = BAR) -> str:
    """Return a bar of a share of its width, in eighths of a cell; of one cell, its height.

    >>> bar(0.5, 4), bar(1.0, 2), bar(0.0, 2), bar(0.4, 1)
    ('██  ', '██', '  ', '▄')
    """
    share = max(0.0, min(1.0, share))
    if width == 1:
        return HEIGHTS[round(share * 7)]
    whole, rest = divmod(round(share * width * 8), 8)
    return ("█" * whole + (EIGHTHS[rest] if rest else "")).ljust(width)


def moved(places: int | None) -> str:
    """Return the sign of a movement against the first column, at least two cells.

    >>> moved(2), moved(-11), moved(0), moved(None)
    ('▲2', '▼11', ' =', ' •')
    """
    if places is None:
        return " •"
    if places == 0:
        return " ="
    return f"{'▲' if places > 0 else '▼'}{min(abs(places), 99)}"


def shares(items: Sequence[LiveItem]) -> list[float]:
    """Return how long each score's bar is: 1 for the best of the list, a tenth for the last.

    >>> row = lambda score: LiveItem(1, "a", "A", score)
    >>> shares([row(3.0), row(2.0), row(1.0)]), shares([row(7.0)])
    ([1.0, 0.55, 0.1], [1.0])
    """
    scores = [item.score for item in items]
    low, high = min(scores, default=0.0), max(scores, default=0.0)
    if high <= low:
        return [1.0] * len(scores)
    return [0.1 + 0.9 * (score - low) / (high - low) for score in scores]


def row(place: int, item: LiveItem, share: float, marks: Marks, width: int) -> Content:
    """Return one item as a line of `width` cells; `place` counts from 0.

    >>> heat = LiveItem(7, "m7", "[b]Heat[/b] (1995)", 2.0)
    >>> row(0, heat, 1.0, Marks(movement=(2,), hit=1, opinions={7: 1}), 30).plain
    ' 1 ▲2 [b]Heat[/b] (1995)   █✓+'
    """
    hit = marks.hit == place + 1
    before = f"{place + 1:>2} "
    cells = 2 if len(marks.movement) <= 10 else 3
    move = f"{moved(marks.movement[place]):<{cells}} " if marks.movement else ""
    length = BAR if width >= WIDE else 1
    scale = "" if marks.hidden else f" {bar(share, length)}"
    said = {1: "+", -1: "−"}.get((marks.opinions or {}).get(item.item, 0), " ")
    room = max(SMALLEST_TITLE, width - len(before) - len(move) - len(scale) - 2)
    tie = "~ " if item.tied and not marks.hidden else ""
    title = shown(tie + (item.title or item.id), room * 2).truncate(room, ellipsis=True, pad=True)
    return Content.assemble(
        (before, "dim"),
        (move, _colour(marks.movement[place]) if move else ""),
        title.stylize("bold $text-success") if hit else title,
        scale,
        ("✓" if hit else " ", "bold $text-success"),
        (said, "bold"),
    )


def with_reason(line: Content, reason: str, width: int) -> Content:
    """Return a row with the first sentence of a raw reason under it.

    >>> with_reason(Content(" 1 Heat"), "It\\x1b[2J fits. And so on", 20).plain
    ' 1 Heat\\n   It fits.'
    """
    said = "".join(safe_pieces([reason], most=REASON)) or "…"
    for one in wrap(said, max(8, width - 4)):
        line = Content.assemble(line, "\n", (f"   {one}", "italic $text-muted"))
    return line


def _colour(places: int | None) -> str:
    if not places:
        return "$text-muted"
    return "$text-success" if places > 0 else "$text-error"
