"""Which columns of a table fit into its width, and what is said of those that do not.

A table that is wider than its window can be scrolled, but shows heads that are cut and nothing
that says so: here whole columns are left out, the least important first.
"""

from __future__ import annotations

from collections.abc import Sequence

PADDING = 2
"""Cells a table adds to each column."""
BAR = 1
"""Cells of the scroll bar that may stand beside the rows."""


def fitting(widths: Sequence[int], room: int, *, order: Sequence[int]) -> list[int]:
    """Return the places of the columns that fit, from left to right.

    The most important column is shown in any case.

    Args:
        widths: of all columns, without padding.
        room: cells of the table; 0, before it is laid out, holds everything.
        order: places, the most important first.

    >>> fitting([10, 5, 5], 22, order=(0, 2, 1))
    [0, 2]
    >>> fitting([10, 5, 5], 4, order=(0, 2, 1)), fitting([10, 5, 5], 0, order=(0, 2, 1))
    ([0], [0, 1, 2])
    """
    if room <= 0:
        return list(range(len(widths)))
    kept: list[int] = []
    left = room - BAR
    for place in order:
        needed = widths[place] + PADDING
        if needed > left and kept:
            break  # a smaller one behind it would stand in its place, and change with each cell
        kept.append(place)
        left -= needed
    return sorted(kept)


def left_out(labels: Sequence[str], way: str) -> str:
    """Return what is said of columns that are not shown, and the way to them; '' for none.

    >>> left_out(["seed", "made"], "widen the window")
    '2 more columns (seed, made): widen the window'
    >>> left_out(["seed"], "widen the window"), left_out([], "widen the window")
    ('1 more column (seed): widen the window', '')
    """
    if not labels:
        return ""
    columns = "column" if len(labels) == 1 else "columns"
    return f"{len(labels)} more {columns} ({', '.join(labels)}): {way}"
