"""What an import keeps: the collected rows ordered, without repeats, k-cored, renumbered.

Apart from `prepare`, which holds the single steps, because the sequence of them is what makes
a second import add nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from recommender.datasets.collecting import Collector
from recommender.datasets.ids import PackedIds
from recommender.datasets.prepare import (
    Columns,
    Mask,
    Numbers,
    counts,
    id_hashes,
    k_core,
    repeats,
    repeats_without_times,
    sorted_rows,
)
from recommender.datasets.spill import Spill
from storage.records import NO_TIME, ImportData, IntArray, ItemRow


@dataclass(eq=False, slots=True)
class Merged:
    """A whole category, sorted, with what became of the rows."""

    user_ids: PackedIds
    item_ids: PackedIds
    columns: Columns
    timed: bool
    there: int
    """Rows of the source that the Store had already."""
    duplicates: int
    dropped: int
    """New rows that the k-core leaves out."""
    stay: int
    """Stored rows outside the k-core, which are kept."""

    @property
    def new(self) -> int:
        """Rows that the Store did not have."""
        return int(np.count_nonzero(~self.columns.stored))

    def import_data(
        self, items: Sequence[ItemRow], reviews: Iterator[tuple[int, str, str]] | None
    ) -> ImportData:
        """Return it as the Store takes it; the columns stay as small as they are."""
        columns = self.columns
        times = columns.key if self.timed else np.full(len(columns), NO_TIME)
        return ImportData(
            user_ids=self.user_ids,
            items=items,
            user=cast(IntArray, columns.user),
            item=cast(IntArray, columns.item),
            time=times,
            rating=columns.rating,
            part=columns.part,
            reviews=reviews,
        )

    def review_rows(self, *, stored_too: bool) -> Numbers:
        """Return the rows that have a review to add."""
        if self.columns.review is None:
            return np.empty(0, dtype=np.int64)
        has = self.columns.review >= 0
        return np.flatnonzero(has if stored_too else has & ~self.columns.stored)

    def reviews(self, spill: Spill, rows: Numbers) -> Iterator[tuple[int, str, str]]:
        """Yield (row, title, text) of these rows."""
        assert self.columns.review is not None
        for row in rows.tolist():
            title, text = spill.read(int(self.columns.review[row]))
            yield row, title, text


def merge(collector: Collector, *, k: int, old_people: int, old_items: int) -> Merged:
    """Order, clean and renumber what was collected; the collector is used up.

    Args:
        collector: stored rows and those of the source.
        k: of the k-core; below 2 everything is kept.
        old_people: how many people the Store has; their numbers stay.
        old_items: how many items the Store has.
    """
    columns, timed = collector.columns, bool(collector.timed)
    users, items = PackedIds(collector.users), PackedIds(collector.items)
    # From here on ids are looked up by number only, and sorting wants the room.
    collector.users.clear()
    collector.items.clear()
    order = sorted_rows(columns, id_hashes(users, len(users)), id_hashes(items, len(items)))
    columns.select(order)
    del order
    if timed:
        again, there = repeats(columns)
        _hand_down_reviews(columns, again)
    else:
        again, there = repeats_without_times(columns, ordered=collector.ordered)
    duplicates = int(again.sum()) - there
    if duplicates + there:
        columns.select(~again)
    del again
    keep = k_core(columns.user, columns.item, k, people=len(users), items=len(items))
    stay = int(np.count_nonzero(columns.stored & ~keep))
    keep |= columns.stored
    dropped = len(keep) - int(keep.sum())
    if dropped:
        columns.select(keep)
    return Merged(
        user_ids=_renumbered(columns, "user", users, old_people),
        item_ids=_renumbered(columns, "item", items, old_items),
        columns=columns,
        timed=timed,
        there=there,
        duplicates=duplicates,
        dropped=dropped,
        stay=stay,
    )


def digest_of(data: ImportData) -> str:
    """Return a hash of catalogue and log: equal when and only when the data is."""
    found = hashlib.sha256()
    for one in data.user_ids:
        found.update(one.encode() + b"\n")
    for item in data.items:
        fields = (item.id, item.title, item.brand, item.description, item.categories, item.price)
        found.update("\0".join(fields).encode() + b"\n")
    for column in (data.user, data.item, data.time, data.rating, data.part):
        found.update(np.ascontiguousarray(column).data)
    return found.hexdigest()


def _hand_down_reviews(columns: Columns, again: Mask) -> None:
    """Give the review of a row that is dropped as a repeat to the row it repeats."""
    if columns.review is None:
        return
    first = np.maximum.accumulate(np.where(again, 0, np.arange(len(again))))
    for row in np.flatnonzero(again & (columns.review >= 0)).tolist():
        if columns.review[first[row]] < 0:
            columns.review[first[row]] = columns.review[row]


def _renumbered(columns: Columns, name: str, ids: PackedIds, old: int) -> PackedIds:
    """Leave out the numbers that no row has, except the old ones; return the ids that are left."""
    values: Numbers = getattr(columns, name)
    used = counts(values, len(ids)) > 0
    used[:old] = True
    if used.all():
        return ids
    number = (np.cumsum(used) - 1).astype(values.dtype)
    setattr(columns, name, number[values])
    return PackedIds(ids[one] for one in np.flatnonzero(used).tolist())
