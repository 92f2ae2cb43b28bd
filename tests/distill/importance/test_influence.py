"""Angles of states against their definitions, written out in loops."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from distill.importance.forward.influence import (
    angular_distances,
    angular_importance,
    best_block,
    block_influence,
    drop_deepest,
)
from recommender.backends.packed import pack
from recommender.backends.passes import LayerStates, pack_hidden
from tests.distill.importance.llamas import CANDIDATES, PREFIX, llama


def naive_cosine(a: list[float], b: list[float]) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


def residual_streams() -> list[torch.Tensor]:
    """States 0 … 4 of the tiny Llama, (2, T, width) each; the last before the final norm."""
    model = llama()
    ids = torch.tensor([PREFIX, PREFIX[::-1]])
    states = [model.model.embed_tokens(ids)]
    hooks = [
        block.register_forward_hook(lambda _m, _a, out: states.append(out))
        for block in model.model.layers
    ]
    with torch.no_grad():
        model(ids)
    for hook in hooks:
        hook.remove()
    return [state.detach() for state in states]


def test_block_influence_is_one_minus_the_mean_cosine() -> None:
    states = residual_streams()
    mask = torch.tensor([[True] * 7, [False, True, True, False, True, False, False]])
    for before, after in pairwise(states):
        cosines = [
            [naive_cosine(x, y) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
            for a, b in zip(before, after, strict=True)
        ]
        found = block_influence(before, after)
        assert found.dtype == torch.float64
        assert found.tolist() == pytest.approx([1 - sum(row) / 7 for row in cosines], abs=1e-6)
        some = [cosines[1][t] for t in (1, 2, 4)]
        masked = block_influence(before, after, mask)
        assert masked[1].item() == pytest.approx(1 - sum(some) / 3, abs=1e-6)
        assert masked[0].item() == pytest.approx(found[0].item(), abs=1e-12)
        single = block_influence(before[1], after[1], mask[1])
        assert single.shape == ()
        assert single.item() == pytest.approx(masked[1].item(), abs=1e-12)


def test_block_influence_of_half_precision_adds_up_in_float32() -> None:
    torch.manual_seed(3)
    before = torch.randn(5, 4096).bfloat16()
    after = (before.float() + 0.1 * torch.randn(5, 4096)).bfloat16()
    exact = block_influence(before.double(), after.double()).item()
    assert block_influence(before, after).item() == pytest.approx(exact, rel=1e-4)


def test_a_token_that_does_not_count_may_be_zero() -> None:
    before = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    with pytest.raises(ValueError, match="no direction"):
        block_influence(before, before)
    assert block_influence(before, before, torch.tensor([False, True])).item() == 0
    with pytest.raises(ValueError, match="without a token"):
        block_influence(before, before, torch.tensor([False, False]))
    with pytest.raises(ValueError, match="no direction"):
        block_influence(before[1:], torch.tensor([[math.nan, 1.0]]))
    with pytest.raises(ValueError, match=r"\(2, 2\) and \(1, 2\)"):
        block_influence(before, before[1:])
    with pytest.raises(ValueError, match=r"mask \(3,\)"):
        block_influence(before, before, torch.ones(3, dtype=torch.bool))


def test_angular_distances_of_the_last_token_of_the_history() -> None:
    model = llama()
    one = pack(PREFIX, CANDIDATES)
    with torch.no_grad(), LayerStates(model, one.prefix - 1, range(5)) as kept:
        pack_hidden(model, one)
    states = kept.taken().numpy()
    found = angular_distances(states)
    assert found.shape == (5, 5)
    for low in range(5):
        for high in range(5):
            expected = 0.0
            if high > low:
                cosine = naive_cosine(states[low].tolist(), states[high].tolist())
                expected = math.acos(cosine) / math.pi
            assert found[low, high] == pytest.approx(expected, abs=1e-7)
    assert angular_importance(found).tolist() == [found[layer, layer + 1] for layer in range(4)]
    for n in range(1, 5):
        distances = [found[start, start + n] for start in range(5 - n)]
        least = min(range(len(distances)), key=distances.__getitem__)
        assert best_block(found, n) == (least, distances[least])


def test_equal_and_opposite_states() -> None:
    torch.manual_seed(5)
    row = torch.randn(300).numpy()
    found = angular_distances(np.stack([row, row, -row, 3 * row]))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[0], [0, 0, 1, 0], atol=1e-7)
    assert best_block(np.zeros((4, 4)), 2) == (0, 0.0)  # the first of equal blocks


def test_the_deepest_but_the_last() -> None:
    for layers in (2, 5, 32):
        for n in range(layers):
            kept = [layer for layer in range(layers) if layer not in drop_deepest(layers, n)]
            assert kept == [*range(layers - 1 - n), layers - 1]
    with pytest.raises(ValueError, match="4 of 3 layers"):
        drop_deepest(4, 4)
    assert drop_deepest(4, 4, keep_last=False) == frozenset(range(4))


def test_wrong_states_and_blocks() -> None:
    with pytest.raises(ValueError, match=r"not \(3,\)"):
        angular_distances([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="no direction"):
        angular_distances([[1.0, 0.0], [0.0, 0.0]])
    for n in (0, 4):
        with pytest.raises(ValueError, match=f"block of {n} of 3"):
            best_block(np.zeros((4, 4)), n)
