"""The two losses: loops written from the definitions, cases solved by hand, and their limits."""

from __future__ import annotations

import math

import pytest
import torch

from distill.adapting.letters_loss import letter_scores, letters_loss, said_loss, title_loss

VARIANTS = [[3, 1], [4], [0, 5]]


def naive_letters(logits: list[float], variants: list[list[int]], target: int) -> float:
    """−log of the right letter's share of what the letters have, over all their spellings."""
    shares = [sum(math.exp(logits[token]) for token in some) for some in variants]
    return -math.log(shares[target] / sum(shares))


def naive_titles(logits: list[list[float]], targets: list[int]) -> float:
    total = 0.0
    for row, target in zip(logits, targets, strict=True):
        total -= math.log(math.exp(row[target]) / sum(math.exp(z) for z in row))
    return total / len(targets)


@pytest.mark.parametrize("target", [0, 1, 2])
def test_letters_are_the_loop_of_the_definition(target: int) -> None:
    logits = torch.randn(7, generator=torch.Generator().manual_seed(target))
    found = letters_loss(letter_scores(logits, VARIANTS), target)
    assert float(found) == pytest.approx(naive_letters(logits.tolist(), VARIANTS, target), rel=1e-5)


def test_letters_by_hand() -> None:
    # Letter 0 is spelled twice, at e^0 each: 2 of 2 + 1 + 1.
    logits = torch.tensor([0.0, 0.0, 9.0, 0.0, 0.0])
    scores = letter_scores(logits, [[0, 1], [3], [4]])
    assert float(letters_loss(scores, 0)) == pytest.approx(math.log(2))
    assert float(letters_loss(scores, 1)) == pytest.approx(math.log(4))


@pytest.mark.parametrize("target", [0, 1, 2])
def test_which_letter_and_that_it_is_one_are_the_loss_over_all_words(target: int) -> None:
    logits = torch.randn(7, generator=torch.Generator().manual_seed(target), requires_grad=True)
    scores = letter_scores(logits, VARIANTS)
    shares = [math.exp(z) for z in logits.tolist()]
    letters = sum(shares[token] for some in VARIANTS for token in some)
    assert said_loss(logits, scores).item() == pytest.approx(-math.log(letters / sum(shares)))
    right = sum(shares[token] for token in VARIANTS[target])
    both = said_loss(logits, scores) + letters_loss(scores, target)
    assert both.item() == pytest.approx(-math.log(right / sum(shares)))
    said_loss(logits, scores).backward()
    assert logits.grad is not None
    assert (logits.grad[[0, 1, 3, 4, 5]] < 0).all(), "letters rise, whichever"
    assert (logits.grad[[2, 6]] > 0).all()


def test_what_is_no_letter_counts_for_nothing() -> None:
    logits = torch.randn(7, requires_grad=True)
    letters_loss(letter_scores(logits, VARIANTS), 0).backward()
    assert logits.grad is not None
    assert logits.grad[[2, 6]].tolist() == [0.0, 0.0]
    assert float(logits.grad.sum()) == pytest.approx(0.0, abs=1e-6)
    assert float(logits.grad[[3, 1]].sum()) < 0  # the right letter rises


def test_a_certain_answer_costs_nothing_and_a_wrong_one_much() -> None:
    logits = torch.tensor([0.0, 0.0, 0.0, 50.0, 0.0, 0.0])
    scores = letter_scores(logits, VARIANTS)
    assert float(letters_loss(scores, 0)) == pytest.approx(0.0, abs=1e-6)
    assert float(letters_loss(scores, 1)) == pytest.approx(50.0)


def test_letters_are_counted_in_float32() -> None:
    logits = torch.tensor([8.0, 8.03125, 0.0], dtype=torch.bfloat16)
    assert letter_scores(logits, [[0], [1]]).dtype == torch.float32


def test_titles_are_the_loop_of_the_definition() -> None:
    logits = torch.randn(4, 9, generator=torch.Generator().manual_seed(0))
    found = float(title_loss(logits, torch.tensor([1, 8, 0, 3])))
    assert found == pytest.approx(naive_titles(logits.tolist(), [1, 8, 0, 3]), rel=1e-5)
