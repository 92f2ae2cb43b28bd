"""Intervals of studies: people and seeds are resampled, each as often as it likes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from distill.studies.running import Ran, Trial
from distill.studies.tables import differences_of, rows_of
from recommender.evaluation import example_evaluation
from storage.records import Category

PEOPLE = 40


def ranked(ranks: np.ndarray) -> Trial:
    """A trial in which every person has one request, ranked like that."""
    people = np.arange(len(ranks))
    one = replace(example_evaluation(), rows=people, users=people, ranks=ranks.astype(np.int32))
    return Trial(0, one, 0.5, 1.0)


def ran(**arms: tuple[Trial, ...]) -> Ran:
    category = Category(1, "shop", "", True, None, None, PEOPLE, 9, PEOPLE, "2026-01-01", "")
    return Ran(category, arms, (), None)


def test_seeds_that_disagree_make_an_interval_wide() -> None:
    """Every person is alike, so people alone would leave no interval at all."""
    first, last = np.full(PEOPLE, 1), np.full(PEOPLE, 3)  # NDCG 1 and 0.5
    other = np.full(PEOPLE, 3)
    unsure = (ranked(first), ranked(last), ranked(first), ranked(last))
    steady = tuple(ranked(other) for _ in unsure)
    both = ran(unsure=unsure, steady=steady)
    [found] = differences_of(both, ["steady"], "ndcg@10")
    assert found.interval.value == 0.25
    assert found.interval.low <= 0.125
    assert found.interval.high >= 0.375
    row = next(row for row in rows_of(both, ["ndcg@10"]) if row.name == "unsure")
    assert row.figures[0].high - row.figures[0].low >= 0.25
    calm = next(row for row in rows_of(both, ["ndcg@10"]) if row.name == "steady")
    assert calm.figures[0].high == calm.figures[0].low == 0.5


def test_people_who_disagree_make_an_interval_wide() -> None:
    """Every seed is alike, so seeds alone would leave no interval at all."""
    ranks = np.where(np.arange(PEOPLE) % 2, 1, 3)
    both = ran(split=(ranked(ranks),) * 3, steady=(ranked(np.full(PEOPLE, 3)),) * 3)
    [found] = differences_of(both, ["steady"], "ndcg@10")
    assert found.interval.value == 0.25
    assert 0.1 < found.interval.high - found.interval.low < 0.25
