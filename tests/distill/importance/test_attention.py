"""Entropies of attention against one plain eager pass a candidate, in loops."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from distill.importance.forward.attention import (
    attention_sample,
    concentration,
    eager_attention,
    published_concentration,
    row_entropy,
    visible,
    watched_attention,
)
from distill.importance.requests import PackedRequest
from recommender.backends.packed import pack, packs, sees
from recommender.backends.passes import pack_hidden
from storage.errors import BadData
from tests.distill.importance.llamas import CANDIDATES, PREFIX, llama, other

REQUEST = PackedRequest((pack(PREFIX, CANDIDATES),), 1)


def made(kind: str) -> Any:
    return llama() if kind == "llama" else other(kind)


def eager_twin(model: Any) -> Any:
    """The same weights in a model that was built with eager attention."""
    config = copy.deepcopy(model.config)
    config._attn_implementation = "eager"
    twin = type(model)(config).eval()
    twin.load_state_dict(model.state_dict())
    return twin


def naive_rows(model: Any) -> list[list[tuple[int, list[float]]]]:
    """For each layer: (tokens seen, entropy of each head) of every row, from plain passes."""
    twin = eager_twin(model)
    rows: list[list[tuple[int, list[float]]]] = [[] for _ in model.model.layers]
    for number, candidate in enumerate(CANDIDATES):
        fed = PREFIX + candidate[:-1]
        with torch.no_grad():
            attentions = twin(torch.tensor([fed]), output_attentions=True).attentions
        for layer, attention in enumerate(attentions):
            for i in range(0 if number == 0 else len(PREFIX), len(fed)):
                entropies = [
                    -sum(p * math.log(p) for p in head[i].tolist() if p > 0)
                    for head in attention[0]
                ]
                rows[layer].append((i + 1, entropies))
    return rows


@pytest.mark.parametrize("limit", [1000, 12], ids=["one pack", "several packs"])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
def test_equals_plain_eager_passes(kind: str, limit: int) -> None:
    model = made(kind)
    request = PackedRequest(tuple(packs(PREFIX, CANDIDATES, limit=limit)), 1)
    assert (len(request.packs) > 1) == (limit == 12)
    found = attention_sample(model, request)
    for layer, rows in enumerate(naive_rows(model)):
        shares = [h / math.log(seen) for seen, heads in rows if seen >= 2 for h in heads]
        assert found.concentration[layer] == pytest.approx(1 - sum(shares) / len(shares), abs=1e-5)
        total = sum(h for _, heads in rows for h in heads) / 4
        assert found.published[layer] == pytest.approx(1 / (1 + total), rel=1e-5)
    assert found.concentration.dtype == np.float64
    assert found.seconds > 0


def test_hooks_see_one_layer_at_a_time_and_the_mask_holds() -> None:
    model = made("llama")
    one = REQUEST.packs[0]
    allowed = torch.from_numpy(sees(one))
    layers = []

    def look(layer: int, attention: torch.Tensor) -> None:
        layers.append(layer)
        assert attention.shape == (4, len(one), len(one))
        assert (attention[:, ~allowed] == 0).all()
        assert (attention[:, allowed] > 0).all()
        torch.testing.assert_close(attention.sum(-1), torch.ones(4, len(one)))

    with torch.no_grad():
        plain = pack_hidden(model, one)
        with watched_attention(model, look):
            watched = pack_hidden(model, one)
    assert layers == [0, 1, 2, 3]
    torch.testing.assert_close(watched, plain, atol=1e-5, rtol=1e-4)


def test_zero_probabilities_have_no_entropy() -> None:
    rows = torch.tensor([[[1.0, 0.0, 0.0], [0.25, 0.75, 0.0], [0.2, 0.3, 0.5]]])
    expected = [-sum(p * math.log(p) for p in row if p) for row in rows[0].tolist()]
    assert row_entropy(rows)[0].tolist() == pytest.approx(expected, abs=1e-6)
    uniform = torch.tril(torch.ones(2, 9, 9)) / torch.arange(1, 10)[:, None]
    assert concentration(row_entropy(uniform), range(1, 10)) == pytest.approx(0, abs=1e-6)
    single = torch.eye(9)[None]
    assert concentration(row_entropy(single), range(1, 10)) == 1
    assert published_concentration(row_entropy(single)) == 1


def test_entropy_of_half_precision_is_taken_in_float32() -> None:
    torch.manual_seed(6)
    rows = torch.randn(2, 50, 700).softmax(-1).bfloat16()
    exact = torch.special.entr(rows.double()).sum(-1)
    torch.testing.assert_close(row_entropy(rows), exact, rtol=1e-6, atol=0)


def test_published_falls_with_length_and_ours_does_not() -> None:
    def uniform(n: int) -> torch.Tensor:
        return row_entropy(torch.tril(torch.ones(1, n, n)) / torch.arange(1, n + 1)[:, None])

    assert published_concentration(uniform(64)) < 0.2 * published_concentration(uniform(8))
    ours = [concentration(uniform(n), range(1, n + 1)) for n in (8, 64)]
    assert ours == pytest.approx([0, 0], abs=1e-6)


def test_what_a_token_sees() -> None:
    one = REQUEST.packs[0]
    expected = list(range(1, len(PREFIX) + 1))
    for candidate in CANDIDATES:
        expected += [len(PREFIX) + 1 + place for place in range(len(candidate) - 1)]
    assert visible(one).tolist() == expected


def test_bfloat16_stays_near_float32() -> None:
    exact = attention_sample(made("llama"), REQUEST)
    rounded = attention_sample(made("llama").bfloat16(), REQUEST)
    np.testing.assert_allclose(rounded.concentration, exact.concentration, atol=0.02)
    np.testing.assert_allclose(rounded.published, exact.published, rtol=0.05)


def test_the_model_is_left_as_it_was_also_after_an_error() -> None:
    model = made("llama").train()
    attention_sample(model, REQUEST)

    def as_found() -> None:
        assert model.config._attn_implementation == "sdpa"
        assert model.model.config._attn_implementation == "sdpa"
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
        assert all(m.training for m in model.modules())
        assert all(p.requires_grad and p.grad is None for p in model.parameters())

    as_found()
    with pytest.raises(IndexError):  # token 999 of 61
        attention_sample(model, PackedRequest((pack([3, 999], CANDIDATES),), 1))
    as_found()
    with pytest.raises(RuntimeError, match="stop eager"), eager_attention(model):
        raise RuntimeError(f"stop {model.config._attn_implementation}")
    as_found()


class Silent(nn.Module):
    """Attention that keeps its probabilities to itself, as fused kernels do."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, **named: Any) -> tuple[torch.Tensor, None]:
        return self.inner(**named)[0], None


def test_attention_that_is_not_given_is_said_so() -> None:
    model = made("llama")
    model.model.layers[2].self_attn = Silent(model.model.layers[2].self_attn)
    with pytest.raises(BadData, match="Silent does not give its attention"):
        attention_sample(model, REQUEST)
    assert model.config._attn_implementation == "sdpa"
    with pytest.raises(ValueError, match="no token sees another"):
        attention_sample(made("llama"), PackedRequest((pack([3], [[4], [5]]),), 0))
