from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from recommender.baselines import Popularity
from recommender.evaluation import (
    EvaluationFinished,
    evaluate,
    evaluate_candidates,
    evaluate_steps,
)
from recommender.events import Progress, StageDone, StageStarted
from recommender.ranking import Ranking, rank_from_scores
from recommender.splits import Split, leave_last_out
from storage.records import NO_PART, FloatArray, IntArray, Log

ITEMS = 40


class Scorer:
    """Scores by a table of (last item of the history) -> row."""

    def __init__(self, name: str, table: FloatArray) -> None:
        self.name = name
        self.table = table
        self.largest_batch = 0

    @property
    def items(self) -> int:
        return self.table.shape[1]

    def score(self, histories: Sequence[IntArray]) -> FloatArray:
        self.largest_batch = max(self.largest_batch, len(histories))
        return self.table[[history[-1] for history in histories]]

    def rank(
        self, history: IntArray, *, candidates: IntArray | None = None, n: int = 10
    ) -> Ranking:
        row = self.score([history])[0]
        return rank_from_scores(row, history, name=self.name, candidates=candidates, n=n)


@pytest.fixture
def split() -> Split:
    """150 people walking item, item + 1, item + 2 … around a circle of 40."""
    rng = np.random.default_rng(0)
    start = rng.integers(ITEMS, size=150)
    item = ((start[:, None] + np.arange(6)) % ITEMS).ravel()
    rows = len(item)
    return leave_last_out(
        Log(
            user=np.repeat(np.arange(150), 6),
            item=item,
            time=np.arange(rows),
            rating=np.ones(rows, dtype=np.float32),
            part=np.full(rows, NO_PART, dtype=np.int8),
            people=150,
            items=ITEMS,
        )
    )


def next_table() -> FloatArray:
    return np.roll(np.eye(ITEMS, dtype=np.float32), 1, axis=1)


def test_a_perfect_scorer_gets_one(split: Split) -> None:
    evaluation = evaluate(Scorer("perfect", next_table()), split, "test", resamples=50)
    assert evaluation.ranks.tolist() == [1] * 150
    assert evaluation.table["ndcg@10"].low == 1.0
    assert evaluation.table["precision@5"].value == pytest.approx(0.2)
    assert (evaluation.lists[:, 0] == split.log.item[evaluation.rows]).all()


def test_a_constant_scorer_gets_the_worst(split: Split) -> None:
    table = np.zeros((ITEMS, ITEMS), dtype=np.float32)
    evaluation = evaluate(Scorer("constant", table), split, "test", resamples=50)
    assert evaluation.ranks.tolist() == [ITEMS - 5] * 150  # five items of history are masked
    assert evaluation.table["hr@20"].value == 0.0


def test_a_random_scorer_is_at_chance(split: Split) -> None:
    class Random(Scorer):
        def score(self, histories: Sequence[IntArray]) -> FloatArray:
            return self.generator.random((len(histories), ITEMS), dtype=np.float32)

        generator = np.random.default_rng(0)

    random = Random("random", np.empty((0, ITEMS), dtype=np.float32))
    values = evaluate(random, split, "test", resamples=50).per_request("ndcg@10")
    assert abs(values.mean() - 4.544 / (ITEMS - 5)) < 3 * values.std() / np.sqrt(len(values))


def test_batches_do_not_change_the_result(split: Split) -> None:
    rng = np.random.default_rng(0)
    table = rng.integers(5, size=(ITEMS, ITEMS)).astype(np.float32)
    wide, narrow = Scorer("x", table), Scorer("x", table)
    one = evaluate(wide, split, "valid", resamples=50)
    many = evaluate(narrow, split, "valid", resamples=50, memory=ITEMS * 16 * 7)
    assert (wide.largest_batch, narrow.largest_batch) == (150, 7)
    assert one.ranks.tolist() == many.ranks.tolist()
    assert one.lists.tolist() == many.lists.tolist()


def test_lists_never_hold_history(split: Split) -> None:
    evaluation = evaluate(Scorer("x", next_table()), split, "test", resamples=50)
    for row, listed in zip(evaluation.rows, evaluation.lists, strict=True):
        assert not set(listed.tolist()) & set(split.history(int(row)).tolist())


def test_items_newer_than_the_ranker_stand_last(split: Split) -> None:
    evaluation = evaluate(Scorer("old", next_table()[:, :30]), split, "test", resamples=50)
    new = split.log.item[evaluation.rows] >= 30
    assert new.any()
    assert (evaluation.ranks[new] == ITEMS - 5).all()
    assert evaluation.lists.max() < 30


def test_a_sample_of_people_keeps_all_their_requests(split: Split) -> None:
    scorer = Scorer("x", next_table())
    some = evaluate(scorer, split, "test", max_people=20, seed=1, resamples=50)
    again = evaluate(scorer, split, "test", max_people=20, seed=1, resamples=50)
    other = evaluate(scorer, split, "test", max_people=20, seed=2, resamples=50)
    assert len(np.unique(some.users)) == some.table["hr@5"].people == 20
    assert some.rows.tolist() == again.rows.tolist() != other.rows.tolist()


def test_events_tell_the_stage_and_end_with_the_result(split: Split) -> None:
    events = list(evaluate_steps(Scorer("x", next_table()), split, "test", resamples=50))
    assert isinstance(events[0], StageStarted)
    assert events[0].total == 150
    assert isinstance(events[1], Progress)
    assert isinstance(events[-2], StageDone)
    assert isinstance(events[-1], EvaluationFinished)


def test_lists_are_measured_too(split: Split) -> None:
    vectors = np.eye(ITEMS, dtype=np.float32)
    items, _ = split.train_sequences()
    evaluation = evaluate(
        Popularity.fit(items, ITEMS), split, "test", vectors=vectors, resamples=50
    )
    assert evaluation.table["diversity@10"].value == pytest.approx(1.0)
    assert 10 / ITEMS <= evaluation.table["coverage@10"].value <= 15 / ITEMS
    assert 0 < evaluation.table["novelty@10"].value < np.log2(ITEMS)
    assert {m.metric for m in evaluation.measurements("run")} == set(evaluation.table)


def test_a_part_without_requests_is_an_error(split: Split) -> None:
    first = Split(split.log, np.zeros_like(split.part), split.kind, split.starts, split.repeated)
    with pytest.raises(ValueError, match="no request"):
        evaluate(Scorer("x", next_table()), first, "test")


def test_candidate_lists_rank_pessimistically() -> None:
    scores = [np.array([1.0, 1.0, 1.0]), np.array([0.0, 3.0]), np.array([5.0, 4.0, 3.0, 2.0])]
    evaluation = evaluate_candidates(
        "x", "gate/candidates", scores, [0, 1, 3], np.array([0, 0, 1]), n=(1, 3), resamples=50
    )
    assert evaluation.ranks.tolist() == [3, 1, 4]
    assert evaluation.table["mrr"].value == pytest.approx((1 / 3 + 1 + 1 / 4) / 3)
    assert evaluation.table["hr@3"].value == pytest.approx(2 / 3)


def test_a_target_outside_its_candidates_is_an_error() -> None:
    with pytest.raises(ValueError, match="not among"):
        evaluate_candidates("x", "gate", [np.array([1.0])], [1], np.array([0]))
