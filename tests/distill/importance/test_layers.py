"""`layer_importance` against the samples it is made of, and the registry of criteria."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from distill.importance.criteria import BY_SIZE, CRITERIA, DEFAULT, GROUPS, chosen
from distill.importance.forward.attention import attention_sample
from distill.importance.forward.influence import angular_distances
from distill.importance.forward.removal import leave_one_out_sets, removal_sample
from distill.importance.gradients.fisher import fisher_sample
from distill.importance.layers import layer_importance
from distill.importance.measures import MEASURES, buckets, removal_sets
from distill.importance.measuring import Asked, in_memory
from distill.importance.requests import PackedRequest
from recommender.backends.packed import pack
from storage.errors import BadSetting
from tests.distill.importance.llamas import CANDIDATES, PREFIX, llama

TEMPERATURE = 3.0


def requests(count: int = 3) -> list[PackedRequest]:
    return [PackedRequest((pack(PREFIX[n % 4 :], CANDIDATES),), n * n % 5) for n in range(count)]


def test_values_are_those_of_the_samples() -> None:
    model, asked = llama(tied=True), requests()
    found = layer_importance(
        model, asked, ["default", "loo-loss", "attention-published"], temperature=TEMPERATURE
    )
    samples = [fisher_sample(model, one, temperature=TEMPERATURE) for one in asked]
    expected = {
        "fisher-empirical": [s.layers for s in samples],
        "fisher-per-position": [s.positions for s in samples],
        "gradient-norm": [np.sqrt(s.layers) for s in samples],
        "gate-fisher": [s.gates**2 for s in samples],
        "weight-direction": [s.directions**2 for s in samples],
        "block-influence": [s.influence for s in samples],
        "angular-distance": [np.diag(angular_distances(s.states), 1) for s in samples],
        "loo-loss": [
            removal_sample(model, one, TEMPERATURE, list(leave_one_out_sets(4).values())).loss_rise
            for one in asked
        ],
        "attention-published": [attention_sample(model, one).published for one in asked],
    }
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name].values, values, rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(found[name].profile.mean, np.mean(values, axis=0), rtol=1e-6)
    assert found["fisher-empirical"].arrays[0]["matrices"].shape == (4, len(samples[0].names))
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_every_criterion_can_be_taken() -> None:
    """All there are, the Hessian too; larger is more, and nothing is constant over layers."""
    model = llama()
    asked = [*requests(20)]
    found = layer_importance(model, asked, list(CRITERIA), temperature=TEMPERATURE, resamples=20)
    assert list(found) == list(CRITERIA)
    for name, one in found.items():
        assert one.values.shape == (1 if name == "greedy" else 20, 4), name
        assert np.isfinite(one.values).all(), name
        assert np.ptp(one.profile.mean) > 0, name
        if not one.criterion.signed:
            assert (one.values >= 0).all(), name
    assert sorted(found["greedy"].values[0]) == [0, 1, 2, 3]


def test_what_is_drawn_has_a_seed_and_differs_between_requests() -> None:
    model = llama()
    # The same tokens with other targets: the targets play no part, so only the draws differ.
    asked = [PackedRequest((pack(PREFIX, CANDIDATES),), target) for target in range(5)]
    one, again, other = (
        layer_importance(model, asked, ["fisher-true-rademacher"], temperature=3.0, seed=s)[
            "fisher-true-rademacher"
        ].values
        for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other)
    assert np.ptp(one, axis=0).min() > 0


def test_layers_that_differ_by_construction_are_told_apart() -> None:
    """A layer that adds next to nothing is last by every criterion that asks what it adds."""
    model = llama()
    with torch.no_grad():
        model.model.layers[2].self_attn.o_proj.weight *= 1e-4
        model.model.layers[2].mlp.down_proj.weight *= 1e-4
    names = ["gate-fisher", "block-influence", "angular-distance", "loo-loss"]
    found = layer_importance(model, requests(8), names, temperature=TEMPERATURE, resamples=20)
    for name in names:
        sizes = np.abs(found[name].profile.mean)
        assert int(sizes.argmin()) == 2, name


def test_names() -> None:
    assert set(GROUPS["all"]) | set(BY_SIZE) == set(CRITERIA)
    assert tuple(one.name for one in chosen(["default"])) == DEFAULT
    assert {one.measure for one in CRITERIA.values()} <= {*MEASURES, "greedy", "probe"}
    assert all(one.meaning and one.source for one in CRITERIA.values())
    with pytest.raises(BadSetting, match="did you mean 'loo-loss'"):
        chosen(["loo-los"])
    with pytest.raises(BadSetting, match="one of fisher-empirical"):
        chosen(["xyz"])


def test_what_cannot_be_measured_is_said() -> None:
    model = llama()
    with pytest.raises(ValueError, match="no requests"):
        layer_importance(model, [])
    text = PackedRequest((pack(PREFIX[:1], [PREFIX[1:]]),), 0)
    for name in ("loo-ndcg", "fisher-true", "fisher-true-sampled", "probe-information"):
        with pytest.raises(BadSetting, match="next-token"):
            layer_importance(model, [text], [name], loss="next-token")
    found = layer_importance(model, [text], ["loo-loss", "taylor"], loss="next-token")
    assert np.isfinite(found["loo-loss"].values).all()


def test_buckets_hold_everything_once_and_within_the_limit() -> None:
    rng = np.random.default_rng(0)
    tokens = rng.integers(5, 300, size=200).tolist()
    found = buckets(tokens, 500)
    assert sorted(n for batch in found for n in batch) == list(range(200))
    for batch in found:
        longest = max(tokens[n] for n in batch)
        assert len(batch) * longest <= 500
    assert max(map(len, found)) > 5
    filling = sum(max(tokens[n] for n in b) * len(b) for b in found) - sum(tokens)
    assert filling < 0.1 * sum(tokens)


def test_sets_that_are_left_out_together() -> None:
    single, others = removal_sets(30)
    assert list(single.values()) == [frozenset({n}) for n in range(30)]
    assert {"0-30%", "70-100%", "first quarter", "deepest 50%", "shallowest 10%"} <= set(others)


def test_greedy_in_memory_is_the_order_of_removal() -> None:
    asked = Asked(llama(), "", requests(4), "listwise", TEMPERATURE)
    [found] = in_memory(asked, "greedy")
    assert sorted(found["importance"].tolist()) == [0, 1, 2, 3]
