"""Removal against models that were built without the layers, every pass in full."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, Qwen2Config, Qwen2ForCausalLM

from distill.importance.forward.greedy import greedy_cost, greedy_steps
from distill.importance.forward.removal import (
    band_sets,
    head_share,
    leave_one_out_sets,
    ndcg_of,
    progressive_sets,
    quarter_sets,
    removal_cost,
    removal_sample,
    scores_without,
)
from distill.importance.requests import PackedRequest, scores_of
from recommender.backends.packed import pack, packs
from recommender.backends.passes import only_layers
from tests.distill.importance.llamas import (
    CANDIDATES,
    PREFIX,
    SHAPE,
    llama,
    naive_scores,
    other,
)

REQUEST = PackedRequest((pack(PREFIX, CANDIDATES),), 3)
TEMPERATURE = 3.0


def made(kind: str) -> Any:
    return llama() if kind == "llama" else other(kind)


def without(model: Any, removed: Iterable[int]) -> Any:
    """A new, shallower model with copies of the weights that stay."""
    layers = len(model.model.layers)
    kept = [layer for layer in range(layers) if layer not in set(removed)]
    config = copy.deepcopy(model.config)
    config.num_hidden_layers = len(kept)
    if getattr(config, "layer_types", None) is not None:
        config.layer_types = [config.layer_types[layer] for layer in kept]
    weights = {}
    for name, weight in model.state_dict().items():
        if not name.startswith("model.layers."):
            weights[name] = weight
            continue
        _, _, layer, rest = name.split(".", 3)
        if int(layer) in kept:
            weights[f"model.layers.{kept.index(int(layer))}.{rest}"] = weight
    shallow = type(model)(config).to(model.dtype).eval()
    shallow.load_state_dict(copy.deepcopy(weights))
    return shallow


def naive_loss(scores: Sequence[float], target: int, temperature: float = TEMPERATURE) -> float:
    scaled = [score / temperature for score in scores]
    top = max(scaled)
    return top + math.log(sum(math.exp(s - top) for s in scaled)) - scaled[target]


def naive_ndcg(scores: Sequence[float], target: int) -> float:
    others = [score for number, score in enumerate(scores) if number != target]
    rank = 1 + sum(score >= scores[target] for score in others)
    return 1 / math.log2(rank + 1) if rank <= 10 else 0.0


def assert_as_found(model: Any, before: Any, training: bool) -> None:
    assert model.model.layers is before
    assert [block.self_attn.layer_idx for block in before] == list(range(len(before)))
    assert model.config.num_hidden_layers == len(before)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(m.training == training for m in model.modules())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


@pytest.mark.parametrize("limit", [1000, 12], ids=["one pack", "several packs"])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
def test_leaving_out_equals_a_model_without_the_layer(kind: str, limit: int) -> None:
    model = made(kind)
    request = PackedRequest(tuple(packs(PREFIX, CANDIDATES, limit=limit)), 3)
    sets = [*leave_one_out_sets(4).values(), *band_sets(4).values(), frozenset({0, 2})]
    sets += [frozenset(range(4)), frozenset()]
    found = removal_sample(model, request, TEMPERATURE, sets)
    base = naive_scores(model).tolist()
    assert found.base_loss == pytest.approx(naive_loss(base, 3), abs=1e-4)
    assert found.base_ndcg == pytest.approx(naive_ndcg(base, 3))
    for number, removed in enumerate(sets):
        scores = naive_scores(without(model, removed)).tolist()
        assert found.loss[number] == pytest.approx(naive_loss(scores, 3), abs=1e-4), removed
        assert found.ndcg[number] == pytest.approx(naive_ndcg(scores, 3)), removed
    assert found.loss_rise.tolist() == (found.loss - found.base_loss).tolist()
    assert found.ndcg_fall.tolist() == (found.base_ndcg - found.ndcg).tolist()
    assert found.loss_rise[-1] == 0
    assert np.ptp(found.loss[:4]) > 0.01  # the layers do differ
    assert found.loss.dtype == np.float64


def test_bfloat16_is_exactly_the_shallower_model() -> None:
    model = made("llama").bfloat16()
    sets = list(leave_one_out_sets(4).values())
    for removed, scores in zip(sets, scores_without(model, REQUEST, sets), strict=True):
        assert scores.dtype == torch.float32
        with torch.inference_mode():
            expected = scores_of(without(model, removed), REQUEST)
        torch.testing.assert_close(scores, expected, atol=0, rtol=0)


def test_layers_that_differ_in_their_positions_and_a_scaled_embedding() -> None:
    torch.manual_seed(7)
    types = ["sliding_attention", "full_attention"] * 2
    config = Gemma3TextConfig(
        **SHAPE, num_key_value_heads=2, head_dim=8, sliding_window=4, layer_types=types,
        rope_parameters={
            "full_attention": {"rope_type": "default", "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10.0},
        },
    )  # fmt: skip
    model = Gemma3ForCausalLM(config).eval()
    sets = [*leave_one_out_sets(4).values(), frozenset({0, 2}), frozenset()]
    for removed, scores in zip(sets, scores_without(model, REQUEST, sets), strict=True):
        with torch.inference_mode():
            expected = scores_of(without(model, removed), REQUEST)
        torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)


def test_letters_of_several_spellings() -> None:
    model = made("llama")
    spellings = [[4], [5], [6], [7], [8]]
    request = PackedRequest((pack(PREFIX, spellings),), 1, owners=(0, 0, 1, 1, 2))
    found = removal_sample(model, request, 1.0, [frozenset({2})])
    single = naive_scores(without(model, [2]), candidates=spellings).tolist()
    scores = [math.log(sum(map(math.exp, part))) for part in (single[:2], single[2:4], single[4:])]
    assert found.loss[0] == pytest.approx(naive_loss(scores, 1, 1.0), abs=1e-4)
    assert found.ndcg[0] == pytest.approx(naive_ndcg(scores, 1))


def test_one_choice_has_a_loss_and_no_ranking() -> None:
    model = made("llama")
    text = PREFIX + CANDIDATES[1]
    request = PackedRequest((pack(text[:1], [text[1:]]),), 0)
    found = removal_sample(model, request, TEMPERATURE, [frozenset({1})])
    for shallow, loss in ((model, found.base_loss), (without(model, [1]), found.loss[0])):
        [expected] = naive_scores(shallow, prefix=text[:1], candidates=[text[1:]]).tolist()
        assert loss == pytest.approx(-expected, rel=1e-5)
    assert math.isnan(found.base_ndcg)
    assert np.isnan(found.ndcg).all()


def test_ndcg_is_cut_at_ten_and_ties_do_not_help() -> None:
    scores = torch.arange(12.0)
    assert [ndcg_of(scores, target) for target in (11, 2, 1)] == pytest.approx(
        [1, 1 / math.log2(11), 0]
    )
    assert ndcg_of(torch.zeros(11), 4) == 0
    assert ndcg_of(torch.zeros(10), 4) == pytest.approx(1 / math.log2(11))


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("kept", [[0, 2], [1, 3], [3], [2, 0], []])
def test_only_layers_is_a_model_of_those_layers(kind: str, kept: list[int]) -> None:
    model = made(kind)
    before = model.model.layers
    ids = torch.tensor([PREFIX + CANDIDATES[1]])
    with torch.no_grad(), only_layers(model, kept):
        assert list(model.model.layers) == [before[number] for number in kept]  # the same ones
        found = model(ids).logits
    assert_as_found(model, before, training=False)
    with torch.no_grad():
        hidden = model.model.embed_tokens(ids)
        cos_sin = model.model.rotary_emb(hidden, torch.arange(ids.shape[1])[None])
        for number in kept:
            hidden = before[number](hidden, position_embeddings=cos_sin, attention_mask=None)
        expected = model.lm_head(model.model.norm(hidden))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kept", [[0, 2], [2, 3], [0, 1], [3]])
def test_only_layers_keeps_each_layers_own_window(kept: list[int]) -> None:
    torch.manual_seed(4)
    config = Qwen2Config(
        **SHAPE, num_key_value_heads=2, use_sliding_window=True, sliding_window=3,
        max_window_layers=2,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config).eval()
    types = model.config.layer_types
    assert types == ["full_attention"] * 2 + ["sliding_attention"] * 2
    ids = torch.tensor([PREFIX + CANDIDATES[1]])
    shallow = without(model, set(range(4)) - set(kept))
    with torch.no_grad(), only_layers(model, kept):
        found = model(ids).logits
        cache, steps = None, []
        for token in ids[0]:  # as text is generated: one token at a time, from a cache
            output = model(token[None, None], past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            steps.append(output.logits[:, -1])
    assert model.config.layer_types is types
    with torch.no_grad():
        expected = shallow(ids).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(torch.stack(steps, dim=1), expected, atol=1e-5, rtol=1e-4)


def test_only_layers_refuses_and_restores() -> None:
    model = made("qwen2")
    before, types = model.model.layers, model.config.layer_types
    for kept in ([1, 1], [4], [-1]):
        with pytest.raises(ValueError, match="of 4"), only_layers(model, kept):
            pass
    with pytest.raises(RuntimeError, match="stop"), only_layers(model, [3, 1]):
        raise RuntimeError("stop")
    assert_as_found(model, before, training=False)
    assert model.config.layer_types is types


def test_the_model_is_left_as_it_was_also_after_an_error() -> None:
    model = made("llama").train()
    before = model.model.layers
    removal_sample(model, REQUEST, 1.0, [frozenset({1})])
    assert_as_found(model, before, training=True)
    bad = PackedRequest((pack([3, 999], CANDIDATES),), 1)  # token 999 of 61
    with pytest.raises(IndexError):
        removal_sample(model, bad, 1.0, [frozenset({1})])
    assert_as_found(model, before, training=True)
    with pytest.raises(IndexError):
        next(greedy_steps(model, [REQUEST, bad], 1.0, first=[2]))
    assert_as_found(model, before, training=True)


def test_wrong_requests_and_sets() -> None:
    model = made("llama")
    with pytest.raises(ValueError, match="temperature 0"):
        removal_sample(model, REQUEST, 0.0, [])
    with pytest.raises(ValueError, match="target 5 of 5"):
        removal_sample(model, PackedRequest(REQUEST.packs, 5), 1.0, [])
    for removed in ({4}, {-1, 2}):
        with pytest.raises(ValueError, match="of 4"):
            removal_sample(model, REQUEST, 1.0, [frozenset(removed)])
    for sets, layers in ((band_sets, 2), (quarter_sets, 1), (progressive_sets, 1)):
        with pytest.raises(ValueError):
            sets(layers)
    for step, most in ((0.0, 0.5), (0.6, 0.5), (0.1, 1.0)):
        with pytest.raises(ValueError, match="in steps of"):
            progressive_sets(10, step, most)


@pytest.mark.parametrize("layers", [3, 4, 7, 10, 16, 24, 28, 30, 32, 36])
def test_bands_cover_every_layer_once(layers: int) -> None:
    early, middle, late = band_sets(layers).values()
    assert sorted([*early, *middle, *late]) == list(range(layers))
    edge = max(1, math.floor(0.3 * layers + 1e-9))
    assert early == frozenset(range(edge))
    assert late == frozenset(range(layers - edge, layers))
    first, last = quarter_sets(layers).values()
    assert len(first) == len(last) == max(1, layers // 4)
    assert min(first) == 0
    assert max(last) == layers - 1


def test_progressive_sets_of_thirty_layers() -> None:
    found = progressive_sets(30)
    assert len(found) == 15
    for tenth in range(1, 6):
        n = 3 * tenth
        assert found[f"deepest {tenth}0%"] == frozenset(range(30 - n, 30))
        assert found[f"deepest {tenth}0% but the last"] == frozenset(range(29 - n, 29))
        assert found[f"shallowest {tenth}0%"] == frozenset(range(n))
    assert max(map(len, progressive_sets(3, 0.3, 0.9).values())) == 2  # one layer is left
    sizes = [len(removed) for removed in progressive_sets(3).values()]
    assert sizes == [1, 1, 1, 2, 2, 2]  # 10, 20, … 50 % of three layers are one or two
    assert sorted(progressive_sets(2)) == [
        "deepest 10%",
        "deepest 10% but the last",
        "shallowest 10%",
    ]


@contextmanager
def counted(model: Any) -> Iterator[Counter[str]]:
    """How often a layer and the head are run."""
    runs: Counter[str] = Counter()
    hooks = [b.register_forward_hook(lambda *_: runs.update(["body"])) for b in model.model.layers]
    hooks.append(model.lm_head.register_forward_hook(lambda *_: runs.update(["head"])))
    yield runs
    for hook in hooks:
        hook.remove()


def test_the_cost_is_what_is_run() -> None:
    model = made("llama")
    sets = [*leave_one_out_sets(4).values(), *band_sets(4).values(), frozenset()]
    with counted(model) as runs:
        removal_sample(model, REQUEST, 1.0, sets)
    assert runs["body"] / 4 == removal_cost(4, sets)
    assert runs["head"] == removal_cost(4, sets, head=1.0)
    for protect, first in ((set(), ()), (set(), (2,)), ({0, 3}, ()), ({1}, ())):
        keep = frozenset(protect)
        with counted(model) as runs:
            list(greedy_steps(model, [REQUEST, REQUEST], 1.0, protect=keep, first=first))
        cost = 2 * greedy_cost(4, keep, first)
        assert runs["body"] / 4 <= cost
        assert keep or runs["body"] / 4 == cost
        assert runs["head"] == 2 * greedy_cost(4, keep, first, head=1.0)
    body = sum(p.numel() for block in model.model.layers for p in block.parameters())
    assert head_share(model) == pytest.approx(61 * 32 / (61 * 32 + body))
    mixed = removal_cost(4, sets, head=head_share(model))
    assert removal_cost(4, sets) < mixed < removal_cost(4, sets, head=1.0)
