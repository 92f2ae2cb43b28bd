"""Cross-entropy and divergence over the whole vocabulary: definition, pieces, gradients."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from distill.language import token_losses
from distill.language.token_losses import token_sums
from tests.distill.language import naive

MANY = 2 * token_losses._CHUNK + 300
"""Tokens that take three pieces."""


def drawn(tokens: int, dtype: torch.dtype = torch.float64) -> dict[str, Any]:
    """States of width 4 and 6, a vocabulary of 9."""
    chance = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=chance, dtype=torch.float64).to(dtype)

    states, head = normal(tokens, 4), normal(9, 4)
    targets = torch.randint(0, 9, (tokens,), generator=chance)
    return {
        "states": states.requires_grad_(),
        "head": head.requires_grad_(),
        "targets": targets,
        "teacher": (normal(tokens, 6), normal(9, 6)),
    }


@pytest.mark.parametrize("temperature", [1.0, 0.5, 4.0])
def test_it_is_its_definition(temperature: float) -> None:
    given = drawn(12)
    entropy, apart = token_sums(**given, temperature=temperature)
    assert entropy.dtype == torch.float64
    with torch.no_grad():
        twin = naive.token_sums(*given.values(), temperature)
    assert (entropy.item(), apart.item()) == pytest.approx(twin, rel=1e-12)
    assert apart.item() > 1


def test_by_hand() -> None:
    """A student that knows nothing of two words, and a teacher of ¾ and ¼, twice."""
    head = torch.tensor([[0.0], [0.0]], dtype=torch.float64)
    theirs = torch.tensor([[math.log(3)], [0.0]], dtype=torch.float64)
    ones = torch.ones(2, 1, dtype=torch.float64)
    entropy, apart = token_sums(ones, head, torch.tensor([0, 1]), (ones, theirs))
    assert entropy.item() == pytest.approx(2 * math.log(2))
    by_hand = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert apart.item() == pytest.approx(2 * by_hand)
    # At T = 2 the teacher says √3 : 1, and the sum is four times as large.
    p = math.sqrt(3) / (1 + math.sqrt(3))
    _, apart = token_sums(ones, head, torch.tensor([0, 1]), (ones, theirs), temperature=2.0)
    by_hand = p * math.log(p / 0.5) + (1 - p) * math.log((1 - p) / 0.5)
    assert apart.item() == pytest.approx(2 * 4 * by_hand)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_gradient_of_a_state_is_that_of_softmax(temperature: float) -> None:
    """(p_S − onehot) W of the entropy, at T = 1 always, and T (p_S − p_T) W of the divergence."""
    for share, other in ((1.0, 0.0), (0.0, 1.0), (0.3, 0.7)):
        given = drawn(5)
        entropy, apart = token_sums(**given, temperature=temperature)
        loss = share * entropy + other * apart
        found = torch.autograd.grad(loss, (given["states"], given["head"]))
        with torch.no_grad():
            states, head = given["states"], given["head"]
            theirs = given["teacher"][0] @ given["teacher"][1].T
            plain = states @ head.T
            told = plain.softmax(1) - torch.eye(9, dtype=torch.float64)[given["targets"]]
            soft = [(one / temperature).softmax(1) for one in (plain, theirs)]
            scores = share * told + other * temperature * (soft[0] - soft[1])
        torch.testing.assert_close(found[0], scores @ head)
        torch.testing.assert_close(found[1], scores.T @ states)


def test_a_student_that_says_the_same_costs_nothing() -> None:
    given = drawn(7)
    given["teacher"] = (given["states"].detach(), given["head"].detach())
    _, apart = token_sums(**given, temperature=3.0)
    assert apart.item() == 0
    (grad,) = torch.autograd.grad(apart, given["states"])
    assert grad.abs().max().item() < 1e-15


def test_nothing_flows_to_the_teacher() -> None:
    given = drawn(6)
    for one in given["teacher"]:
        one.requires_grad_()
    torch.stack(token_sums(**given)).sum().backward()
    assert all(one.grad is None for one in given["teacher"])
    assert torch.isfinite(given["states"].grad).all()
    assert torch.isfinite(given["head"].grad).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_in_pieces_it_is_what_it_is_at_once(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for chunk in (token_losses._CHUNK, MANY):
        monkeypatch.setattr(token_losses, "_CHUNK", chunk)
        given = drawn(MANY, dtype)
        sums = token_sums(**given, temperature=2.0)
        (sums[0] + 3 * sums[1]).backward()
        found.append((*(one.detach() for one in sums), given["states"].grad, given["head"].grad))
    close = 1e-12 if dtype == torch.float64 else 1e-5
    for pieces, whole in zip(*found, strict=True):
        torch.testing.assert_close(pieces, whole, rtol=close, atol=close)


def test_without_gradients_pieces_are_the_same_numbers() -> None:
    given = drawn(MANY)
    with_graph = token_sums(**given)
    with torch.no_grad():
        without = token_sums(**given)
    assert [one.item() for one in with_graph] == [one.item() for one in without]
    assert not without[0].requires_grad


def test_no_more_than_a_piece_of_all_scores_is_held() -> None:
    """What the backward pass needs of scores is computed again, not kept."""
    held: list[int] = []

    def packed(tensor: Tensor) -> Tensor:
        held.append(tensor.numel())
        return tensor

    given = drawn(MANY)
    with torch.autograd.graph.saved_tensors_hooks(packed, lambda tensor: tensor):
        token_sums(**given)
    assert max(held, default=0) < token_losses._CHUNK * 9


def test_without_a_teacher_there_is_no_divergence() -> None:
    given = drawn(MANY)
    heard = token_sums(**given)
    entropy, apart = token_sums(**{**given, "teacher": None})
    assert entropy.item() == pytest.approx(heard[0].item(), rel=1e-14)
    assert apart.item() == 0
    entropy.backward()
    assert given["states"].grad.abs().sum() > 0


def test_of_no_tokens_the_sums_are_nothing_that_can_be_learned_from() -> None:
    given = drawn(0)
    entropy, apart = token_sums(**given)
    assert (entropy.item(), apart.item()) == (0, 0)
    (entropy + apart).backward()
    assert given["states"].grad.shape == (0, 4)


def test_in_half_precision_scores_are_summed_in_single() -> None:
    given = drawn(300, torch.bfloat16)
    exact = drawn(300)
    entropy, apart = token_sums(**given)
    assert entropy.dtype == apart.dtype == torch.float32
    expected = [one.item() for one in token_sums(**exact)]
    assert [entropy.item(), apart.item()] == pytest.approx(expected, rel=0.02)
