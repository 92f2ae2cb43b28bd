from __future__ import annotations

import json
import math

import numpy as np
import pytest

from distill.importance.profile import layer_profile, profile
from distill.importance.statistics.ratios import band_ratio


def test_intervals_equal_a_plain_bootstrap_loop() -> None:
    values = np.random.default_rng(3).exponential(size=(40, 8))
    found = profile(values, resamples=200, seed=5)
    counts = np.random.default_rng(5).multinomial(40, np.full(40, 1 / 40), size=200)
    means, ratios = [], []
    for drawn in counts:
        mean = np.repeat(values, drawn, axis=0).mean(axis=0)
        means.append(mean)
        ratios.append(mean[6:].mean() / mean[:2].mean())
    np.testing.assert_allclose(found.low, np.quantile(means, 0.025, axis=0))
    np.testing.assert_allclose(found.high, np.quantile(means, 0.975, axis=0))
    assert found.ratio_low == pytest.approx(np.quantile(ratios, 0.025))
    assert found.ratio == pytest.approx(values[:, 6:].mean() / values[:, :2].mean())


def test_the_ratio_is_that_of_quartiles() -> None:
    values = np.random.default_rng(3).exponential(size=(40, 8))
    found, ratio = profile(values, resamples=200, seed=5), band_ratio(values, resamples=200, seed=5)
    assert (found.ratio, found.ratio_low, found.ratio_high) == (ratio.value, ratio.low, ratio.high)
    assert found.ratio_reason == ""


def test_layers_whose_ratio_means_nothing_keep_their_profile() -> None:
    values = np.tile([-1.0, 0.0, 2.0], (5, 1))
    found = profile(values, resamples=20)
    assert (found.mean.tolist(), found.low.tolist()) == ([-1, 0, 2], [-1, 0, 2])
    assert math.isnan(found.ratio)
    assert math.isnan(found.ratio_low)
    record = layer_profile(values, category_id=1, weights="m", criterion="loo", artifact="a")
    kept = json.loads(json.dumps(record.details))  # as the Store keeps it
    assert (kept["ratio"], kept["ratio_low"]) == (None, None)  # JSON has no NaN
    assert "lower layers" in kept["ratio_reason"]
    assert (
        "ratio_reason"
        not in layer_profile(
            values[:, 2:], category_id=1, weights="m", criterion="loo", artifact="a"
        ).details
    )


def test_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for trial in range(200):
        found = profile(rng.normal(10, 1, size=(60, 1)), resamples=300, seed=trial)
        inside += bool(found.low[0] <= 10 <= found.high[0])
    assert 0.88 <= inside / 200 <= 0.99


@pytest.mark.parametrize(
    "values", [np.zeros((0, 3)), np.array([[np.nan]]), np.ones(3)], ids=["none", "nan", "flat"]
)
def test_refuses_what_has_no_profile(values: np.ndarray) -> None:
    with pytest.raises(ValueError, match="finite"):
        profile(values)


def test_record_key_follows_what_made_it() -> None:
    def key(**changed: object) -> str:
        given = {
            "category_id": 1,
            "weights": "m",
            "criterion": "fisher",
            "artifact": "a",
            "details": {"temperature": 2.0},
        }
        return layer_profile(np.ones((2, 4)), **{**given, **changed}).key

    assert key() == key()
    assert key() != key(weights="other")
    assert key() != key(details={"temperature": 3.0})
