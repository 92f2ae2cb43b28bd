"""Rank correlations of profiles against scipy's, one pair and one resample at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau, spearmanr

from distill.importance.statistics import agreement
from distill.importance.statistics.agreement import (
    kendall,
    kendall_interval,
    kendall_rows,
    spearman_depth,
    tau_against,
    tau_matrix,
)
from distill.importance.statistics.ratios import resampled_means
from storage.errors import BadData

RNG = np.random.default_rng(8)
SLOPE = np.linspace(0, 1, 7)
A = RNG.exponential(size=(30, 7)) + SLOPE
B = A + RNG.exponential(size=(30, 7))
UP = np.arange(7.0)
FLAT = np.ones(7)

PAIRS = st.integers(2, 12).flatmap(
    lambda n: st.tuples(
        *[st.lists(st.integers(0, 4).map(float), min_size=n, max_size=n) for _ in range(2)]
    )
)


@given(PAIRS)
def test_kendall_is_scipys_ties_and_all(pair) -> None:
    a, b = (np.array(one) for one in pair)
    np.testing.assert_allclose(kendall(a, b), kendalltau(a, b).statistic, atol=1e-12)


@given(PAIRS, st.randoms(use_true_random=False))
def test_kendall_does_not_mind_how_layers_are_numbered(pair, chance) -> None:
    a, b = (np.array(one) for one in pair)
    order = list(range(len(a)))
    chance.shuffle(order)
    np.testing.assert_allclose(kendall(a[order], b[order]), kendall(a, b), atol=1e-12)
    np.testing.assert_allclose(kendall(b, a), kendall(a, b), atol=1e-12)
    np.testing.assert_allclose(kendall(-a, b), -kendall(a, b), atol=1e-12)


def test_rows_compared_in_parts_are_those_compared_at_once(monkeypatch) -> None:
    whole = kendall_rows(A, B)
    monkeypatch.setattr(agreement, "PAIRS_AT_ONCE", 4 * 21)
    np.testing.assert_array_equal(kendall_rows(A, B), whole)
    assert whole.tolist() == pytest.approx(
        [kendalltau(a, b).statistic for a, b in zip(A, B, strict=True)]
    )


def taus(drawn_a: np.ndarray, drawn_b: np.ndarray) -> list[float]:
    return [kendalltau(a, b).statistic for a, b in zip(drawn_a, drawn_b, strict=True)]


def naive_means(values: np.ndarray, seed: object) -> np.ndarray:
    rng = np.random.default_rng(seed)
    even = np.full(len(values), 1 / len(values))
    counts = [rng.multinomial(len(values), even) for _ in range(100)]
    return np.array([np.repeat(values, c, axis=0).mean(axis=0) for c in counts])


@pytest.mark.parametrize("same", [True, False])
def test_interval_draws_the_same_requests_or_others(same: bool) -> None:
    found = kendall_interval(A, B, same_requests=same, resamples=100, seed=3)
    seeds = (3, 3) if same else ([3, 0], [3, 1])
    resampled = taus(naive_means(A, seeds[0]), naive_means(B, seeds[1]))
    assert found.value == pytest.approx(kendalltau(A.mean(axis=0), B.mean(axis=0)).statistic)
    assert found.low == pytest.approx(np.quantile(resampled, 0.025))
    assert found.high == pytest.approx(np.quantile(resampled, 0.975))


def test_one_criterion_agrees_with_itself_on_the_same_requests_only() -> None:
    assert kendall_interval(A, A, same_requests=True, resamples=50).low == 1.0
    assert kendall_interval(A, A, same_requests=False, resamples=50).low < 1.0


def test_a_profile_beside_values_is_held_fixed() -> None:
    found = kendall_interval(A, UP, same_requests=True, resamples=100, seed=3)
    resampled = [kendalltau(a, UP).statistic for a in naive_means(A, 3)]
    assert found.low == pytest.approx(np.quantile(resampled, 0.025))
    assert found == kendall_interval(UP, A, same_requests=True, resamples=100, seed=3)
    fixed = kendall_interval(UP, UP, same_requests=True)
    assert (fixed.value, fixed.reason) == (1.0, "")
    assert math.isnan(fixed.low)


@pytest.mark.parametrize("same", [True, False])
def test_matrix_is_every_pair(same: bool) -> None:
    profiles = {"a": A, "flat": FLAT, "b": B, "up": UP}
    found = tau_matrix(profiles, same_requests=same, resamples=60, seed=1)
    assert found.names == ("a", "flat", "b", "up")
    for i, one in enumerate(profiles.values()):
        for j, other in enumerate(profiles.values()):
            assert found.value[i, j] == pytest.approx(kendall(one, other), nan_ok=True)
    np.testing.assert_array_equal(found.value, found.value.T)
    np.testing.assert_array_equal(found.low, found.low.T)
    assert np.isnan(found.value[1]).all()
    assert np.isnan(found.low[1]).all()
    assert found.value[0, 0] == found.low[0, 0] == found.high[0, 0] == 1.0
    assert np.isnan(found.low[3, 3])  # nothing to resample
    seeds = (1, 1) if same else ([1, 0], [1, 2])
    drawn = [resampled_means(v, resamples=60, seed=s) for v, s in ((A, seeds[0]), (B, seeds[1]))]
    resampled = taus(*drawn)
    assert found.low[0, 2] == pytest.approx(np.quantile(resampled, 0.025))
    assert found.high[0, 2] == pytest.approx(np.quantile(resampled, 0.975))


def test_against_a_reference_is_one_row_of_the_matrix() -> None:
    found = tau_against(A, {"b": B, "up": UP}, same_requests=False, resamples=60, seed=1)
    whole = tau_matrix({"a": A, "b": B, "up": UP}, same_requests=False, resamples=60, seed=1)
    for place, name in ((1, "b"), (2, "up")):
        assert found[name].value == whole.value[0, place]
        assert (found[name].low, found[name].high) == (whole.low[0, place], whole.high[0, place])


def test_spearman_with_depth_is_scipys() -> None:
    found = spearman_depth(A, resamples=100, seed=3)
    resampled = [spearmanr(row, UP).statistic for row in naive_means(A, 3)]
    assert found.value == pytest.approx(spearmanr(A.mean(axis=0), UP).statistic)
    assert found.low == pytest.approx(np.quantile(resampled, 0.025))
    assert found.high == pytest.approx(np.quantile(resampled, 0.975))
    tied = np.array([1.0, 1.0, 5.0, 0.0])
    assert spearman_depth(tied).value == pytest.approx(spearmanr(tied, range(4)).statistic)
    assert spearman_depth(-UP).value == pytest.approx(-1)


def test_a_constant_profile_has_no_order_and_warns_of_nothing() -> None:
    for found in (
        kendall_interval(FLAT, A, same_requests=True),
        spearman_depth(FLAT),
        spearman_depth(np.ones((5, 7))),
        spearman_depth(np.ones(1)),
    ):
        assert not found.defined
        assert found.reason == "a constant profile has no order"
    assert math.isnan(kendall(FLAT, UP))


def test_a_constant_resample_leaves_the_figure_and_no_interval() -> None:
    values = np.array([[1.0, 1.0], [1.0, 2.0]])  # twice the first request is constant
    for found in (
        spearman_depth(values, resamples=50),
        kendall_interval(values, UP[:2], same_requests=True, resamples=50),
    ):
        assert found.value == 1.0
        assert math.isnan(found.low)
        assert "a resample is constant" in found.reason


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(BadData, match="7 and 5 layers cannot be compared"):
        kendall(A, B[:, :5])
    with pytest.raises(BadData, match="7 and 5 layers"):
        tau_against(A, {"b": B[:, :5]}, same_requests=True)
    with pytest.raises(ValueError, match="the same requests"):
        kendall_interval(A, B[:9], same_requests=True)
    with pytest.raises(ValueError, match="finite"):
        kendall(A, B * np.nan)
    with pytest.raises(ValueError, match="30 profiles beside 9"):
        kendall_rows(A, B[:9])
