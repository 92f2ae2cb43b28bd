r"""Layer weights that move while a student learns: the two things equation 9 can mean.

    w^(t) = (1 − η) w^(t−1) + η w^current                                              (9)

The teacher is frozen, so its Fisher information does not change and there is nothing for the
average to follow. Two readings are left, and they are different methods:

- D1, `TeacherMinibatch`: w^current is the teacher's Fisher on this step's requests. The average
  only takes the noise out of small batches; its limit is the static weight. What is averaged
  are the traces, and the weights are made of the average: normalised minibatch by minibatch,
  they would be biased by the noise in their denominator.
- D2, `StudentGradient`: w^current is the squared gradient norm of each *student* layer. It does
  change as the student learns, and puts weight where the student is still being pulled.

A rule holds settings only; what it has seen is a `Moving`, which goes in and comes out.

Source: algorithms.md §1.1 (9), §1.2 (I10), §8 claims 15 and 16.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distill.weights import Vector, carried, mean_one
from storage.errors import BadSetting
from storage.records import FloatArray

if TYPE_CHECKING:
    from torch import nn


def equation_9(previous: Vector, current: Vector, eta: float) -> Vector:
    """Give (1 − η) previous + η current.

    Args:
        previous: (layers,).
        current: (layers,).
        eta: η, above 0 and at most 1.

    Raises:
        BadSetting: η is out of range.
        ValueError: The shapes differ.

    Source: algorithms.md §1.1 (9).

    >>> equation_9(np.array([1.0, 1.0]), np.array([3.0, 0.0]), 0.5).tolist()
    [2.0, 0.5]
    """
    _refuse_rate(eta)
    if previous.shape != current.shape:
        raise ValueError(f"{current.shape} values cannot be averaged into {previous.shape}")
    moved: Vector = (1 - eta) * previous + eta * current
    return moved


@dataclass(frozen=True, slots=True, eq=False)
class Moving:
    """What a rule has seen so far.

    >>> Moving().steps
    0
    """

    average: Vector | None = None
    """None before the first measurement, which is then taken whole: no start from zero."""
    steps: int = 0
    """Training steps so far, measured ones and others."""


@dataclass(frozen=True, slots=True)
class _Rule:
    eta: float = 0.05
    """η."""
    every: int = 1
    """Training steps from one measurement to the next."""

    def __post_init__(self) -> None:
        _refuse_rate(self.eta)
        if self.every < 1:
            raise BadSetting(f"weights cannot be measured every {self.every} steps: 1 or more")

    def due(self, state: Moving) -> bool:
        """Say whether the next step is one to be measured on."""
        return state.steps % self.every == 0

    def _moved(self, state: Moving, current: Vector | None) -> Moving:
        if not self.due(state):
            return Moving(state.average, state.steps + 1)
        if current is None:
            raise ValueError(f"step {state.steps} is due, and nothing was measured")
        if not np.isfinite(current).all() or (current < 0).any():
            raise ValueError(f"squared norms must be finite and not negative: {current.tolist()}")
        before = state.average
        return Moving(
            current if before is None else equation_9(before, current, self.eta), state.steps + 1
        )


@dataclass(frozen=True, slots=True)
class TeacherMinibatch(_Rule):
    """D1: the average of the teacher's Fisher over minibatches; its limit is the static weight.

    >>> rule = TeacherMinibatch(eta=0.5)
    >>> state = rule.step(Moving(), np.array([[1.0, 3.0], [3.0, 5.0]]))
    >>> rule.weights(rule.step(state, np.array([[4.0, 2.0]])), 2).tolist()
    [1.0, 1.0]
    """

    def step(self, state: Moving, squares: Vector | None = None) -> Moving:
        """Go one training step on.

        Args:
            state: What was seen before.
            squares: (batch, L) ‖∇_{θ_l} log p‖² of each request of the minibatch, which is
                one sample each (I3); not looked at, and needless, where no measurement is due.

        Raises:
            ValueError: It is due and missing, or is not finite, negative, or of other layers.

        >>> TeacherMinibatch(every=2).step(Moving(None, 1)).steps
        2
        """
        if squares is not None and (squares.ndim != 2 or not len(squares)):
            raise ValueError(f"one row a request of the minibatch, not shape {squares.shape}")
        return self._moved(state, None if squares is None else squares.mean(axis=0))

    def weights(self, state: Moving, student_layers: int) -> FloatArray:
        """Give ω, (M,) float32 of mean 1; all 1 before the first measurement.

        Raises:
            BadSetting: Every measurement was zero, or the student is the deeper one.

        >>> TeacherMinibatch().weights(Moving(np.array([1.0, 1.0, 2.0, 4.0])), 2).tolist()
        [0.5, 1.5]
        """
        if state.average is None:
            return np.ones(student_layers, dtype=np.float32)
        return mean_one(carried(state.average, student_layers)).astype(np.float32)


@dataclass(frozen=True, slots=True)
class StudentGradient(_Rule):
    """D2: the average of the squared gradient norms of the student's own layers.

    Akin to GradNorm (Chen et al. 2018), and another method than weights by the teacher's Fisher.

    >>> rule = StudentGradient(eta=0.5, every=2)
    >>> state = rule.step(Moving(), np.array([1.0, 3.0]))
    >>> rule.due(state), rule.weights(rule.step(state)).tolist()
    (False, [0.5, 1.5])
    """

    def step(self, state: Moving, squares: Vector | None = None) -> Moving:
        """Go one training step on.

        Args:
            state: What was seen before.
            squares: (M,) squared gradient norm of each student layer: `gradient_squares`; not
                looked at, and needless, where no measurement is due.

        Raises:
            ValueError: It is due and missing, or is not finite, negative, or of other layers.

        >>> StudentGradient().step(Moving(), np.array([1.0, 3.0])).average.tolist()
        [1.0, 3.0]
        """
        return self._moved(state, squares)

    def weights(self, state: Moving) -> FloatArray:
        """Give ω, (M,) float32 of mean 1.

        Raises:
            ValueError: Nothing has been measured yet.
            BadSetting: Every measurement was zero.

        >>> StudentGradient().weights(Moving(np.array([2.0, 6.0]))).tolist()
        [0.5, 1.5]
        """
        if state.average is None:
            raise ValueError("no gradient has been measured yet")
        return mean_one(state.average).astype(np.float32)


def gradient_squares(blocks: Sequence[nn.Module]) -> Vector:
    """Give (M,) ‖∇_{θ_m} loss‖² of each block, from the gradients that a backward pass left.

    Args:
        blocks: The student's layers, the first one first.

    Raises:
        ValueError: A block has no gradient: there was no backward pass.

    >>> from torch import nn
    >>> block = nn.Linear(2, 1, bias=False)
    >>> block.weight.sum().mul(3).backward()
    >>> gradient_squares([block]).tolist()
    [18.0]
    """
    found = []
    for number, block in enumerate(blocks, start=1):
        gradients = [p.grad for p in block.parameters() if p.grad is not None]
        if not gradients:
            raise ValueError(f"student layer {number} has no gradient: call it after backward()")
        found.append(sum(float(one.detach().double().square().sum()) for one in gradients))
    return np.array(found)


def _refuse_rate(eta: float) -> None:
    if not 0 < eta <= 1:
        raise BadSetting(f"a rate of {eta!r} is not above 0 and at most 1")
