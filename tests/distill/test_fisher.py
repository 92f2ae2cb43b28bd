"""Ghost norms against what they are defined as: one autograd gradient a sample, squared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from distill.importance.fisher import (
    FisherRequest,
    PackedRequest,
    fisher_pass,
    fisher_sample,
    layer_fisher,
    summarise,
)
from distill.importance.ghost import GhostNorms, linear_square
from recommender.backends import Prompt
from recommender.backends.embedded import EmbeddedBackend
from recommender.backends.packed import pack, packs
from recommender.models import EMBEDDED_TEACHER, resolve_model
from storage.errors import BadData

SHAPE = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "initializer_range": 0.2,
    "attn_implementation": "sdpa",
}
PREFIX = [3, 9, 9, 14, 3, 22, 7]
CANDIDATES = [[5, 9, 1], [40, 9, 17, 22, 1], [8, 1], [5, 9, 9, 33, 1], [11, 1]]


def llama(*, tied: bool = False, kv: int = 2) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(**SHAPE, num_key_value_heads=kv, tie_word_embeddings=tied)
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():  # gains of 1 would hide a forgotten gain
        for name, p in model.named_parameters():
            if "norm" in name:
                p.mul_(1 + 0.3 * torch.randn_like(p))
    return model


def other(kind: str) -> nn.Module:
    torch.manual_seed(1)
    config, model = {
        "qwen2": (Qwen2Config, Qwen2ForCausalLM),  # biases of q, k and v
        "qwen3": (Qwen3Config, Qwen3ForCausalLM),  # norms of each head's q and k
    }[kind]
    made = model(config(**SHAPE, num_key_value_heads=2, head_dim=8, tie_word_embeddings=True))
    with torch.no_grad():
        for name, p in made.named_parameters():
            if name.endswith("bias"):
                p.normal_(std=0.2)
    return made.eval()


def naive_scores(
    model: nn.Module, prefix: list[int] = PREFIX, candidates: list[list[int]] = CANDIDATES
) -> torch.Tensor:
    """One pass a candidate, the definition of a title's log-probability."""
    totals = []
    for tokens in candidates:
        ids = prefix + tokens
        logp = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        totals.append(sum(logp[i - 1, ids[i]] for i in range(len(prefix), len(ids))))
    return torch.stack(totals)


def naive_gradients(
    model: nn.Module, target: int, temperature: float, **asked: list
) -> dict[str, torch.Tensor]:
    loss = -(naive_scores(model, **asked) / temperature).log_softmax(0)[target]
    names, weights = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, weights), strict=True))


def block_squares(grads: dict[str, torch.Tensor], depth: int = 4) -> list[float]:
    totals = [0.0] * depth
    for name, grad in grads.items():
        if name.startswith("model.layers."):
            totals[int(name.split(".")[2])] += grad.double().square().sum().item()
    return totals


@pytest.mark.parametrize("limit", [1000, 12], ids=["one pack", "several packs"])
@pytest.mark.parametrize("kv", [1, 2, 4])
@pytest.mark.parametrize("tied", [False, True])
def test_equals_autograd(tied: bool, kv: int, limit: int) -> None:
    model = llama(tied=tied, kv=kv)
    grads = naive_gradients(model, target=1, temperature=3.0)
    request = PackedRequest(tuple(packs(PREFIX, CANDIDATES, limit=limit)), 1)
    found = fisher_sample(model, request, temperature=3.0)
    assert found.layers == pytest.approx(block_squares(grads), rel=1e-4)
    column = found.names.index("mlp.gate_proj")
    for layer in range(4):
        square = grads[f"model.layers.{layer}.mlp.gate_proj.weight"].square().sum().item()
        assert found.matrices[layer, column] == pytest.approx(square, rel=1e-4)
    norm = grads["model.norm.weight"].square().sum().item()
    assert found.final_norm == pytest.approx(norm, rel=1e-4)
    embedding = grads["model.embed_tokens.weight"].square().sum().item()
    if tied:
        assert found.tied == pytest.approx(embedding, rel=1e-4)
        assert found.tied != pytest.approx(found.embedding + found.head, rel=1e-3)
    else:
        assert found.tied is None
        assert found.embedding == pytest.approx(embedding, rel=1e-4)
        head = grads["lm_head.weight"].square().sum().item()
        assert found.head == pytest.approx(head, rel=1e-4)


@pytest.mark.parametrize("kind", ["qwen2", "qwen3"])
def test_biases_and_head_norms_count(kind: str) -> None:
    model = other(kind)
    grads = naive_gradients(model, target=3, temperature=2.0)
    found = fisher_sample(model, PackedRequest((pack(PREFIX, CANDIDATES),), 3), temperature=2.0)
    assert found.layers == pytest.approx(block_squares(grads), rel=1e-4)


def test_scores_loss_and_states_of_the_same_pass() -> None:
    model = llama()
    found = fisher_sample(model, PackedRequest((pack(PREFIX, CANDIDATES),), 0), temperature=2.0)
    expected = naive_scores(model).detach()
    np.testing.assert_allclose(found.scores, expected, atol=1e-4)
    assert found.loss == pytest.approx(-(expected / 2).log_softmax(0)[0].item(), abs=1e-4)
    assert found.tokens == tuple(map(len, CANDIDATES))
    with torch.no_grad():
        states = model(torch.tensor([PREFIX]), output_hidden_states=True).hidden_states
    # transformers gives the last one after the final norm, so it is compared through it.
    np.testing.assert_allclose(found.states[:4], torch.stack(states[:4])[:, 0, -1], atol=1e-4)
    with torch.no_grad():
        last = model.model.norm(torch.tensor(found.states[4]))
    np.testing.assert_allclose(last, states[4][0, -1], atol=1e-4)


