"""The log as it is read: ids become numbers at once, and rows compact columns that grow.

Apart from `importing` because it holds what memory an import needs: 22 bytes a row, the ids
of people and items once each, and nothing else that grows with the data.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from recommender.datasets.prepare import Columns
from recommender.datasets.spill import Spill
from recommender.datasets.text import TEXT_LIMIT, TITLE_LIMIT, clean_text
from storage.errors import BadData
from storage.records import NO_PART, NO_TIME, FloatArray, IntArray, InteractionChunk, Log

NO_REVIEW = -1
_BEFORE = -(1 << 40)
"""Added to the positions of stored rows without times: new rows come after them."""


class Collector:
    """Rows of the Store, then rows of a source, as columns; people and items as numbers."""

    def __init__(self, reviews: Spill | None = None) -> None:
        """Begin with nobody; `reviews` takes the texts of reviews where they are wanted."""
        self.users: dict[str, int] = {}
        self.items: dict[str, int] = {}
        self.columns = Columns(
            user=np.empty(0, dtype=np.int32),
            item=np.empty(0, dtype=np.int32),
            key=np.empty(0, dtype=np.int64),
            rating=np.empty(0, dtype=np.float32),
            part=np.empty(0, dtype=np.int8),
            stored=np.empty(0, dtype=np.bool_),
            review=None if reviews is None else np.empty(0, dtype=np.int64),
        )
        self.timed: bool | None = None
        """Whether rows have times; None while there are no rows."""
        self.parted: bool | None = None
        """Whether rows say which part they are in; None while there are no rows."""
        self.ordered = False
        """Whether the source gives positions instead."""
        self._reviews = reviews

    def add_stored(self, users: Iterable[str], items: Iterable[str], log: Log) -> None:
        """Take over what the Store has, so that numbers stay what they are."""
        self.users = {one: number for number, one in enumerate(users)}
        self.items = {one: number for number, one in enumerate(items)}
        if not len(log):
            return
        self.timed = bool(log.time[0] != NO_TIME)
        self.parted = bool(log.part[0] != NO_PART)
        key = log.time if self.timed else _positions(log.user) + _BEFORE
        self._append(log.user, log.item, key, log.rating, log.part, stored=True)
        if self.columns.review is not None:
            self.columns.review[:] = NO_REVIEW

    def add(self, chunk: InteractionChunk) -> None:
        """Add rows as a loader read them.

        Raises:
            BadData: some rows of the category have times, or parts, and others have none.
        """
        if not len(chunk.users):
            return
        part = np.full(len(chunk.users), NO_PART, np.int8) if chunk.part is None else chunk.part
        parted = bool(part[0] != NO_PART)
        self.parted = parted if self.parted is None else self.parted
        if parted != self.parted:
            raise BadData(
                "either what the category has or this source says which part of a split each "
                "row is in, and the other does not",
                next_step="recsys data import PATH --category ANOTHER_NAME",
            )
        timed = bool(chunk.time[0] != NO_TIME)
        if self.timed is None:
            self.timed = timed
        if timed != self.timed:
            has, new = ("times", "none") if self.timed else ("no times", "times")
            raise BadData(
                f"the category has interactions with {has} and this source has {new}; "
                "they cannot be put into one order",
                next_step="recsys data import PATH --category ANOTHER_NAME",
            )
        first = len(self.columns)
        people, things = self.users, self.items
        user = [people.setdefault(one, len(people)) for one in chunk.users]
        item = [things.setdefault(one, len(things)) for one in chunk.items]
        key = chunk.time
        if not timed:
            self.ordered = chunk.order is not None
            key = np.arange(first, first + len(user)) if chunk.order is None else chunk.order
        self._append(np.array(user), np.array(item), key, chunk.rating, part, stored=False)
        if self._reviews is not None and self.columns.review is not None:
            self.columns.review[first:] = _kept(self._reviews, chunk)

    def _append(
        self,
        user: IntArray,
        item: IntArray,
        key: IntArray,
        rating: FloatArray,
        part: npt.NDArray[np.int8],
        *,
        stored: bool,
    ) -> None:
        columns = self.columns
        _extend(columns.user, user)
        _extend(columns.item, item)
        _extend(columns.key, key)
        _extend(columns.rating, rating)
        _extend(columns.part, part)
        _extend(columns.stored, np.full(len(user), stored))
        if columns.review is not None:
            _extend(columns.review, np.full(len(user), NO_REVIEW))


def _extend(column: npt.NDArray[Any], values: npt.NDArray[Any]) -> None:
    length = len(column)
    # Grows in place: the system moves pages of a large block, and copies nothing.
    column.resize(length + len(values), refcheck=False)
    column[length:] = values


def _positions(user: IntArray) -> IntArray:
    """Return the place of each row within its person, for rows sorted by person."""
    begins = np.flatnonzero(np.diff(user, prepend=-1))
    lengths = np.diff(begins, append=len(user))
    return np.asarray(np.arange(len(user)) - np.repeat(begins, lengths), dtype=np.int64)


def _kept(spill: Spill, chunk: InteractionChunk) -> IntArray:
    """Put the reviews of a chunk away; return their tickets."""
    tickets = np.full(len(chunk.users), NO_REVIEW, dtype=np.int64)
    if chunk.review_title is None or chunk.review_text is None:
        return tickets
    for row, (title, text) in enumerate(zip(chunk.review_title, chunk.review_text, strict=True)):
        title, text = clean_text(title, TITLE_LIMIT), clean_text(text, TEXT_LIMIT)
        if title or text:
            tickets[row] = spill.append((title, text))
    return tickets
