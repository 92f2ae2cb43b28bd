from __future__ import annotations

import numpy as np
import pytest

from recommender import significance
from recommender.significance import mean_interval, mean_intervals, paired_interval


def naive_interval(values: np.ndarray, users: np.ndarray, resamples: int) -> tuple[float, float]:
    """Redraw people with a loop, all their requests with them."""
    rng = np.random.default_rng(123)
    own = [values[users == user] for user in np.unique(users)]
    means = []
    for _ in range(resamples):
        picked = [own[index] for index in rng.integers(len(own), size=len(own))]
        means.append(np.concatenate(picked).mean())
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


@pytest.fixture(params=["all differ", "mostly alike"])
def data(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    """Values, people. The second kind takes the road that draws groups of alike people."""
    rng = np.random.default_rng(5)
    users = np.sort(np.concatenate([np.arange(60), rng.integers(60, size=140)]))
    if request.param == "all differ":
        return rng.random(200) + rng.normal(size=60)[users], users
    return (rng.random(60) < 0.2).astype(float), np.arange(60)


def test_interval_agrees_with_a_loop(data: tuple[np.ndarray, np.ndarray]) -> None:
    values, users = data
    low, high = naive_interval(values, users, 4000)
    interval = mean_interval(values, users)
    assert interval.value == pytest.approx(values.mean())
    assert (interval.n, interval.people) == (len(values), 60)
    width = high - low
    assert interval.low == pytest.approx(low, abs=0.06 * width)
    assert interval.high == pytest.approx(high, abs=0.06 * width)


def test_requests_of_one_person_are_not_independent() -> None:
    """Ten copies of each request say nothing new: the interval must not shrink."""
    rng = np.random.default_rng(0)
    values, users = rng.random(40), np.arange(40)
    once = mean_interval(values, users)
    tenfold = mean_interval(np.repeat(values, 10), np.repeat(users, 10))
    assert tenfold.high - tenfold.low == pytest.approx(once.high - once.low, rel=0.05)


def test_same_seed_same_interval_other_seed_other(data: tuple[np.ndarray, np.ndarray]) -> None:
    values, users = data
    assert mean_interval(values, users, seed=3) == mean_interval(values, users, seed=3)
    if len(np.unique(values)) > 2:
        assert mean_interval(values, users, seed=3) != mean_interval(values, users, seed=4)


def test_chunks_do_not_change_the_count(monkeypatch: pytest.MonkeyPatch) -> None:
    values, users = np.random.default_rng(0).random(50), np.arange(50)
    monkeypatch.setattr(significance, "CHUNK_VALUES", 50 * 7)
    few = mean_interval(values, users, resamples=100)
    monkeypatch.setattr(significance, "CHUNK_VALUES", 10**6)
    assert few == mean_interval(values, users, resamples=100)


def test_columns_share_their_draws() -> None:
    values, users = np.random.default_rng(0).random((50, 2)), np.arange(50)
    first, second = mean_intervals(values, users)
    for both, alone in [(first, values[:, 0]), (second, values[:, 1])]:
        single = mean_interval(alone, users)
        assert (both.low, both.high) == pytest.approx((single.low, single.high))


def test_pairing_removes_what_both_share() -> None:
    rng = np.random.default_rng(0)
    hard = rng.normal(size=300)
    a, b, users = hard + 0.1 + 0.01 * rng.normal(size=300), hard, np.arange(300)
    assert not mean_interval(a, users).excludes_zero
    assert paired_interval(a, b, users).excludes_zero
    assert paired_interval(a, a, users).value == paired_interval(a, a, users).high == 0.0


def test_seeds_widen_a_paired_interval() -> None:
    rng = np.random.default_rng(0)
    users, b = np.arange(400), np.zeros((3, 400))
    a = 0.2 + 0.05 * rng.normal(size=(3, 400)) + np.array([[-0.1], [0.0], [0.1]])
    seeds = paired_interval(a, b, users)
    pooled = paired_interval(a.mean(axis=0), b.mean(axis=0), users)
    assert seeds.value == pytest.approx(pooled.value)
    assert seeds.high - seeds.low > 5 * (pooled.high - pooled.low)
    # Three seeds: the extremes are drawn thrice with probability 1/27 each, beyond 2.5 %.
    assert seeds.low == pytest.approx(a.mean(axis=1).min(), abs=0.01)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="same requests"):
        paired_interval(np.ones(2), np.ones(3), np.arange(2))
    with pytest.raises(ValueError, match="0 people"):
        mean_interval(np.ones(0), np.arange(0))
    with pytest.raises(ValueError, match="finite"):
        mean_interval(np.array([1.0, np.nan]), np.arange(2))
