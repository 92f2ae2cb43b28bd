"""Ghost norms against what they are defined as: one autograd gradient a sample, squared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from distill.importance.gradients.fisher import (
    fisher_batch,
    fisher_pass,
    fisher_sample,
    layer_fisher,
    summarise,
)
from distill.importance.gradients.ghost import GhostNorms
from distill.importance.gradients.head import ROWS, token_logprobs
from distill.importance.gradients.norms import linear_square
from distill.importance.requests import FisherRequest, PackedRequest
from recommender.backends import Prompt
from recommender.backends.embedded import EmbeddedBackend
from recommender.backends.packed import pack, packs
from recommender.backends.passes import pack_hidden, title_logprobs
from recommender.models import EMBEDDED_TEACHER, resolve_model
from storage.errors import BadData
from tests.distill.importance.llamas import (
    CANDIDATES,
    PREFIX,
    block_squares,
    llama,
    naive_gradients,
    naive_scores,
    other,
)


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


def asked(target: int = 1, *, shorter: int = 0) -> PackedRequest:
    return PackedRequest((pack(PREFIX[shorter:], CANDIDATES[: 5 - shorter]),), target)


@pytest.mark.parametrize("tied", [False, True])
def test_a_batch_gives_each_row_what_it_has_alone(tied: bool) -> None:
    model = llama(tied=tied)
    requests = [asked(1), asked(0, shorter=2), asked(2, shorter=1)]
    alone = [fisher_sample(model, one, temperature=3.0) for one in requests]
    together = fisher_batch(model, requests, temperature=3.0)
    for one, other_one in zip(alone, together, strict=True):
        for field in ("layers", "positions", "matrices", "gates", "directions", "influence"):
            np.testing.assert_allclose(
                getattr(other_one, field), getattr(one, field), rtol=2e-4, atol=1e-7, err_msg=field
            )
        assert (other_one.tied is None) is (not tied)
        for field in ("embedding", "head", "final_norm", "loss", *(["tied"] if tied else [])):
            assert getattr(other_one, field) == pytest.approx(getattr(one, field), rel=1e-4), field
        np.testing.assert_allclose(other_one.scores, one.scores, atol=1e-4)
        np.testing.assert_allclose(other_one.states, one.states, atol=1e-4)
        assert other_one.tokens == one.tokens
    halves = PackedRequest(tuple(packs(PREFIX, CANDIDATES, limit=12)), 1)
    with pytest.raises(ValueError, match="run alone"):
        fisher_batch(model, [halves, asked()], temperature=3.0)


def gated_loss(
    model: nn.Module, gates: torch.Tensor, target: int, temperature: float
) -> torch.Tensor:
    """The loss with h_l = h_{l-1} + a_l f_l: the definition of the gates."""

    def scale(layer: int):
        return lambda _m, args, output: args[0] + gates[layer] * (output - args[0])

    hooks = [block.register_forward_hook(scale(n)) for n, block in enumerate(model.model.layers)]
    loss = -(naive_scores(model) / temperature).log_softmax(0)[target]
    for hook in hooks:
        hook.remove()
    return loss


@pytest.mark.parametrize("limit", [1000, 12], ids=["one pack", "several packs"])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
def test_gates_and_directions_are_what_they_are_defined_as(kind: str, limit: int) -> None:
    model = llama() if kind == "llama" else other(kind)
    request = PackedRequest(tuple(packs(PREFIX, CANDIDATES, limit=limit)), 3)
    found = fisher_sample(model, request, temperature=2.0)
    gates = torch.ones(4, requires_grad=True)
    (expected,) = torch.autograd.grad(gated_loss(model, gates, 3, 2.0), gates)
    np.testing.assert_allclose(found.gates, expected, rtol=1e-3, atol=1e-5)
    grads = naive_gradients(model, target=3, temperature=2.0)
    directions = [0.0] * 4
    for name, weight in model.named_parameters():
        if name.startswith("model.layers.") and not name.endswith("bias"):
            directions[int(name.split(".")[2])] += (weight * grads[name]).sum().item()
    np.testing.assert_allclose(found.directions, directions, rtol=1e-3, atol=1e-5)


def test_the_gate_says_what_a_small_step_of_the_gate_does() -> None:
    model = llama().double()
    found = fisher_sample(model, asked(), temperature=3.0)
    for layer in range(4):
        step = torch.zeros(4)
        step[layer] = 1e-3
        with torch.no_grad():
            up, down = (gated_loss(model, 1 + sign * step, 1, 3.0) for sign in (1, -1))
        assert (up - down).item() / 2e-3 == pytest.approx(found.gates[layer], abs=2e-4)


def test_block_influence_is_one_minus_the_cosine_over_all_tokens() -> None:
    model = llama()
    one = asked().packs[0]
    kept: list[tuple[torch.Tensor, torch.Tensor]] = []
    hooks = [
        block.register_forward_hook(lambda _m, args, out: kept.append((args[0], out)))
        for block in model.model.layers
    ]
    with torch.no_grad():
        pack_hidden(model, one)
    for hook in hooks:
        hook.remove()
    expected = [
        np.mean(
            [
                1 - torch.cosine_similarity(a, b, dim=0).item()
                for a, b in zip(x[0], y[0], strict=True)
            ]
        )
        for x, y in kept
    ]
    found = fisher_sample(model, asked(), temperature=3.0)
    np.testing.assert_allclose(found.influence, expected, atol=1e-5)


def test_a_position_has_the_square_of_its_own_share() -> None:
    """Each token is given weights of its own, and their gradients are squared one by one."""
    model = llama()
    one = asked().packs[0]
    totals = [0.0] * 4
    seen: list[tuple[str, torch.Tensor, torch.Tensor]] = []

    def watch(name: str):
        def hook(_module: nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            output.retain_grad()
            seen.append((name, args[0].detach(), output))

        return hook

    hooks = [
        m.register_forward_hook(watch(name))
        for name, m in model.named_modules()
        if name.startswith("model.layers.") and list(m.parameters(recurse=False))
    ]
    scores = title_logprobs(model, pack_hidden(model, one), one)
    (-(scores / 3.0).log_softmax(0)[1]).backward()
    for hook in hooks:
        hook.remove()
    for name, given, output in seen:
        layer, short = int(name.split(".")[2]), name.split(".", 3)[3]
        everywhere = layer < 3 or short in (
            "input_layernorm",
            "self_attn.k_proj",
            "self_attn.v_proj",
        )
        counted = len(one) if everywhere else len(one) - one.prefix + 1
        for x, b in zip(given[0], output.grad[0], strict=True):
            if "norm" in short:
                share = b * x / (x.square().mean() + 1e-6).sqrt()
            else:
                share = torch.outer(b, x)
            totals[layer] += share.double().square().sum().item() / counted
    found = fisher_sample(model, asked(), temperature=3.0)
    assert found.positions == pytest.approx(totals, rel=1e-4)


def test_one_choice_has_the_loss_of_language_modelling() -> None:
    model = llama(tied=True)
    text = [3, 9, 14, 3, 22, 7, 5]
    found = fisher_sample(model, PackedRequest((pack(text[:1], [text[1:]]),), 0), temperature=9.0)
    ids = torch.tensor([text])
    loss = model(ids, labels=ids).loss * (len(text) - 1)
    names, weights = zip(*model.named_parameters(), strict=True)
    grads = dict(zip(names, torch.autograd.grad(loss, weights), strict=True))
    assert found.loss == pytest.approx(loss.item(), rel=1e-5)
    assert found.layers == pytest.approx(block_squares(grads), rel=1e-4)


def test_letters_in_two_spellings_count_together() -> None:
    model = llama()
    request = PackedRequest((pack(PREFIX, [[5], [40], [8], [11]]),), 1, owners=(0, 0, 1, 1))
    found = fisher_sample(model, request, temperature=1.5)
    logp = model(torch.tensor([PREFIX])).logits[0, -1].log_softmax(-1)
    scores = torch.stack([logp[[5, 40]].logsumexp(0), logp[[8, 11]].logsumexp(0)])
    loss = -(scores / 1.5).log_softmax(0)[1]
    names, weights = zip(*model.named_parameters(), strict=True)
    grads = dict(zip(names, torch.autograd.grad(loss, weights), strict=True))
    assert found.layers == pytest.approx(block_squares(grads), rel=1e-4)
    np.testing.assert_allclose(found.scores, scores.detach(), atol=1e-5)


def test_log_probabilities_of_more_rows_than_are_taken_at_once() -> None:
    torch.manual_seed(4)
    head, x = nn.Linear(8, 13), torch.randn(1, 2 * ROWS + 7, 8, requires_grad=True)
    rows = torch.arange(x.shape[1]).repeat(2).flip(0)
    targets = torch.randint(13, (len(rows),))
    told: list[torch.Tensor] = []
    found = token_logprobs(x, head, rows, targets, lambda _a, b: told.append(b))
    logits = head(x).detach().requires_grad_(True)
    expected = logits[0].log_softmax(-1)[rows, targets]
    torch.testing.assert_close(found, expected)
    weights = torch.rand(len(rows))
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(told[0], logits.grad)


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
