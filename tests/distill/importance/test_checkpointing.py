"""Each block run twice: the same numbers as of the pass that keeps everything, in less memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from distill.importance.gradients.fisher import FisherSample, Read, fisher_batch, fisher_sample
from distill.importance.gradients.ghost import GhostNorms
from distill.importance.requests import PackedRequest, request_loss
from recommender.backends.packed import pack, packs
from tests.distill.importance.peak import Peak

SHAPE = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.2,
    "attn_implementation": "sdpa",
}
PREFIX = [3, 9, 9, 14, 3, 22, 7]
CANDIDATES = [[5, 9, 1], [40, 9, 17, 22, 1], [8, 1], [5, 9, 9, 33, 1], [11, 1]]
FIELDS = ("layers", "positions", "matrices", "gates", "directions", "influence", "states")


def made(kind: str, *, tied: bool) -> nn.Module:
    torch.manual_seed(3)
    if kind == "llama":
        model: nn.Module = LlamaForCausalLM(LlamaConfig(**SHAPE, tie_word_embeddings=tied))
    else:
        model = Qwen3ForCausalLM(Qwen3Config(**SHAPE, head_dim=8, tie_word_embeddings=tied))
    with torch.no_grad():  # gains of 1 would hide a forgotten gain
        for name, p in model.named_parameters():
            if "norm" in name:
                p.mul_(1 + 0.3 * torch.randn_like(p))
    return model.eval()


def require_equal(found: FisherSample, expected: FisherSample) -> None:
    for field in FIELDS:
        np.testing.assert_allclose(
            getattr(found, field), getattr(expected, field), rtol=1e-5, atol=1e-8, err_msg=field
        )
    assert (found.tied is None) is (expected.tied is None)
    numbers = ("embedding", "head", "final_norm", "loss")
    for field in (*numbers, *(["tied"] if expected.tied is not None else [])):
        assert getattr(found, field) == pytest.approx(getattr(expected, field), rel=1e-5), field
    assert found.names == expected.names


@pytest.mark.parametrize("limit", [1000, 12], ids=["one pack", "several packs"])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_gives_what_a_pass_without_gives(kind: str, tied: bool, limit: int) -> None:
    model = made(kind, tied=tied)
    request = PackedRequest(tuple(packs(PREFIX, CANDIDATES, limit=limit)), 1)
    expected = fisher_sample(model, request, temperature=3.0)
    assert (expected.layers > 0).all()
    require_equal(fisher_sample(model, request, temperature=3.0, checkpoint=True), expected)


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_gives_each_row_of_a_batch_its_own(kind: str) -> None:
    model = made(kind, tied=True)
    requests = [
        PackedRequest((pack(PREFIX, CANDIDATES),), 1),
        PackedRequest((pack(PREFIX[2:], CANDIDATES[:3]),), 0),
    ]
    expected = fisher_batch(model, requests, temperature=3.0)
    found = fisher_batch(model, requests, temperature=3.0, checkpoint=True)
    for one, other in zip(found, expected, strict=True):
        require_equal(one, other)


def test_going_back_again_runs_the_blocks_again() -> None:
    model = made("llama", tied=False)
    request = PackedRequest((pack(PREFIX, CANDIDATES),), 0)
    with torch.enable_grad(), GhostNorms(model, checkpoint=True) as norms:
        scores = torch.stack(list(norms.run(request.packs)[0]))
        found = []
        for target in (0, 4, 0):
            norms.backward(request_loss(scores, target, 3.0), again=True)
            found.append(Read(norms).matrices[0])
    for target, matrices in zip((0, 4, 0), found, strict=True):
        alone = fisher_sample(model, PackedRequest(request.packs, target), temperature=3.0)
        np.testing.assert_allclose(matrices, alone.matrices, rtol=1e-5, atol=1e-9)


def test_each_block_runs_twice_and_says_so_once() -> None:
    model = made("llama", tied=False)
    counted = {"inside": 0, "block": 0}

    def count(what: str) -> object:
        def hook(*_: object) -> None:
            counted[what] += 1

        return hook

    block = model.model.layers[1]
    handles = [
        block.register_forward_hook(count("block")),
        block.self_attn.q_proj.register_forward_hook(count("inside")),
    ]
    request = PackedRequest((pack(PREFIX, CANDIDATES),), 0)
    fisher_sample(model, request, temperature=2.0, checkpoint=True)
    for handle in handles:
        handle.remove()
    assert counted == {"inside": 2, "block": 1}


def test_dropout_is_the_same_in_both_runs() -> None:
    model = made("llama", tied=False).train()
    for block in model.model.layers:
        block.self_attn.attention_dropout = 0.5
    request = PackedRequest((pack(PREFIX, CANDIDATES),), 1)
    torch.manual_seed(7)
    expected = fisher_sample(model, request, temperature=3.0)
    torch.manual_seed(7)
    require_equal(fisher_sample(model, request, temperature=3.0, checkpoint=True), expected)
    assert model.training


def test_peak_memory_falls_to_that_of_a_block_or_two() -> None:
    torch.manual_seed(0)
    peaks = {}
    for layers in (4, 24):
        shape = {**SHAPE, "num_hidden_layers": layers, "intermediate_size": 128}
        model = LlamaForCausalLM(LlamaConfig(**shape)).eval()
        request = PackedRequest((pack(PREFIX * 8, CANDIDATES),), 1)
        for checkpoint in (False, True):
            with Peak() as peak:
                fisher_sample(model, request, temperature=3.0, checkpoint=checkpoint)
            peaks[layers, checkpoint] = peak.most
    tokens, width = len(request.packs[0]), SHAPE["hidden_size"]
    states = 20 * 4 * tokens * width
    more = {
        checkpoint: peaks[24, checkpoint] - peaks[4, checkpoint] for checkpoint in (False, True)
    }
    # Twenty blocks more cost twenty states more, and next to nothing else.
    assert states <= more[True] < 1.3 * states
    assert more[False] > 10 * states
    assert peaks[24, True] < peaks[24, False] / 4


@pytest.mark.parametrize("own", [False, True], ids=["plain", "with a forward of its own"])
def test_leaves_the_model_as_it_was_found(own: bool) -> None:
    model = made("llama", tied=True)
    block = model.model.layers[0]
    if own:
        block.forward = type(block).forward.__get__(block)
    before = [dict(vars(one)) for one in model.model.layers]
    request = PackedRequest((pack(PREFIX, CANDIDATES),), 0)
    fisher_sample(model, request, temperature=1.0, checkpoint=True)
    # Without a graph a block runs once, and its first weight finds that nothing can come back.
    with (
        GhostNorms(model, checkpoint=True) as norms,
        torch.no_grad(),
        pytest.raises(ValueError, match="does not depend"),
    ):
        norms.run(request.packs)
    for one, found in zip(model.model.layers, before, strict=True):
        assert vars(one).keys() == found.keys()
        assert vars(one).get("forward") == found.get("forward")
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
