"""Which teacher layer each student layer is matched to, and how: layerwise methods as data.

A method is a list of `Match`; what it does can be read off the list. The engine of either
family of students (`distill.student`, `distill.language`) only adds them up:

    L = a_task · task + a_out · T² KL + a_layer · (1/M) Σ_matches weight · loss

Layers count from 1 here, as in the formulas: teacher output l = 1 … L, student output
m = 1 … M; 0 is the embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from storage.errors import BadSetting
from storage.records import FloatArray

Feature = Literal[
    "hidden", "attention", "attention-scores", "queries", "keys", "values", "supervision"
]
Projection = Literal["linear", "none"]

FEWEST_COMPARED = 2
"""Requests from which on states can be compared: of one alone, `centred` leaves nothing."""


@dataclass(frozen=True, slots=True)
class Match:
    """One teacher layer set against one student layer.

    >>> Match(teacher=15, student=1).loss
    'distance'
    """

    teacher: int | tuple[int, ...]
    """Output l of the teacher; several are mixed, and the mixture is learned."""
    student: int
    """Output m of the student."""
    feature: Feature = "hidden"
    """What is compared. 'supervision' compares with nothing of the teacher: layer m itself
    has to predict what comes next. Of attention and its parts, l and m are the layers they
    happen in."""
    loss: str = "distance"
    """Name of the loss that compares."""
    weight: float = 1.0
    """ω."""
    projection: Projection = "linear"
    """What makes the student's states as wide as the teacher's: learned, or nothing."""
    prior: tuple[float, ...] = ()
    """Of a mixture: what each of its layers weighs at first."""
    begins: float = 0.0
    """Share of all steps from which it counts."""
    ends: float = 1.0
    """And up to which."""

    def __post_init__(self) -> None:
        """Check what can be checked without a network."""
        several = self.teacher if isinstance(self.teacher, tuple) else (self.teacher,)
        if not several or min(several) < 0 or self.student < 0:
            raise BadSetting(f"a match of layers that are not there: {self!r}")
        if self.prior and (len(self.prior) != len(several) or min(self.prior) <= 0):
            raise BadSetting(f"a mixture needs one share above 0 for each of its layers: {self!r}")
        if not (0 <= self.begins < self.ends <= 1 and 0 <= self.weight < float("inf")):
            raise BadSetting(f"a match never counts, or counts without bound: {self!r}")

    @property
    def teacher_layers(self) -> tuple[int, ...]:
        """The teacher's layers it looks at, one or several.

        >>> Match(teacher=(1, 2), student=1).teacher_layers
        (1, 2)
        """
        if self.feature == "supervision":
            return ()
        return self.teacher if isinstance(self.teacher, tuple) else (self.teacher,)

    def counts_at(self, share: float) -> bool:
        """Say whether it counts when this share of the steps is done.

        >>> Match(1, 1, begins=0.5).counts_at(0.4)
        False
        """
        return self.begins <= share < self.ends or (share >= 1.0 == self.ends)


def matched_layers(teacher_layers: int, student_layers: int) -> tuple[int, ...]:
    """Return g(1) … g(M) with g(m) = round(m L / M), halves rounded up; g(M) = L.

    Source: algorithms.md §7, uniform map.

    >>> matched_layers(30, 2), matched_layers(5, 2)
    ((15, 30), (3, 5))
    """
    if not 1 <= student_layers <= teacher_layers:
        raise BadSetting(
            f"a student of {student_layers!r} layers cannot be matched to {teacher_layers!r} layers"
        )
    return tuple(
        (2 * m * teacher_layers + student_layers) // (2 * student_layers)
        for m in range(1, student_layers + 1)
    )


def segments(teacher_layers: int, student_layers: int) -> tuple[range, ...]:
    """Return the teacher layers each student layer answers for: (g(m − 1), g(m)], g(0) = 0.

    Together they are every teacher layer once.

    >>> segments(5, 2)
    (range(1, 4), range(4, 6))
    """
    ends = matched_layers(teacher_layers, student_layers)
    return tuple(
        range(begin + 1, end + 1) for begin, end in zip((0, *ends[:-1]), ends, strict=True)
    )


def centred(states: FloatArray) -> FloatArray:
    """Subtract from every layer's states their mean over requests.

    A language model's states share a large common part that says nothing about a request;
    left in, it would be most of ‖h_T‖², and a constant would look like a good match.

    Args:
        states: (requests, layers, width).

    >>> centred(np.array([[[1.0]], [[3.0]]], dtype=np.float32)).ravel().tolist()
    [-1.0, 1.0]
    """
    mean = states.mean(0, keepdims=True, dtype=np.float64)
    rest: FloatArray = (states - mean.astype(np.float32)).astype(np.float32)
    return rest
