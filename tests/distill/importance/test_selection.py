"""Cuts by a profile, and how often each layer survives one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.importance.statistics.selection import SelectionRates, kept_layers, selection_rates
from storage.errors import BadData, BadSetting

VALUES = np.random.default_rng(1).exponential(size=(25, 6)) + np.array([1, 0, 0, 0, 0.2, 1])


def naive_cut(profile: list[float], keep: int, protected: list[int]) -> tuple[int, ...]:
    """Take the protected ones, then again and again the best that is left, the lower one first."""
    kept = sorted(set(protected))
    while len(kept) < keep:
        left = [layer for layer in range(len(profile)) if layer not in kept]
        best = left[0]
        for layer in left:
            if profile[layer] > profile[best]:
                best = layer
        kept.append(best)
    return tuple(sorted(kept))


@given(st.lists(st.integers(-2, 3).map(float), min_size=1, max_size=12), st.data())
def test_a_cut_is_its_definition(profile: list[float], data) -> None:
    keep = data.draw(st.integers(1, len(profile)))
    protected = data.draw(st.lists(st.integers(0, len(profile) - 1), max_size=keep))
    found = kept_layers(np.array(profile), keep, protected=protected)
    assert found == naive_cut(profile, keep, protected)


def test_of_equal_layers_the_lower_one_is_kept() -> None:
    assert kept_layers(np.ones(5), 2) == (0, 1)
    assert kept_layers(np.array([0.0, 2.0, 2.0, 2.0]), 2) == (1, 2)


def test_rates_are_the_share_of_cuts_of_resamples() -> None:
    other = VALUES[:, ::-1] + 0.3
    prior = np.arange(6.0)
    found = selection_rates(
        {"fisher": VALUES, "loo": other, "depth": prior}, 3, resamples=80, seed=4, protected=[2]
    )
    for name, values in (("fisher", VALUES), ("loo", other)):
        rng = np.random.default_rng(4)
        counts = np.zeros(6)
        for _ in range(80):
            drawn = rng.multinomial(25, np.full(25, 1 / 25))
            mean = np.repeat(values, drawn, axis=0).mean(axis=0)
            for layer in naive_cut(mean.tolist(), 3, [2]):
                counts[layer] += 1
        np.testing.assert_allclose(found.by_criterion[name], counts / 80)
        assert (counts > 0).sum() > 3  # resamples do differ
    assert found.by_criterion["depth"].tolist() == [0, 0, 1, 0, 1, 1]
    np.testing.assert_allclose(found.overall, sum(found.by_criterion.values()) / 3)
    assert found.overall.sum() == pytest.approx(3)
    assert found.expected == 0.5


def test_layers_without_difference_are_kept_as_by_lot() -> None:
    rng = np.random.default_rng(0)
    noise = {str(n): rng.normal(size=(40, 8)) for n in range(60)}
    found = selection_rates(noise, 2, resamples=50)
    assert found.expected == 0.25
    np.testing.assert_allclose(found.overall, 0.25, atol=0.15)
    assert found.always() == ()


def test_always_is_nineteen_in_twenty() -> None:
    cuts = {str(n): np.array([3.0, 2.0, 1.0]) for n in range(19)}
    found = selection_rates({**cuts, "other": np.array([3.0, 1.0, 2.0])}, 2)
    assert found.overall.tolist() == pytest.approx([1.0, 0.95, 0.05])
    assert found.always() == (0, 1)
    assert found.always(least=0.96) == (0,)
    two = selection_rates({**cuts, "b": np.array([3.0, 1, 2]), "c": np.array([3.0, 1, 2])}, 2)
    assert two.always() == (0,)
    # The mean of 0.955, 0.945 and 0.95 comes out 2e-16 short of 0.95.
    short = SelectionRates(np.mean([[0.955], [0.945], [0.95]], axis=0), {}, 0.5)
    assert short.overall[0] < 0.95
    assert short.always() == (0,)


@pytest.mark.parametrize(
    ("keep", "protected", "said"),
    [
        (0, [], "0 layers cannot be kept of 6"),
        (7, [], "7 layers cannot be kept of 6"),
        (2, [6], "layer 6 cannot be protected: there are 0 to 5"),
        (2, [-1], "layer -1 cannot be protected"),
        (2, [0, 1, 2], "3 layers are protected, and only 2 kept"),
    ],
)
def test_cuts_that_cannot_be_made_are_refused(keep: int, protected: list[int], said: str) -> None:
    with pytest.raises(BadSetting, match=said):
        kept_layers(VALUES, keep, protected=protected)
    with pytest.raises(BadSetting, match=said):
        selection_rates({"a": VALUES}, keep, protected=protected)


def test_criteria_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(BadData, match=r"\[4, 6\]"):
        selection_rates({"a": VALUES, "b": VALUES[:, :4]}, 2)
    with pytest.raises(BadData, match="one number of layers"):
        selection_rates({}, 2)
