"""Rows into columns: what every loader does with a row, and with one that is bad.

A batch of rows is converted at once. Only where that fails is it halved, until the bad row
stands alone and can be named with its line and reason; so good data pays nothing for the
checks of bad data.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Literal, Protocol, TypeVar

import numpy as np

from recommender.datasets.files import Meter
from recommender.datasets.text import is_clean_id
from storage.errors import BadData
from storage.records import NO_PART, NO_TIME, PARTS, FloatArray, IntArray, InteractionChunk, ItemRow

BATCH = 1 << 13
"""Rows that are Python objects at one time."""
SHOWN = 5
"""Bad rows that are kept with line and reason."""

TimeUnit = Literal["s", "ms", "any"]
"""'any' takes seconds, milliseconds (from 10^11 on) and ISO 8601."""

_LATEST = 4_102_444_800_000  # the year 2100
_SECONDS_BELOW = 1e11
_PART_NAMES: dict[str, int] = {name: number for number, name in enumerate(PARTS)}
_PART_NAMES |= {"val": 1, "validation": 1, "dev": 1, "training": 0}

T = TypeVar("T")


class RowError(ValueError):
    """What is wrong with one of the rows that were being converted."""


@dataclass(slots=True)
class BadRows:
    """Rows that were skipped, counted; the first ones with line and reason.

    >>> bad = BadRows()
    >>> bad.add("ratings.csv", 7, "no user id")
    >>> bad.count, bad.first
    (1, ['ratings.csv line 7: no user id'])
    """

    strict: bool = False
    count: int = 0
    items: int = 0
    """Bad rows of the catalogue, which are not in `count`."""
    first: list[str] = field(default_factory=list)

    def add(self, name: str, line: int, reason: str, *, item: bool = False) -> None:
        """Count a bad row.

        Raises:
            BadData: at the first, where `strict`.
        """
        where = f"{name} line {line}: {reason}"
        if self.strict:
            raise BadData(f"{where}; nothing is imported", next_step="mend it, or drop --strict")
        if item:
            self.items += 1
        else:
            self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(where)


class Source(Protocol):
    """A place interactions come from, ready to be read once."""

    @property
    def format(self) -> str:
        """One of `FORMATS`, or a name of the caller's own."""
        ...

    @property
    def rating_scale(self) -> tuple[float, float] | None:
        """Lowest and highest rating, None where only the data can say."""
        ...

    @property
    def note(self) -> str:
        """Licence or origin remark."""
        ...

    @property
    def keeps_unseen(self) -> bool:
        """Whether items that nobody had belong to the catalogue."""
        ...

    @property
    def bad(self) -> BadRows:
        """What was skipped so far."""
        ...

    @property
    def meter(self) -> Meter:
        """How much was read so far."""
        ...

    def items(self) -> Iterator[ItemRow]:
        """Read the catalogue."""
        ...

    def chunks(self) -> Iterator[InteractionChunk]:
        """Read the log."""
        ...


def good_chunks(
    rows: Iterable[tuple[int, T]],
    convert: Callable[[Sequence[T]], InteractionChunk],
    bad: BadRows,
    name: str,
) -> Iterator[InteractionChunk]:
    """Convert (line, row) pairs batch by batch; bad rows are added to `bad` and left out."""
    stream = iter(rows)
    while True:
        with _no_collection():
            batch = list(islice(stream, BATCH))
            chunks = list(_converted(batch, convert, bad, name)) if batch else []
        if not batch:
            return
        del batch
        yield from chunks


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the cycle collector from walking a batch again and again while it is made.

    Rows are thousands of lists without cycles; that halves the time to read them. Nothing is
    yielded meanwhile, so that the caller's own code is not affected.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _converted(
    batch: list[tuple[int, T]],
    convert: Callable[[Sequence[T]], InteractionChunk],
    bad: BadRows,
    name: str,
) -> Iterator[InteractionChunk]:
    try:
        chunk = convert([row for _, row in batch])
    except RowError as error:
        if len(batch) == 1:
            bad.add(name, batch[0][0], str(error))
            return
        middle = len(batch) // 2
        yield from _converted(batch[:middle], convert, bad, name)
        yield from _converted(batch[middle:], convert, bad, name)
    else:
        yield chunk


def ids(values: Sequence[str], what: str) -> list[str]:
    """Strip and check ids.

    >>> ids([" A1"], "user")
    ['A1']

    Raises:
        RowError: one is empty, too long or not printable.
    """
    stripped = [value.strip() for value in values]
    fine = "".join(stripped).isprintable() and "" not in stripped
    if not fine or len(max(stripped, key=len)) > 256:
        for value in stripped:
            if not value:
                raise RowError(f"no {what} id")
            if not is_clean_id(value):
                raise RowError(f"the {what} id {value[:40]!r} is not printable text")
    return stripped


