"""The log between the database and NumPy: columns in, columns out, a slice at a time.

Apart because it is where millions of rows pass: no object a row is made that lives longer
than its slice, so that memory is the arrays and a few megabytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, func, literal, select

from storage import tables
from storage.database import plain_rows
from storage.errors import StoreUnavailable
from storage.records import NO_PART, NO_TIME, Category, ImportData, IntArray, Log

LOG_COLUMNS = ("category_id", "user_number", "position", "item_number", "time", "rating", "part")

_SLICE = 20_000
_NO_RATING = -1.0e300
"""Stands for NULL between the database and NaN: drivers have no literal for NaN."""

_ROW = np.dtype([("user", "i8"), ("item", "i8"), ("time", "i8"), ("rating", "f8"), ("part", "i1")])

_log = tables.interactions


def positions(user: IntArray) -> IntArray:
    """Return each row's place among the rows of its person; the rows are sorted by person.

    >>> positions(np.array([0, 0, 2, 2, 2])).tolist()
    [0, 1, 0, 1, 2]
    """
    rows = np.arange(len(user), dtype=np.int64)
    first = np.ones(len(user), dtype=bool)
    first[1:] = user[1:] != user[:-1]
    return rows - np.maximum.accumulate(np.where(first, rows, 0))


def log_rows(category_id: int, data: ImportData) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of the log as plain values, in the order of LOG_COLUMNS."""
    last_user, last_position = -1, -1
    for at in range(0, len(data.user), _SLICE):
        rows = slice(at, at + _SLICE)
        user = data.user[rows]
        position = positions(user)
        if user[0] == last_user:  # the person's rows began in the slice before
            position[user == last_user] += last_position + 1
        last_user, last_position = int(user[-1]), int(position[-1])
        yield from zip(
            repeat(category_id),
            user.tolist(),
            position.tolist(),
            data.item[rows].tolist(),
            _values(data.time[rows], data.time[rows] == NO_TIME),
            _values(data.rating[rows], np.isnan(data.rating[rows])),
            _values(data.part[rows], data.part[rows] == NO_PART),
        )


def read_log(connection: Connection, category: Category) -> Log:
    """Read the log of a category, sorted by person and position."""
    wanted = (
        select(
            _log.c.user_number,
            _log.c.item_number,
            func.coalesce(_log.c.time, literal(int(NO_TIME))),
            func.coalesce(_log.c.rating, literal(_NO_RATING)),
            func.coalesce(_log.c.part, literal(NO_PART)),
        )
        .where(_log.c.category_id == category.id)
        .order_by(_log.c.user_number, _log.c.position)
    )
    size = category.interactions
    log = Log(
        user=np.empty(size, dtype=np.int64),
        item=np.empty(size, dtype=np.int64),
        time=np.empty(size, dtype=np.int64),
        rating=np.empty(size, dtype=np.float32),
        part=np.empty(size, dtype=np.int8),
        people=category.people,
        items=category.items,
    )
    at = 0
    for rows in plain_rows(connection, wanted, _SLICE):
        _fill(log, at, np.fromiter(rows, dtype=_ROW, count=len(rows)))
        at += len(rows)
    if at != size:
        raise StoreUnavailable(
            f"the log of {category.name!r} is damaged: {at} rows of {size}",
            next_step="import the data again",
        )
    return log


def _fill(log: Log, at: int, rows: npt.NDArray[Any]) -> None:
    place = slice(at, at + len(rows))
    log.user[place] = rows["user"]
    log.item[place] = rows["item"]
    log.time[place] = rows["time"]
    log.rating[place] = np.where(rows["rating"] == _NO_RATING, np.nan, rows["rating"])
    log.part[place] = rows["part"]


def _values(column: npt.NDArray[Any], missing: npt.NDArray[np.bool_]) -> Any:
    """Return a column as plain values, None where missing."""
    if missing.all():
        return repeat(None, len(column))
    if not missing.any():
        return column.tolist()
    plain = column.astype(object)
    plain[missing] = None
    return plain.tolist()
