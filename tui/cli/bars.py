"""Profiles as bars in a terminal: one line a layer, one column a criterion."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence

from tui.cli.render import Cell, columns, show_table

WIDTH = 12
"""Characters of the longest bar."""
EIGHTHS = " ▏▎▍▌▋▊▉█"
BLOCK, HASH = "█", "#"
COLUMN = WIDTH + 3
LAYER = 7


def bar(share: float, width: int = WIDTH, *, signed: bool = False, drawn: bool = True) -> str:
    """Return a bar of a share of its maximum; a signed one begins with its sign.

    Args:
        share: between -1 and 1; not a number is no bar.
        width: characters of a whole bar.
        signed: whether the sign is shown.
        drawn: with blocks of an eighth of a character, else with '#'.

    >>> bar(0.5, 4), bar(0.3, 4), bar(-1.0, 4, signed=True), bar(0.5, 4, drawn=False)
    ('██', '█▎', '-████', '##')
    """
    if not math.isfinite(share):
        return ""
    sign = ("-" if share < 0 else "+") if signed else ""
    size = min(1.0, abs(share)) * width
    if not drawn:
        return sign + HASH * round(size)
    whole, part = divmod(round(size * 8), 8)
    return sign + BLOCK * whole + EIGHTHS[part].strip()


def can_draw(encoding: str | None) -> bool:
    """Say whether bars of blocks can be written in an encoding.

    >>> can_draw("utf-8"), can_draw("ascii"), can_draw(None)
    (True, False, False)
    """
    try:
        (EIGHTHS + BLOCK).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def show_bars(
    profiles: Mapping[str, Sequence[float]], signed: Mapping[str, bool], *, wide: int
) -> None:
    """Print profiles beside each other, as many as fit, each scaled to its largest value.

    Args:
        profiles: criterion -> (layers,).
        signed: criterion -> whether its values may be below zero.
        wide: columns of the terminal.
    """
    names = list(profiles)
    step = max(1, (wide - LAYER) // (COLUMN + 2))
    drawn = can_draw(sys.stdout.encoding)
    for begin in range(0, len(names), step):
        some = names[begin : begin + step]
        scales = {name: max(map(abs, profiles[name])) or 1.0 for name in some}
        rows: list[list[Cell]] = []
        for layer in range(len(profiles[some[0]])):
            bars: list[Cell] = [
                bar(profiles[name][layer] / scales[name], signed=signed[name], drawn=drawn)
                for name in some
            ]
            rows.append([layer, *bars])
        show_table(columns(">layer", *some), rows)
