"""The greedy order against brute force over models built without the layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from distill.importance.forward.greedy import greedy_cost, greedy_importance, greedy_steps
from distill.importance.requests import PackedRequest
from recommender.backends.packed import pack, packs
from storage.errors import BadSetting
from tests.distill.importance.llamas import (
    CANDIDATES,
    PREFIX,
    naive_scores,
)
from tests.distill.importance.test_removal import (
    REQUEST,
    TEMPERATURE,
    assert_as_found,
    made,
    naive_loss,
    without,
)

REQUESTS = [
    REQUEST,
    PackedRequest((pack(PREFIX[::-1], CANDIDATES),), 0),
    PackedRequest(tuple(packs([8, 2, 44], CANDIDATES[::-1], limit=7)), 2),
]
NAIVE = [(PREFIX, CANDIDATES), (PREFIX[::-1], CANDIDATES), ([8, 2, 44], CANDIDATES[::-1])]


def brute_force(model: Any, protect: frozenset[int], gone: list[int]) -> dict[int, list[float]]:
    found = {}
    for layer in range(4):
        if layer in protect or layer in gone:
            continue
        shallow = without(model, [*gone, layer])
        found[layer] = [
            naive_loss(
                naive_scores(shallow, prefix=prefix, candidates=candidates).tolist(),
                request.target,
            )
            for request, (prefix, candidates) in zip(REQUESTS, NAIVE, strict=True)
        ]
    return found


@pytest.mark.parametrize("protect", [frozenset(), frozenset({0, 3}), frozenset({2})])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
def test_greedy_equals_brute_force(kind: str, protect: frozenset[int]) -> None:
    model = made(kind)
    before = model.model.layers
    gone: list[int] = []
    steps = []
    for step in greedy_steps(model, REQUESTS, TEMPERATURE, protect=protect):
        assert_as_found(model, before, training=False)
        expected = brute_force(model, protect, gone)
        assert list(step.losses) == list(expected)
        np.testing.assert_allclose(step.per_request, list(expected.values()), atol=1e-4)
        means = {layer: sum(some) / 3 for layer, some in expected.items()}
        assert list(step.losses.values()) == pytest.approx(list(means.values()), abs=1e-4)
        assert step.removed == min(means, key=means.__getitem__)
        assert step.loss == step.losses[step.removed]
        assert step.step == len(gone)
        gone.append(step.removed)
        steps.append(step)
    assert len(gone) == 4 - len(protect) - 1
    resumed = list(greedy_steps(model, REQUESTS, TEMPERATURE, protect=protect, first=gone[:1]))
    assert [step.removed for step in resumed] == gone[1:]
    for again, once in zip(resumed, steps[1:], strict=True):
        assert again.step == once.step
        np.testing.assert_array_equal(again.per_request, once.per_request)
    assert not list(greedy_steps(model, REQUESTS, TEMPERATURE, protect=protect, first=gone))


def test_greedy_in_bfloat16() -> None:
    steps = list(greedy_steps(made("llama").bfloat16(), REQUESTS, TEMPERATURE))
    assert sorted({step.removed for step in steps}) == sorted(step.removed for step in steps)
    exact = brute_force(made("llama"), frozenset(), [])
    np.testing.assert_allclose(steps[0].per_request, list(exact.values()), atol=0.15)
    assert steps[0].per_request.dtype == np.float64


def test_greedy_importance_is_the_order() -> None:
    assert greedy_importance([3, 1, 4], 6).tolist() == [3, 1, 3, 0, 2, 3]
    assert greedy_importance([], 3).tolist() == [0, 0, 0]
    for order in ([1, 1], [3]):
        with pytest.raises(ValueError, match="of 3"):
            greedy_importance(order, 3)


def test_greedy_refuses_before_it_starts() -> None:
    model = made("llama")
    for protect in ({7}, {0, 1, 2, 3}):
        with pytest.raises(BadSetting, match="the model has layers 0 to 3"):
            greedy_steps(model, REQUESTS, 1.0, protect=frozenset(protect))
    for first in ([1, 1], [9], [0]):
        with pytest.raises(ValueError, match="removed first"):
            greedy_steps(model, REQUESTS, 1.0, protect=frozenset({0}), first=first)
        with pytest.raises(ValueError, match="removed first"):
            greedy_cost(4, frozenset({0}), first)
    with pytest.raises(ValueError, match="no requests"):
        greedy_steps(model, [], 1.0)
    with pytest.raises(ValueError, match="temperature -1"):
        greedy_steps(model, REQUESTS, -1.0)
