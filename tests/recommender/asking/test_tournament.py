"""Groups of which the better half goes on: who wins, who is scored, how often is asked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.asking.tournament import Array, times_asked, tournament

ENTRANTS, SIZE = st.integers(1, 120), st.integers(2, 12)


class Strict:
    """Judges by a strength of each entrant, and keeps who met whom."""

    def __init__(self, strengths: Sequence[float]) -> None:
        self.strengths = np.asarray(strengths, dtype=np.float64)
        self.groups: list[list[int]] = []

    def __call__(self, group: Sequence[int]) -> Array:
        self.groups.append(list(group))
        found: Array = self.strengths[list(group)]
        return found


@st.composite
def games(draw: st.DrawFn) -> tuple[Strict, int, int]:
    """A judge whose strengths are all different, how many enter, and how many meet at once."""
    entrants, size = draw(ENTRANTS), draw(SIZE)
    order = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).permutation(entrants)
    return Strict(order), entrants, size


@given(games())
def test_a_consistent_judge_lets_the_best_win(game: tuple[Strict, int, int]) -> None:
    judge, entrants, size = game
    scores = tournament(entrants, judge, size=size)
    assert scores.shape == (entrants,)
    assert np.isfinite(scores).all()
    assert scores.argmax() == judge.strengths.argmax()
    assert (scores == scores.max()).sum() == 1


@given(games())
def test_every_entrant_is_judged_in_groups_that_are_not_too_large(
    game: tuple[Strict, int, int],
) -> None:
    judge, entrants, size = game
    tournament(entrants, judge, size=size)
    assert all(1 <= len(group) <= size for group in judge.groups)
    assert all(len(set(group)) == len(group) for group in judge.groups)
    assert {one for group in judge.groups for one in group} == set(range(entrants))


@given(games())
def test_as_many_groups_are_asked_as_was_said(game: tuple[Strict, int, int]) -> None:
    judge, entrants, size = game
    tournament(entrants, judge, size=size)
    assert len(judge.groups) == times_asked(entrants, size=size)


@given(games())
def test_it_is_its_rules_played_by_hand(game: tuple[Strict, int, int]) -> None:
    judge, entrants, size = game
    scores = tournament(entrants, judge, size=size)
    if entrants <= size:
        np.testing.assert_array_equal(scores, judge.strengths)
        return
    alive, rounds = list(range(entrants)), 0
    expected: dict[int, float] = {}
    while True:
        groups = -(-len(alive) // size)
        better: list[int] = []
        for first in range(groups):
            group = sorted(alive[first::groups], key=lambda one: -judge.strengths[one])
            for place, entrant in enumerate(group, start=1):
                expected[entrant] = rounds + 1 - place / (len(group) + 1)
            better += group[: (len(group) + 1) // 2]
        if groups == 1:
            break
        alive, rounds = sorted(better), rounds + 1
    np.testing.assert_allclose(scores, [expected[one] for one in range(entrants)])


@given(games())
def test_who_went_further_stands_higher(game: tuple[Strict, int, int]) -> None:
    judge, entrants, size = game
    scores = tournament(entrants, judge, size=size)
    met = [sum(one in group for group in judge.groups) for one in range(entrants)]
    for one in range(entrants):
        for other in range(entrants):
            if met[one] > met[other] and entrants > size:
                assert scores[one] > scores[other]
    for group in judge.groups:
        # Those who left in this round: within their group the judge decides.
        left = [one for one in group if met[one] == 1]
        assert sorted(left, key=lambda one: scores[one]) == sorted(
            left, key=lambda one: judge.strengths[one]
        )


def test_few_entrants_keep_the_judges_own_scores() -> None:
    judge = Strict([0.3, -7.5, 2.0])
    assert tournament(3, judge, size=3).tolist() == [0.3, -7.5, 2.0]
    assert judge.groups == [[0, 1, 2]]
    assert tournament(1, Strict([4.0]), size=2).tolist() == [4.0]


def test_the_first_do_not_all_meet_in_the_first_round() -> None:
    judge = Strict(np.arange(20)[::-1])
    tournament(20, judge, size=10)
    assert judge.groups[:2] == [list(range(0, 20, 2)), list(range(1, 20, 2))]
    assert sorted(judge.groups[2]) == list(range(10))


def test_a_judge_without_an_opinion_keeps_the_order_given() -> None:
    scores = tournament(20, Strict(np.zeros(20)), size=10)
    final = np.argsort(-scores, kind="stable")[:10]
    assert final.tolist() == list(range(10))


@pytest.mark.parametrize("size", [1, 0, -3])
def test_groups_of_one_decide_nothing(size: int) -> None:
    with pytest.raises(ValueError, match=f"groups of {size} decide nothing"):
        tournament(5, Strict(np.zeros(5)), size=size)


@pytest.mark.parametrize(("entrants", "asked"), [(1, 1), (10, 1), (11, 3), (20, 3), (40, 7)])
def test_how_often_is_asked_in_groups_of_ten(entrants: int, asked: int) -> None:
    # 40: four groups of ten, two of ten, one of ten.
    assert times_asked(entrants, size=10) == asked
