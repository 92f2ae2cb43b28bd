from __future__ import annotations

import math

import numpy as np
import pytest

from recommender import metrics
from recommender.ranking import target_ranks


def naive(name: str, ranking: list[int], relevant: set[int], n: int) -> float:
    """Textbook definitions over a list and a set, knowing nothing about ranks."""
    top = ranking[:n]
    hits = [item in relevant for item in top]
    p, r = sum(hits) / n, sum(hits) / len(relevant)
    ideal = sum(1 / math.log2(i + 2) for i in range(min(n, len(relevant))))
    values = {
        "hr": float(any(hits)),
        "recall": r,
        "precision": p,
        "f1": 0.0 if p + r == 0 else 2 * p * r / (p + r),
        "ndcg": sum(1 / math.log2(i + 2) for i, h in enumerate(hits) if h) / ideal,
        "mrr": next((1 / (i + 1) for i, h in enumerate(hits) if h), 0.0),
        "map": sum(sum(hits[: i + 1]) / (i + 1) for i, h in enumerate(hits) if h) / len(relevant),
    }
    return values[name]


@pytest.mark.parametrize("name", list(metrics.RANK_METRICS))
@pytest.mark.parametrize("n", [1, 3, 5])
def test_metrics_are_their_textbook_definitions(name: str, n: int) -> None:
    for rank in range(1, 8):
        ranking = [99] * (rank - 1) + [7] + [99] * 5
        [value] = metrics.by_name(f"{name}@{n}", np.array([rank]))
        assert value == pytest.approx(naive(name, ranking, {7}, n))


def test_solved_by_hand() -> None:
    ranks = np.array([1, 2, 3, 6])
    assert metrics.hit(ranks, 5).tolist() == [1, 1, 1, 0]
    assert metrics.precision(ranks, 5).mean() == pytest.approx(0.15)
    assert metrics.f1(ranks, 5).mean() == pytest.approx(0.25)
    assert metrics.mrr(ranks, 5).mean() == pytest.approx((1 + 1 / 2 + 1 / 3) / 4)
    assert metrics.ndcg(ranks, 5).mean() == pytest.approx((1 + 1 / math.log2(3) + 0.5) / 4)
    assert metrics.by_name("mrr", ranks).mean() == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 6) / 4)


def test_a_random_scorer_scores_what_arithmetic_says() -> None:
    rng = np.random.default_rng(0)
    items, requests = 100, 20_000
    scores = rng.random((requests, items), dtype=np.float32)
    targets = rng.integers(items, size=requests)
    none = [np.empty(0, dtype=np.int64)] * requests
    values = metrics.ndcg(target_ranks(scores, targets, none), 10)
    error = values.std() / math.sqrt(requests)
    assert abs(values.mean() - 4.544 / items) < 3 * error
    assert metrics.chance("ndcg@10", np.array([items])) == pytest.approx(4.544 / items, rel=1e-3)


def test_a_constant_scorer_scores_zero_not_one() -> None:
    scores = np.full((30, 30), 0.5)
    ranks = target_ranks(scores, np.arange(30), [np.empty(0, dtype=np.int64)] * 30)
    assert metrics.ndcg(ranks, 10).max() == 0.0
    assert metrics.hit(ranks, 29).max() == 0.0


def test_chance_of_mixed_lists_is_the_mean_of_each() -> None:
    assert metrics.chance("mrr", np.array([1, 2])) == pytest.approx((1 + 0.75) / 2)
    assert metrics.chance("mrr", np.array([10])) == pytest.approx(0.2929, abs=1e-4)


@pytest.mark.parametrize("name", ["ndcg", "auc@10", "ndcg@0", "ndcg@ten"])
def test_unknown_metrics_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no metric"):
        metrics.by_name(name, np.array([1]))


def test_coverage_ignores_padding() -> None:
    lists = np.array([[0, 3, -1], [3, -1, -1]], dtype=np.int32)
    assert metrics.coverage(lists, 8) == 0.25


def test_diversity_is_one_minus_the_mean_over_pairs() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(6, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    lists = np.array([[0, 3, 5, -1], [2, 2, -1, -1], [4, -1, -1, -1]], dtype=np.int32)
    cosines = [float(vectors[a] @ vectors[b]) for a, b in [(0, 3), (0, 5), (3, 5)]]
    expected = [1 - sum(cosines) / 3, 0.0, 0.0]  # equal items; a list of one
    np.testing.assert_allclose(metrics.diversity(lists, vectors), expected, atol=1e-6)


def test_novelty_is_mean_surprise_in_bits() -> None:
    counts = np.array([3, 0, 1])
    lists = np.array([[0, 1], [2, -1], [-1, -1]], dtype=np.int32)
    bits = [-math.log2((c + 1) / 7) for c in (3, 0, 1)]
    expected = [(bits[0] + bits[1]) / 2, bits[2], 0.0]
    np.testing.assert_allclose(metrics.novelty(lists, counts), expected)
