"""Profiles that know nothing, and what a ratio says beside them."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.importance.statistics.nulls import depth_only, ratio_to_null, shuffled
from distill.importance.statistics.ratios import band_ratio, resampled_means


@pytest.mark.parametrize(("beta", "ratio"), [(0.2, 1.15), (0.3, 1.22), (0.4, 1.28), (0.8, 1.54)])
def test_depth_alone_makes_the_ratios_of_the_sheet(beta: float, ratio: float) -> None:
    # algorithms.md §1.2, I6.
    assert band_ratio(depth_only(32, beta=beta)).value == pytest.approx(ratio, abs=0.005)


def test_depth_by_hand() -> None:
    assert depth_only(4, beta=0.4, delta=2).tolist() == pytest.approx(
        [1.1**2, 1.2**2, 1.3**2, 1.4**2]
    )
    assert (np.diff(depth_only(12)) > 0).all()
    with pytest.raises(ValueError, match="no layers"):
        depth_only(0)


@given(st.lists(st.floats(0, 9), max_size=9), st.integers(0, 99))
def test_shuffling_keeps_the_values_and_the_seed_decides(profile: list[float], seed: int) -> None:
    given_ = np.array(profile)
    found = shuffled(given_, seed)
    assert sorted(found) == sorted(profile)
    assert found.tolist() == shuffled(given_, seed).tolist()
    assert given_.tolist() == profile


def test_shuffled_is_never_the_profile_itself() -> None:
    for seed in range(50):
        assert shuffled(np.array([1.0, 2.0]), seed).tolist() == [2.0, 1.0]
    assert len({tuple(shuffled(np.arange(4.0), seed)) for seed in range(50)}) > 5


VALUES = np.random.default_rng(2).exponential(size=(30, 4)) + np.array([1, 1, 1, 3])
NULL = VALUES[:, ::-1] * 0.5 + np.random.default_rng(3).exponential(size=(30, 4))


def naive_ratio(profile: np.ndarray) -> float:
    return profile[3] / profile[0]


@pytest.mark.parametrize("same", [True, False])
def test_ratio_of_ratios_is_its_definition(same: bool) -> None:
    found = ratio_to_null(VALUES, NULL, same_requests=same, resamples=80, seed=7)
    seeds = (7, 7) if same else ([7, 0], [7, 1])
    a = resampled_means(VALUES, resamples=80, seed=seeds[0])
    b = resampled_means(NULL, resamples=80, seed=seeds[1])
    resampled = [naive_ratio(x) / naive_ratio(y) for x, y in zip(a, b, strict=True)]
    assert found.value == pytest.approx(
        naive_ratio(VALUES.mean(axis=0)) / naive_ratio(NULL.mean(axis=0))
    )
    assert found.low == pytest.approx(np.quantile(resampled, 0.025))
    assert found.high == pytest.approx(np.quantile(resampled, 0.975))


def test_a_model_is_its_own_null() -> None:
    found = ratio_to_null(VALUES, VALUES * 4, same_requests=True, resamples=50)
    assert (found.value, found.low, found.high) == pytest.approx((1, 1, 1))
    assert ratio_to_null(VALUES, VALUES, same_requests=False, resamples=50).low < 1


def test_a_fixed_profile_stands_beside_resamples() -> None:
    null = np.array([1.0, 1.0, 1.0, 2.0])
    found = ratio_to_null(VALUES, null, same_requests=True, resamples=50, seed=7)
    own = band_ratio(VALUES, resamples=50, seed=7)
    assert (found.value, found.low, found.high) == pytest.approx(
        (own.value / 2, own.low / 2, own.high / 2)
    )
    under = ratio_to_null(null, VALUES, same_requests=True, resamples=50, seed=7)
    resampled = [2 / naive_ratio(p) for p in resampled_means(VALUES, resamples=50, seed=7)]
    assert (under.low, under.high) == pytest.approx(tuple(np.quantile(resampled, [0.025, 0.975])))
    assert np.isnan(ratio_to_null(null, null, same_requests=True).low)


@pytest.mark.parametrize(
    ("values", "null", "said"),
    [
        ([-1.0, 1, 1, 1], [1.0, 1, 1, 1], "^model: the mean of the lower"),
        ([1.0, 1, 1, 1], [0.0, 1, 1, 1], "^null: the mean of the lower"),
        ([1.0, 1, 1, 1], [1.0, 1, 1, -1], "^null: its ratio is not above zero"),
    ],
)
def test_what_has_no_ratio_has_a_reason(values, null, said: str) -> None:
    found = ratio_to_null(np.array(values), np.array(null), same_requests=True)
    assert not found.defined
    assert re.search(said, found.reason)


def test_the_same_requests_are_as_many() -> None:
    with pytest.raises(ValueError, match="30 and 9"):
        ratio_to_null(VALUES, NULL[:9], same_requests=True)
    assert ratio_to_null(VALUES, NULL[:9], same_requests=False, resamples=20).defined
