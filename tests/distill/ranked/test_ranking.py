"""The ranking loss: a twin from the definition, by hand, its minimum, and where gradients go."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
import torch

from distill.ranked.lesson import RankedLesson
from distill.ranked.ranking import ranking_loss, step_loss
from distill.ranked.weights import position_weights, teacher_lists

RNG = np.random.default_rng(0)
ROWS, OFFERED, TOP = 5, 7, 3


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def naive(
    scores: list[list[float]],
    lists: list[list[int]],
    weights: list[list[float]],
    behind: list[list[bool]],
) -> float:
    total = 0.0
    for row, places, counts, others in zip(scores, lists, weights, behind, strict=True):
        for place, weight in zip(places, counts, strict=True):
            total -= weight * math.log(sigmoid(row[place]))
        negatives = [score for score, is_one in zip(row, others, strict=True) if is_one]
        for score in negatives:
            total -= math.log(1 - sigmoid(score)) / len(negatives)
    return total / len(scores)


def case(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    labels = rng.normal(size=(ROWS, OFFERED))
    lists = teacher_lists(labels, TOP)
    behind = np.ones((ROWS, OFFERED), dtype=bool)
    np.put_along_axis(behind, lists, False, axis=1)
    behind[0, np.flatnonzero(behind[0])[0]] = False  # what the person chose
    weights = rng.dirichlet(np.ones(TOP), ROWS)
    scores = torch.from_numpy(rng.normal(size=(ROWS, OFFERED))).requires_grad_()
    return scores, torch.from_numpy(lists), torch.from_numpy(weights), torch.from_numpy(behind)


def test_it_is_its_definition() -> None:
    given = case()
    expected = naive(*(one.tolist() for one in given))
    assert ranking_loss(*given).item() == pytest.approx(expected, rel=1e-12)


def test_by_hand() -> None:
    # σ(log 3) = 3/4 and σ(−log 3) = 1/4: half of log 4/3, half of log 4, and log 4/3 behind.
    scores = torch.tensor([[math.log(3), -math.log(3), -math.log(3)]], dtype=torch.float64)
    half = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    behind = torch.tensor([[False, False, True]])
    found = ranking_loss(scores, torch.tensor([[0, 1]]), half, behind)
    expected = 0.5 * math.log(4 / 3) + 0.5 * math.log(4) + math.log(4 / 3)
    assert found.item() == pytest.approx(expected)


def test_the_published_sign_is_one_logit_off() -> None:
    """log σ(1 − s) of the published code is log(1 − σ(s − 1)), and not log(1 − σ(s))."""
    scores = torch.linspace(-3, 3, 7, dtype=torch.float64).unsqueeze(0)
    none = torch.zeros(1, 1, dtype=torch.float64)
    place = torch.zeros(1, 1, dtype=torch.int64)
    everybody = torch.ones(1, 7, dtype=torch.bool)
    printed = -torch.log(torch.sigmoid(1 - scores)).mean()
    ours = ranking_loss(scores, place, none, everybody)
    assert ours.item() == pytest.approx(-torch.log(1 - torch.sigmoid(scores)).mean().item())
    assert abs(ours.item() - printed.item()) > 0.1
    assert ranking_loss(scores - 1, place, none, everybody).item() == pytest.approx(printed.item())


def test_the_teachers_own_order_costs_least_of_all_orders() -> None:
    values = np.array([2.0, 0.7, 0.1, -0.4, -1.5])
    lists, behind = torch.tensor([[0, 1, 2]]), torch.tensor([[False] * 3 + [True] * 2])
    weights = torch.from_numpy(position_weights(3, 1.0)[None])
    found = {}
    for order in permutations(range(5)):
        scores = torch.from_numpy(values[list(order)][None])
        found[order] = ranking_loss(scores, lists, weights, behind).item()
    assert found[0, 1, 2, 3, 4] == min(found.values())
    # The best one of any is free to change only behind the list.
    assert sorted(found, key=found.__getitem__)[1] == (0, 1, 2, 4, 3)
    assert found[0, 1, 2, 3, 4] == pytest.approx(found[0, 1, 2, 4, 3])
    assert found[4, 3, 2, 1, 0] > 2 * found[0, 1, 2, 3, 4]


def test_a_perfect_ranking_tends_to_no_loss_and_no_score_overflows() -> None:
    _, lists, weights, behind = case()
    towards = torch.where(behind, -1.0, 1.0).double()
    sizes = [ranking_loss(size * towards, lists, weights, behind).item() for size in (1, 5, 1e4)]
    assert sizes[0] > sizes[1] > sizes[2] == pytest.approx(0, abs=1e-12)
    assert math.isfinite(ranking_loss(-1e4 * towards, lists, weights, behind).item())


def test_gradients_push_the_list_up_and_the_rest_down_and_leave_the_true_item_alone() -> None:
    scores, lists, weights, behind = case()
    ranking_loss(scores, lists, weights, behind).backward()
    gradient = scores.grad
    assert gradient is not None
    assert (gradient.gather(1, lists) < 0).all()
    assert (gradient[behind] > 0).all()
    (true,) = [n for n in range(OFFERED) if not behind[0, n] and n not in lists[0].tolist()]
    assert gradient[0, true] == 0
    assert torch.autograd.gradcheck(
        lambda s: ranking_loss(s, lists, weights, behind), (scores.detach().requires_grad_(),)
    )


def test_a_row_with_nothing_behind_has_the_first_term_alone() -> None:
    scores = torch.zeros(1, 2)
    found = ranking_loss(
        scores, torch.tensor([[0]]), torch.ones(1, 1), torch.zeros(1, 2, dtype=torch.bool)
    )
    assert found.item() == pytest.approx(math.log(2))


def lesson(consistency: float) -> RankedLesson:
    _, lists, weights, behind = case()
    given = 0.8 * weights.numpy().astype(np.float32)
    return RankedLesson(0.5, lists.numpy(), behind.numpy(), given, consistency)


@pytest.mark.parametrize("consistency", [0.0, 0.4])
def test_a_step_takes_its_rows_and_its_share(consistency: float) -> None:
    whole, rows = lesson(consistency), np.array([3, 1])
    scores = case(seed=4)[0].detach()[:2].requires_grad_()
    expected = []
    for row, own in zip(rows, scores.tolist(), strict=True):
        best = sorted(range(OFFERED), key=lambda place: -own[place])[:TOP]
        raw = [
            float(given) + consistency * (place in best)
            for given, place in zip(whole.given[row], whole.lists[row], strict=True)
        ]
        counts = [one / sum(raw) for one in raw]
        places, others = whole.lists[row].tolist(), whole.behind[row].tolist()
        expected.append(naive([own], [places], [counts], [others]))
    loss = step_loss(whole, rows, scores)
    assert loss.item() == pytest.approx(0.5 * np.mean(expected), rel=1e-6)
    loss.backward()
    assert scores.grad is not None
    assert scores.grad.abs().sum() > 0
