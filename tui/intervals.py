"""A figure with its interval, as a text and as a bar on a scale that all rows share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storage.records import Measurement

NONE = "–"
Scale = tuple[float, float]


def figure(one: Measurement | None, *, digits: int = 4) -> str:
    """Return a figure with its interval, as many digits as there is room for.

    >>> from storage.records import Measurement
    >>> one = Measurement("r", "test/full", "hr@10", 0.0871, 0.0802, 0.0939, 100, 40)
    >>> figure(one), figure(one, digits=3), figure(None)
    ('0.0871 [0.0802, 0.0939]', '0.087 [.080 .094]', '–')
    """
    if one is None or one.value != one.value:
        return NONE
    if one.low == one.high == one.value:
        return f"{one.value:.{digits}f}"
    if digits < 4:
        ends = [f"{end:.{digits}f}".removeprefix("0") for end in (one.low, one.high)]
        return f"{one.value:.{digits}f} [{ends[0]} {ends[1]}]"
    return f"{one.value:.{digits}f} [{one.low:.{digits}f}, {one.high:.{digits}f}]"


def scale_of(measured: Iterable[Measurement | None]) -> Scale:
    """Return the least and the highest end of the intervals; the scale of their bars.

    >>> scale_of([])
    (0.0, 1.0)
    """
    ends = [end for one in measured if one is not None for end in (one.low, one.high)]
    ends = [end for end in ends if end == end]
    if not ends:
        return 0.0, 1.0
    return min(ends), max(ends)


def bar(one: Measurement | None, scale: Scale, width: int) -> str:
    """Return an interval as a line with its value as a point.

    >>> from storage.records import Measurement
    >>> bar(Measurement("r", "s", "hr@10", 0.5, 0.25, 0.75, 9, 9), (0.0, 1.0), 9)
    '··━━●━━··'
    >>> bar(None, (0.0, 1.0), 4)
    '    '
    """
    if one is None or any(end != end for end in (one.value, one.low, one.high)):
        return " " * width
    least, most = scale
    span = (most - least) or 1.0
    ends = (round((end - least) / span * (width - 1)) for end in (one.low, one.value, one.high))
    low, at, high = (max(0, min(width - 1, end)) for end in ends)
    cells = ["·"] * width
    cells[low : high + 1] = "━" * (high + 1 - low)
    cells[at] = "●"
    return "".join(cells)
