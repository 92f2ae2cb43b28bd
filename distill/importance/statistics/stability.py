r"""Does a criterion say the same again: of other requests, and of other categories.

Source: algorithms.md §8 claims 4, 14 and 23, experiment E5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from distill.importance.statistics.agreement import kendall_rows, order_estimate
from distill.importance.statistics.ratios import (
    PERCENTILES,
    RESAMPLES,
    Estimate,
    Matrix,
    Seed,
    checked,
    mean_profile,
    resampled_means,
)
from storage.errors import BadData, BadSetting

FIRST_SIZE = 64


@dataclass(frozen=True, slots=True)
class HalfSplit:
    """How well two halves of a sample of requests agree on the order of layers."""

    size: int
    """Requests in both halves together."""
    mean: float
    """Of τ_b over the repetitions that have one; NaN where none has."""
    low: float
    """2.5 % of them."""
    high: float
    """97.5 %."""
    undefined: int
    """Repetitions in which a half was constant."""


def half_split(
    values: Matrix,
    *,
    sizes: Sequence[int] = (),
    repetitions: int = 100,
    seed: Seed = 0,
) -> list[HalfSplit]:
    """Give τ_b between the profiles of two random disjoint halves, for samples of rising size.

    A sample of n requests is drawn without replacement and cut into two halves of ⌊n/2⌋; a
    size therefore says how stable a profile of ⌊n/2⌋ requests is. What is drawn for one size
    does not depend on which other sizes are asked for.

    Args:
        values: (requests, layers), two requests or more.
        sizes: Requests in both halves together; by default 64, 128, … and all N.
        repetitions: Splits of each size.
        seed: Of the splits.

    Raises:
        ValueError: Values are not finite, or not of this shape, or there is one request.
        BadSetting: A size is below 2 or above the number of requests.

    Source: algorithms.md §8 claims 14 and 23, experiment E5.

    >>> [(one.size, one.mean) for one in half_split(np.tile([1.0, 2.0, 3.0], (100, 1)))]
    [(64, 1.0), (100, 1.0)]
    """
    found = checked(values)
    if found.ndim != 2 or len(found) < 2:
        raise ValueError("two halves need (requests, layers) of two requests or more")
    wrong = [size for size in sizes if not 2 <= size <= len(found)]
    if wrong:
        raise BadSetting(f"{wrong[0]} requests cannot be halved out of {len(found)}")
    base = [seed] if isinstance(seed, int) else list(seed)
    return [
        _halves(found, size, repetitions, np.random.default_rng([*base, size]))
        for size in (sizes or _doubling(len(found)))
    ]


def across_categories(
    by_category: Mapping[str, Matrix], *, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """Give the mean τ_b of one criterion between all pairs of categories: is its order general.

    Each category's requests are resampled by themselves. The single pairs:
    `tau_matrix(by_category, same_requests=False)`.

    Args:
        by_category: Category -> (requests, layers), or (layers,), which is held fixed.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        BadData: They are of different lengths, or there is only one category.

    >>> up = np.array([1.0, 2.0, 3.0])
    >>> across_categories({"Books": up, "Toys": up, "Beauty": -up}).value
    -0.3333333333333333
    """
    if len(by_category) < 2:
        raise BadData("stability across categories needs two categories or more")
    rows = []
    for place, values in enumerate(by_category.values()):
        drawn = resampled_means(values, resamples=resamples, seed=[seed, place])
        rows.append((mean_profile(values), drawn))
    most = max(len(drawn) for _, drawn in rows)
    profiles = [
        np.vstack([mean, drawn if len(drawn) else np.tile(mean, (most, 1))]) for mean, drawn in rows
    ]
    pairs = [kendall_rows(a, b) for a, b in combinations(profiles, 2)]
    found = np.mean(pairs, axis=0)
    return order_estimate(float(found[0]), found[1:])


def _doubling(requests: int) -> list[int]:
    sizes = []
    size = FIRST_SIZE
    while size < requests:
        sizes.append(size)
        size *= 2
    return [*sizes, requests]


def _halves(values: Matrix, size: int, repetitions: int, rng: np.random.Generator) -> HalfSplit:
    half = size // 2
    firsts, seconds = (np.empty((repetitions, values.shape[1])) for _ in range(2))
    for repetition in range(repetitions):
        chosen = rng.permutation(len(values))[: 2 * half]
        firsts[repetition] = values[chosen[:half]].mean(axis=0)
        seconds[repetition] = values[chosen[half:]].mean(axis=0)
    taus = kendall_rows(firsts, seconds)
    defined = taus[~np.isnan(taus)]
    if not len(defined):
        return HalfSplit(size, math.nan, math.nan, math.nan, repetitions)
    low, high = np.quantile(defined, PERCENTILES)
    return HalfSplit(
        size, float(defined.mean()), float(low), float(high), repetitions - len(defined)
    )
