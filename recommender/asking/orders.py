"""The same candidates in several orders, because a model prefers places as well as things.

A small model's liking for the first letter is larger than its knowledge (recorded: slot A of
SmolLM2 keeps 15 to 20 % whatever stands there). So each question is asked in several
rotations, what a place gets whoever stands there is taken off, and the rest is averaged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
T = TypeVar("T")


def shifts(count: int, orders: int) -> tuple[int, ...]:
    """Return by how many places to rotate: `orders` of them, evenly spaced, none twice.

    Formula: ⌊r · C / R⌋ for r = 0 … R − 1, R = min(orders, C).

    >>> shifts(10, 4), shifts(3, 4)
    ((0, 2, 5, 7), (0, 1, 2))
    """
    asked = max(1, min(orders, count))
    return tuple(turn * count // asked for turn in range(asked))


def rotated(values: Sequence[T], shift: int) -> tuple[T, ...]:
    """Return the values as they are offered: place i holds values[(i + shift) % C].

    >>> rotated("ABCD", 1)
    ('B', 'C', 'D', 'A')
    """
    count = len(values)
    return tuple(values[(place + shift) % count] for place in range(count))


def drawn(values: Sequence[T], shift: int) -> tuple[T, ...]:
    """Undo `rotated`.

    >>> drawn(rotated("ABCD", 3), 3)
    ('A', 'B', 'C', 'D')
    """
    count = len(values)
    return tuple(values[(place - shift) % count] for place in range(count))


def place_prior(answers: Sequence[npt.ArrayLike]) -> Array:
    """Return what each place gets whoever stands there, (C,), mean 0, in nats.

    Formula: b_i = mean over answers of (log p_i − mean_j log p_j). In answers where items stand
    in random places, what the items contribute averages out.

    Args:
        answers: (N, C) log-probabilities by place as offered, N ≥ 1.

    >>> place_prior([[0.0, -2.0], [-1.0, -3.0]]).tolist()
    [1.0, -1.0]
    """
    table = np.asarray(answers, dtype=np.float64)
    centred: Array = (table - table.mean(axis=1, keepdims=True)).mean(axis=0)
    return centred


def merged(
    answers: Sequence[Sequence[float]], turns: Sequence[int], prior: npt.ArrayLike | None = None
) -> Array:
    """Average the answers to one question in several orders, (C,), in the order drawn.

    Formula: s_c = (1/R) Σ_r [ log p_r(place of c) − b_place ], the place of c in order r being
    (c − shift_r) mod C: the geometric mean of what each order says.

    Args:
        answers: log-probabilities by place, one row an order.
        turns: the shift of each order.
        prior: (C,), as `place_prior` gives it; None takes nothing off.

    >>> merged([[-1.0, -2.0], [-2.0, -1.0]], [0, 1]).tolist()
    [-1.0, -2.0]
    >>> merged([[-1.0, -2.0]], [0], prior=[0.5, -0.5]).tolist()
    [-1.5, -1.5]
    """
    count = len(answers[0])
    taken = np.zeros(count) if prior is None else np.asarray(prior, dtype=np.float64)
    total = np.zeros(count)
    for row, shift in zip(answers, turns, strict=True):
        total += np.roll(np.asarray(row, dtype=np.float64) - taken, shift)
    return total / len(answers)


def repeats_the_order(answers: Sequence[Sequence[float]]) -> bool:
    """Say whether every answer only repeats the order offered: that is no opinion.

    One order alone proves nothing.

    >>> repeats_the_order([[-1.0, -2.0, -3.0], [-0.5, -0.6, -0.7]])
    True
    >>> repeats_the_order([[-1.0, -2.0, -3.0]]), repeats_the_order([[-1.0, -2.0], [-2.0, -1.0]])
    (False, False)
    """
    if len(answers) < 2:
        return False
    return all(bool(np.all(np.diff(np.asarray(row, dtype=np.float64)) < 0)) for row in answers)


@dataclass(frozen=True, slots=True)
class PlaceAudit:
    """What standing at one place is worth, over many answers."""

    place: int
    """0 for the first."""
    preference: float
    """Mean probability of the place among those offered, whoever stands there."""
    true: int
    """How often the true item stood there."""
    hits: int
    """How often it was then the likeliest."""


def audit_places(
    answers: Sequence[Sequence[float]], targets: Sequence[int]
) -> tuple[PlaceAudit, ...]:
    """Count, place by place, what is preferred and whether the true item is found there.

    Args:
        answers: (N, C) log-probabilities by place as offered.
        targets: the place of the true item in each, −1 where nobody knows.

    >>> [(a.place, a.true, a.hits) for a in audit_places([[0.0, -1.0], [0.0, -1.0]], [0, 1])]
    [(0, 1, 1), (1, 1, 0)]
    """
    table = np.asarray(answers, dtype=np.float64)
    weights = np.exp(table - table.max(axis=1, keepdims=True))
    share = (weights / weights.sum(axis=1, keepdims=True)).mean(axis=0)
    chosen, true = table.argmax(axis=1), np.asarray(targets)
    return tuple(
        PlaceAudit(
            place,
            float(share[place]),
            int((true == place).sum()),
            int(((true == place) & (chosen == place)).sum()),
        )
        for place in range(table.shape[1])
    )


@dataclass(frozen=True, eq=False, slots=True)
class Judged:
    """What several orders of one question come to."""

    status: str
    """'ok', or why it is no label: 'no_opinion', 'declined' …"""
    answers: tuple[tuple[float, ...], ...]
    """Those that count, by place."""
    turns: tuple[int, ...]


def judge_orders(answers: Sequence[tuple[int, str, Sequence[float]]]) -> Judged:
    """Decide whether the answers to one question are a label: at least half must be answers.

    Args:
        answers: (shift, status, log-probabilities by place), one an order that was answered.

    >>> judge_orders([(0, "ok", [-1.0, -2.0]), (1, "declined", [-1.0, -2.0])]).turns
    (0,)
    >>> judge_orders([(0, "ok", [-1.0, -2.0]), (1, "ok", [-1.0, -2.0])]).status
    'no_opinion'
    """
    good = [(shift, tuple(map(float, row))) for shift, status, row in answers if status == "ok"]
    turns, rows = tuple(shift for shift, _ in good), tuple(row for _, row in good)
    if not answers or 2 * len(good) < len(answers):
        others = [status for _, status, _ in answers if status != "ok"]
        return Judged(max(others, key=others.count) if others else "declined", rows, turns)
    return Judged("no_opinion" if repeats_the_order(rows) else "ok", rows, turns)


def by_length(answers: Sequence[Sequence[float]]) -> Mapping[int, list[Sequence[float]]]:
    """Group answers by how many candidates they are about: a prior is per number of places.

    >>> {n: len(rows) for n, rows in by_length([[0.0], [0.0, 1.0], [2.0, 3.0]]).items()}
    {1: 1, 2: 2}
    """
    groups: dict[int, list[Sequence[float]]] = {}
    for row in answers:
        groups.setdefault(len(row), []).append(row)
    return groups
