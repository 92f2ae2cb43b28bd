r"""Do two ways of looking at layers order them alike: rank correlations with intervals.

Kendall's τ_b of two profiles a and b over all pairs of layers i < j:

    τ_b = Σ sgn(a_i − a_j) sgn(b_i − b_j) / √(n_a n_b),   n_a = pairs that a does not tie.

A constant profile orders nothing: its correlation with anything is NaN, with a reason, and so
is an interval where a resample came out constant.

Two criteria measured on the same requests are resampled together, request by request, since
a hard request is hard for both; criteria measured on different requests, each by itself.

Source: algorithms.md §8 claims 5 and 6; Kendall 1945 for the ties.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from distill.importance.statistics.ratios import (
    RESAMPLES,
    Estimate,
    Matrix,
    Seed,
    mean_profile,
    resampled_means,
)
from storage.errors import BadData

CONSTANT = "a constant profile has no order"
CONSTANT_RESAMPLE = "a resample is constant, and has no order: no interval"
PAIRS_AT_ONCE = 1_000_000
"""Signs held at once: 8 MB for each of two profiles."""


def kendall_rows(a: Matrix, b: Matrix) -> Matrix:
    """Give Kendall's τ_b of every row of `a` with the same row of `b`; NaN for constant rows.

    Args:
        a: (rows, layers).
        b: (rows, layers).

    Raises:
        BadData: The profiles are of different lengths.
        ValueError: There are not as many of one as of the other.

    >>> up = np.array([[1.0, 2.0, 3.0]])
    >>> kendall_rows(up, up).tolist(), kendall_rows(up, -up).tolist()
    ([1.0], [-1.0])
    """
    if a.shape[1] != b.shape[1]:
        raise BadData(f"profiles of {a.shape[1]} and {b.shape[1]} layers cannot be compared")
    if len(a) != len(b):
        raise ValueError(f"{len(a)} profiles beside {len(b)}")
    one, other = np.triu_indices(a.shape[1], k=1)
    found = np.full(len(a), np.nan)
    step = max(1, PAIRS_AT_ONCE // max(1, len(one)))
    for begin in range(0, len(a), step):
        rows = slice(begin, begin + step)
        signs_a = np.sign(a[rows][:, one] - a[rows][:, other])
        signs_b = np.sign(b[rows][:, one] - b[rows][:, other])
        untied = np.abs(signs_a).sum(axis=1) * np.abs(signs_b).sum(axis=1)
        agreeing = (signs_a * signs_b).sum(axis=1)
        np.divide(agreeing, np.sqrt(untied), out=found[rows], where=untied > 0)
    return found


def kendall(a: Matrix, b: Matrix) -> float:
    """Give Kendall's τ_b of two profiles; NaN where one is constant.

    Args:
        a: (layers,), or (requests, layers), which is averaged.
        b: The same.

    Raises:
        BadData: They are of different lengths.
        ValueError: A value is not finite.

    >>> kendall(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 2.0, 4.0, 3.0]))
    0.6666666666666666
    >>> kendall(np.ones(3), np.array([1.0, 2.0, 3.0]))
    nan
    """
    return float(kendall_rows(mean_profile(a)[None], mean_profile(b)[None])[0])


def kendall_interval(
    a: Matrix,
    b: Matrix,
    *,
    same_requests: bool,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Give Kendall's τ_b of two profiles with its bootstrap interval over requests.

    Args:
        a: (requests, layers), or (layers,), which is held fixed.
        b: The same.
        same_requests: Row x of `a` and row x of `b` are of one request: drawn together.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        BadData: They are of different lengths.
        ValueError: A value is not finite, or the same requests are not as many.

    >>> values = np.array([[1.0, 2.0, 3.0], [2.0, 3.0, 4.0]])
    >>> kendall_interval(values, values, same_requests=True, resamples=10)
    Estimate(value=1.0, low=1.0, high=1.0, reason='')
    """
    drawn = _drawn([a, b], same_requests, resamples, seed)
    return _tau(mean_profile(a), mean_profile(b), *drawn)


@dataclass(frozen=True, slots=True, eq=False)
class TauMatrix:
    """Kendall's τ_b of every profile with every other."""

    names: tuple[str, ...]
    value: Matrix
    """(names, names), symmetric; NaN in rows of constant profiles, their diagonal included."""
    low: Matrix
    """NaN where neither profile could be resampled, or a resample is constant."""
    high: Matrix


