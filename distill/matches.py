"""Which teacher layer each student layer is matched to.

Layers count from 1 here, as in the formulas: teacher output l = 1 … L, student output
m = 1 … M; 0 is the embedding.
"""

from __future__ import annotations

import numpy as np

from storage.errors import BadSetting
from storage.records import FloatArray


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