def ratings(
    values: Sequence[str | float], scale: tuple[float, float] | None, *, optional: bool = False
) -> FloatArray:
    """Read ratings and check them against the source's scale; empty is NaN where `optional`.

    >>> ratings(["4.5"], (1, 5))
    array([4.5], dtype=float32)

    Raises:
        RowError: one is no number or lies outside.
    """
    if optional:
        values = [math.nan if value in ("", None) else value for value in values]
    found = _numbers(values, "rating")
    known = ~np.isnan(found)
    if not optional and not known.all():
        raise RowError("no rating")
    low, high = scale or (-1e9, 1e9)
    outside = (found < low) | (found > high)
    if outside.any():
        raise RowError(f"rating {found[outside][0]:g} lies outside {low:g} to {high:g}")
    return found.astype(np.float32)


def times(values: Sequence[str | float], unit: TimeUnit) -> IntArray:
    """Read times as milliseconds UTC.

    >>> times(["1", "2001-09-09T01:46:40"], "any").tolist()
    [1000, 1000000000000]

    Raises:
        RowError: one is missing, no time, or not between 1970 and 2100.
    """
    if unit == "any":
        values = [_as_number(value) for value in values]
    found = _numbers(values, "time")
    if unit == "any":
        found = np.where(np.abs(found) < _SECONDS_BELOW, found * 1000, found)
    elif unit == "s":
        found = found * 1000
    fine = (found >= 0) & (found < _LATEST)
    if not fine.all():
        raise RowError(f"time {values[int(np.argmin(fine))]!r} is not between 1970 and 2100")
    return np.rint(found).astype(np.int64)


def positions(values: Sequence[str | float]) -> IntArray:
    """Read positions within a person.

    Raises:
        RowError: one is no whole number.
    """
    found = _numbers(values, "position")
    if not (np.isfinite(found).all() and (found == np.rint(found)).all()):
        raise RowError(f"position {values[0]!r} is no whole number")
    return found.astype(np.int64)


def parts(values: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.int8]]:
    """Read names of parts as indices into PARTS.

    >>> parts(["train", "Validation"]).tolist()
    [0, 1]

    Raises:
        RowError: one is not train, valid or test.
    """
    try:
        return np.array([_PART_NAMES[value.strip().lower()] for value in values], dtype=np.int8)
    except KeyError as error:
        raise RowError(f"part {error.args[0]!r} is not one of {', '.join(PARTS)}") from error


def chunk(
    users: Sequence[str],
    items: Sequence[str],
    *,
    time: IntArray | None = None,
    rating: FloatArray | None = None,
    order: IntArray | None = None,
    part: int | np.ndarray[tuple[int], np.dtype[np.int8]] = NO_PART,
    review: tuple[Sequence[str], Sequence[str]] | None = None,
) -> InteractionChunk:
    """Put checked columns together; what is None is unknown for every row."""
    length = len(users)
    return InteractionChunk(
        users=ids(users, "user"),
        items=ids(items, "item"),
        time=np.full(length, NO_TIME, dtype=np.int64) if time is None else time,
        rating=np.full(length, np.nan, dtype=np.float32) if rating is None else rating,
        order=order,
        part=np.full(length, part, dtype=np.int8) if isinstance(part, int) else part,
        review_title=review[0] if review else None,
        review_text=review[1] if review else None,
    )


def _numbers(
    values: Sequence[str | float], what: str
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    try:
        return np.array(list(map(float, values)), dtype=np.float64)
    except (ValueError, TypeError) as error:
        value = values[0]
        shown = repr(value[:40]) if isinstance(value, str) else repr(value)
        raise RowError(f"{what} {shown} is no number" if value else f"no {what}") from error


def _as_number(value: object) -> float:
    if isinstance(value, datetime):
        moment = value
    else:
        try:
            return float(value)  # type: ignore[arg-type]
        except (ValueError, TypeError):
            try:
                moment = datetime.fromisoformat(str(value).strip())
            except ValueError as error:
                shown = f"time {str(value)[:40]!r} is no time" if value else "no time"
                raise RowError(shown) from error
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    # A datetime says its unit; it is only its seconds that could be taken for another one.
    milliseconds = aware.timestamp() * 1000
    return milliseconds if milliseconds >= _SECONDS_BELOW else milliseconds / 1000
