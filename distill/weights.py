r"""How much each student layer's match counts: from layer importance to layer weights.

Published formulas weigh the L teacher layers (`equation_5`, `equation_6`, `exponential`,
`bands`); a student of M layers has M matches. Layer m answers for a segment of teacher layers
and takes the *sum* of their weights, so that the whole of the layer loss weighs what it would
with L matches. What a weighting says then stands as printed, or is scaled to one budget,
Σ ω = M, in which only the shape differs: comparisons of weightings need the latter.

As printed, equation 5 spends γ over all layers and `bands` about 0.8 L; this is a difference
in how much the layer loss counts, and has nothing to do with layers (algorithms.md §1.2, I4).

Layers count from 1 here, as in the formulas. Weights that move while a student learns
(equation 9): `dynamic_weights`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt

from distill.matches import segments
from recommender.own import construct, load_class
from storage.errors import BadSetting
from storage.records import FloatArray

Vector = npt.NDArray[np.float64]
WeightMode = Literal["fisher", "uniform"]
Budget = Literal["mean-1", "as-printed"]
Weighting = Callable[[Vector, int], Vector]
"""(importance (L,), M) -> (M,) weights as printed."""

GAMMA = 0.25
BETA_PAPER = 0.3
BETA_ABSTRACT = 0.8
SIX = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
BAND_ENDS = (0.0, 0.3, 0.7, 1.0)
BAND_WEIGHTS = (0.1, 0.3, 0.7, 2.0)


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
    if mode not in ("fisher", "uniform"):
        raise BadSetting(f"unknown way to weight layers {mode!r}: 'fisher' or 'uniform'")
    return weigh(importance, student_layers, weighting="sound" if mode == "fisher" else mode)


def weigh(
    importance: Sequence[float] | Vector,
    student_layers: int,
    *,
    weighting: str = "sound",
    budget: Budget = "mean-1",
    folder: Path | None = None,
) -> FloatArray:
    """Weigh student layers by a weighting of ours, or by a function of the user's own.

    Args:
        importance: s_1 … s_L of the teacher's layers.
        student_layers: M.
        weighting: One of `WEIGHTINGS`, or 'module:function'.
        budget: 'mean-1' scales to Σ ω = M; 'as-printed' leaves what the formula gives.
        folder: Of `recsys.toml`, where the user's module is looked for.

    Returns:
        (M,) float32.

    Raises:
        BadSetting: There is no such weighting or budget, importance cannot be used by it, or
            what it gives are no weights.

    >>> weigh([1.0, 1.0, 1.0, 3.0], 2, weighting="equation-5", budget="as-printed").tolist()
    [0.0833333358168602, 0.1666666716337204]
    >>> weigh([1.0, 1.0, 1.0, 3.0], 2, weighting="equation-5").tolist()
    [0.6666666865348816, 1.3333333730697632]
    """
    if budget not in ("mean-1", "as-printed"):
        raise BadSetting(f"unknown budget {budget!r}: 'mean-1' or 'as-printed'")
    if student_layers < 1:
        raise BadSetting(f"a student of {student_layers} layers has none to weigh")
    scores = np.array(importance, dtype=np.float64)  # a copy: own functions may write into it
    weights = resolve_weighting(weighting, folder=folder)(scores, student_layers)
    return (mean_one(weights) if budget == "mean-1" else weights).astype(np.float32)


def resolve_weighting(name: str, *, folder: Path | None = None) -> Weighting:
    """Return the weighting of a name, or the user's own function behind 'module:function'.

    Args:
        name: One of `WEIGHTINGS`, or a place; the function is given importance (L,) and M, and
            gives (M,) weights.
        folder: Of `recsys.toml`, where the module is looked for first.

    Raises:
        BadSetting: There is no weighting of this name, or the function cannot be loaded; and
            when it is called, it fails or gives no weights (`checked_weights`).

    >>> resolve_weighting("uniform")(np.ones(4), 2).tolist()
    [1.0, 1.0]
    """
    if name in WEIGHTINGS:
        return WEIGHTINGS[name]
    if ":" not in name:
        known = ", ".join(WEIGHTINGS)
        raise BadSetting(f"no weighting {name!r}: {known}, or 'module:function' of your own")
    load_class(name, "weighting", folder)

    def own(importance: Vector, student_layers: int) -> Vector:
        made = construct(name, "weighting", folder, importance, student_layers)
        return checked_weights(made, student_layers, name)

    return own


def checked_weights(found: object, student_layers: int, name: str) -> Vector:
    """Return what a weighting gave as (M,) float64, or say what is wrong with it.

    Raises:
        BadSetting: It is not M finite numbers, none negative, and not all zero.

    >>> checked_weights([1, 3], 2, "a:b").tolist()
    [1.0, 3.0]
    >>> checked_weights([1, 3], 3, "a:b")
    Traceback (most recent call last):
    ...
    storage.errors.BadSetting: the weighting 'a:b' gave weights of shape (2,) for 3 student layers
    """
    try:
        weights: Vector = np.asarray(found, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise BadSetting(f"the weighting {name!r} gave no numbers: {error}") from error
    if weights.shape != (student_layers,):
        raise BadSetting(
            f"the weighting {name!r} gave weights of shape {weights.shape} for "
            f"{student_layers} student layers"
        )
    for wrong, said in (
        (not np.isfinite(weights).all(), "that are not finite"),
        ((weights < 0).any(), "below zero"),
        (not weights.any(), "that are all zero"),
    ):
        if wrong:
            raise BadSetting(f"the weighting {name!r} gave weights {said}: {weights.tolist()}")
    return weights


def mean_one(weights: Vector) -> Vector:
    """Scale weights so that their mean is 1.

    Formula: w_l = L s_l / Σ s. The sound default: shape without budget.

    Args:
        weights: (layers,).

    Raises:
        BadSetting: They are negative, not finite or all zero.

    Source: algorithms.md §1.2 (I4), §1.3.

    >>> mean_one(np.array([1.0, 3.0])).tolist()
    [0.5, 1.5]
    """
    checked = _importance(weights)
    scaled: Vector = len(checked) * checked / checked.sum()
    return scaled


def equation_5(traces: Vector, *, gamma: float = GAMMA) -> Vector:
    """Give w_l = γ tr(F_l) / Σ tr(F), as printed: all weights together are γ.

    Args:
        traces: (L,) tr(F_l).
        gamma: γ; the paper uses it again in its equation 7, so that layers count by γ².

    Raises:
        BadSetting: Traces are negative, not finite or all zero.

    Source: algorithms.md §1.1 (5), §1.2 (I4, I5).

    >>> equation_5(np.array([1.0, 3.0])).tolist()
    [0.0625, 0.1875]
    """
    checked = _importance(traces)
    weights: Vector = checked / checked.sum() * gamma
    return weights


def equation_6(weights: Vector, beta: float, *, delta: float = 1.0) -> Vector:
    """Give w_l (1 + β l/L)^δ, l = 1 … L: weights with an emphasis on depth.

    Args:
        weights: (L,) of `equation_5`.
        beta: β, 0.3 in the paper (`BETA_PAPER`), 0.8 in its abstract (`BETA_ABSTRACT`).
        delta: δ, never printed.

    Raises:
        BadSetting: Weights are negative, not finite or all zero.

    Source: algorithms.md §1.1 (6), §1.2 (I5, I6).

    >>> equation_6(np.array([1.0, 1.0]), 0.8).tolist()
    [1.4, 1.8]
    """
    emphasised: Vector = _importance(weights) * (1 + beta * _depth(len(weights))) ** delta
    return emphasised


def exponential(weights: Vector, beta: float = BETA_PAPER) -> Vector:
    """Give w_l exp(β l/L), l = 1 … L: the exponential variant.

    No formula is printed for it: the published settings only list "exponential" beside
    "linear", and nothing reads the word. This is equation 6 with its factor's exponential.

    Args:
        weights: (L,) of `equation_5`.
        beta: β.

    Raises:
        BadSetting: Weights are negative, not finite or all zero.

    Source: the name, GeoffreyWang1117/LayerwiseAdapter4RecSys, `layer_weight_strategy`; the
    formula is ours.

    >>> exponential(np.array([1.0, 1.0]), 2.0).round(3).tolist()
    [2.718, 7.389]
    """
    emphasised: Vector = _importance(weights) * np.exp(beta * _depth(len(weights)))
    return emphasised


def bands(layers: int) -> Vector:
    """Give the printed ranges: 0–30 % 0.1–0.3, 30–70 % 0.3–0.7, 70–100 % 0.7–2.0.

    Linear in the depth inside a band; a layer stands at its middle, (l − 0.5)/L, as in the
    bands of ratios. Of the model they know nothing.

    Args:
        layers: L.

    Raises:
        BadSetting: There is no layer.

    Source: algorithms.md §1.1 ("000 adds").

    >>> bands(5).round(3).tolist()
    [0.167, 0.3, 0.5, 0.7, 1.567]
    """
    if layers < 1:
        raise BadSetting("no layers, no weights")
    middles = (np.arange(layers) + 0.5) / layers
    weights: Vector = np.interp(middles, BAND_ENDS, BAND_WEIGHTS)
    return weights


def six_fixed(student_layers: int) -> Vector:
    """Give the six fixed weights of six student layers.

    Raises:
        BadSetting: There are not six.

    Source: algorithms.md §1.1 ("002 adds").

    >>> six_fixed(6).tolist()
    [0.1, 0.3, 0.5, 0.7, 0.9, 1.0]
    """
    if student_layers != len(SIX):
        raise BadSetting(
            f"the six fixed weights are for a student of 6 layers, not of {student_layers}"
        )
    return np.array(SIX)


def carried(weights: Vector, student_layers: int) -> Vector:
    """Carry the weights of teacher layers to student layers: the sum over each segment.

    Args:
        weights: (L,).
        student_layers: M.

    Returns:
        (M,), of the same sum.

    Raises:
        BadSetting: The student has more layers than the teacher, or none.

    Source: algorithms.md §1.2 (I8), §1.3.

    >>> carried(np.array([1.0, 2.0, 3.0, 4.0, 0.0]), 2).tolist()
    [6.0, 4.0]
    """
    parts = segments(len(weights), student_layers)
    return np.array([weights[part.start - 1 : part.stop - 1].sum() for part in parts])


WEIGHTINGS: Mapping[str, Weighting] = MappingProxyType(
    {
        "sound": lambda s, m: mean_one(carried(_importance(s), m)),
        "uniform": lambda s, m: np.ones(m),
        "equation-5": lambda s, m: carried(equation_5(s), m),
        "equation-6-beta-0.3": lambda s, m: carried(equation_6(equation_5(s), BETA_PAPER), m),
        "equation-6-beta-0.8": lambda s, m: carried(equation_6(equation_5(s), BETA_ABSTRACT), m),
        "exponential": lambda s, m: carried(exponential(equation_5(s)), m),
        "bands": lambda s, m: carried(bands(len(s)), m),
        "six-fixed": lambda s, m: six_fixed(m),
    }
)
"""Name -> (importance (L,), M) -> (M,), as printed."""


def _importance(scores: Vector) -> Vector:
    found: Vector = np.asarray(scores, dtype=np.float64)
    if not np.isfinite(found).all() or (found < 0).any() or found.sum() == 0:
        raise BadSetting("layer importance must be finite, not negative, and not all zero")
    return found


def _depth(layers: int) -> Vector:
    depth: Vector = np.arange(1, layers + 1) / layers
    return depth
