"""Losses of attention and relations: their definitions, cases by hand, and what never counts."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from distill.language import token_losses
from distill.language.features import causal
from distill.language.matched import _sight
from tests.distill.language import naive

HEADS = {"as many": (3, 3), "fewer": (2, 3), "more": (4, 3), "one": (1, 3)}
REAL = torch.tensor(
    [
        [False, True, True, True, True],  # a begin-of-text token
        [False, True, True, False, False],  # and padding
        [False, True, False, False, False],
    ]
)
Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def related(student: Tensor, teacher: Tensor, sight: Tensor, real: Tensor) -> Tensor:
    heads = token_losses.relation_heads(student, teacher)
    return token_losses.relation_kl(student, teacher, sight, real, heads=heads)


def naively_related(student: Tensor, teacher: Tensor, sight: Tensor, real: Tensor) -> float:
    heads = token_losses.relation_heads(student, teacher)
    return naive.relation_kl(student, teacher, sight, real, heads=heads)


LOSSES: dict[str, tuple[Loss, Callable[..., float]]] = {
    "attention_kl": (token_losses.attention_kl, naive.attention_kl),
    "scores_mse": (token_losses.scores_mse, naive.scores_mse),
    "relation_kl": (related, naively_related),
}


@pytest.fixture(params=LOSSES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=HEADS)
def heads(request: pytest.FixtureRequest) -> tuple[int, int]:
    return HEADS[request.param]


def pair(name: str, heads: tuple[int, int], *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """What a loss compares, of a student and a teacher, in float64, of different widths."""
    chance = torch.Generator().manual_seed(seed)
    widths = (6, 8) if name == "relation_kl" else (5, 5)
    return tuple(  # type: ignore[return-value]
        torch.randn(3, h, 5, w, generator=chance, dtype=torch.float64)
        for h, w in zip(heads, widths, strict=True)
    )


# --- their definitions -------------------------------------------------------------------


def test_it_is_its_definition(name: str, heads: tuple[int, int]) -> None:
    student, teacher = pair(name, heads)
    loss, twin = LOSSES[name]
    found = loss(student, teacher, _sight(REAL), REAL)
    assert found.dtype == torch.float64
    expected = twin(student, teacher, _sight(REAL), REAL)
    assert found.item() == pytest.approx(expected, rel=1e-12)
    assert expected > 1e-3
    if name != "scores_mse":  # whose distribution it is that weighs can be told
        other_way = loss(teacher, student, _sight(REAL), REAL).item()
        assert other_way != pytest.approx(expected, rel=1e-3)


def test_in_half_precision_it_is_computed_in_single(name: str) -> None:
    student, teacher = pair(name, (3, 3))
    half = [one.bfloat16() for one in (student, teacher)]
    loss, _ = LOSSES[name]
    found = loss(half[0], half[1], _sight(REAL), REAL)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(
        loss(student, teacher, _sight(REAL), REAL).item(), rel=0.1, abs=0.02
    )


def test_what_is_equal_costs_nothing(name: str) -> None:
    student, _ = pair(name, (3, 3))
    student.requires_grad_()
    loss = LOSSES[name][0](student, student.detach().clone(), _sight(REAL), REAL)
    loss.backward()
    assert loss.item() == 0
    assert student.grad is not None
    assert student.grad.abs().max().item() < 1e-15


# --- by hand -----------------------------------------------------------------------------

TWO = torch.tensor([[True, True]])


def scores(*rows: tuple[float, float]) -> Tensor:
    """Heads of a text of two tokens; the first looks at itself alone."""
    last = torch.tensor(rows, dtype=torch.float64).log()
    return torch.stack([torch.zeros_like(last), last], 1)[None]


def test_attention_by_hand() -> None:
    """Rows (1) and (¾ ¼) against (1) and (½ ½): KL is 0 and ¾ ln 1.5 + ¼ ln ½."""
    found = token_losses.attention_kl(scores((1, 1)), scores((3, 1)), causal(TWO), TWO)
    assert found.item() == pytest.approx((0.75 * math.log(1.5) + 0.25 * math.log(0.5)) / 2)
    # Two heads whose mean is what the one looks at are no different from it.
    found = token_losses.attention_kl(scores((1, 1)), scores((3, 1), (1, 3)), causal(TWO), TWO)
    assert found.item() == pytest.approx(0, abs=1e-15)


def test_scores_by_hand() -> None:
    """Rows (1) and (5, 2): mean of 1² and of (5² + 2²) / 2; what comes later counts not."""
    zeros = torch.zeros(1, 1, 2, 2)
    own = torch.tensor([[[[1.0, 100.0], [5.0, 2.0]]]])
    assert token_losses.scores_mse(own, zeros, causal(TWO), TWO).item() == (1 + 14.5) / 2
    # Of two heads 0 and 2 the mean is 1, as of the one.
    two = torch.stack([zeros[0, 0], zeros[0, 0] + 2])[None]
    assert token_losses.scores_mse(zeros + 1, two, causal(TWO), TWO).item() == 0


def test_relations_by_hand() -> None:
    """Of width 1: x = (1, a) gives the last row the scores (a, a²)."""
    own, theirs = (torch.tensor([[[[1.0], [a]]]], dtype=torch.float64) for a in (0.0, 2.0))
    found = token_losses.relation_kl(own, theirs, causal(TWO), TWO, heads=1)
    p = 1 / (1 + math.exp(2))
    by_hand = p * math.log(p / 0.5) + (1 - p) * math.log((1 - p) / 0.5)
    assert found.item() == pytest.approx(by_hand / 2)
    # The same numbers as one head of width 4 are divided by 2 before the softmax.
    four = [torch.cat([one, *[torch.zeros_like(one)] * 3], -1) for one in (own, theirs)]
    p = 1 / (1 + math.exp(1))
    by_hand = p * math.log(p / 0.5) + (1 - p) * math.log((1 - p) / 0.5)
    found = token_losses.relation_kl(*four, causal(TWO), TWO, heads=1)
    assert found.item() == pytest.approx(by_hand / 2)


def test_heads_of_relations_are_split_anew() -> None:
    """How many heads a width came in makes no difference, only the width itself."""
    chance = torch.Generator().manual_seed(0)
    own = torch.randn(3, 1, 5, 12, generator=chance, dtype=torch.float64)
    theirs = torch.randn(3, 3, 5, 8, generator=chance, dtype=torch.float64)
    found = [
        token_losses.relation_kl(
            own.reshape(3, 5, h, 12 // h).transpose(1, 2), theirs, _sight(REAL), REAL, heads=4
        ).item()
        for h in (1, 2, 3)
    ]
    assert found == pytest.approx([found[0]] * 3, rel=1e-12)
    with pytest.raises(ValueError, match="a width of 12 cannot be split into 5 heads"):
        token_losses.relation_kl(own, theirs, _sight(REAL), REAL, heads=5)


@pytest.mark.parametrize(
    ("own", "theirs", "heads"),
    [((6, 64), (9, 64), 6), ((2, 64), (3, 64), 2), ((4, 8), (3, 8), 4), ((5, 2), (3, 1), 1)],
)
def test_how_many_heads_of_relations(
    own: tuple[int, int], theirs: tuple[int, int], heads: int
) -> None:
    ours, others = (torch.zeros(1, h, 2, w) for h, w in (own, theirs))
    assert token_losses.relation_heads(ours, others) == heads


# --- gradients, and rows that do not count -----------------------------------------------


def test_gradients_are_finite_and_right(name: str, heads: tuple[int, int]) -> None:
    """Regression: padding and unequal heads together gave no number."""
    student, teacher = pair(name, heads)
    loss = partial(LOSSES[name][0], sight=_sight(REAL), real=REAL)
    student.requires_grad_()
    (grad,) = torch.autograd.grad(loss(student, teacher), student)
    assert torch.isfinite(grad).all()
    assert grad.abs().max() > 1e-4
    step = 1e-6 * torch.randn(student.shape, dtype=torch.float64)
    with torch.no_grad():
        moved = loss(student + step, teacher) - loss(student - step, teacher)
    assert (2 * (grad * step).sum()).item() == pytest.approx(moved.item(), rel=1e-5)


def test_rows_that_do_not_count_count_for_nothing(name: str, heads: tuple[int, int]) -> None:
    student, teacher = pair(name, heads)
    loss, _ = LOSSES[name]
    before = loss(student, teacher, _sight(REAL), REAL).item()
    others = pair(name, heads, seed=1)
    for one, other in zip((student, teacher), others, strict=True):
        outside = ~REAL[:, None, :, None].expand_as(one)
        one[outside] = 50 * other[outside]
        if name != "relation_kl":  # (T, T): nor does anybody look at what is not real
            outside = ~REAL[:, None, None, :].expand_as(one)
            one[outside] = 50 * other[outside]
            later = torch.ones(5, 5, dtype=torch.bool).triu(1).expand_as(one)
            one[later] = 50 * other[later]
    assert loss(student, teacher, _sight(REAL), REAL).item() == pytest.approx(before, rel=1e-12)
    student.requires_grad_()
    loss(student, teacher, _sight(REAL), REAL).backward()
    assert student.grad is not None
    outside = ~REAL[:, None, :, None].expand_as(student)
    assert (student.grad[outside] == 0).all()


def test_texts_side_by_side_are_their_rows_mean(name: str, heads: tuple[int, int]) -> None:
    """Split into texts and weighed by rows it is the same: a step may be computed in pieces."""
    student, teacher = pair(name, heads)
    loss, _ = LOSSES[name]
    pieces = [
        loss(student[b : b + 1], teacher[b : b + 1], _sight(REAL[b : b + 1]), REAL[b : b + 1])
        for b in range(3)
    ]
    rows = REAL.sum(1)
    whole = loss(student, teacher, _sight(REAL), REAL)
    weighed = sum(piece * n for piece, n in zip(pieces, rows, strict=True)) / rows.sum()
    assert whole.item() == pytest.approx(weighed.item(), rel=1e-12)


def test_whoever_would_see_nothing_sees_itself() -> None:
    sight = _sight(REAL)
    assert bool(sight.any(-1).all())
    rows = {(0, 0): [1, 0, 0, 0, 0], (0, 2): [0, 1, 1, 0, 0], (1, 4): [0, 1, 1, 0, 1]}
    for (b, t), row in rows.items():
        assert sight[b, 0, t].int().tolist() == row
