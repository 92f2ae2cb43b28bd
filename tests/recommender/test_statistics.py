"""The figures of a category against a log that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from recommender.splits import tiny_log
from recommender.statistics import statistics_of, text_coverage, tied_share
from storage.records import NO_PART, NO_TIME, Category, Item, Log

SHOP = Category(1, "Tiny", "table", False, 1, 5, 2, 4, 6, "2026-01-01", "0")


def log(user: list[int], time: list[int], rating: list[float]) -> Log:
    rows = len(user)
    return Log(
        user=np.array(user, dtype=np.int64),
        item=np.arange(rows, dtype=np.int64),
        time=np.array(time, dtype=np.int64),
        rating=np.array(rating, dtype=np.float32),
        part=np.full(rows, NO_PART, dtype=np.int8),
        people=max(user, default=0) + 1,
        items=rows,
    )


def test_hand_counted() -> None:
    found = statistics_of(SHOP, tiny_log(), [Item(0, "a", "Pen"), Item(1, "b", "")])
    assert found.density == 6 / 8
    assert found.items_with_interactions == 4
    assert (found.median_history, found.longest_history) == (3.0, 4)
    assert found.rating_mean == pytest.approx(23 / 6)
    assert found.rating_spread == pytest.approx(np.std([5, 3, 4, 5, 2, 4]))
    assert (found.first_time, found.last_time) == (10, 40)
    assert found.text_coverage["title"] == 0.5


def test_ties_count_only_within_a_person() -> None:
    assert tied_share(log([0, 0, 0, 1], [5, 5, 7, 5], [1, 1, 1, 1])) == 0.5
    assert tied_share(log([0, 0, 0, 1], [5, 5, 5, 5], [1, 1, 1, 1])) == 0.75
    assert tied_share(log([0, 1], [5, 5], [1, 1])) == 0.0


def test_rows_without_time_or_rating_are_left_out_of_those_figures() -> None:
    some = log([0, 0, 1], [NO_TIME, NO_TIME, NO_TIME], [np.nan, 4, np.nan])
    found = statistics_of(SHOP, some, [])
    assert found.tied_times is found.first_time is found.last_time is None
    assert (found.rating_mean, found.rated) == (4.0, pytest.approx(1 / 3))
    assert found.splits["temporal"].startswith("a temporal split needs a time")  # type: ignore[union-attr]


def test_nothing_at_all_has_figures_too() -> None:
    empty = Log(*(np.array([]) for _ in range(5)), people=0, items=0)  # type: ignore[misc,arg-type]
    assert tied_share(empty) is None
    assert text_coverage([])["title"] == 0.0
