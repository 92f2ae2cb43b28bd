"""Ratios of bands of layers against loops that draw requests one by one."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.importance.statistics import ratios
from distill.importance.statistics.ratios import (
    THREE_BANDS,
    all_ratios,
    band_layers,
    band_means,
    band_ratio,
    mean_profile,
    resampled_means,
)

VALUES = np.random.default_rng(3).exponential(size=(40, 9)) + 0.1
RESAMPLES = 200


def naive_ratio(profile: list[float], bands: str, mean: str) -> float:
    layers = len(profile)
    if bands == "quartiles":
        width = max(1, math.floor(layers / 4))
        lower, upper = profile[:width], profile[layers - width :]
    else:
        at = [Fraction(2 * layer + 1, 2 * layers) for layer in range(layers)]
        lower = [s for s, x in zip(profile, at, strict=True) if x < Fraction(3, 10)] or [profile[0]]
        upper = [s for s, x in zip(profile, at, strict=True) if x > Fraction(7, 10)]
        upper = upper or [profile[-1]]
    if mean == "arithmetic":
        return (sum(upper) / len(upper)) / (sum(lower) / len(lower))
    return math.prod(upper) ** (1 / len(upper)) / math.prod(lower) ** (1 / len(lower))


def naive_profiles(values: np.ndarray, seed: int) -> list[list[float]]:
    """The profile of every resample, its requests written out as often as they were drawn."""
    requests = len(values)
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(RESAMPLES):
        drawn = rng.multinomial(requests, np.full(requests, 1 / requests))
        chosen = [values[x] for x in range(requests) for _ in range(drawn[x])]
        found.append(
            [sum(row[layer] for row in chosen) / requests for layer in range(len(values[0]))]
        )
    return found


@pytest.mark.parametrize("bands", ["quartiles", "thirty-percent"])
@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
@pytest.mark.parametrize("layers", [1, 2, 5, 7, 9])
def test_ratio_and_interval_are_their_definition(bands, mean, layers) -> None:
    values = VALUES[:, :layers]
    found = band_ratio(values, bands=bands, mean=mean, resamples=RESAMPLES, seed=5)
    resampled = [naive_ratio(p, bands, mean) for p in naive_profiles(values, 5)]
    assert found.value == pytest.approx(naive_ratio(values.mean(axis=0).tolist(), bands, mean))
    assert found.low == pytest.approx(np.quantile(resampled, 0.025))
    assert found.high == pytest.approx(np.quantile(resampled, 0.975))
    assert found.reason == ""


def test_all_ratios_are_the_four_ways() -> None:
    found = all_ratios(VALUES, resamples=50, seed=2)
    assert list(found) == [
        "quartiles",
        "thirty-percent",
        "quartiles-geometric",
        "thirty-percent-geometric",
    ]
    for name, one in found.items():
        bands, mean = (
            name.removesuffix("-geometric"),
            "geometric" if "geo" in name else "arithmetic",
        )
        assert one == band_ratio(VALUES, bands=bands, mean=mean, resamples=50, seed=2)
    assert len({one.value for one in found.values()}) == 4


def test_bands_by_hand() -> None:
    assert band_layers(32, "quartiles") == (range(8), range(24, 32))  # the paper's 0-7 and 24-31
    # 9.5/32 = 0.297 lies below 30 %, 10.5/32 = 0.328 above.
    assert band_layers(32, "thirty-percent") == (range(10), range(22, 32))
    # 5 layers: 1.5/5 is 30 % exactly, and so belongs to the middle.
    assert band_layers(5, "thirty-percent") == (range(1), range(4, 5))
    assert band_layers(3, "quartiles") == (range(1), range(2, 3))


@given(st.integers(1, 200))
def test_bands_mirror_each_other_and_cover_all(layers: int) -> None:
    for bands in ("quartiles", "thirty-percent"):
        lower, upper = band_layers(layers, bands)
        assert [layers - 1 - layer for layer in reversed(upper)] == list(lower)
    found = band_means(np.ones(layers))
    assert [layer for band in found.values() for layer in band.layers] == list(range(layers))


def test_one_profile_has_a_ratio_and_no_interval() -> None:
    found = band_ratio(np.array([1.0, 2.0, 3.0, 4.0]))
    assert found.value == 4.0
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.reason == ""


def test_means_drawn_in_parts_are_those_drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = resampled_means(VALUES, resamples=50, seed=1)
    monkeypatch.setattr(ratios, "COUNTS_AT_ONCE", 7 * len(VALUES))
    np.testing.assert_allclose(resampled_means(VALUES, resamples=50, seed=1), whole)


def test_one_seed_draws_the_same_requests_for_other_layers() -> None:
    both = resampled_means(VALUES, resamples=20, seed=4)
    np.testing.assert_allclose(resampled_means(VALUES[:, 3:4], resamples=20, seed=4), both[:, 3:4])


@pytest.mark.parametrize("lower", [-1.0, 0.0])
def test_a_denominator_that_is_not_above_zero_gives_no_number(lower: float) -> None:
    values = np.tile([lower, 1.0, 1.0, 4.0], (30, 1))
    found = band_ratio(values, resamples=50)
    assert not found.defined
    assert math.isnan(found.low)
    assert "lower layers" in found.reason


def test_a_denominator_that_may_be_below_zero_gives_no_number() -> None:
    # The mean is above zero; its interval is not.
    values = np.ones((30, 4))
    noise = np.random.default_rng(0).normal(0, 2, size=30)
    values[:, 0] = noise - noise.mean() + 0.1
    assert np.quantile(resampled_means(values)[:, 0], 0.025) < 0
    assert not band_ratio(values).defined


def test_a_numerator_below_zero_is_a_ratio_but_no_geometric_one() -> None:
    values = np.tile([2.0, 1.0, 1.0, -4.0], (30, 1))
    assert band_ratio(values, resamples=50).value == -2.0
    assert "geometric" in band_ratio(values, mean="geometric", resamples=50).reason


def test_three_bands_are_their_definition() -> None:
    found = band_means(VALUES, resamples=RESAMPLES, seed=5)
    profiles = naive_profiles(VALUES, 5)
    assert tuple(found) == THREE_BANDS
    # 9 layers: 2.5/9 = 0.278 lies below 30 %.
    spans = {"0-30": [0, 1, 2], "30-70": [3, 4, 5], "70-100": [6, 7, 8]}
    for name, span in spans.items():
        sums = [sum(p[layer] for layer in span) for p in profiles]
        assert found[name].layers == tuple(span)
        assert found[name].total.value == pytest.approx(VALUES.mean(axis=0)[span].sum())
        assert found[name].total.low == pytest.approx(np.quantile(sums, 0.025))
        assert found[name].mean.high == pytest.approx(np.quantile(sums, 0.975) / len(span))


def test_an_empty_band_has_no_mean() -> None:
    found = band_means(np.array([[1.0, 2.0], [2.0, 3.0]]))
    assert found["30-70"].layers == ()
    assert found["30-70"].total.value == 0.0
    assert "no layer" in found["30-70"].mean.reason


def test_interval_covers_the_true_ratio_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for trial in range(200):
        values = rng.normal([5, 10, 10, 15], 2, size=(60, 4))
        found = band_ratio(values, resamples=300, seed=trial)
        inside += found.low <= 3 <= found.high
    assert 0.88 <= inside / 200 <= 0.99


@pytest.mark.parametrize(
    "values",
    [np.zeros((0, 3)), np.array([[np.nan]]), np.array([np.inf]), np.ones((1, 2, 3)), np.ones(())],
)
def test_what_has_no_profile_is_refused(values: np.ndarray) -> None:
    for figure in (mean_profile, resampled_means, band_ratio, band_means, all_ratios):
        with pytest.raises(ValueError, match="finite"):
            figure(values)


def test_unknown_bands_and_means_are_refused() -> None:
    with pytest.raises(ValueError, match="'halves'"):
        band_ratio(np.ones(4), bands="halves")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'harmonic'"):
        band_ratio(np.ones(4), mean="harmonic")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no layers"):
        band_layers(0, "quartiles")
