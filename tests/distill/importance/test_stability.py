"""Halves of a sample, and categories: against scipy and loops."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import kendalltau

from distill.importance.statistics.ratios import resampled_means
from distill.importance.statistics.stability import across_categories, half_split
from storage.errors import BadData, BadSetting

VALUES = np.random.default_rng(8).exponential(size=(300, 7)) + np.linspace(0, 1, 7)


def test_halves_are_disjoint_and_their_tau_is_scipys() -> None:
    found = half_split(VALUES, sizes=[51], repetitions=20, seed=4)[0]
    rng = np.random.default_rng([4, 51])
    expected = []
    for _ in range(20):
        chosen = rng.permutation(300)[:50]
        first, second = chosen[:25], chosen[25:]
        assert not set(first) & set(second)
        one, other = VALUES[first].mean(axis=0), VALUES[second].mean(axis=0)
        expected.append(kendalltau(one, other).statistic)
    assert found.size == 51
    assert found.mean == pytest.approx(np.mean(expected))
    assert found.low == pytest.approx(np.quantile(expected, 0.025))
    assert found.high == pytest.approx(np.quantile(expected, 0.975))
    assert found.undefined == 0


def test_sizes_double_up_to_all() -> None:
    assert [one.size for one in half_split(VALUES, repetitions=2)] == [64, 128, 256, 300]
    assert [one.size for one in half_split(VALUES[:64], repetitions=2)] == [64]
    assert [one.size for one in half_split(VALUES[:10], repetitions=2)] == [10]


def test_halves_agree_more_the_more_requests_there_are() -> None:
    means = [one.mean for one in half_split(VALUES, repetitions=200)]
    assert means == sorted(means)
    assert means[-1] > means[0] + 0.1
    noise = np.random.default_rng(0).normal(size=(300, 7))
    assert abs(half_split(noise, sizes=[64], repetitions=400)[0].mean) < 0.1


def test_a_size_is_drawn_alike_whatever_else_is_asked() -> None:
    alone = half_split(VALUES, sizes=[128], repetitions=9, seed=2)[0]
    assert half_split(VALUES, repetitions=9, seed=2)[1] == alone
    assert half_split(VALUES, sizes=[128], repetitions=9, seed=3)[0] != alone


def test_constant_halves_are_counted_and_left_out() -> None:
    found = half_split(np.ones((8, 3)), repetitions=5)[0]
    assert math.isnan(found.mean)
    assert found.undefined == 5
    # One of four requests has an order: a half without it is constant.
    rare = np.array([[1.0, 1.0]] * 3 + [[1.0, 2.0]])
    assert half_split(rare, repetitions=5)[0].undefined == 5
    some = half_split(np.vstack([rare, rare]), repetitions=40)[0]
    assert 0 < some.undefined < 40
    assert some.mean == 1.0


def test_what_cannot_be_halved_is_refused() -> None:
    for values in (VALUES[:1], VALUES[0]):
        with pytest.raises(ValueError, match="two halves"):
            half_split(values)
    for size in (1, 301):
        with pytest.raises(BadSetting, match=f"{size} requests cannot be halved out of 300"):
            half_split(VALUES, sizes=[64, size])


def test_categories_are_compared_in_all_pairs_each_resampled_by_itself() -> None:
    shops = {"Books": VALUES[:90], "Toys": VALUES[90:150], "prior": np.arange(7.0)}
    found = across_categories(shops, resamples=50, seed=6)
    drawn = [
        resampled_means(shops["Books"], resamples=50, seed=[6, 0]),
        resampled_means(shops["Toys"], resamples=50, seed=[6, 1]),
        [shops["prior"]] * 50,
    ]
    resampled = [
        np.mean([kendalltau(a[r], b[r]).statistic for a, b in combinations(drawn, 2)])
        for r in range(50)
    ]
    means = [np.atleast_2d(values).mean(axis=0) for values in shops.values()]
    value = np.mean([kendalltau(a, b).statistic for a, b in combinations(means, 2)])
    assert found.value == pytest.approx(value)
    assert found.low == pytest.approx(np.quantile(resampled, 0.025))
    assert found.high == pytest.approx(np.quantile(resampled, 0.975))


def test_categories_that_say_nothing() -> None:
    assert "no order" in across_categories({"a": np.ones(3), "b": np.arange(3.0)}).reason
    with pytest.raises(BadData, match="two categories"):
        across_categories({"Books": VALUES})
    with pytest.raises(BadData, match="layers"):
        across_categories({"a": VALUES, "b": VALUES[:, :4]})
