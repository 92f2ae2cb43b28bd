"""Linear probes: the definition in loops, planted signals, and what must not leak."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from distill.importance.forward.conditional_logit import (
    Choices,
    fit,
    padded,
    penalised,
    probe_losses,
)
from distill.importance.forward.probe import (
    ProbeLayer,
    candidate_features,
    collect,
    principal,
    probe_layers,
)
from distill.importance.requests import PackedRequest
from recommender.backends.packed import pack, packs
from recommender.backends.passes import LayerStates, pack_hidden
from storage.errors import BadData, BadSetting

Array = np.ndarray


def ragged(seed: int = 0) -> tuple[Array, list[Array], list[int], Choices]:
    """Seven requests of two to five candidates."""
    rng = np.random.default_rng(seed)
    features = [rng.normal(size=(2 + i % 4, 3)) for i in range(7)]
    targets = [int(rng.integers(len(rows))) for rows in features]
    return rng.normal(size=(7, 4)), features, targets, padded(features, targets)


def naive_losses(weights: Array, states: Array, features: list[Array], targets: list[int]) -> Array:
    """−log softmax of hᵀ A e, written out."""
    found = []
    for h, rows, target in zip(states, features, targets, strict=True):
        scores = [
            sum(h[i] * weights[i, j] * e[j] for i in range(4) for j in range(3)) for e in rows
        ]
        found.append(np.log(sum(np.exp(scores))) - scores[target])
    return np.array(found)


def test_losses_equal_the_definition() -> None:
    states, features, targets, choices = ragged()
    weights = np.random.default_rng(1).normal(size=(4, 3))
    expected = naive_losses(weights, states, features, targets)
    np.testing.assert_allclose(probe_losses(weights, states, choices), expected)
    loss, _ = penalised(weights, states, choices, 0.7)
    assert loss == pytest.approx(expected.mean() + 0.35 * (weights**2).sum())
    huge = probe_losses(1e6 * weights, states, choices)  # no overflow, and no candidate invented
    assert np.isfinite(huge).all()


def test_slope_equals_finite_differences() -> None:
    states, _, _, choices = ragged()
    weights = np.random.default_rng(1).normal(size=(4, 3))
    _, slope = penalised(weights, states, choices, 0.7)
    for place in np.ndindex(4, 3):
        step = np.zeros((4, 3))
        step[place] = 1e-5
        up, _ = penalised(weights + step, states, choices, 0.7)
        down, _ = penalised(weights - step, states, choices, 0.7)
        assert slope[place] == pytest.approx((up - down) / 2e-5, abs=1e-8)


def test_fit_is_the_minimum_wherever_it_starts() -> None:
    states, _, _, choices = ragged()
    rng = np.random.default_rng(2)
    best = fit(states, choices, 0.05)
    least, slope = penalised(best, states, choices, 0.05)
    assert np.abs(slope).max() < 1e-4
    again = fit(states, choices, 0.05, 5 * rng.normal(size=(4, 3)))
    np.testing.assert_allclose(again, best, atol=2e-3)
    for _ in range(20):
        other = best + 0.1 * rng.normal(size=best.shape)
        assert penalised(other, states, choices, 0.05)[0] > least


@pytest.mark.parametrize("count", [12, 90], ids=["fewer rows than columns", "more"])
def test_principal_components_equal_those_of_a_singular_value_decomposition(count: int) -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(count, 30)) * rng.lognormal(sigma=3, size=30) + 50
    rows[:, 7] = 1234.5678  # the same in every row
    reduce = principal(rows, 5)
    scaled = rows - rows.mean(axis=0)
    spread = scaled.std(axis=0)
    spread[7] = 1.0
    scaled[:, 7] = 0.0
    left, _, _ = np.linalg.svd(scaled / spread, full_matrices=False)
    expected = left[:, :5] * np.sqrt(count)
    signs = np.sign((reduce(rows) * expected).sum(axis=0))
    np.testing.assert_allclose(reduce(rows) * signs, expected, atol=1e-8)
    np.testing.assert_allclose(reduce(rows).mean(axis=0), 0, atol=1e-8)
    np.testing.assert_allclose(reduce(rows).std(axis=0), 1)
    np.testing.assert_allclose(reduce(rows[3:5]), reduce(rows)[3:5])


def test_directions_without_difference_are_left_out() -> None:
    rng = np.random.default_rng(4)
    same = np.repeat(rng.normal(size=(1, 9)), 6, axis=0)
    assert principal(same, 3)(same).shape == (6, 0)
    rank_two = rng.normal(size=(6, 2)) @ rng.normal(size=(2, 9))
    assert principal(rank_two, 4)(rank_two).shape == (6, 2)
    rounded = same.astype(np.float32) * (1 + 1e-7 * rng.integers(0, 2, size=same.shape))
    assert principal(rounded.astype(np.float64), 3)(rounded).shape == (6, 0)


def planted(
    seed: int, *, requests: int = 240, strength: float = 1.0
) -> tuple[Array, list[Array], Array, Array]:
    """States 0: constant, 1: noise, 2: a signal; choices drawn by hᵀ A e, and their true loss."""
    rng = np.random.default_rng(seed)
    truth = strength * rng.normal(size=(4, 4))
    mix = rng.normal(size=(4, 12))
    hidden = rng.normal(size=(requests, 4))
    inner = [rng.normal(size=(5 + i % 3, 4)) for i in range(requests)]
    scores = [e @ truth.T @ h for e, h in zip(inner, hidden, strict=True)]
    logp = [s - np.log(np.exp(s).sum()) for s in scores]
    targets = np.array([rng.choice(len(one), p=np.exp(one)) for one in logp])
    states = np.empty((requests, 3, 16), dtype=np.float32)
    states[:, 0] = rng.normal(size=16)
    states[:, 1] = rng.normal(size=(requests, 16))
    states[:, 2] = hidden @ rng.normal(size=(4, 16)) + 3
    entropy = np.array([-one[t] for one, t in zip(logp, targets, strict=True)])
    return states, [e @ mix for e in inner], targets, entropy


def test_a_planted_signal_is_found_and_nothing_else() -> None:
    states, features, targets, entropy = planted(0)
    found = collect(probe_layers(states, features, targets))
    chance = np.log([len(rows) for rows in features])
    np.testing.assert_allclose(found.chance, chance)
    np.testing.assert_allclose(found.information, chance[:, None] - found.losses)
    constant, noise, signal = found.information.mean(axis=0)
    there = (chance - entropy).mean()  # what one who knows the truth would read
    assert there > 0.7
    assert np.abs(found.information[:, 0]).max() < 1e-12
    assert constant == pytest.approx(0, abs=1e-12)
    assert abs(noise) < 0.03
    assert 0.8 * there < signal < 1.05 * there
    assert (found.ridges[2] < found.ridges[1]).all()


def test_shuffled_choices_are_never_read_better_than_chance() -> None:
    for seed in range(4):
        states, features, _, _ = planted(seed)
        rng = np.random.default_rng(100 + seed)
        targets = np.array([rng.integers(len(rows)) for rows in features])
        found = collect(probe_layers(states, features, targets, seed=seed)).information
        error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
        assert (found.mean(axis=0) <= 2 * error + 1e-9).all()
        assert (found.mean(axis=0) > -0.05).all()  # the ridge keeps it from talking nonsense


def test_an_overfitted_probe_is_worse_than_chance_on_what_it_has_not_seen() -> None:
    states, features, _, _ = planted(0, requests=60)
    rng = np.random.default_rng(0)
    targets = np.array([rng.integers(len(rows)) for rows in features])
    found = collect(probe_layers(states, features, targets, ridges=[1e-4]))
    assert found.information[:, 1].mean() < -0.5


def test_nothing_of_a_held_out_request_reaches_its_fold() -> None:
    """Who shares a fold with request 17 is untouched by all that changes in it; the rest is not."""
    states, features, targets, _ = planted(0, requests=60)
    before = collect(probe_layers(states, features, targets, ridges=[0.3]))
    states, features, targets = states.copy(), list(features), targets.copy()
    states[17] = 100 * states[3]
    features[17] = -20 * features[17]
    targets[17] = (targets[17] + 1) % 5
    after = collect(probe_layers(states, features, targets, ridges=[0.3]))
    same = before.losses == after.losses
    assert not same[17, 2]
    assert same[:, 2].sum() == 60 / 5 - 1
    assert (same[:, 1] == same[:, 2]).all()  # all layers share the folds


def test_every_fold_is_the_probe_of_its_other_folds() -> None:
    """The whole of it once more, with the folds found from outside and no inner split."""
    states, features, targets, _ = planted(1, requests=30)
    found = collect(probe_layers(states, features, targets, folds=3, components=2, ridges=[0.5]))
    for request in (0, 11, 29):
        changed = targets.copy()
        changed[request] = (targets[request] + 1) % 5
        other = collect(
            probe_layers(states, features, changed, folds=3, components=2, ridges=[0.5])
        )
        held = np.flatnonzero(found.losses[:, 2] == other.losses[:, 2])
        held = np.union1d(held, [request])
        train = np.setdiff1d(np.arange(30), held)
        p = principal(states[train, 2].astype(np.float64), 2)
        q = principal(np.concatenate([features[i] for i in train]), 2)
        h = p(states[:, 2].astype(np.float64))
        weights = fit(
            h[train], padded([q(features[i]) for i in train], targets[train].tolist()), 0.5
        )
        scores = q(features[request]) @ weights.T @ h[request]
        expected = np.log(np.exp(scores).sum()) - scores[targets[request]]
        assert found.losses[request, 2] == pytest.approx(expected, abs=1e-3)


def test_order_of_candidates_does_not_matter_and_seeds_decide() -> None:
    states, features, targets, _ = planted(2, requests=60)
    first = collect(probe_layers(states, features, targets, seed=1)).losses
    again = collect(probe_layers(states, features, targets, seed=1)).losses
    np.testing.assert_array_equal(first, again)
    turned = [rows[::-1] for rows in features]
    last = [len(rows) - 1 - t for rows, t in zip(features, targets, strict=True)]
    np.testing.assert_allclose(
        collect(probe_layers(states, turned, last, seed=1)).losses, first, atol=1e-3
    )
    assert (collect(probe_layers(states, features, targets, seed=2)).losses != first).any()


def test_layers_come_one_by_one() -> None:
    states, features, targets, _ = planted(0, requests=40)
    layers = probe_layers(states, features, targets)
    first = next(layers)
    assert isinstance(first, ProbeLayer)
    assert (first.layer, first.losses.shape, len(first.ridges)) == (0, (40,), 5)
    assert first.seconds > 0
    assert [one.layer for one in layers] == [1, 2]


def llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=61,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            initializer_range=0.2,
        )
    ).eval()


def test_candidate_features_are_means_of_the_input_embeddings() -> None:
    model = llama()
    table = model.model.embed_tokens.weight.detach().double().numpy()
    titles = [[5, 9, 1], [40, 9, 17, 22, 1], [8, 1], [5, 9, 9, 33, 1], [11, 1]]
    expected = [np.mean([table[token] for token in tokens], axis=0) for tokens in titles]
    for limit in (1000, 8):
        request = PackedRequest(tuple(packs([3, 9, 14], titles, limit=limit)), 1)
        found = candidate_features(model, request)
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert len(request.packs) > 1
    letters = PackedRequest((pack([3], [[5], [6], [8]]),), 0, owners=(0, 0, 1))
    expected = [(table[5] + table[6]) / 2, table[8]]
    np.testing.assert_allclose(candidate_features(model, letters), expected, rtol=1e-12)
    assert candidate_features(model.bfloat16(), letters).dtype == np.float64


def test_states_of_a_model_end_to_end() -> None:
    """The choice is the title that repeats the token before last, which only attention can see.

    The last token is the same everywhere, so the embedding knows nothing; every layer behind
    the first attention does.
    """
    model = llama()
    rng = np.random.default_rng(5)
    states, features, targets = [], [], []
    for _ in range(160):
        titles = rng.choice(np.arange(10, 30), size=4, replace=False)
        target = int(rng.integers(4))
        one = pack([int(titles[target]), 7], [[int(t)] for t in titles])
        with torch.inference_mode(), LayerStates(model, 1, range(4)) as kept:
            pack_hidden(model, one)
        states.append(kept.taken().numpy())
        features.append(candidate_features(model, PackedRequest((one,), target)))
        targets.append(target)
    found = collect(probe_layers(np.stack(states), features, targets))
    information = found.information.mean(axis=0)
    assert information[0] == pytest.approx(0, abs=1e-12)
    assert (information[1:] > 0.8).all()  # of log 4 = 1.39
    assert (found.information[:, 1:] <= np.log(4)).all()


def test_bad_inputs_are_refused_before_the_first_layer() -> None:
    states, features, targets, _ = planted(0, requests=20)
    with pytest.raises(BadSetting, match="20 requests in 11 folds"):
        probe_layers(states, features, targets, folds=11)
    with pytest.raises(BadSetting, match="in 1 folds"):
        probe_layers(states, features, targets, folds=1)
    with pytest.raises(BadSetting, match="0 requests"):
        probe_layers(states[:0], [], [])
    with pytest.raises(BadSetting, match="0 components"):
        probe_layers(states, features, targets, components=0)
    for ridges in ([], [0.0], [1.0, float("nan")], [float("inf")]):
        with pytest.raises(BadSetting, match="ridges"):
            probe_layers(states, features, targets, ridges=ridges)
    with pytest.raises(BadSetting, match="one candidate"):
        probe_layers(states, [rows[:1] for rows in features], [0] * 20)
    with pytest.raises(ValueError, match=r"\(20, 19, 20\)"):
        probe_layers(states, features[:-1], targets)
    with pytest.raises(ValueError, match="states"):
        probe_layers(states[:, 0], features, targets)
    with pytest.raises(ValueError, match="request 4: target 9 of 6"):
        probe_layers(states, features, [*targets[:4], 9, *targets[5:]])
    with pytest.raises(ValueError, match="request 1 has features"):
        probe_layers(states, [features[0], features[1][:, :2], *features[2:]], targets)
    broken = states.copy()
    broken[3, 1, 2] = np.nan
    with pytest.raises(BadData, match="not a finite number"):
        probe_layers(broken, features, targets)
