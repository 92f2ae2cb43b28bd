"""Taylor sums against what they are: |w · autograd's gradient|, weight by weight."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from distill.importance.gradients import taylor
from distill.importance.gradients.taylor import gain_taylor, linear_taylor, taylor_sample
from distill.importance.requests import PackedRequest
from recommender.backends.packed import pack, packs
from storage.errors import BadData

SHAPE = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.2,
}
PREFIX = [3, 9, 9, 14, 3, 22, 7]
CANDIDATES = [[5, 9, 1], [40, 9, 17, 22, 1], [8, 1], [5, 9, 9, 33, 1], [11, 1]]
KINDS = {
    "llama": (LlamaConfig, LlamaForCausalLM, {}),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, {}),  # biases of q, k and v
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, {"head_dim": 8}),  # norms of each head's q and k
}


def made(kind: str = "llama", *, tied: bool = False, **more: float) -> nn.Module:
    torch.manual_seed(0)
    config, model, extra = KINDS[kind]
    found = model(config(**{**SHAPE, **extra, **more}, tie_word_embeddings=tied)).eval()
    with torch.no_grad():  # gains of 1 and biases of 0 would hide a forgotten factor
        for name, p in found.named_parameters():
            if "norm" in name:
                p.mul_(1 + 0.3 * torch.randn_like(p))
            if name.endswith("bias"):
                p.normal_(std=0.2)
    return found


def naive_gradients(model: nn.Module, target: int, temperature: float) -> dict[str, torch.Tensor]:
    """One pass a candidate, and autograd's gradient of every weight."""
    totals = []
    for tokens in CANDIDATES:
        ids = PREFIX + tokens
        logp = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        totals.append(sum(logp[i - 1, ids[i]] for i in range(len(PREFIX), len(ids))))
    loss = -(torch.stack(totals) / temperature).log_softmax(0)[target]
    names, weights = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, weights), strict=True))


def naive(
    model: nn.Module, target: int, temperature: float
) -> tuple[list[dict[str, float]], list[float]]:
    """Of each layer Σ|w g| by module, and Σ g²."""
    weights = dict(model.named_parameters())
    sums: list[dict[str, float]] = [{} for _ in model.model.layers]
    squares = [0.0 for _ in model.model.layers]
    for name, grad in naive_gradients(model, target, temperature).items():
        if name.startswith("model.layers."):
            _, _, layer, rest = name.split(".", 3)
            module = rest.rsplit(".", 1)[0]
            value = (weights[name].detach().double() * grad.double()).abs().sum().item()
            sums[int(layer)][module] = sums[int(layer)].get(module, 0.0) + value
            squares[int(layer)] += grad.double().square().sum().item()
    return sums, squares


@pytest.mark.parametrize("limit", [1000, 12], ids=["one pack", "several packs"])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("kind", list(KINDS))
def test_equals_autograd(kind: str, tied: bool, limit: int) -> None:
    model = made(kind, tied=tied)
    sums, squares = naive(model, target=1, temperature=3.0)
    request = PackedRequest(tuple(packs(PREFIX, CANDIDATES, limit=limit)), 1)
    assert (len(request.packs) > 1) == (limit == 12)
    found = taylor_sample(model, request, temperature=3.0)
    assert set(found.names) == set(sums[0])
    for layer, row in enumerate(found.matrices):
        assert dict(zip(found.names, row, strict=True)) == pytest.approx(sums[layer], rel=1e-4)
    assert found.layers == pytest.approx([sum(s.values()) for s in sums], rel=1e-4)
    assert found.squares == pytest.approx(squares, rel=1e-4)


def test_gradients_of_packs_add_up_before_their_size_is_taken() -> None:
    model = made()
    parts = tuple(packs(PREFIX, CANDIDATES, limit=12))
    whole = taylor_sample(model, PackedRequest(parts, 1), temperature=3.0).layers
    again = taylor_sample(model, PackedRequest((pack(PREFIX, CANDIDATES),), 1), temperature=3.0)
    assert whole == pytest.approx(again.layers, rel=1e-4)


