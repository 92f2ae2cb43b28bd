"""Interactions as columns: merged with what is stored, ordered, deduplicated, k-cored.

Pure functions over numpy columns, written for tens of millions of rows: small dtypes, and
sorting in blocks of people, so that the work space is a fraction of the data.

Order. A person's rows are sorted by (time, hash of person and item, item, rating). The hash
decides between equal times because the order of a file may say something about the future:
some sources are sorted by item. Where a source gives no times, its own order stands in for
them and no hash is needed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

BLOCK = 1 << 18
"""Rows that are sorted or counted at one time."""

Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.integer]
Hashes = npt.NDArray[np.uint64]


@dataclass(eq=False, slots=True)
class Columns:
    """An unsorted or sorted log; `select` replaces its columns one by one, to save memory."""

    user: Numbers
    item: Numbers
    key: npt.NDArray[np.int64]
    """What orders a person's rows: milliseconds, or a position."""
    rating: npt.NDArray[np.float32]
    part: npt.NDArray[np.int8]
    stored: Mask
    """True for rows that come from the Store."""
    review: npt.NDArray[np.int64] | None = None
    """The ticket of each row's review in a spill, negative for none."""

    def __len__(self) -> int:
        return len(self.user)

    def select(self, rows: Numbers | Mask) -> None:
        """Keep these rows, in this order."""
        for field in fields(self):
            column = getattr(self, field.name)
            if column is not None:
                setattr(self, field.name, _taken(column, rows))


def id_hashes(ids: Iterable[str], count: int) -> Hashes:
    """Return 64 bits of each id, the same on every machine.

    >>> id_hashes(["a", "b"], 2).dtype
    dtype('uint64')
    """
    found = np.empty(count, dtype=np.uint64)
    for number, one in enumerate(ids):
        digest = hashlib.blake2b(one.encode(), digest_size=8).digest()
        found[number] = int.from_bytes(digest, "little")
    return found


def tie_break(user: Hashes, item: Hashes) -> Hashes:
    """Return the order of rows of equal time: a mix of both hashes (the finaliser of SplitMix64).

    Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.

    >>> one = np.array([1], dtype=np.uint64)
    >>> bool(tie_break(one, one + one) != tie_break(one + one, one))
    True
    """
    mixed = user * np.uint64(0x9E3779B97F4A7C15) + item
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def sorted_rows(columns: Columns, user_hash: Hashes, item_hash: Hashes) -> Numbers:
    """Return row numbers by (user, key, tie-break, item, rating), stored rows first of equals.

    Shapes: all columns (rows,), the hashes (people,) and (items,). Work space: 4 bytes a row
    and that of one block.
    """
    order: Numbers = np.empty(len(columns), dtype=np.int32 if len(columns) < 2**31 else np.int64)
    at = 0
    for low, high in _user_blocks(columns.user, len(user_hash)):
        rows = _rows_between(columns.user, low, high)
        user, item = columns.user[rows], columns.item[rows]
        ties = tie_break(user_hash[user], item_hash[item])
        ratings, stored = columns.rating[rows], ~columns.stored[rows]
        found = np.lexsort((rows, stored, ratings, item, ties, columns.key[rows], user))
        order[at : at + len(rows)] = rows[found]
        at += len(rows)
    return order


def repeats(columns: Columns) -> tuple[Mask, int]:
    """Return which rows of a sorted log equal the row before: same person, item, key, rating.

    The second figure is how many of them the Store has; the others repeat a new row.

    >>> two = np.zeros(2, dtype=np.int64)
    >>> same = Columns(two, two, two, two.astype("f4"), two.astype("i1"), two.astype(bool))
    >>> repeats(same)
    (array([False,  True]), 0)
    """
    same = np.zeros(len(columns), dtype=bool)
    if len(columns) < 2:
        return same, 0
    same[1:] = columns.user[1:] == columns.user[:-1]
    for values in (columns.item, columns.key):
        same[1:] &= values[1:] == values[:-1]
    unrated = np.isnan(columns.rating)
    same[1:] &= (columns.rating[1:] == columns.rating[:-1]) | (unrated[1:] & unrated[:-1])
    there = same[1:] & columns.stored[:-1] & ~columns.stored[1:]
    return same, int(there.sum())


def k_core(user: Numbers, item: Numbers, k: int, *, people: int, items: int) -> Mask:
    """Return which rows are left when people and items with fewer than `k` rows go, repeatedly.

    The k-core is the largest set of rows in which everybody and everything has at least k.
    Shapes: user, item (rows,) with values below `people` and `items`.

    >>> user, item = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 1, 1])
    >>> k_core(user, item, 2, people=3, items=2)
    array([ True,  True,  True,  True, False])
    """
    keep = np.ones(len(user), dtype=bool)
    if k <= 1:
        return keep
    while True:
        poor_user = counts(user, people, keep) < k
        poor_item = counts(item, items, keep) < k
        left = int(keep.sum())
        for part in _blocks(len(user)):
            keep[part] &= ~(poor_user[user[part]] | poor_item[item[part]])
        if int(keep.sum()) == left:
            return keep