def test_left_padded_batch_gives_each_rows_own_norm() -> None:
    model = llama(tied=True)
    rows = [[4, 8, 15, 16, 23], [42, 7], [9, 9, 9, 31]]
    answers = torch.tensor([2, 5, 9])
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(r)) + r for r in rows])
    mask = torch.tensor([[0] * (width - len(r)) + [1] * len(r) for r in rows])
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    with GhostNorms(model) as norms:
        hidden = model.model(
            inputs_embeds=norms.embed(ids), attention_mask=mask, position_ids=positions
        ).last_hidden_state
        logits = model.lm_head(hidden[:, -1:])[:, 0]
        norms.backward(nn.functional.cross_entropy(logits, answers, reduction="sum"))
    for number, row in enumerate(rows):
        loss = nn.functional.cross_entropy(
            model(torch.tensor([row])).logits[:, -1], answers[number : number + 1]
        )
        names, weights = zip(*model.named_parameters(), strict=True)
        grads = dict(zip(names, torch.autograd.grad(loss, weights), strict=True))
        for name, square in norms.squares.items():
            expected = grads[f"{name}.weight"].square().sum().item()
            assert square[number].item() == pytest.approx(expected, rel=1e-4), name
        tied = grads["model.embed_tokens.weight"].square().sum().item()
        assert norms.tied is not None
        assert norms.tied[number].item() == pytest.approx(tied, rel=1e-4)


@pytest.mark.parametrize("tokens", [3, 60], ids=["gram", "direct"])
def test_both_routes_of_a_linear_norm(tokens: int) -> None:
    torch.manual_seed(2)
    a, b = torch.randn(2, tokens, 20), torch.randn(2, tokens, 30)
    expected = [(b[i].double().T @ a[i].double()).square().sum().item() for i in range(2)]
    assert linear_square(a, b).tolist() == pytest.approx(expected, rel=1e-5)


def test_leaves_no_trace_in_the_model() -> None:
    model = llama(tied=True)
    model.model.layers[0].self_attn.q_proj.weight.requires_grad_(False)
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    request = PackedRequest((pack(PREFIX, CANDIDATES),), 0)
    fisher_sample(model, request, temperature=1.0)
    assert {name: p.requires_grad for name, p in model.named_parameters()} == before
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    with pytest.raises(ValueError, match="target 9 of 5"):
        fisher_sample(model, PackedRequest(request.packs, 9), temperature=1.0)
    with pytest.raises(ValueError, match="temperature 0"):
        fisher_sample(model, request, temperature=0.0)


def test_works_inside_no_grad_and_restores_after_an_error() -> None:
    model = llama()
    request = PackedRequest((pack(PREFIX, CANDIDATES),), 0)
    with torch.no_grad():
        assert fisher_sample(model, request, temperature=1.0).loss > 0
    with pytest.raises(RuntimeError, match="stop"), GhostNorms(model):
        raise RuntimeError("stop")
    assert all(p.requires_grad for p in model.parameters())


def test_unknown_weights_are_refused_and_not_skipped() -> None:
    model = llama()
    model.model.layers[1].mlp.gate_proj = nn.Bilinear(2, 2, 2)
    with pytest.raises(BadData, match=r"layers\.1\.mlp\.gate_proj.*Bilinear"):
        GhostNorms(model)


def test_bfloat16_stays_near_float32() -> None:
    model = llama(tied=True)
    request = PackedRequest((pack(PREFIX, CANDIDATES),), 0)
    exact = fisher_sample(model, request, temperature=5.0)
    rounded = fisher_sample(model.bfloat16(), request, temperature=5.0)
    assert rounded.layers == pytest.approx(exact.layers, rel=0.1)


def test_collected_profile_is_the_mean_of_its_samples() -> None:
    model = llama()
    asked = [PackedRequest((pack(PREFIX, CANDIDATES),), t) for t in (0, 1, 2)]
    found = layer_fisher(model, asked, temperature=4.0, resamples=50)
    single = [fisher_sample(model, request, temperature=4.0) for request in asked]
    np.testing.assert_allclose(found.profile.mean, np.mean([s.layers for s in single], axis=0))
    np.testing.assert_allclose(found.matrices.sum(axis=1), found.profile.mean)
    assert (found.profile.low <= found.profile.mean).all()
    assert (found.profile.high >= found.profile.mean).all()
    with pytest.raises(ValueError, match="no requests"):
        summarise([], temperature=1.0)


@pytest.mark.models
@pytest.mark.slow
def test_equals_autograd_on_the_real_model(models: Path) -> None:
    spec = resolve_model(models, EMBEDDED_TEACHER)
    backend = EmbeddedBackend.open(spec, device="cpu", precision="float32")
    prompt = Prompt(("Alien (1979)", "Heat"), noun="movies")
    titles = ("Aliens (1986)", "Toy Story (1995)", "The Silence of the Lambs (1991)")
    [found] = fisher_pass(backend, [FisherRequest(prompt, titles, 2)], temperature=5.0)
    prefix, _ = backend.prefix_tokens(prompt)
    backend.model.requires_grad_(True)
    candidates = [backend.title_tokens(title) for title in titles]
    grads = naive_gradients(backend.model, 2, 5.0, prefix=prefix, candidates=candidates)
    assert found.layers == pytest.approx(block_squares(grads, depth=30), rel=1e-4)
    tied = grads["model.embed_tokens.weight"].double().square().sum().item()
    assert found.tied == pytest.approx(tied, rel=1e-4)