@pytest.mark.parametrize("piece", [1, 32, 33, 100, 1 << 20])
def test_pieces_of_any_size_give_the_same(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    weight, bias, a, b = (torch.randn(*s) for s in ((7, 33), (7,), (5, 33), (5, 7)))
    gradient = sum(torch.outer(b[t], a[t]) for t in range(5))
    expected = (
        (weight * gradient).abs().sum().item() + (bias * b.sum(0)).abs().sum().item(),
        gradient.square().sum().item() + b.sum(0).square().sum().item(),
    )
    monkeypatch.setattr(taylor, "PIECE", piece)
    assert linear_taylor(weight, bias, a, b) == pytest.approx(expected, rel=1e-5)


def test_letters_and_next_token_losses() -> None:
    """Spellings of one choice are added up; without a choice the loss is the likelihood's."""
    model = made()
    spelled = PackedRequest((pack(PREFIX, [[5], [6], [8]]),), 0, owners=(0, 0, 1))
    logp = model(torch.tensor([PREFIX])).logits[0, -1].log_softmax(-1)
    scores = torch.stack([logp[[5, 6]].logsumexp(0), logp[8]])
    loss = -(scores / 2).log_softmax(0)[0]
    found = taylor_sample(model, spelled, temperature=2.0)
    assert found.loss == pytest.approx(loss.item(), abs=1e-5)
    weight = model.model.layers[2].mlp.up_proj.weight
    expected = (weight * torch.autograd.grad(loss, weight)[0]).abs().sum().item()
    assert found.matrices[2, found.names.index("mlp.up_proj")] == pytest.approx(expected, rel=1e-4)
    text = taylor_sample(model, PackedRequest((pack([3], [[9, 14, 7]]),), 0), temperature=1.0)
    logp = model(torch.tensor([[3, 9, 14, 7]])).logits[0].log_softmax(-1)
    assert text.loss == pytest.approx(-(logp[0, 9] + logp[1, 14] + logp[2, 7]).item(), abs=1e-4)


def test_epsilon_of_the_norms_counts() -> None:
    model = made(rms_norm_eps=0.5)
    sums, _ = naive(model, target=2, temperature=3.0)
    request = PackedRequest((pack(PREFIX, CANDIDATES),), 2)
    found = taylor_sample(model, request, temperature=3.0)
    column = found.names.index("input_layernorm")
    expected = [row["input_layernorm"] for row in sums]
    assert found.matrices[:, column] == pytest.approx(expected, rel=1e-4)


def test_gradients_of_bfloat16_activations_are_not_rounded_once_more() -> None:
    torch.manual_seed(2)
    weight, gain, a, b = (torch.randn(*s).bfloat16() for s in ((6, 40), (40,), (50, 40), (50, 40)))
    w, g, x, y = (one.double() for one in (weight, gain, a, b))
    gradient = y[:, :6].T @ x
    expected = ((w * gradient).abs().sum().item(), gradient.square().sum().item())
    assert linear_taylor(weight, None, a, b[:, :6]) == pytest.approx(expected, rel=1e-5)
    gradient = (y * x / (x.square().mean(1, keepdim=True) + 1e-5).sqrt()).sum(0)
    expected = ((g * gradient).abs().sum().item(), gradient.square().sum().item())
    assert gain_taylor(gain, a, b, 1e-5) == pytest.approx(expected, rel=1e-5)


def test_bfloat16_stays_near_float32() -> None:
    model = made()
    request = PackedRequest((pack(PREFIX, CANDIDATES),), 0)
    exact = taylor_sample(model, request, temperature=5.0)
    rounded = taylor_sample(model.bfloat16(), request, temperature=5.0)
    assert rounded.layers == pytest.approx(exact.layers, rel=0.1)
    assert rounded.squares == pytest.approx(exact.squares, rel=0.1)
    assert (rounded.layers != exact.layers).all()


class Alive(TorchDispatchMode):
    """Counts the entries of large tensors that are alive at once, of all that are made."""

    def __init__(self, model: nn.Module, at_least: int) -> None:
        super().__init__()
        self._at_least = at_least
        self._seen = {p.untyped_storage().data_ptr() for p in model.parameters()}
        self.now = self.most = self.largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        found = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(found):
            if isinstance(leaf, torch.Tensor) and leaf.device.type == "cpu":
                self._count(leaf.untyped_storage(), leaf.element_size())
        return found

    def _count(self, storage: torch.UntypedStorage, size: int) -> None:
        place, entries = storage.data_ptr(), storage.nbytes() // size
        if entries < self._at_least or place in self._seen:
            return
        self._seen.add(place)
        self.now += entries
        self.most, self.largest = max(self.most, self.now), max(self.largest, entries)
        weakref.finalize(storage, self._gone, place, entries)

    def _gone(self, place: int, entries: int) -> None:
        self._seen.discard(place)
        self.now -= entries


def test_one_piece_of_one_gradient_is_alive_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few tokens and wide weights: whatever has over 3,000 entries is of a weight's kind."""
    model = made(vocab_size=20, hidden_size=64, intermediate_size=256)
    request = PackedRequest((pack([3, 9, 4], [[5], [6]]),), 0)
    piece = 64 * 64  # a gate's gradient has four times as many
    monkeypatch.setattr(taylor, "PIECE", piece)
    ours = Alive(model, 3_000)
    with ours:
        taylor_sample(model, request, temperature=1.0)
    assert ours.largest == piece
    assert ours.most == 2 * piece  # the piece and its squares
    assert ours.now == 0

    usual = Alive(model, 3_000)
    weights = list(model.model.layers.parameters())
    with usual:
        logp = model(torch.tensor([[3, 9, 4]])).logits[0, -1].log_softmax(-1)
        grads = torch.autograd.grad(-logp[5], weights)
    # So the counter sees what it should: here all gradients are there at once.
    assert usual.most >= sum(g.numel() for g in grads if g.numel() >= 3_000)


def test_leaves_no_trace_in_the_model() -> None:
    model = made(tied=True)
    model.model.layers[0].self_attn.q_proj.weight.requires_grad_(False)
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    values = {name: p.detach().clone() for name, p in model.named_parameters()}
    request = PackedRequest((pack(PREFIX, CANDIDATES),), 0)
    with torch.no_grad():
        first = taylor_sample(model, request, temperature=1.0)
    assert {name: p.requires_grad for name, p in model.named_parameters()} == before
    assert all(torch.equal(p, values[name]) for name, p in model.named_parameters())
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    np.testing.assert_array_equal(first.layers, taylor_sample(model, request, temperature=1).layers)


def test_autograd_is_not_asked_for_the_weights() -> None:
    model = made()
    asked: list[bool] = []

    def look(*_: object) -> None:
        asked.extend(p.requires_grad for p in model.parameters())

    handle = model.lm_head.register_forward_hook(look)
    taylor_sample(model, PackedRequest((pack(PREFIX, CANDIDATES),), 0), temperature=1.0)
    handle.remove()
    assert asked
    assert not any(asked)


def test_restores_after_an_error() -> None:
    model = made()
    request = PackedRequest((pack(PREFIX, [[5], [999]]),), 0)  # 999 is no token of the model
    with pytest.raises(IndexError):
        taylor_sample(model, request, temperature=1.0)
    assert all(p.requires_grad for p in model.parameters())
    assert not any(m._forward_hooks for m in model.modules())


def test_bad_inputs() -> None:
    model = made()
    request = PackedRequest((pack(PREFIX, CANDIDATES),), 9)
    with pytest.raises(ValueError, match="target 9 of 5"):
        taylor_sample(model, request, temperature=1.0)
    with pytest.raises(ValueError, match="temperature nan"):
        taylor_sample(model, PackedRequest(request.packs, 0), temperature=float("nan"))
    model.model.layers[1].mlp.gate_proj = nn.Bilinear(2, 2, 2)
    with pytest.raises(BadData, match=r"layers\.1\.mlp\.gate_proj.*Bilinear"):
        taylor_sample(model, PackedRequest(request.packs, 0), temperature=1.0)
