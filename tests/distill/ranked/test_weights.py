"""Weights of a teacher's list: twins from the definitions, cases by hand, what cannot be."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.ranked.weights import (
    confidence_weights,
    consistency_weights,
    mixed_weights,
    position_weights,
    teacher_lists,
)

RNG = np.random.default_rng(0)


# --- naive twins, from the definitions


def naive_position(count: int, beta: float) -> list[float]:
    raw = [math.exp(-(rank + 1) / beta) for rank in range(count)]
    return [one / sum(raw) for one in raw]


def naive_confidence(distances: list[float], beta: float) -> list[float]:
    raw = [math.exp(-one / beta) for one in distances]
    return [one / sum(raw) for one in raw]


def naive_consistency(places: list[int], student: list[float]) -> list[float]:
    own = sorted(range(len(student)), key=lambda place: -student[place])[: len(places)]
    return [1.0 if place in own else 0.0 for place in places]


def naive_published(
    gammas: tuple[float, float, float], distances: list[float], agreed: list[float]
) -> list[float]:
    """The mixture as the published code makes it, its 1e-8 left out."""
    count = len(distances)
    by_place = naive_position(count, 1.0)
    sure = naive_confidence(distances, 1.0)
    raw = [
        gammas[0] * by_place[n] + gammas[1] * sure[n] + gammas[2] * agreed[n] for n in range(count)
    ]
    return [one / sum(raw) for one in raw]


# --- the tests


@pytest.mark.parametrize("beta", [0.5, 1.0, 7.0])
def test_position_is_its_definition_and_falls(beta: float) -> None:
    found = position_weights(6, beta)
    assert found == pytest.approx(naive_position(6, beta))
    assert found.sum() == pytest.approx(1)
    assert (np.diff(found) < 0).all()
    assert found.dtype == np.float64


def test_position_by_hand() -> None:
    # e^-1 : e^-2 is e : 1.
    assert position_weights(2, 1.0) == pytest.approx([math.e / (1 + math.e), 1 / (1 + math.e)])


@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
def test_confidence_is_its_definition(beta: float) -> None:
    distances = RNG.uniform(0, 4, (5, 4))
    found = confidence_weights(distances, beta)
    for row, expected in zip(found, distances.tolist(), strict=True):
        assert row == pytest.approx(naive_confidence(expected, beta))


def test_confidence_of_a_label_is_the_label() -> None:
    q = RNG.dirichlet(np.ones(7), 4)
    assert confidence_weights(-np.log(q), 1.0) == pytest.approx(q)


def test_confidence_of_far_items_and_of_those_ruled_out() -> None:
    assert confidence_weights([[900.0, 900.0 + math.log(3)]], 1.0) == pytest.approx(
        np.array([[0.75, 0.25]])
    )
    assert confidence_weights([[0.0, np.inf]], 1.0).tolist() == [[1.0, 0.0]]


def test_one_number_a_list_would_say_nothing() -> None:
    """Why the paper's distance, that of the true item, is not taken: it cancels."""
    for distance in (0.0, 1.7, 4.0):
        assert confidence_weights([[distance] * 4], 1.0) == pytest.approx(np.full((1, 4), 0.25))


def test_consistency_is_its_definition() -> None:
    student = RNG.normal(size=(6, 9))
    lists = teacher_lists(RNG.normal(size=(6, 9)), 4)
    found = consistency_weights(lists, student)
    assert 0 < found.sum() < found.size
    for row, places, scores in zip(found, lists.tolist(), student.tolist(), strict=True):
        assert row.tolist() == naive_consistency(places, scores)


def test_a_student_that_is_the_teacher_agrees_in_all() -> None:
    labels = RNG.dirichlet(np.ones(8), 5)
    lists = teacher_lists(labels, 3)
    assert (consistency_weights(lists, np.log(labels)) == 1).all()
    assert (consistency_weights(lists, -labels) == 0).all()


def test_lists_are_best_first_and_ties_go_to_the_first() -> None:
    assert teacher_lists([[1.0, 3.0, 3.0, 2.0]], 3).tolist() == [[1, 2, 3]]
    assert teacher_lists([[0.0, 0.0]], 2).tolist() == [[0, 1]]


@given(
    gammas=st.tuples(*[st.floats(0.01, 2.0)] * 3),
    seed=st.integers(0, 2**16),
    count=st.integers(1, 6),
)
def test_the_mixture_is_the_published_one(
    gammas: tuple[float, float, float], seed: int, count: int
) -> None:
    rng = np.random.default_rng(seed)
    distances, agreed = rng.uniform(0, 4, count), rng.integers(0, 2, count).astype(float)
    found = mixed_weights(
        [
            (gammas[0], position_weights(count, 1.0)),
            (gammas[1], confidence_weights(distances[None], 1.0)),
            (gammas[2], agreed[None]),
        ],
        (1, count),
    )
    expected = naive_published(gammas, distances.tolist(), agreed.tolist())
    assert found[0] == pytest.approx(expected)
    assert found.sum() == pytest.approx(1)


def test_the_mixture_by_hand_and_of_nothing() -> None:
    # 0.3 · (3/4, 1/4) + 0.1 · (0, 1) = (0.225, 0.175) of 0.4.
    found = mixed_weights([(0.3, [0.75, 0.25]), (0.1, [[0.0, 1.0]])], (1, 2))
    assert found == pytest.approx(np.array([[0.5625, 0.4375]]))
    assert mixed_weights([], (2, 4)).tolist() == [[0.25] * 4] * 2
    assert mixed_weights([(1.0, np.zeros((1, 2)))], (1, 2)).tolist() == [[0.5, 0.5]]
