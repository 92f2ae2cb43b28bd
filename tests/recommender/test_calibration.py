from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from recommender.calibration import (
    TEMPERATURE_RANGE,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    probabilities,
)

Requests = tuple[list[np.ndarray], list[int]]


def requests(count: int = 80, *, seed: int = 0, spread: float = 20.0) -> Requests:
    """Lists of different lengths whose true item tends to score high."""
    rng = np.random.default_rng(seed)
    scores = [rng.normal(scale=spread, size=rng.integers(2, 9)) for _ in range(count)]
    drawn = [rng.choice(len(s), p=probabilities(s, 1.5 * spread)) for s in scores]
    return scores, [int(target) for target in drawn]


@given(
    arrays.arrays(np.float64, (3, 4), elements=st.floats(-1e4, 1e4)),
    st.floats(0.01, 1000),
)
def test_probabilities_are_a_distribution_in_the_order_of_the_scores(
    scores: np.ndarray, temperature: float
) -> None:
    q = probabilities(scores, temperature)
    np.testing.assert_allclose(q.sum(axis=-1), 1.0)
    assert (q >= 0).all()
    for row, own in zip(q, scores, strict=True):
        assert (np.diff(row[np.argsort(own, kind="stable")]) >= 0).all()


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_a_temperature_that_is_none_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature"):
        probabilities([1.0, 2.0], temperature)


def test_likelihood_is_the_mean_of_minus_log_q() -> None:
    scores, targets = requests()
    naive = [
        -math.log(math.exp(s[t] / 9) / sum(math.exp(v / 9) for v in s))
        for s, t in zip(scores, targets, strict=True)
    ]
    assert negative_log_likelihood(scores, targets, 9.0) == pytest.approx(np.mean(naive))


@pytest.mark.parametrize("gap", [0.2, 3.0, 40.0, 900.0])
@pytest.mark.parametrize("right", [3, 7])
def test_temperature_solved_by_hand(gap: float, right: int) -> None:
    # Two candidates, the first ahead by `gap`, right `right` times out of 8:
    # q = logistic(gap / τ) = right / 8, so τ = gap / ln(right / (8 − right)).
    scores = [[gap, 0.0]] * 8
    targets = [0] * right + [1] * (8 - right)
    if right < 4:  # worse than chance: nothing above 0 fits better than no opinion
        assert fit_temperature(scores, targets) == pytest.approx(TEMPERATURE_RANGE[1], rel=1e-3)
    else:
        assert fit_temperature(scores, targets) == pytest.approx(
            gap / math.log(right / (8 - right)), rel=1e-3
        )


@pytest.mark.parametrize("seed", range(4))
def test_temperature_is_that_of_a_grid_search(seed: int) -> None:
    scores, targets = requests(seed=seed)
    grid = np.exp(np.linspace(np.log(0.5), np.log(500), 1500))
    losses = [negative_log_likelihood(scores, targets, float(t)) for t in grid]
    found = fit_temperature(scores, targets)
    assert found == pytest.approx(grid[int(np.argmin(losses))], rel=0.01)
    assert negative_log_likelihood(scores, targets, found) <= min(losses) + 1e-9


def test_temperature_goes_with_the_unit_of_the_scores() -> None:
    scores, targets = requests()
    tenfold = fit_temperature([10 * s for s in scores], targets)
    assert tenfold == pytest.approx(10 * fit_temperature(scores, targets), rel=1e-2)


def test_scores_that_are_always_right_give_the_least_temperature() -> None:
    assert fit_temperature([[5.0, 0.0]] * 4, [0] * 4) < 0.2


def test_no_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="no requests"):
        fit_temperature([], [])


def test_calibration_error_by_hand() -> None:
    # Six pairs in two bins of three. Low bin: 0.1 0.2 0.3, mean 0.2, one of three true.
    # High bin: 0.7 0.8 0.9, mean 0.8, two of three true. (3·|0.2 − 1/3| + 3·|0.8 − 2/3|) / 6.
    labels = [[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]]
    assert expected_calibration_error(labels, [0, 0, 0], bins=2) == pytest.approx(2 / 15)


def test_sure_and_right_is_calibrated_sure_and_wrong_is_not() -> None:
    sure = [[1.0, 0.0]] * 5
    assert expected_calibration_error(sure, [0] * 5, bins=2) == 0.0
    assert expected_calibration_error(sure, [1] * 5, bins=2) == 1.0


def test_lists_may_differ_in_length_and_bins_outnumber_pairs() -> None:
    assert expected_calibration_error([[0.5, 0.25, 0.25], [1.0]], [0, 0], bins=10) == pytest.approx(
        (0.5 + 0.25 + 0.25) / 4
    )


def test_labels_of_a_fitted_temperature_are_better_calibrated() -> None:
    scores, targets = requests(400)
    fitted = fit_temperature(scores, targets)
    honest, raw = (
        expected_calibration_error([probabilities(s, t) for s in scores], targets)
        for t in (fitted, 1.0)
    )
    assert honest < 0.1 < raw
