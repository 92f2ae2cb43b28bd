"""How much each item of a teacher's list counts: by position, confidence and agreement.

Pure functions of arrays, float64. A list is the K best of the candidates of one request; rows of
every weight belong to lists, columns to places, the best first.

Source: algorithms.md §3.1; DLLM2Rec (2405.00338) and its code.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]


def teacher_lists(labels: npt.ArrayLike, top: int) -> Places:
    """Return where in the row of candidates the best ones stand, best first.

    Args:
        labels: (R, C), higher is better; of equal ones the first.
        top: K, at most C.

    Returns:
        (R, K).

    >>> teacher_lists([[0.2, 0.5, 0.3]], 2).tolist()
    [[1, 2]]
    """
    best = np.argsort(-np.asarray(labels, dtype=np.float64), axis=1, kind="stable")[:, :top]
    return best.astype(np.int64)


def position_weights(count: int, beta: float) -> Array:
    """Weigh by place: w^p_r = exp(−r/β) / Σ_r' exp(−r'/β), r = 1 … K.

    Args:
        count: K.
        beta: β > 0, in places: the smaller, the more the first ones count.

    >>> position_weights(3, 1.0).round(3).tolist()
    [0.665, 0.245, 0.09]
    """
    return _softmax(-np.arange(1.0, count + 1) / beta)


def confidence_weights(distances: npt.ArrayLike, beta: float) -> Array:
    """Weigh by how sure the teacher is of each item: w^c_i = exp(−d_i/β) / Σ_i' exp(−d_i'/β).

    d is the squared distance between what the teacher named and the item; or, where the label
    itself says how sure it is, d = −log q, and w^c ∝ q^(1/β).

    The paper's d is that of the item that came next, one number a list. The weights of a list are
    scaled to sum 1, where a number that all of them share is gone: so each item has its own, as
    in the published code.

    Args:
        distances: (R, K); infinite for what the teacher rules out, not all of a row.
        beta: β > 0, in the unit of the distances.

    >>> confidence_weights(-np.log([[0.6, 0.3]]), 1.0).round(3).tolist()
    [[0.667, 0.333]]
    """
    return _softmax(-np.asarray(distances, dtype=np.float64) / beta)


def consistency_weights(lists: Places, student: npt.ArrayLike) -> Array:
    """Weigh what both rank high: w^o_i = 1 if i is among the student's K best too, else 0.

    Best of the same candidates. Published, the student's list is of the whole catalogue; but the
    teacher has seen a few items of it, and the two would meet by chance.

    Args:
        lists: (R, K) places of the teacher's list.
        student: (R, C) scores of all candidates; of equal ones the first.

    Returns:
        (R, K), not scaled.

    >>> consistency_weights(np.array([[1, 2]]), [[0.0, 3.0, -1.0]]).tolist()
    [[1.0, 0.0]]
    """
    own = teacher_lists(student, lists.shape[1])
    agreed: Array = (lists[:, :, None] == own[:, None, :]).any(axis=2).astype(np.float64)
    return agreed


def mixed_weights(parts: Sequence[tuple[float, npt.ArrayLike]], shape: tuple[int, int]) -> Array:
    """Add weights up: w = Σ γ w / (the row's sum); a row without any counts the same throughout.

    Args:
        parts: pairs of γ and weights, of a shape that fits into `shape`.
        shape: (R, K).

    >>> mixed_weights([(1.0, [[3.0, 1.0], [0.0, 0.0]])], (2, 2)).tolist()
    [[0.75, 0.25], [0.5, 0.5]]
    """
    total = np.zeros(shape)
    for gamma, weights in parts:
        total += gamma * np.asarray(weights, dtype=np.float64)
    sums = total.sum(axis=1, keepdims=True)
    mixed: Array = np.full(shape, 1.0 / shape[1])
    np.divide(total, sums, out=mixed, where=sums > 0)
    return mixed


def _softmax(values: Array) -> Array:
    shifted = np.exp(values - values.max(axis=-1, keepdims=True))
    result: Array = shifted / shifted.sum(axis=-1, keepdims=True)
    return result