def tau_matrix(
    profiles: Mapping[str, Matrix],
    *,
    same_requests: bool,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> TauMatrix:
    """Compare every profile with every other.

    Args:
        profiles: Name -> (requests, layers), or (layers,), which is held fixed.
        same_requests: Row x of all of them is one request.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        BadData: They are of different lengths.
        ValueError: There is none, or as in `kendall_interval`.

    >>> up = np.array([1.0, 2.0, 3.0])
    >>> tau_matrix({"up": up, "down": -up}, same_requests=True).value.tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    names = tuple(profiles)
    means = [mean_profile(profiles[name]) for name in names]
    drawn = _drawn(list(profiles.values()), same_requests, resamples, seed)
    value, low, high = (np.full((len(names), len(names)), np.nan) for _ in range(3))
    for i in range(len(names)):
        for j in range(i, len(names)):
            found = _tau(means[i], means[j], drawn[i], drawn[j])
            value[i, j] = value[j, i] = found.value
            low[i, j] = low[j, i] = found.low
            high[i, j] = high[j, i] = found.high
    return TauMatrix(names, value, low, high)


def tau_against(
    reference: Matrix,
    profiles: Mapping[str, Matrix],
    *,
    same_requests: bool,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Compare every profile with one, such as what leaving a layer out really costs.

    Args:
        reference: (requests, layers), or (layers,), which is held fixed.
        profiles: Name -> the same.
        same_requests: Row x of all of them, the reference's too, is one request.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        BadData: They are of different lengths.
        ValueError: As in `kendall_interval`.

    Source: algorithms.md §8 claim 6.

    >>> up = np.array([1.0, 2.0, 3.0])
    >>> {k: v.value for k, v in tau_against(up, {"a": up, "b": -up}, same_requests=True).items()}
    {'a': 1.0, 'b': -1.0}
    """
    first, *drawn = _drawn([reference, *profiles.values()], same_requests, resamples, seed)
    truth = mean_profile(reference)
    return {
        name: _tau(truth, mean_profile(values), first, own)
        for (name, values), own in zip(profiles.items(), drawn, strict=True)
    }


def spearman_depth(values: Matrix, *, resamples: int = RESAMPLES, seed: Seed = 0) -> Estimate:
    """Give Spearman's ρ of a profile with depth: 1 where every layer matters more than the last.

    Formula: Pearson's correlation of the ranks of s_l (ties share their mean rank) and l.

    Args:
        values: (requests, layers), or one profile (layers,), which has no interval.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        ValueError: Values are not finite.

    Source: algorithms.md §8 claim 5.

    >>> spearman_depth(np.array([1.0, 2.0, 8.0])).value
    1.0
    >>> spearman_depth(np.ones(3)).reason
    'a constant profile has no order'
    """
    means = resampled_means(values, resamples=resamples, seed=seed)
    rho = _rank_correlation(np.vstack([mean_profile(values), means]))
    return order_estimate(float(rho[0]), rho[1:])


def _drawn(
    several: Sequence[Matrix], same_requests: bool, resamples: int, seed: int
) -> list[Matrix]:
    """Resample each; the same seed draws the same requests, as there are equally many."""
    counts = {len(values) for values in several if np.ndim(values) == 2}
    if same_requests and len(counts) > 1:
        raise ValueError(f"the same requests, and yet {sorted(counts)} of them")
    return [
        resampled_means(values, resamples=resamples, seed=seed if same_requests else [seed, place])
        for place, values in enumerate(several)
    ]


def _alongside(a: Matrix, b: Matrix, drawn_a: Matrix, drawn_b: Matrix) -> tuple[Matrix, Matrix]:
    """Give resamples of both, a fixed profile repeated beside those of the other."""
    rows = max(len(drawn_a), len(drawn_b))
    return (
        drawn_a if len(drawn_a) else np.broadcast_to(a, (rows, len(a))),
        drawn_b if len(drawn_b) else np.broadcast_to(b, (rows, len(b))),
    )


def _tau(a: Matrix, b: Matrix, drawn_a: Matrix, drawn_b: Matrix) -> Estimate:
    value = float(kendall_rows(a[None], b[None])[0])
    return order_estimate(value, kendall_rows(*_alongside(a, b, drawn_a, drawn_b)))


def order_estimate(value: float, resampled: Matrix) -> Estimate:
    """Put a rank correlation and that of every resample together; NaN says why it is NaN.

    >>> order_estimate(0.5, np.array([0.5, np.nan])).reason
    'a resample is constant, and has no order: no interval'
    """
    if math.isnan(value):
        return Estimate.none(CONSTANT)
    if np.isnan(resampled).any():
        return Estimate(value, reason=CONSTANT_RESAMPLE)
    return Estimate.of(value, resampled)


def _rank_correlation(profiles: Matrix) -> Matrix:
    ranks = rankdata(profiles, axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    depth = np.arange(profiles.shape[1], dtype=np.float64)
    depth -= depth.mean()
    scale = np.sqrt((ranks**2).sum(axis=1) * (depth @ depth))
    found = np.full(len(profiles), np.nan)
    np.divide(ranks @ depth, scale, out=found, where=scale > 0)
    return found
