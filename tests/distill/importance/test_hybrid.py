"""Several profiles made one, by rank and by value."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.importance.statistics.hybrid import rank_average, weighted_mean
from storage.errors import BadData, BadSetting

PROFILES = st.integers(1, 10).flatmap(
    lambda layers: st.lists(
        st.lists(st.integers(1, 6).map(float), min_size=layers, max_size=layers),
        min_size=1,
        max_size=5,
    )
)
BOTH = pytest.mark.parametrize("combine", [rank_average, weighted_mean])


def named(rows: list[list[float]]) -> dict[str, np.ndarray]:
    return {f"c{place}": np.array(row) for place, row in enumerate(rows)}


def naive_rank(profile: list[float], layer: int) -> float:
    below = sum(s < profile[layer] for s in profile)
    equal = sum(s == profile[layer] for s in profile)
    return below + (equal + 1) / 2


@given(PROFILES, st.data())
def test_both_are_their_definition(rows: list[list[float]], data) -> None:
    shares = data.draw(
        st.lists(st.floats(0.1, 5), min_size=len(rows), max_size=len(rows)), label="weights"
    )
    weights = {f"c{place}": share for place, share in enumerate(shares)}
    ranks = rank_average(named(rows), weights=weights)
    means = weighted_mean(named(rows), weights=weights)
    for layer in range(len(rows[0])):
        by_rank = by_value = 0.0
        for share, row in zip(shares, rows, strict=True):
            by_rank += share * naive_rank(row, layer)
            by_value += share * row[layer] / (sum(row) / len(row))
        assert ranks[layer] == pytest.approx(by_rank / sum(shares))
        assert means[layer] == pytest.approx(by_value / sum(shares))
    assert means.mean() == pytest.approx(1)


@given(PROFILES, st.randoms(use_true_random=False))
def test_layers_may_be_numbered_otherwise(rows: list[list[float]], chance) -> None:
    order = list(range(len(rows[0])))
    chance.shuffle(order)
    for combine in (rank_average, weighted_mean):
        moved = combine({name: values[order] for name, values in named(rows).items()})
        np.testing.assert_allclose(moved, combine(named(rows))[order])


def test_scale_of_a_criterion_does_not_count() -> None:
    rows = named([[1, 2, 6], [3, 1, 1]])
    scaled = {"c0": rows["c0"] * 1e6, "c1": rows["c1"]}
    for combine in (rank_average, weighted_mean):
        np.testing.assert_allclose(combine(scaled), combine(rows))


@BOTH
def test_values_per_request_are_averaged_first(combine) -> None:
    values = np.random.default_rng(0).exponential(size=(9, 4))
    assert combine({"a": values}).tolist() == combine({"a": values.mean(axis=0)}).tolist()


@BOTH
def test_a_weight_of_zero_leaves_a_profile_out(combine) -> None:
    rows = named([[1, 2, 6], [3, 1, 1]])
    alone = combine({"c0": rows["c0"]})
    assert combine(rows, weights={"c0": 2.0, "c1": 0.0}).tolist() == alone.tolist()


@BOTH
def test_profiles_of_unequal_length_are_refused(combine) -> None:
    with pytest.raises(BadData, match=r"different lengths .*'c0': 2, 'c1': 3"):
        combine(named([[1, 2], [1, 2, 3]]))
    with pytest.raises(BadData, match="one profile at least"):
        combine({})


@BOTH
@pytest.mark.parametrize(
    "weights",
    [
        {"c0": 1.0},
        {"c0": 1.0, "c2": 1.0},
        {"c0": -1.0, "c1": 2.0},
        {"c0": 0.0, "c1": 0.0},
        {"c0": float("nan"), "c1": 1.0},
    ],
)
def test_weights_that_are_none_are_refused(combine, weights: dict[str, float]) -> None:
    with pytest.raises(BadSetting, match="weights"):
        combine(named([[1, 2], [2, 3]]), weights=weights)


def test_a_profile_below_zero_can_be_ranked_and_not_scaled() -> None:
    rows = {"loo": np.array([-3.0, 1.0, 2.0]), "fisher": np.array([1.0, 2.0, 3.0])}
    with pytest.raises(BadData, match=r"'loo' has a mean of 0 .*next: combine by rank"):
        weighted_mean(rows)
    assert rank_average(rows).tolist() == [1, 2, 3]
