"""Losses of published methods: a loop from the definition, a case by hand, and where each is 0."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from distill.losses import LAYER_LOSSES, bce_sampled, bernoulli_kl, ce_full, dros, gbce
from distill.losses.layers import cosine, length, mse, pkd, squared

RNG = np.random.default_rng(0)


def tensor(*shape: int) -> torch.Tensor:
    return torch.from_numpy(RNG.normal(size=shape))


def labels(*shape: int) -> torch.Tensor:
    return torch.from_numpy(RNG.dirichlet(np.ones(shape[-1]), size=shape[:-1]))


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def gradient_of(loss: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor) -> torch.Tensor:
    moving = at.clone().requires_grad_()
    loss(moving).backward()
    assert moving.grad is not None
    return moving.grad


# --- naive twins, from the definitions ---------------------------------------------------


def sigma(score: float) -> float:
    return 1 / (1 + math.exp(-score))


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def naive_bce(own: float, others: list[float]) -> float:
    return -math.log(sigma(own)) - sum(math.log(1 - sigma(one)) for one in others)


def naive_gbce(own: float, others: list[float], *, items: int, t: float) -> float:
    alpha = len(others) / (items - 1)
    beta = alpha * (t * (1 - 1 / alpha) + 1 / alpha)
    said = beta * math.log(sigma(own)) + sum(math.log(1 - sigma(one)) for one in others)
    return -said / (len(others) + 1)


def published_gbce(own: float, others: list[float], *, items: int, t: float) -> float:
    """As its authors compute it: binary cross-entropy of a score that is transformed first."""
    alpha = len(others) / (items - 1)
    beta = alpha * (t * (1 - 1 / alpha) + 1 / alpha)
    transformed = math.log(1 / (sigma(own) ** -beta - 1))
    return naive_bce(transformed, others) / (len(others) + 1)


def naive_dros(scores: list[float], target: int, share: list[float], beta: float) -> float:
    total = 0.0
    for item, (score, p) in enumerate(zip(scores, share, strict=True)):
        wanted = 1.0 if item == target else 0.0
        total += p * math.exp((score - wanted) ** 2 / beta)
    return beta * math.log(total)


def naive_bernoulli(scores: list[float], q: list[float], temperature: float) -> list[float]:
    found = []
    for score, label in zip(scores, q, strict=True):
        p = sigma(math.log(label / (1 - label)) / temperature)
        r = sigma(score / temperature)
        found.append(p * math.log(p / r) + (1 - p) * math.log((1 - p) / (1 - r)))
    return found


def naive_mse(own: list[float], theirs: list[float]) -> float:
    return naive_squared(own, theirs) / len(own)


def naive_squared(own: list[float], theirs: list[float]) -> float:
    return sum((a - b) ** 2 for a, b in zip(own, theirs, strict=True))


def size_of(row: list[float]) -> float:
    return math.sqrt(sum(one**2 for one in row))


def naive_cosine(own: list[float], theirs: list[float]) -> float:
    dot = sum(a * b for a, b in zip(own, theirs, strict=True))
    return 1 - dot / (size_of(own) * size_of(theirs))


def naive_pkd(own: list[float], theirs: list[float]) -> float:
    return naive_squared([one / size_of(own) for one in own], [b / size_of(theirs) for b in theirs])


def naive_length(own: list[float], theirs: list[float]) -> float:
    return math.sqrt(naive_squared(own, theirs))


BY_ROW = {
    mse: naive_mse,
    squared: naive_squared,
    cosine: naive_cosine,
    pkd: naive_pkd,
    length: naive_length,
}
EACH = [pytest.param(loss, naive, id=loss.__name__) for loss, naive in BY_ROW.items()]


# --- what came next ----------------------------------------------------------------------


def test_bce_is_its_definition() -> None:
    own, others = tensor(5), tensor(5, 3)
    naive = [naive_bce(y, row) for y, row in zip(own.tolist(), others.tolist(), strict=True)]
    assert bce_sampled(own, others).item() == pytest.approx(mean(naive))


def test_bce_by_hand() -> None:
    # σ(log 3) = ¾ and 1 − σ(log 3) = ¼: −log ¾ − log ¼ − log ½.
    found = bce_sampled(numbers(math.log(3)), numbers(math.log(3), 0.0)[None])
    assert found.item() == pytest.approx(math.log(4 / 3) + math.log(4) + math.log(2))


@pytest.mark.parametrize("t", [0.0, 0.3, 0.75, 1.0])
@pytest.mark.parametrize("drawn", [1, 4, 19])
def test_gbce_is_its_definition_and_that_of_its_authors(drawn: int, t: float) -> None:
    own, others = tensor(5), tensor(5, drawn)
    rows = list(zip(own.tolist(), others.tolist(), strict=True))
    found = gbce(own, others, items=20, t=t).item()
    assert found == pytest.approx(mean([naive_gbce(y, some, items=20, t=t) for y, some in rows]))
    theirs = [published_gbce(y, some, items=20, t=t) for y, some in rows]
    assert found == pytest.approx(mean(theirs))


def test_gbce_by_hand() -> None:
    # One of two others is drawn, α = ½. σ(log 3) = ¾, of what came next and of what did not.
    row = numbers(math.log(3)), numbers(math.log(3))[None]
    # t = 1: β = α.
    found = gbce(*row, items=3, t=1.0).item()
    assert found == pytest.approx((math.log(4 / 3) / 2 + math.log(4)) / 2)
    # t = 0: β = 1, binary cross-entropy over the two.
    found = gbce(*row, items=3, t=0.0).item()
    assert found == pytest.approx((math.log(4 / 3) + math.log(4)) / 2)
    assert found == pytest.approx(bce_sampled(*row).item() / 2)


@pytest.mark.parametrize(
    "loss",
    [
        lambda scores: bce_sampled(scores[:, 0], scores[:, 1:]),
        lambda scores: gbce(scores[:, 0], scores[:, 1:], items=9, t=0.75),
        lambda scores: ce_full(scores, torch.zeros(6, dtype=torch.int64)),
    ],
)
def test_what_came_next_is_pulled_up_and_what_did_not_is_pushed_down(
    loss: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    gradient = gradient_of(loss, tensor(6, 5))
    assert (gradient[:, 0] < 0).all()
    assert (gradient[:, 1:] > 0).all()


def test_a_score_without_bound_costs_what_it_should() -> None:
    sure = numbers(1e4), numbers(-1e4, -1e4)[None]
    wrong = numbers(-1e4), numbers(1e4)[None]
    assert bce_sampled(*sure).item() == gbce(*sure, items=9, t=0.75).item() == 0
    assert bce_sampled(*wrong).item() == pytest.approx(2e4)
    # α = ⅛: β = ½ where t is 4/7.
    assert gbce(*wrong, items=9, t=4 / 7).item() == pytest.approx((0.5 * 1e4 + 1e4) / 2)


# --- the robust term ---------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])
def test_dros_is_its_definition(beta: float) -> None:
    scores, targets, share = tensor(4, 6), torch.tensor([5, 0, 2, 2]), labels(1, 6)[0]
    naive = [
        naive_dros(row, y, share.tolist(), beta)
        for row, y in zip(scores.tolist(), targets.tolist(), strict=True)
    ]
    assert dros(scores, targets, share, beta=beta).item() == pytest.approx(mean(naive))


def test_dros_by_hand() -> None:
    # ℓ = ((0 − 1)², 0²) = (1, 0), p = (½, ½) and β = 1 / log 2, so that e^{1/β} = 2:
    # β log( ½ · 2 + ½ · 1 ) = log 1.5 / log 2.
    row = numbers(0.0, 0.0)[None], torch.tensor([0]), numbers(0.5, 0.5)
    assert dros(*row, beta=1 / math.log(2)).item() == pytest.approx(math.log(1.5) / math.log(2))


@pytest.mark.parametrize("beta", [0.1, 1.0, 7.0])
def test_where_every_item_is_as_wrong_beta_decides_nothing(beta: float) -> None:
    # All ℓ are 4: what came next has −1 in the place of 1, all others 2 in the place of 0.
    scores = numbers(2.0, -1.0, 2.0)[None]
    found = dros(scores, torch.tensor([1]), numbers(0.2, 0.5, 0.3), beta=beta)
    assert found.item() == pytest.approx(4)


def test_dros_lies_between_the_mean_and_the_worst() -> None:
    scores, targets, share = tensor(1, 5), torch.tensor([3]), labels(1, 5)[0]
    wanted = torch.nn.functional.one_hot(targets, 5)
    apart = (scores - wanted)[0].square()
    known = [dros(scores, targets, share, beta=beta).item() for beta in (1e-3, 0.5, 2.0, 1e6)]
    assert known == sorted(known, reverse=True)
    assert known[0] == pytest.approx(apart.max().item(), rel=0.02)
    assert known[-1] == pytest.approx(float(apart @ share), rel=1e-4)


def test_dros_asks_nothing_of_who_is_right_nor_of_what_nobody_chose() -> None:
    right, share = numbers(0.0, 1.0, 0.0)[None], numbers(0.4, 0.6, 0.0)
    for beta in (0.2, 1.0, 5.0):
        assert dros(right, torch.tensor([1]), share, beta=beta).item() == pytest.approx(0)
    gradient = gradient_of(
        lambda s: dros(s, torch.tensor([1]), share, beta=1.0), numbers(0.5, 0.5, 9.0)[None]
    )
    assert gradient[0, 1] < 0 < gradient[0, 0]
    assert gradient[0, 2] == 0


# --- two classes an item -----------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_bernoulli_kl_is_its_definition(temperature: float) -> None:
    scores, q = tensor(4, 6), labels(4, 6)
    naive: list[float] = []
    for row, label in zip(scores.tolist(), q.tolist(), strict=True):
        naive += naive_bernoulli(row, label, temperature)
    assert bernoulli_kl(scores, q, temperature).item() == pytest.approx(mean(naive))


def test_bernoulli_kl_by_hand() -> None:
    # T = 2: logit ⅘ is log 4, halved log 2, p = ⅔, and of ⅕ it is ⅓; the student says ½ of both.
    found = bernoulli_kl(numbers(0.0, 0.0)[None], numbers(0.8, 0.2)[None], 2.0)
    assert found.item() == pytest.approx(2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3))
    # The student's own 2 log 3, halved log 3, is ¾; the teacher says ½: ½ log ⅔ + ½ log 2.
    found = bernoulli_kl(numbers(2 * math.log(3))[None], numbers(0.5)[None], 2.0)
    assert found.item() == pytest.approx(math.log(4 / 3) / 2)


@example(q=0.0, temperature=4.0)
@example(q=1.0, temperature=0.1)
@given(q=st.floats(0, 1), temperature=st.floats(0.1, 20))
def test_who_says_what_the_teacher_says_is_at_no_distance_of_two_classes(
    q: float, temperature: float
) -> None:
    """Whatever the temperature, and however sure the teacher: a label of 0 or 1 is finite."""
    label = numbers(q, 1 - q)[None]
    same = torch.logit(label, eps=1e-6)
    assert bernoulli_kl(same, label, temperature).item() == pytest.approx(0, abs=1e-12)
    gradient = gradient_of(lambda s: bernoulli_kl(s, label, temperature), same)
    assert gradient.abs().max() < 1e-12


@pytest.mark.parametrize("temperature", [0.5, 4.0])
@pytest.mark.parametrize("apart", [-2.0, 2.0])
def test_both_classes_count_and_too_high_a_score_costs_as_too_low_a_one(
    temperature: float, apart: float
) -> None:
    q = numbers(0.3, 0.7)[None]
    other = torch.logit(q) + apart
    assert bernoulli_kl(other, q, temperature).item() > 0
    gradient = gradient_of(lambda scores: bernoulli_kl(scores, q, temperature), other)
    assert (gradient.sign() == math.copysign(1, apart)).all()


def test_a_teacher_that_is_sure_and_a_student_of_the_contrary_are_a_finite_way_apart() -> None:
    far = bernoulli_kl(numbers(1e4, -1e4)[None], numbers(0.0, 1.0)[None], 1.0)
    assert far.item() == pytest.approx(1e4, rel=1e-2)


# --- distances of states -----------------------------------------------------------------


@pytest.mark.parametrize(("loss", "naive"), EACH)
def test_a_distance_is_the_mean_over_rows_of_its_definition(
    loss: Callable[..., torch.Tensor], naive: Callable[..., float]
) -> None:
    own, theirs = tensor(5, 3), tensor(5, 3)
    rows = [naive(s, t) for s, t in zip(own.tolist(), theirs.tolist(), strict=True)]
    assert loss(own, theirs).item() == pytest.approx(mean(rows))


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        # Rows (3, 4) and (0, 1) against (0, 0.5) and (0, 1): gaps (3, 3.5) and (0, 0).
        (mse, (9 + 12.25) / 4),
        (squared, (9 + 12.25) / 2),
        (length, math.sqrt(21.25) / 2),
        # The first row's cosine is 4/5, the second's 1.
        (cosine, 0.1),
        (pkd, 0.2),
    ],
)
def test_a_distance_by_hand(loss: Callable[..., torch.Tensor], expected: float) -> None:
    own, theirs = numbers(3, 4, 0, 1).reshape(2, 2), numbers(0, 0.5, 0, 1).reshape(2, 2)
    assert loss(own, theirs).item() == pytest.approx(expected)


@pytest.mark.parametrize("loss", LAYER_LOSSES.values(), ids=LAYER_LOSSES)
def test_equal_states_are_at_no_distance_and_pull_nowhere(
    loss: Callable[..., torch.Tensor],
) -> None:
    theirs = tensor(6, 4)
    assert loss(theirs, theirs).item() == pytest.approx(0, abs=1e-12)
    gradient = gradient_of(lambda own: loss(own, theirs), theirs)
    assert gradient.abs().max() < 1e-12
    other = tensor(6, 4)
    assert loss(other, theirs).item() > 0.1
    gradient = gradient_of(lambda own: loss(own, theirs), other)
    assert gradient.abs().min() > 0


def test_directions_know_no_length_and_lengths_do() -> None:
    own, theirs = tensor(6, 4), tensor(6, 4)
    for loss in (cosine, pkd):
        assert loss(7 * theirs, theirs).item() == pytest.approx(0, abs=1e-12)
        assert loss(7 * own, theirs).item() == pytest.approx(loss(own, theirs).item())
    assert cosine(-theirs, theirs).item() == pytest.approx(2)
    assert pkd(-theirs, theirs).item() == pytest.approx(4)
    assert length(7 * own, 7 * theirs).item() == pytest.approx(7 * length(own, theirs).item())
    for loss in (mse, squared):
        assert loss(7 * own, 7 * theirs).item() == pytest.approx(49 * loss(own, theirs).item())


def test_every_distance_is_found_by_its_own_name() -> None:
    own, theirs = tensor(5, 3), tensor(5, 3)
    rows = list(zip(own.tolist(), theirs.tolist(), strict=True))
    for loss, naive in BY_ROW.items():
        found = LAYER_LOSSES[loss.__name__](own, theirs).item()
        assert found == pytest.approx(mean([naive(s, t) for s, t in rows])), loss.__name__
