"""Losses between tokens written out from their definitions, one number at a time."""

from __future__ import annotations

import math

from torch import Tensor


def looks(scores: list[float]) -> list[float]:
    """Softmax of a list, which may be empty."""
    total = sum(math.exp(one) for one in scores)
    return [math.exp(one) / total for one in scores]


def seen(sight: Tensor, b: int, t: int) -> list[int]:
    """Where row t of text b may look."""
    return [s for s in range(sight.shape[-1]) if bool(sight[b, 0, t, s])]


def counted(real: Tensor) -> list[tuple[int, int]]:
    """Text and place of every row that counts."""
    return [(b, t) for b in range(real.shape[0]) for t in range(real.shape[1]) if bool(real[b, t])]


def divergence(theirs: list[float], ours: list[float]) -> float:
    """KL( theirs ‖ ours )."""
    return sum(p * math.log(p / q) for p, q in zip(theirs, ours, strict=True))


def mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)


def attention_kl(student: Tensor, teacher: Tensor, sight: Tensor, real: Tensor) -> float:
    """Mean over heads and rows that count of KL(A_T ‖ A_S); unequal heads are averaged first."""
    rows: list[float] = []
    for b, t in counted(real):
        places = seen(sight, b, t)
        a = [
            [looks([float(x[b, h, t, s]) for s in places]) for h in range(x.shape[1])]
            for x in (student, teacher)
        ]
        if student.shape[1] != teacher.shape[1]:
            a = [[[mean([head[i] for head in one]) for i in range(len(places))]] for one in a]
        rows += [divergence(q, p) for p, q in zip(*a, strict=True)]
    return mean(rows)


def scores_mse(student: Tensor, teacher: Tensor, sight: Tensor, real: Tensor) -> float:
    """Mean over heads and rows that count of the mean squared difference where one may look."""
    rows: list[float] = []
    for b, t in counted(real):
        places = seen(sight, b, t)
        raw = [
            [[float(x[b, h, t, s]) for s in places] for h in range(x.shape[1])]
            for x in (student, teacher)
        ]
        if student.shape[1] != teacher.shape[1]:
            raw = [[[mean([head[i] for head in one]) for i in range(len(places))]] for one in raw]
        for ours, theirs in zip(*raw, strict=True):
            rows.append(mean([(a - b) ** 2 for a, b in zip(ours, theirs, strict=True)]))
    return mean(rows)


def relation_kl(
    student: Tensor, teacher: Tensor, sight: Tensor, real: Tensor, *, heads: int
) -> float:
    """Mean over relation heads and rows that count of KL(R_T ‖ R_S)."""
    rows: list[float] = []
    for a in range(heads):
        for b, t in counted(real):
            places = seen(sight, b, t)
            relations = []
            for x in (student, teacher):
                whole = [
                    [float(x[b, h, s, d]) for h in range(x.shape[1]) for d in range(x.shape[3])]
                    for s in range(x.shape[2])
                ]
                width = len(whole[0]) // heads
                part = [row[a * width : (a + 1) * width] for row in whole]
                dots = [sum(u * v for u, v in zip(part[t], part[s], strict=True)) for s in places]
                relations.append(looks([dot / math.sqrt(width) for dot in dots]))
            rows.append(divergence(relations[1], relations[0]))
    return mean(rows)


def token_sums(
    states: Tensor,
    head: Tensor,
    targets: Tensor,
    teacher: tuple[Tensor, Tensor] | None,
    temperature: float,
) -> tuple[float, float]:
    """Sums over tokens of −log p_S(target) and of T² KL(p_T ‖ p_S), both at T."""

    def scores(state: Tensor, table: Tensor) -> list[float]:
        return [sum(float(a) * float(b) for a, b in zip(state, row, strict=True)) for row in table]

    entropy = apart = 0.0
    for n, target in enumerate(targets.tolist()):
        ours = scores(states[n], head)
        entropy -= math.log(looks(ours)[target])
        if teacher is not None:
            theirs = scores(teacher[0][n], teacher[1])
            soft = [looks([one / temperature for one in each]) for each in (theirs, ours)]
            apart += temperature**2 * divergence(*soft)
    return entropy, apart
