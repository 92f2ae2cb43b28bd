"""Which rows of a log are learned from, chosen by, and reported on.

Apart from metrics because leakage is decided here and nowhere else. The primary split is
*temporal*: everything before one moment is train, up to a second moment validation, after
it test, over all people at once, so that nothing learned could have been unknown at the
time. Leave-last-out (everyone's last row is test) is kept for comparison with papers; its
training rows may be later than its test rows.

Every validation or test row is one request: all earlier rows of the same person are its
history. Two kinds of row are no request, and are counted instead: the person has the item
already (a *repeat*), or has no earlier row at all, so that nothing could be personal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from storage.errors import BadData
from storage.records import NO_PART, NO_TIME, PARTS, IntArray, Log, Part

Kind = Literal["temporal", "leave-last-out"]
TRAIN, VALID, TEST = range(3)


@dataclass(frozen=True, slots=True)
class PartSize:
    """What one part of a split holds."""

    rows: int
    people: int
    requests: int
    """Rows that are evaluated; for train, the rows themselves after a first one."""
    repeats: int
    """Rows left out because the person had the item already."""
    without_history: int
    """Rows left out because they are the person's first."""
    new_items: int
    """Requests whose item has no train row: nothing learned from rows alone can know it."""


@dataclass(frozen=True, eq=False, slots=True)
class Split:
    """A log with the part of every row. Made by `temporal_split` or `leave_last_out`."""

    log: Log
    part: npt.NDArray[np.int8]
    """Index into `storage.records.PARTS`, one a row."""
    kind: Kind
    starts: IntArray
    """Rows of person u are starts[u]:starts[u + 1]; shape (people + 1,)."""
    repeated: npt.NDArray[np.bool_]
    """True where the person has the item in an earlier row."""

    def events(self, part: Part, *, min_history: int = 1) -> IntArray:
        """Return the row numbers of the requests of a part, in log order.

        `min_history` counts earlier rows; 0 keeps the first rows of people too.

        >>> split = leave_last_out(tiny_log())
        >>> split.events("test").tolist()
        [3]
        """
        rows = np.flatnonzero((self.part == PARTS.index(part)) & ~self.repeated)
        return rows[self._position(rows) >= min_history]

    def history(self, row: int) -> IntArray:
        """Return the items of the same person before this row, oldest first.

        >>> leave_last_out(tiny_log()).history(3).tolist()
        [0, 1, 2]
        """
        return self.log.item[self.starts[self.log.user[row]] : row]

    def train_sequences(self) -> tuple[IntArray, IntArray]:
        """Return the train items of everybody, flat, and offsets of shape (people + 1,).

        >>> items, offsets = leave_last_out(tiny_log()).train_sequences()
        >>> items.tolist(), offsets.tolist()
        ([0, 1, 2, 2], [0, 2, 4])
        """
        train = self.part == TRAIN
        lengths = np.bincount(self.log.user[train], minlength=self.log.people)
        offsets = np.zeros(self.log.people + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return self.log.item[train], offsets

    def train_log(self) -> Log:
        """Return the log as it was before the first row of validation.

        >>> leave_last_out(tiny_log()).train_log().item.tolist()
        [0, 1, 2, 2]
        """
        log, train = self.log, self.part == TRAIN
        columns = (log.user, log.item, log.time, log.rating, log.part)
        user, item, time, rating, part = (column[train] for column in columns)
        return Log(user, item, time, rating, part, log.people, log.items)

    @property
    def excluded_repeats(self) -> dict[Part, int]:
        """How many rows of each part repeat an item of the same person's past."""
        return {
            name: int(np.count_nonzero(self.repeated & (self.part == index)))
            for index, name in enumerate(PARTS)
        }

    def sizes(self) -> dict[Part, PartSize]:
        """Count rows, people, requests and what was left out, per part.

        >>> leave_last_out(tiny_log()).sizes()["test"].requests
        1
        """
        known = np.zeros(self.log.items, dtype=np.bool_)
        known[self.log.item[self.part == TRAIN]] = True
        sizes: dict[Part, PartSize] = {}
        for index, name in enumerate(PARTS):
            rows = np.flatnonzero(self.part == index)
            fresh = rows[~self.repeated[rows]]
            requests = self.events(name)
            sizes[name] = PartSize(
                rows=len(rows),
                people=len(np.unique(self.log.user[rows])),
                requests=len(requests),
                repeats=len(rows) - len(fresh),
                without_history=len(fresh) - len(requests),
                new_items=int(np.count_nonzero(~known[self.log.item[requests]])),
            )
        return sizes

    def assert_no_leak(self) -> None:
        """Check that no part holds what a later part must not have known.

        Each person's rows go train, valid, test; in a temporal split with times, no row of
        a part is as late as the first row of the next part.

        Raises:
            BadData: The parts that came with the data break this.
        """
        same = self.log.user[1:] == self.log.user[:-1]
        if np.any(same & (np.diff(self.part) < 0)):
            row = int(np.flatnonzero(same & (np.diff(self.part) < 0))[0]) + 1
            raise BadData(
                f"row {row}: person number {self.log.user[row]} has a "
                f"{PARTS[self.part[row]]!r} row after a {PARTS[self.part[row - 1]]!r} row"
            )
        if self.kind == "temporal" and not np.any(self.log.time == NO_TIME):
            self._assert_times_in_order()

    def _assert_times_in_order(self) -> None:
        latest = np.iinfo(np.int64).min
        for index, name in enumerate(PARTS):
            times = self.log.time[self.part == index]
            if len(times) and times.min() <= latest:
                raise BadData(
                    f"{name!r} begins at {times.min()}, but earlier parts end at {latest}"
                )
            latest = max(latest, int(times.max())) if len(times) else latest

    def _position(self, rows: IntArray) -> IntArray:
        return rows - self.starts[self.log.user[rows]]


def temporal_split(log: Log, valid: float = 0.1, test: float = 0.1) -> Split:
    """Split everybody at the same two moments.

    Where the data has a `part` column that is used. Otherwise the moments are the times
    below which 1 − valid − test and 1 − test of all interactions lie; rows of equal time
    share a part, so the shares are met as nearly as the times allow.

    Raises:
        BadData: No part column and no times; a part column with gaps or that leaks; times
            too coarse to leave every part a row.
    """
    if len(log) and np.all(log.part != NO_PART):
        part = log.part
    elif np.any(log.part != NO_PART):
        raise BadData("the part column is empty in some rows: fill it in all of them or in none")
    else:
        part = _parts_by_time(log, valid, test)
    split = _split(log, part, "temporal")
    split.assert_no_leak()
    return split


def leave_last_out(log: Log) -> Split:
    """Make everyone's last row test and the one before it validation.

    People with fewer than three rows are train only.

    >>> [PARTS[p] for p in leave_last_out(tiny_log()).part]
    ['train', 'train', 'valid', 'test', 'train', 'train']
    """
    part = np.full(len(log), TRAIN, dtype=np.int8)
    starts = _starts(log)
    last = starts[1:][np.diff(starts) >= 3] - 1
    part[last] = TEST
    part[last - 1] = VALID
    return _split(log, part, "leave-last-out")


def split_as(log: Log, kind: Kind) -> Split:
    """Split by the kind's name.

    >>> split_as(tiny_log(), "leave-last-out").kind
    'leave-last-out'
    """
    return temporal_split(log) if kind == "temporal" else leave_last_out(log)


def positives(log: Log, min_rating: float | None) -> Log:
    """Keep the rows rated at least `min_rating`; None keeps every row.

    Row numbers of the result are its own, so a split and everything made from it must
    come from one such log.

    Raises:
        BadData: The log has rows without a rating, or none is rated that high.

    >>> len(positives(tiny_log(), 4.0))
    4
    """
    if min_rating is None:
        return log
    if np.any(np.isnan(log.rating)):
        raise BadData("--min-rating needs a rating in every row, and this data has rows without")
    keep = log.rating >= min_rating
    if not keep.any():
        raise BadData(f"no row is rated {min_rating} or more; the highest is {log.rating.max()}")
    return Log(
        user=log.user[keep],
        item=log.item[keep],
        time=log.time[keep],
        rating=log.rating[keep],
        part=log.part[keep],
        people=log.people,
        items=log.items,
    )


def tiny_log() -> Log:
    """Return two people and six rows, small enough to follow by eye in examples."""
    return Log(
        user=np.array([0, 0, 0, 0, 1, 1], dtype=np.int64),
        item=np.array([0, 1, 2, 3, 2, 2], dtype=np.int64),
        time=np.array([10, 20, 30, 40, 15, 35], dtype=np.int64),
        rating=np.array([5, 3, 4, 5, 2, 4], dtype=np.float32),
        part=np.full(6, NO_PART, dtype=np.int8),
        people=2,
        items=4,
    )


def _parts_by_time(log: Log, valid: float, test: float) -> npt.NDArray[np.int8]:
    if not len(log) or np.any(log.time == NO_TIME):
        raise BadData(
            "a temporal split needs a time in every row, or a part column, and this data has none",
            next_step="recsys distill --split leave-last-out",
        )
    if min(valid, test) <= 0 or valid + test >= 1:
        raise ValueError(f"valid={valid} and test={test} must be positive and leave some train")
    times = np.sort(log.time)
    first_valid = times[int(len(times) * (1 - valid - test))]
    first_test = times[int(len(times) * (1 - test))]
    if not times[0] < first_valid < first_test:
        raise BadData(
            "the times are too coarse for a temporal split: too many rows share one moment",
            next_step="recsys distill --split leave-last-out",
        )
    cuts = np.array([first_valid, first_test])
    return np.searchsorted(cuts, log.time, side="right").astype(np.int8)


def _split(log: Log, part: npt.NDArray[np.int8], kind: Kind) -> Split:
    keys = log.user * np.int64(log.items) + log.item
    repeated = np.ones(len(log), dtype=np.bool_)
    repeated[np.unique(keys, return_index=True)[1]] = False  # the index of the first of each
    return Split(log=log, part=part, kind=kind, starts=_starts(log), repeated=repeated)


def _starts(log: Log) -> IntArray:
    if np.any(np.diff(log.user) < 0):
        raise ValueError("a log is sorted by person")
    return np.searchsorted(log.user, np.arange(log.people + 1)).astype(np.int64)
