from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from distill.losses import ce_full, ce_sampled, layer_distance, soft_label_kl
from distill.sampling import NegativeSampler

RNG = np.random.default_rng(0)


def tensor(*shape: int) -> torch.Tensor:
    return torch.from_numpy(RNG.normal(size=shape))


def labels(*shape: int) -> torch.Tensor:
    return torch.from_numpy(RNG.dirichlet(np.ones(shape[-1]), size=shape[:-1]))


# --- naive twins, from the definitions ---------------------------------------------------


def naive_ce(scores: list[float], target: int) -> float:
    return -math.log(math.exp(scores[target]) / sum(math.exp(s) for s in scores))


def naive_sampled(
    target_score: float, target: int, sample: list[int], scores: list[float], expected: list[float]
) -> float:
    others = 0.0
    for item, score, often in zip(sample, scores, expected, strict=True):
        if item != target:
            others += math.exp(score) / often
    return -target_score + math.log(math.exp(target_score) + others)


def naive_kl(scores: list[float], q: list[float], temperature: float) -> float:
    total = sum(math.exp(s / temperature) for s in scores)
    divergence = 0.0
    for s, share in zip(scores, q, strict=True):
        if share > 0:
            divergence += share * math.log(share / (math.exp(s / temperature) / total))
    return temperature**2 * divergence


def naive_distance(projected: list[list[float]], teacher: list[list[float]]) -> float:
    gap = size = 0.0
    for p, t in zip(projected, teacher, strict=True):
        gap += sum((a - b) ** 2 for a, b in zip(p, t, strict=True)) / len(teacher)
        size += sum(b**2 for b in t) / len(teacher)
    return gap / size


# --- the tests ---------------------------------------------------------------------------


def test_ce_full_is_its_definition() -> None:
    scores, targets = tensor(5, 7), torch.tensor([0, 6, 3, 3, 1])
    naive = [naive_ce(row, y) for row, y in zip(scores.tolist(), targets.tolist(), strict=True)]
    assert ce_full(scores, targets).item() == pytest.approx(np.mean(naive))


def test_ce_sampled_is_its_definition_with_a_target_among_the_sample() -> None:
    targets, sample = torch.tensor([2, 5, 0]), torch.tensor([5, 1, 1, 9])
    own, scores = tensor(3), tensor(3, 4)
    expected = torch.tensor([0.5, 1.5, 1.5, 0.1], dtype=torch.float64)
    naive = [
        naive_sampled(own[n].item(), y, sample.tolist(), scores[n].tolist(), expected.tolist())
        for n, y in enumerate(targets.tolist())
    ]
    found = ce_sampled(own, scores, targets, sample, expected.log())
    assert found.item() == pytest.approx(np.mean(naive))


def test_ce_sampled_is_finite_when_the_sample_is_the_target_alone() -> None:
    own = torch.tensor([0.3], requires_grad=True)
    loss = ce_sampled(
        own, own.unsqueeze(1), torch.tensor([4]), torch.tensor([4]), torch.tensor([0.0])
    )
    loss.backward()
    assert loss.item() == 0
    assert own.grad is not None
    assert own.grad.tolist() == [0.0]


@pytest.mark.parametrize("law", ["uniform", "log-uniform"])
def test_the_corrected_sample_has_the_full_denominator_as_its_mean(law: str) -> None:
    items, k = 60, 20
    scores = torch.from_numpy(np.random.default_rng(1).normal(size=items))
    sampler = NegativeSampler(np.random.default_rng(2).integers(0, 99, items), law)  # type: ignore[arg-type]
    target = torch.tensor([7])
    denominators = []
    for seed in range(3_000):
        drawn = sampler.draw(k, seed)
        log_expected = torch.from_numpy(sampler.log_probability(drawn) + math.log(k))
        sample = torch.from_numpy(drawn)
        loss = ce_sampled(scores[target], scores[sample][None], target, sample, log_expected)
        denominators.append(math.exp(loss.item() + scores[7].item()))
    error = np.std(denominators) / math.sqrt(len(denominators))
    assert abs(np.mean(denominators) - scores.exp().sum().item()) < 4 * error


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_soft_label_kl_is_its_definition(temperature: float) -> None:
    scores, q = tensor(4, 6), labels(4, 6)
    naive = [
        naive_kl(s, row, temperature) for s, row in zip(scores.tolist(), q.tolist(), strict=True)
    ]
    assert soft_label_kl(scores, q, temperature).item() == pytest.approx(np.mean(naive))


def test_soft_label_kl_by_hand() -> None:
    # q = (1, 0), p = (1/2, 1/2): 1 · log(1 / ½) + 0 = log 2.
    found = soft_label_kl(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), 1.0)
    assert found.item() == pytest.approx(math.log(2))


def test_soft_label_kl_vanishes_for_equal_distributions_only() -> None:
    q = labels(3, 5)
    same = (2.0 * q.log() + 4.0).requires_grad_()  # softmax(same / 2) = q, whatever is added
    loss = soft_label_kl(same, q, 2.0)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert same.grad is not None
    assert same.grad.abs().max() < 1e-12
    other = tensor(3, 5).requires_grad_()
    loss = soft_label_kl(other, q, 2.0)
    loss.backward()
    assert loss.item() > 0
    assert other.grad is not None
    assert other.grad.abs().min() > 0


def test_the_gradient_keeps_its_size_when_both_sides_are_softened_more() -> None:
    student, teacher = tensor(1, 5), tensor(1, 5)
    sizes = []
    for temperature in (20.0, 40.0):
        scores = student.clone().requires_grad_()
        soft_label_kl(scores, (teacher / temperature).softmax(1), temperature).backward()
        assert scores.grad is not None
        sizes.append(scores.grad.norm().item())
    assert sizes[0] == pytest.approx(sizes[1], rel=0.1)


def test_layer_distance_is_its_definition() -> None:
    projected, teacher = tensor(4, 3), tensor(4, 3)
    assert layer_distance(projected, teacher).item() == pytest.approx(
        naive_distance(projected.tolist(), teacher.tolist())
    )


def test_layer_distance_by_hand() -> None:
    # Gaps 4 and 1, mean 2.5; sizes 1 and 4, mean 2.5.
    projected, teacher = torch.tensor([[3.0, 0], [0, 1]]), torch.tensor([[1.0, 0], [0, 2]])
    assert layer_distance(projected, teacher).item() == pytest.approx(1.0)


def test_layer_distance_knows_no_scale_and_its_limits() -> None:
    projected, teacher = tensor(6, 3), tensor(6, 3)
    assert layer_distance(1000 * projected, 1000 * teacher).item() == pytest.approx(
        layer_distance(projected, teacher).item()
    )
    assert layer_distance(teacher, teacher).item() == 0
    assert layer_distance(torch.zeros_like(teacher), teacher).item() == pytest.approx(1)
    moving = projected.requires_grad_()
    layer_distance(moving, teacher).backward()
    assert moving.grad is not None
    assert moving.grad.abs().min() > 0
