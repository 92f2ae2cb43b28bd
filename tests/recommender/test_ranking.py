from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.ranking import candidate_rank, rank_from_scores, target_ranks, top_indices

coarse = st.lists(st.integers(0, 4), min_size=2, max_size=12)  # few values, so many ties


def naive_rank(scores: list[float], target: int, history: set[int]) -> int:
    """The definition, one item at a time."""
    others = [i for i in range(len(scores)) if i != target and i not in history]
    return 1 + sum(scores[i] >= scores[target] for i in others)


@given(coarse, st.data())
def test_rank_is_the_definition(scores: list[int], data: st.DataObject) -> None:
    target = data.draw(st.integers(0, len(scores) - 1))
    rest = [i for i in range(len(scores)) if i != target]
    history = data.draw(st.lists(st.sampled_from(rest), max_size=6))
    row = np.array([scores], dtype=np.float32)
    [rank] = target_ranks(row, np.array([target]), [np.array(history, dtype=np.int64)])
    assert rank == naive_rank(scores, target, set(history))


@given(coarse, st.integers(1, 15))
def test_top_is_a_full_sort_cut(scores: list[int], n: int) -> None:
    expected = sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:n]
    assert top_indices(np.array(scores, dtype=np.float32), n).tolist() == expected


def test_a_constant_score_ranks_last_wherever_the_target_is() -> None:
    scores = np.zeros((3, 50), dtype=np.float32)
    histories = [np.array([7, 8])] * 3
    assert target_ranks(scores, np.array([0, 20, 49]), histories).tolist() == [48, 48, 48]


def test_unknown_items_stand_below_everything() -> None:
    scores = np.array([[1.0, -np.inf, -np.inf, 0.0]])
    assert target_ranks(scores, np.array([1]), [np.array([0])]).tolist() == [3]


def test_a_target_in_its_own_history_is_an_error() -> None:
    with pytest.raises(ValueError, match="own history"):
        target_ranks(np.zeros((1, 3)), np.array([1]), [np.array([1])])


def test_nan_is_an_error_everywhere() -> None:
    scores = np.array([0.0, np.nan, 1.0])
    with pytest.raises(ValueError, match="NaN"):
        target_ranks(scores[None], np.array([0]), [np.array([2])])
    with pytest.raises(ValueError, match="NaN"):
        rank_from_scores(scores, np.array([0]), name="x")
    with pytest.raises(ValueError, match="NaN"):
        candidate_rank(scores, 0)


def test_ranking_never_shows_history_and_counts_what_it_cannot_judge() -> None:
    scores = np.array([5.0, 4.0, -np.inf, 3.0, 2.0])
    ranking = rank_from_scores(
        scores, np.array([0, 0]), name="x", candidates=np.array([0, 2, 3, 4, 9]), n=10
    )
    assert ranking.items == (3, 4)
    assert ranking.left_out == 2  # item 2 cannot be judged, item 9 is newer than the ranker


def test_ranking_of_everything_seen_is_empty() -> None:
    assert rank_from_scores(np.ones(2), np.array([0, 1]), name="x").items == ()


def test_n_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        rank_from_scores(np.ones(2), np.array([0]), name="x", n=0)
