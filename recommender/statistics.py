"""What a category looks like in figures: `recsys data stats`, and the head of every report.

Definitions. Density is interactions / (people x items of the catalogue). A timestamp is
*tied* when another interaction of the same person has the same one: their order within the
person is then not known. Spread is the population standard deviation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from recommender.splits import PartSize, Split, leave_last_out, temporal_split
from storage.errors import BadData
from storage.records import NO_TIME, Category, Item, Log, Part

TEXT_FIELDS = ("title", "brand", "categories", "description", "price")

Sizes = Mapping[Part, PartSize] | str
"""What each part of a split holds, or in one sentence why the data cannot be split so."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """The figures of one category."""

    category: Category
    density: float
    items_with_interactions: int
    longest_history: int
    median_history: float
    rating_mean: float | None
    """None where no interaction has a rating."""
    rating_spread: float | None
    rated: float
    """Share of interactions with a rating."""
    first_time: int | None
    """Milliseconds UTC; None where there are no times."""
    last_time: int | None
    tied_times: float | None
    """Share of timed interactions that share their time with another of the same person."""
    text_coverage: Mapping[str, float]
    """Field of an item -> share of items that have it."""
    splits: Mapping[str, Sizes]
    """'temporal' and 'leave-last-out' -> sizes."""


def statistics_of(category: Category, log: Log, items: Iterable[Item]) -> Statistics:
    """Compute the figures from a log in Store order and a stream of items.

    >>> from recommender.splits import tiny_log
    >>> shop = Category(1, "Tiny", "table", False, 1, 5, 2, 4, 6, "2026-01-01", "0")
    >>> found = statistics_of(shop, tiny_log(), [Item(0, "a", "Pen", brand="Parker")])
    >>> found.density, found.rating_spread and round(found.rating_spread, 3), found.tied_times
    (0.75, 1.067, 0.0)
    """
    histories = np.bincount(log.user, minlength=log.people)
    rated = log.rating[~np.isnan(log.rating)].astype(np.float64)
    times = log.time[log.time != NO_TIME]
    cells = log.people * log.items
    return Statistics(
        category=category,
        density=len(log) / cells if cells else 0.0,
        items_with_interactions=int(np.count_nonzero(np.bincount(log.item, minlength=1))),
        longest_history=int(histories.max(initial=0)),
        median_history=float(np.median(histories)) if len(histories) else 0.0,
        rating_mean=float(rated.mean()) if len(rated) else None,
        rating_spread=float(rated.std()) if len(rated) else None,
        rated=len(rated) / len(log) if len(log) else 0.0,
        first_time=int(times.min()) if len(times) else None,
        last_time=int(times.max()) if len(times) else None,
        tied_times=tied_share(log),
        text_coverage=text_coverage(items),
        splits={
            "temporal": _sizes(log, temporal_split),
            "leave-last-out": _sizes(log, leave_last_out),
        },
    )


def tied_share(log: Log) -> float | None:
    """Return the share of timed interactions whose time is not the person's only one.

    >>> from recommender.splits import tiny_log
    >>> tied_share(tiny_log())
    0.0
    """
    timed = log.time != NO_TIME
    if not timed.any():
        return None
    user, time = log.user[timed], log.time[timed]  # sorted by person, then time
    same = (user[1:] == user[:-1]) & (time[1:] == time[:-1])
    tied = np.zeros(len(user), dtype=np.bool_)
    tied[1:] |= same
    tied[:-1] |= same
    return float(tied.mean())


def text_coverage(items: Iterable[Item]) -> dict[str, float]:
    """Return for each text field the share of items that have it.

    >>> text_coverage([Item(0, "a", "Pen", brand="Parker"), Item(1, "b", "Ink")])["brand"]
    0.5
    """
    total = 0
    found = dict.fromkeys(TEXT_FIELDS, 0)
    for item in items:
        total += 1
        found["title"] += bool(item.title)
        found["brand"] += bool(item.brand)
        found["categories"] += bool(item.categories)
        found["description"] += bool(item.description)
        found["price"] += bool(item.price)
    return {name: count / total if total else 0.0 for name, count in found.items()}


def _sizes(log: Log, split: Callable[[Log], Split]) -> Sizes:
    try:
        return split(log).sizes()
    except BadData as reason:
        return reason.what
