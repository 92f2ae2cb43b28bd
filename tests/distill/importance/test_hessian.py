"""Traces of Hessians against the whole matrix, which a model of 500 weights can afford."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from distill.importance.gradients.hessian import hessian_sample, quadratic_forms, signs
from distill.importance.requests import PackedRequest, request_loss, scores_of
from recommender.backends.packed import pack, packs
from storage.errors import BadSetting

SHAPE = {
    "vocab_size": 13,
    "hidden_size": 4,
    "intermediate_size": 6,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "initializer_range": 0.5,
}
PREFIX = [3, 9, 9, 2]
CANDIDATES = [[5, 9, 1], [8, 1], [5, 11, 1]]
TEMPERATURE = 2.0


def tiny(kind: str = "llama") -> nn.Module:
    torch.manual_seed(0)
    if kind == "llama":
        model = LlamaForCausalLM(LlamaConfig(**SHAPE))
    else:
        model = Qwen3ForCausalLM(Qwen3Config(**SHAPE, head_dim=2, tie_word_embeddings=True))
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name:
                p.mul_(1 + 0.3 * torch.randn_like(p))
    return model.double().eval()


def naive_logp(model: nn.Module, weights: dict[str, torch.Tensor]) -> torch.Tensor:
    """(choices,) log-probabilities as a function of the weights, one pass a candidate."""
    totals = []
    for tokens in CANDIDATES:
        ids = PREFIX + tokens
        output = functional_call(model, weights, (torch.tensor([ids]),), {"use_cache": False})
        logp = output.logits[0].log_softmax(-1)
        totals.append(sum(logp[i - 1, ids[i]] for i in range(len(PREFIX), len(ids))))
    return (torch.stack(totals) / TEMPERATURE).log_softmax(0)


def exact_traces(model: nn.Module, target: int) -> list[float]:
    """Of each block, the diagonal of torch's own whole Hessian by that block's weights."""
    model.set_attn_implementation("eager")
    traces = []
    for layer in range(len(model.model.layers)):
        mine = {n: p for n, p in model.named_parameters() if n.startswith(f"model.layers.{layer}.")}

        def loss(flat: torch.Tensor, mine: dict[str, torch.Tensor] = mine) -> torch.Tensor:
            parts = flat.split([p.numel() for p in mine.values()])
            named = {
                n: part.view(p.shape) for (n, p), part in zip(mine.items(), parts, strict=True)
            }
            return -naive_logp(model, named)[target]

        start = torch.cat([p.detach().flatten() for p in mine.values()])
        traces.append(torch.autograd.functional.hessian(loss, start).diagonal().sum().item())
    return traces


def fisher_traces(model: nn.Module) -> tuple[list[float], torch.Tensor]:
    """Σ_c p_c ‖∇log p_c‖² of each block by enumeration (the trace of the GGN), and p."""
    logp = naive_logp(model, {})
    p = logp.detach().exp()
    traces = []
    for block in model.model.layers:
        total = 0.0
        for c in range(len(p)):
            grads = torch.autograd.grad(logp[c], list(block.parameters()), retain_graph=True)
            total += p[c].item() * sum(g.square().sum().item() for g in grads)
        traces.append(total)
    return traces, p


def unit_vector_traces(model: nn.Module, request: PackedRequest) -> np.ndarray:
    """Exact traces of our own products: r runs over all unit vectors in place of signs."""
    model.set_attn_implementation("eager")
    weights = [list(block.parameters()) for block in model.model.layers]
    loss = request_loss(scores_of(model, request), request.target, TEMPERATURE)
    forms = quadratic_forms(loss, weights)
    r = [[torch.zeros_like(w) for w in block] for block in weights]
    total = np.zeros(len(weights))
    for layer, block in enumerate(r):
        for part in block:
            for place in range(part.numel()):
                part.view(-1)[place] = 1.0
                found = forms(r)
                assert not np.delete(found, layer).any()
                total += found
                part.view(-1)[place] = 0.0
    return total


@pytest.mark.parametrize("limit", [1000, 6], ids=["one pack", "several packs"])
@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_unit_vectors_give_the_exact_trace(kind: str, limit: int) -> None:
    model = tiny(kind)
    request = PackedRequest(tuple(packs(PREFIX, CANDIDATES, limit=limit)), 1)
    expected = exact_traces(model, 1)
    # Norms and log-sum-exps are float32 inside, whatever the weights.
    assert unit_vector_traces(model, request) == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_products_of_a_full_probe_hold_the_terms_between_blocks() -> None:
    """r_lᵀ (H r)_l with H as written down by torch over both blocks together."""
    torch.manual_seed(3)
    x, y = (torch.randn(3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    whole = torch.autograd.functional.hessian(
        lambda z: (z[:3].exp() * z[3:]).sum().square(), torch.cat([x, y]).detach()
    )
    r = torch.randn(6, dtype=torch.float64)
    found = quadratic_forms((x.exp() * y).sum().square(), [[x], [y]])([[r[:3]], [r[3:]]])
    product = whole @ r
    expected = [(r[:3] @ product[:3]).item(), (r[3:] @ product[3:]).item()]
    assert found == pytest.approx(expected, rel=1e-10)


def test_mean_over_probes_is_within_its_standard_error() -> None:
    model = tiny()
    request = PackedRequest((pack(PREFIX, CANDIDATES),), 1)
    expected = np.array(exact_traces(model, 1))
    found = hessian_sample(model, request, temperature=TEMPERATURE, probes=1500, seed=0)
    few = hessian_sample(model, request, temperature=TEMPERATURE, probes=60, seed=0)
    assert (np.abs(found.layers - expected) < 3 * found.standard_error).all()
    assert (found.standard_error < 0.2 * np.abs(expected)).all()
    # Twenty-five times the probes, a fifth of the error.
    assert found.standard_error == pytest.approx(few.standard_error / 5, rel=0.4)
    assert found.loss == pytest.approx(-naive_logp(model, {})[1].item(), abs=1e-5)


def test_mean_and_standard_error_of_two_probes_by_hand() -> None:
    model = tiny()
    request = PackedRequest((pack(PREFIX, CANDIDATES),), 1)
    found = hessian_sample(model, request, temperature=TEMPERATURE, probes=2, seed=6)
    model.set_attn_implementation("eager")
    weights = [list(block.parameters()) for block in model.model.layers]
    loss = request_loss(scores_of(model, request), 1, TEMPERATURE)
    forms = quadratic_forms(loss, weights)
    generator = torch.Generator().manual_seed(6)
    first, second = forms(signs(weights, generator)), forms(signs(weights, generator))
    assert found.layers == pytest.approx((first + second) / 2)
    assert found.standard_error == pytest.approx(np.abs(first - second) / 2)


def test_hessian_and_fisher_differ_where_the_model_is_wrong() -> None:
    """The documented example of three names that are not one thing.

    At every single choice the Hessian's trace differs from the Fisher's, by over a tenth and
    with both signs; averaged over choices drawn from the model they are the same.
    """
    model = tiny()
    fisher, p = fisher_traces(model)
    hessians = np.array([exact_traces(model, target) for target in range(3)])
    residual = hessians - np.array(fisher)
    assert (np.abs(residual) > 0.1 * np.array(fisher)).all()
    assert (residual.min(axis=0) < 0).all()
    assert (residual.max(axis=0) > 0).all()
    assert p.numpy() @ hessians == pytest.approx(fisher, rel=1e-3)


def test_probes_are_signs_and_depend_on_the_seed_only() -> None:
    weights = [[torch.zeros(50, 4)], [torch.zeros(30), torch.zeros(7, dtype=torch.float64)]]
    first, again, other = (signs(weights, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0][0], other[0][0])
    assert first[1][1].dtype == torch.float64
    assert set(first[0][0].flatten().tolist()) == {-1.0, 1.0}
    assert abs(first[0][0].mean().item()) < 0.2


def test_a_loss_without_curvature_has_none() -> None:
    x, y = torch.ones(3, requires_grad=True), torch.ones(2, requires_grad=True)
    forms = quadratic_forms((2 * x).sum() + y.sum(), [[x], [y]])
    assert forms([[torch.ones(3)], [torch.ones(2)]]).tolist() == [0.0, 0.0]
    forms = quadratic_forms((x * x).sum() + y.sum(), [[x], [y]])  # y's gradient is constant
    assert forms([[torch.ones(3)], [torch.ones(2)]]).tolist() == [6.0, 0.0]


def state_of(model: nn.Module) -> dict[str, object]:
    return {
        "gradients": [(n, p.requires_grad, p.grad) for n, p in model.named_parameters()],
        "attention": model.config._attn_implementation,
        "training": [m.training for m in model.modules()],
        "hooks": sum(len(m._forward_hooks) for m in model.modules()),
    }


def test_leaves_no_trace_in_the_model() -> None:
    model = tiny()
    model.set_attn_implementation("sdpa")
    model.model.layers[0].self_attn.q_proj.weight.requires_grad_(False)
    before = state_of(model)
    request = PackedRequest((pack(PREFIX, CANDIDATES),), 0)
    with torch.no_grad():
        first = hessian_sample(model, request, temperature=1.0, probes=2, seed=4)
    assert state_of(model) == before
    again = hessian_sample(model, request, temperature=1.0, probes=2, seed=4)
    np.testing.assert_array_equal(first.layers, again.layers)
    broken = PackedRequest((pack(PREFIX, [[5], [999]]),), 0)  # 999 is no token of the model
    with pytest.raises(IndexError):
        hessian_sample(model, broken, temperature=1.0, probes=2, seed=4)
    assert state_of(model) == before


def test_bad_inputs() -> None:
    model = tiny()
    request = PackedRequest((pack(PREFIX, CANDIDATES),), 0)
    with pytest.raises(BadSetting, match=r"up to 100 weights; this one has \d+"):
        hessian_sample(model, request, temperature=1.0, probes=2, seed=0, limit=100)
    with pytest.raises(BadSetting, match="1 probes have no standard error"):
        hessian_sample(model, request, temperature=1.0, probes=1, seed=0)
    with pytest.raises(ValueError, match="temperature 0"):
        hessian_sample(model, request, temperature=0.0, probes=2, seed=0)
    with pytest.raises(ValueError, match="target 5 of 3"):
        hessian_sample(model, PackedRequest(request.packs, 5), temperature=1.0, probes=2, seed=0)
    with pytest.raises(BadSetting, match="lost in bfloat16"):
        hessian_sample(model.bfloat16(), request, temperature=1.0, probes=2, seed=0)
