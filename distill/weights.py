"""How much each student layer's match counts: from layer importance to layer weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from distill.matches import segments
from storage.errors import BadSetting
from storage.records import FloatArray

WeightMode = Literal["fisher", "uniform"]


def layer_weights(
    importance: Sequence[float], student_layers: int, *, mode: WeightMode
) -> FloatArray:
    """Return ω_1 … ω_M, which sum to M, so that every way of weighting has one budget.

    Formula: u_m = Σ of s_l over the teacher layers of segment m, ω_m = M u_m / Σ u
    ('fisher'); ω_m = 1 ('uniform').

    Args:
        importance: s_1 … s_L of the teacher's layers, the first one first; not negative.
        student_layers: M.
        mode: which formula.

    Returns:
        (M,) float32.

    Raises:
        BadSetting: importance is negative, not finite or all zero, or the mode is unknown.

    Source: algorithms.md §1.3 with β_d = 0, §1.2 (I4, I8).

    >>> layer_weights([1.0, 1.0, 1.0, 3.0], 2, mode="fisher").tolist()
    [0.6666666865348816, 1.3333333730697632]
    >>> layer_weights([1.0, 1.0, 1.0, 3.0], 2, mode="uniform").tolist()
    [1.0, 1.0]
    """
    scores = np.asarray(importance, dtype=np.float64)
    if mode == "uniform":
        share = np.ones(student_layers)
    elif mode == "fisher":
        if not np.isfinite(scores).all() or (scores < 0).any() or scores.sum() == 0:
            raise BadSetting("layer importance must be finite, not negative, and not all zero")
        share = np.array(
            [
                sum(scores[layer - 1] for layer in part)
                for part in segments(len(scores), student_layers)
            ]
        )
    else:
        raise BadSetting(f"unknown way to weight layers {mode!r}: 'fisher' or 'uniform'")
    weights = student_layers * share / share.sum()
    assert np.isclose(weights.sum(), student_layers)
    summing_to_m: FloatArray = weights.astype(np.float32)
    return summing_to_m
