"""Shares of a mixture against a general solver, and at their limits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from recommender.calibration import probabilities
from recommender.fusion import Array, fit_shares, mixed, mixture_loss


def loss_by_hand(table: Array, shares: Array) -> float:
    total = 0.0
    for request in range(table.shape[1]):
        given = sum(shares[t] * table[t, request] for t in range(len(table)))
        total -= float(np.log(given)) / table.shape[1]
    return total


def solved(table: Array) -> Array:
    """The same problem, given to SLSQP."""
    teachers = len(table)
    found = minimize(
        lambda shares: mixture_loss(table, np.maximum(shares, 1e-12)),
        np.full(teachers, 1 / teachers),
        method="SLSQP",
        bounds=[(0, 1)] * teachers,
        constraints={"type": "eq", "fun": lambda shares: shares.sum() - 1},
        options={"ftol": 1e-12, "maxiter": 300},
    )
    return np.asarray(found.x, dtype=np.float64)


@st.composite
def tables(draw: st.DrawFn) -> Array:
    """Probabilities that some teachers gave to what happened."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.integers(1, 4)), draw(st.integers(2, 60))
    return rng.beta(draw(st.floats(0.3, 3)), draw(st.floats(0.3, 5)), size=shape) * 0.98 + 0.01


@given(tables())
def test_no_other_shares_are_likelier(table: Array) -> None:
    shares = fit_shares(table)
    assert shares.sum() == pytest.approx(1)
    assert (shares >= 0).all()
    assert mixture_loss(table, shares) == pytest.approx(loss_by_hand(table, shares))
    # EM nears a corner slowly, so losses are compared, and shares below where they are decided.
    assert mixture_loss(table, shares) <= mixture_loss(table, solved(table)) + 1e-6
    for corner in np.eye(len(table)):
        assert mixture_loss(table, shares) <= mixture_loss(table, corner) + 1e-6
    even = np.full(len(table), 1 / len(table))
    assert mixture_loss(table, shares) <= mixture_loss(table, even) + 1e-12


def test_the_shares_are_those_of_a_grid() -> None:
    rng = np.random.default_rng(0)
    table = rng.uniform(0.02, 0.9, size=(2, 200))
    grid = np.linspace(0, 1, 10_001)
    losses = [mixture_loss(table, [share, 1 - share]) for share in grid]
    best = float(grid[int(np.argmin(losses))])
    assert 0.1 < best < 0.9
    np.testing.assert_allclose(fit_shares(table), [best, 1 - best], atol=2e-4)
    np.testing.assert_allclose(fit_shares(table), solved(table), atol=1e-3)


def answers(rng: np.random.Generator, sharpness: float, targets: Array) -> Array:
    """Probability of the true one of ten, by a teacher that sees it so clearly."""
    scores = rng.normal(size=(len(targets), 10))
    scores[np.arange(len(targets)), targets] += sharpness
    found: Array = probabilities(scores, 1.0)[np.arange(len(targets)), targets]
    return found


def test_a_teacher_who_knows_nothing_gets_nothing() -> None:
    rng = np.random.default_rng(1)
    targets = rng.integers(10, size=400)
    good = answers(rng, 3.0, targets)
    useless = answers(rng, 0.0, targets)
    shares = fit_shares([good, useless])
    assert shares[1] < 0.06
    even = fit_shares([good, np.full(400, 0.1)])  # who at least knows that it knows nothing
    assert 0.0 <= even[1] < 0.25
    wrong = fit_shares([good, answers(rng, -3.0, targets)])
    assert wrong[1] < 0.01


def test_two_who_know_different_things_share() -> None:
    rng = np.random.default_rng(2)
    targets = rng.integers(10, size=400)
    first, second = (answers(rng, 2.0, targets) for _ in range(2))
    shares = fit_shares([first, second])
    assert 0.35 < shares[0] < 0.65
    alone = min(mixture_loss([first], [1.0]), mixture_loss([second], [1.0]))
    assert mixture_loss([first, second], shares) < alone


@pytest.mark.parametrize(
    ("table", "shares"),
    [
        ([[0.3, 0.6]], [1.0]),
        ([[0.3, 0.6], [0.3, 0.6]], [0.5, 0.5]),  # alike: nobody is preferred
        ([[0.3, 0.6], [0.3, 0.6], [0.3, 0.6]], [1 / 3] * 3),
        ([[0.5, 0.5], [0.0, 0.0]], [1.0, 0.0]),  # held everything impossible that happened
        ([[1.0, 0.0], [0.0, 1.0]], [0.5, 0.5]),
        ([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]], [1 / 3, 2 / 3]),  # by hand: 3w = 1
    ],
)
def test_limits(table: list[list[float]], shares: list[float]) -> None:
    np.testing.assert_allclose(fit_shares(table), shares, atol=1e-6)


@given(tables(), st.integers(0, 3))
def test_the_order_of_teachers_decides_nothing(table: Array, turn: int) -> None:
    turned = np.roll(fit_shares(table), turn)
    np.testing.assert_allclose(fit_shares(np.roll(table, turn, axis=0)), turned, atol=1e-9)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ([], "a teacher and a request"),
        ([[]], "a teacher and a request"),
        ([0.5, 0.5], "a teacher and a request"),
        ([[0.5, 0.0], [0.5, 0.0]], "held a true item impossible"),
    ],
)
def test_what_cannot_be_weighed_is_refused(table: list[object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fit_shares(table)


@given(st.integers(1, 4), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_a_mixture_of_distributions_is_one(teachers: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shares, rows = rng.dirichlet(np.ones(teachers)), rng.dirichlet(np.ones(count), size=teachers)
    found = mixed(list(rows), shares)
    assert found.sum() == pytest.approx(1)
    for place in range(count):
        by_hand = sum(shares[t] * rows[t, place] for t in range(teachers))
        assert found[place] == pytest.approx(by_hand)


def test_a_share_of_one_is_that_teacher_alone() -> None:
    rows = np.random.default_rng(0).dirichlet(np.ones(5), size=3)
    np.testing.assert_array_equal(mixed(list(rows), [0.0, 1.0, 0.0]), rows[1])
    assert mixture_loss(rows, [0.0, 1.0, 0.0]) == pytest.approx(float(-np.log(rows[1]).mean()))
