"""The true Fisher against its definition, and its two estimates against it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from distill.importance.gradients.true_fisher import gauss_newton_probe, true_fisher
from distill.importance.requests import PackedRequest
from recommender.backends.packed import pack, packs
from storage.errors import BadSetting
from tests.distill.importance.llamas import (
    CANDIDATES,
    PREFIX,
    block_squares,
    llama,
    naive_gradients,
    naive_scores,
)

TEMPERATURE = 3.0


def naive_true(model: torch.nn.Module) -> np.ndarray:
    p = (naive_scores(model) / TEMPERATURE).softmax(0).tolist()
    squares = [
        block_squares(naive_gradients(model, target=c, temperature=TEMPERATURE))
        for c in range(len(CANDIDATES))
    ]
    return np.array(p) @ np.array(squares)


@pytest.mark.parametrize("limit", [1000, 12], ids=["one pack", "several packs"])
@pytest.mark.parametrize("tied", [False, True])
def test_exact_is_the_expectation_over_the_models_own_choices(tied: bool, limit: int) -> None:
    model = llama(tied=tied)
    request = PackedRequest(tuple(packs(PREFIX, CANDIDATES, limit=limit)), 1)
    found = true_fisher(model, request, temperature=TEMPERATURE)
    assert found.layers == pytest.approx(naive_true(model), rel=1e-4)
    assert found.backwards == len(CANDIDATES)
    expected = (naive_scores(model) / TEMPERATURE).softmax(0).detach()
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)


@pytest.mark.parametrize("how", ["sampled", "rademacher"])
def test_the_estimates_are_unbiased(how: str) -> None:
    model = llama()
    request = PackedRequest((pack(PREFIX, CANDIDATES),), 1)
    exact = true_fisher(model, request, temperature=TEMPERATURE).layers
    drawn = np.array(
        [
            true_fisher(model, request, temperature=TEMPERATURE, how=how, seed=seed).layers
            for seed in range(300)
        ]
    )
    error = drawn.std(axis=0, ddof=1) / np.sqrt(len(drawn))
    assert (np.abs(drawn.mean(axis=0) - exact) < 4 * error).all()
    assert (error < 0.15 * exact).all()
    assert drawn.std(axis=0).min() > 0


def test_all_signs_together_are_the_exact_value() -> None:
    """E over all sign vectors, enumerated: SSᵀ is the Hessian of the loss by the scores."""
    p = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    signs = torch.tensor(np.array(np.meshgrid(*[[-1.0, 1.0]] * 4)).reshape(4, -1).T)
    total = sum(torch.outer(v, v) for v in (gauss_newton_probe(p, r) for r in signs)) / len(signs)
    torch.testing.assert_close(total, torch.diag(p) - torch.outer(p, p))


def test_a_seed_is_a_draw_and_the_same_seed_the_same() -> None:
    model = llama()
    request = PackedRequest((pack(PREFIX, CANDIDATES),), 0)
    one, two, other = (
        true_fisher(model, request, temperature=2.0, how="rademacher", seed=s).layers
        for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, two)
    assert not np.allclose(one, other)
    assert all(p.requires_grad for p in model.parameters())


def test_too_many_choices_or_none_are_refused() -> None:
    model = llama()
    many = PackedRequest((pack(PREFIX, [[n] for n in range(33)]),), 0)
    with pytest.raises(BadSetting, match=r"33 candidates.*rademacher"):
        true_fisher(model, many, temperature=1.0)
    with pytest.raises(ValueError, match="1 choices"):
        true_fisher(model, PackedRequest((pack(PREFIX, [[3, 4]]),), 0), temperature=1.0)
