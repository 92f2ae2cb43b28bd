"""How many requests, and which: against a bootstrap, loops, and a simulated population."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.importance.statistics.ratios import resampled_means
from distill.importance.statistics.sample_size import (
    relative_width,
    requests_needed,
    stratified_mean,
    stratified_plan,
)
from storage.errors import BadData, BadSetting


def test_relative_width_is_half_the_interval_over_the_mean() -> None:
    values = np.random.default_rng(1).normal([4, -9], [1, 3], size=(50, 2))
    means = resampled_means(values, resamples=300, seed=7)
    found = relative_width(values, resamples=300, seed=7)
    for layer in range(2):
        low, high = np.quantile(means[:, layer], 0.025), np.quantile(means[:, layer], 0.975)
        expected = (high - low) / 2 / abs(values[:, layer].mean())
        assert found[layer] == pytest.approx(expected)
    assert (found > 0).all()  # a share of the size of the mean, whatever its sign


def test_a_mean_of_zero_has_no_relative_width() -> None:
    values = np.array([[1.0, -1.0, 0.0], [1.0, 1.0, 0.0]])
    assert relative_width(values, resamples=20).tolist() == [0.0, math.inf, math.inf]
    assert requests_needed(values) is None


def test_as_many_requests_as_needed_give_the_width_asked_for() -> None:
    rng = np.random.default_rng(2)
    pilot = rng.gamma([4.0, 1.0, 2.0], size=(20_000, 3))  # CV 0.5, 1 and 0.71
    needed = requests_needed(pilot, within=0.10)
    assert needed == pytest.approx(1.96**2 * 100, rel=0.05)
    found = relative_width(rng.gamma([4.0, 1.0, 2.0], size=(needed, 3)), resamples=4000)
    assert found.max() == pytest.approx(0.10, rel=0.12)
    assert found.argmax() == 1


def test_needed_by_hand() -> None:
    # Means 2 and 10, standard deviations √2: CV 0.7071 decides, (1.96 · 0.7071 / 0.2)² = 48.02.
    assert requests_needed(np.array([[1.0, 9.0], [3.0, 11.0]]), within=0.2) == 49
    assert requests_needed(np.array([[-1.0], [-3.0]]), within=0.2) == 49
    assert requests_needed(np.ones((2, 3))) == 1


def test_what_has_no_spread_is_refused() -> None:
    with pytest.raises(ValueError, match="one request"):
        requests_needed(np.ones((1, 3)))
    with pytest.raises(ValueError, match="one profile"):
        relative_width(np.ones(3))
    with pytest.raises(BadSetting, match="above 0"):
        requests_needed(np.ones((2, 3)), within=0.0)


def test_no_other_plan_has_a_narrower_interval() -> None:
    rng = np.random.default_rng(5)
    strata = np.repeat([0, 1, 2], [30, 20, 10])
    # Layer 1 has the widest relative interval; in layer 0 the spreads are the other way round.
    values = rng.normal([50, 10], 1, size=(60, 2))
    values[:, 1] += rng.normal(size=60) * np.array([1.0, 4.0, 9.0])[strata]
    values[:, 0] += rng.normal(size=60) * np.array([9.0, 4.0, 1.0])[strata]
    plan = stratified_plan(values, strata, 40)
    shares = [30 / 60, 20 / 60, 10 / 60]
    spread = [values[strata == h, 1].std(ddof=1) for h in range(3)]

    def variance(counts: tuple[int, ...]) -> float:
        return sum((w * s) ** 2 / n for w, s, n in zip(shares, spread, counts, strict=True))

    every = [c for c in product(range(2, 37), repeat=3) if sum(c) == 40]
    best = min(map(variance, every))
    assert variance(tuple(plan[h] for h in range(3))) <= best * 1.005


@given(
    st.lists(st.floats(0, 1e3), min_size=1, max_size=6),
    st.integers(0, 300),
    st.integers(0, 10_000),
)
def test_a_plan_spends_the_budget_and_leaves_nobody_out(
    spreads: list[float], more: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 9, size=len(spreads))
    strata = np.repeat(np.arange(len(spreads)), sizes)
    values = 100 + rng.normal(size=(len(strata), 1)) * np.array(spreads)[strata][:, None]
    budget = 2 * len(spreads) + more
    plan = stratified_plan(values, strata, budget)
    assert sum(plan.values()) == budget
    assert set(plan) == set(range(len(spreads)))
    assert min(plan.values()) >= 2


def test_a_plan_follows_spread_and_share() -> None:
    pilot = np.array([[9.0], [11.0], [5.0], [15.0]])
    strata = np.array(["calm", "calm", "wild", "wild"])
    assert stratified_plan(pilot, strata, 60) == {"calm": 10, "wild": 50}
    shares = {"calm": 5 / 6, "wild": 1 / 6}  # five times the share undoes a fifth of the spread
    assert stratified_plan(pilot, strata, 60, shares=shares) == {"calm": 30, "wild": 30}
    flat = np.ones((6, 1))
    even = np.array(["a", "a", "a", "a", "b", "b"])
    assert stratified_plan(flat, even, 30) == {"a": 20, "b": 10}
    assert stratified_plan(pilot, strata, 5) == {"calm": 2, "wild": 3}  # 0.83 would show no spread


def naive_mean(values, strata, shares) -> tuple[list[float], list[float]]:
    means, errors = [], []
    for layer in range(values.shape[1]):
        mean = square = 0.0
        for name, share in shares.items():
            own = [v[layer] for v, h in zip(values, strata, strict=True) if h == name]
            centre = sum(own) / len(own)
            mean += share * centre
            spread = sum((v - centre) ** 2 for v in own) / (len(own) - 1)
            square += share**2 * spread / len(own)
        means.append(mean)
        errors.append(math.sqrt(square))
    return means, errors


def test_stratified_mean_is_its_definition() -> None:
    values = np.random.default_rng(0).exponential(size=(12, 3))
    strata = np.array(list("aaabbbbbcccc"))
    shares = {"c": 0.5, "a": 0.2, "b": 0.3}
    mean, error = stratified_mean(values, strata, shares)
    naive = naive_mean(values, strata, shares)
    np.testing.assert_allclose(mean, naive[0])
    np.testing.assert_allclose(error, naive[1])


def test_by_strata_the_mean_is_unbiased_and_its_error_smaller() -> None:
    """A population of two kinds that differ in level and in spread, sampled 1,500 times."""
    rng = np.random.default_rng(11)
    population = {"short": rng.normal(1, 0.2, size=9000), "long": rng.normal(10, 3, size=1000)}
    shares = {"short": 0.9, "long": 0.1}
    everybody = np.concatenate(list(population.values()))
    pilot = np.concatenate([rng.choice(own, 50) for own in population.values()])[:, None]
    plan = stratified_plan(pilot, np.repeat(["short", "long"], 50), 100, shares=shares)
    strata = np.repeat(list(plan), list(plan.values()))
    plain, stratified, errors = [], [], []
    for _ in range(1500):
        plain.append(rng.choice(everybody, 100).mean())
        drawn = np.concatenate([rng.choice(population[name], n) for name, n in plan.items()])
        mean, error = stratified_mean(drawn[:, None], strata, shares)
        stratified.append(mean[0])
        errors.append(error[0])
    truth, spread = everybody.mean(), np.std(stratified)
    assert np.mean(stratified) == pytest.approx(truth, abs=4 * spread / math.sqrt(1500))
    assert np.mean(errors) == pytest.approx(spread, rel=0.06)  # it says how far off it is
    assert spread < np.std(plain) / 4
    # Without the shares, the strata that were drawn too often would decide.
    assert abs(drawn.mean() - truth) > 10 * spread


def test_what_does_not_fit_together_is_refused() -> None:
    values, strata = np.ones((4, 2)), np.array([0, 0, 1, 1])
    with pytest.raises(ValueError, match=r"\(3,\) strata for 4 requests"):
        stratified_plan(values, strata[:3], 10)
    with pytest.raises(BadSetting, match="3 requests cannot be dealt out to 2 strata"):
        stratified_plan(values, strata, 3)
    with pytest.raises(BadData, match="stratum 1 has one pilot request"):
        stratified_plan(values[:3], strata[:3], 10)
    with pytest.raises(ValueError, match="one request"):
        stratified_mean(values[:3], strata[:3], {0: 0.5, 1: 0.5})
    with pytest.raises(ValueError, match="shares of"):
        stratified_mean(values, strata, {0: 1.0})
    for wrong in ({0: 0.5, 1: 0.4}, {0: 1.5, 1: -0.5}):
        with pytest.raises(ValueError, match="sum to 1"):
            stratified_mean(values, strata, wrong)


def worst_error(pilot: np.ndarray, strata: np.ndarray, plan: dict[str, int]) -> float:
    """The widest relative standard error of a layer, written out."""
    errors = []
    for layer in range(pilot.shape[1]):
        variance = mean = 0.0
        for name, count in plan.items():
            inside = pilot[strata == name, layer]
            share = len(inside) / len(pilot)
            variance += share**2 * inside.var(ddof=1) / count
            mean += share * inside.mean()
        errors.append(math.sqrt(variance) / abs(mean))
    return max(errors)


def test_a_plan_for_one_layer_is_not_taken_where_it_starves_another() -> None:
    """Nearly as wide as the layer that decides, another spreads where that one does not."""
    rng = np.random.default_rng(5)
    strata = np.repeat(["a", "b"], 100)
    spread = np.where(strata == "a", 4.0, 0.1)
    pilot = 5 + np.stack([rng.normal(size=200) * spread, rng.normal(size=200) * spread[::-1]], 1)
    found = stratified_plan(pilot, strata, 100)
    assert found == {"a": 50, "b": 50}
    assert worst_error(pilot, strata, found) < 0.5 * worst_error(pilot, strata, {"a": 97, "b": 3})


@given(st.integers(0, 10_000))
def test_no_plan_is_worse_than_even_shares(seed: int) -> None:
    rng = np.random.default_rng(seed)
    strata = np.repeat(["a", "b", "c"], 20)
    scales = rng.gamma(1.0, 2.0, size=(3, 4)).repeat(20, axis=0)
    pilot = 3 + scales * rng.normal(size=(60, 4))
    found = stratified_plan(pilot, strata, 60)
    even = {"a": 20, "b": 20, "c": 20}
    assert worst_error(pilot, strata, found) <= worst_error(pilot, strata, even) * (1 + 1e-9)