def counts(values: Numbers, size: int, keep: Mask | None = None) -> npt.NDArray[np.int64]:
    """Return how often each number below `size` occurs, in the kept rows.

    >>> counts(np.array([0, 2, 2]), 4)
    array([1, 0, 2, 0])
    """
    found = np.zeros(size, dtype=np.int64)
    for part in _blocks(len(values)):
        some = values[part] if keep is None else values[part][keep[part]]
        found += np.bincount(some, minlength=size)
    return found


def repeats_without_times(columns: Columns, *, ordered: bool) -> tuple[Mask, int]:
    """Return what `repeats` does, for a sorted log without times.

    Where the source has positions, a row repeats one of the same person, item and position,
    and the n-th row of a person with an item is known if the Store has n of them: stored
    positions are not those of the file once its rows were cleaned. Without positions a row
    repeats one of the same person, item and rating.

    >>> zeros, no = np.zeros(3, dtype=np.int64), np.zeros(3, dtype=bool)
    >>> log = Columns(zeros, zeros, np.array([0, 0, 1]), zeros.astype("f4"), zeros.astype("i1"), no)
    >>> repeats_without_times(log, ordered=True)
    (array([False,  True, False]), 0)
    """
    known = np.zeros(len(columns), dtype=bool)
    there = 0
    for low, high in _person_blocks(columns.user):
        part = slice(low, high)
        user, item, key = columns.user[part], columns.item[part], columns.key[part]
        stored, rating = columns.stored[part], columns.rating[part]
        again = np.zeros(high - low, dtype=bool)
        second = key if ordered else np.nan_to_num(rating, nan=-np.inf)
        rows = np.lexsort((~stored, second, item, user))
        again[rows[1:]] = _equal_neighbours(user, item, second, rows=rows)
        again &= ~stored
        there += int((again[rows[1:]] & stored[rows[:-1]]).sum())
        if ordered:
            counted = _known_by_count(user, item, key, stored, again)
            there += int(counted.sum())
            again |= counted
        known[part] = again
    return known, there


def _known_by_count(user: Numbers, item: Numbers, key: Numbers, stored: Mask, again: Mask) -> Mask:
    """Return which new rows are the n-th of a person and item of which the Store has n."""
    known = np.zeros(len(user), dtype=bool)
    left = np.flatnonzero(~again)
    if not len(left) or not stored.any():
        return known
    rows = left[np.lexsort((key[left], ~stored[left], item[left], user[left]))]
    first = np.ones(len(rows), dtype=bool)
    first[1:] = ~_equal_neighbours(user, item, rows=rows)
    group = np.cumsum(first) - 1
    there = np.bincount(group, weights=stored[rows])[group]
    place = np.arange(len(rows)) - np.flatnonzero(first)[group]
    known[rows] = (place < 2 * there) & ~stored[rows]
    return known


def _equal_neighbours(*values: npt.NDArray[Any], rows: Numbers) -> Mask:
    same = np.ones(max(len(rows) - 1, 0), dtype=bool)
    for column in values:
        some = column[rows]
        same &= some[1:] == some[:-1]
    return same


def _person_blocks(user: Numbers) -> Iterator[tuple[int, int]]:
    """Yield ranges of rows, sorted by person, that hold about `BLOCK` rows and cut nobody."""
    low = 0
    while low < len(user):
        high = min(low + BLOCK, len(user))
        high = int(np.searchsorted(user, user[high - 1], side="right"))
        yield low, high
        low = high


def _user_blocks(user: Numbers, people: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of user numbers that hold about `BLOCK` rows each."""
    ends = np.cumsum(counts(user, people))
    low = 0
    while low < people:
        before = int(ends[low - 1]) if low else 0
        high = int(np.searchsorted(ends, before + BLOCK, side="right"))
        high = max(high, low + 1)
        yield low, high
        low = high


def _rows_between(user: Numbers, low: int, high: int) -> npt.NDArray[np.int64]:
    """Return the rows of people from `low` to below `high`."""
    found = [np.empty(0, dtype=np.int64)]
    for part in _blocks(len(user)):
        found.append(np.flatnonzero((user[part] >= low) & (user[part] < high)) + part.start)
    return np.concatenate(found)


def _taken(column: npt.NDArray[Any], rows: Numbers | Mask) -> npt.NDArray[Any]:
    """Return `column[rows]`. numpy widens small row numbers first: here, one block at a time."""
    if rows.dtype == np.bool_:
        return column[rows]
    found = np.empty(len(rows), dtype=column.dtype)
    for part in _blocks(len(rows)):
        found[part] = column[rows[part]]
    return found


def _blocks(length: int) -> Iterator[slice]:
    return (slice(start, start + BLOCK) for start in range(0, length, BLOCK))
