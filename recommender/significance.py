"""How sure a mean is: bootstrap intervals that resample people.

Apart from evaluation because distill's tables need the same intervals over seeds. One
person has many requests, which are alike, so people are drawn, each with all their requests
(a cluster bootstrap), and the statistic is the mean over the drawn requests:

    mean* = Σ_u w_u S_u / Σ_u w_u C_u,    w ~ Multinomial(U; 1/U, …, 1/U)

with S_u the sum of a person's values, C_u their number, U people. Intervals are percentile
intervals. Two rankers are compared on the same requests by the interval of the difference;
with several seeds, seeds and people are both redrawn. Source: Efron and Tibshirani 1993,
chapters 8 and 13; Cameron, Gelbach and Miller 2008 for clusters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from storage.records import IntArray

Values = npt.NDArray[np.floating]
Float64Array = npt.NDArray[np.float64]

CHUNK_VALUES = 4_000_000
"""Weights held at once: 32 MB as float64."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its percentile interval, the requests and the people behind it.

    >>> Interval(0.3, 0.2, 0.4, n=50, people=20).excludes_zero
    True
    """

    value: float
    low: float
    high: float
    n: int
    people: int

    @property
    def excludes_zero(self) -> bool:
        """True where the whole interval lies on one side of zero."""
        return self.low > 0 or self.high < 0


def mean_interval(
    values: Values, users: IntArray, *, resamples: int = 10_000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Return the mean of one value per request, with its interval.

    Args:
        values: Shape (requests,).
        users: Who each request is of, shape (requests,).
        resamples: How many times people are redrawn.
        level: Share of the resampled means inside the interval.
        seed: Same seed, same data: same interval.

    Raises:
        ValueError: No requests, shapes that differ, or a value that is not finite.

    >>> mean_interval(np.ones(4), np.array([0, 0, 1, 2]), resamples=100)
    Interval(value=1.0, low=1.0, high=1.0, n=4, people=3)
    """
    return mean_intervals(values[:, None], users, resamples=resamples, level=level, seed=seed)[0]


def mean_intervals(
    values: Values, users: IntArray, *, resamples: int = 10_000, level: float = 0.95, seed: int = 0
) -> list[Interval]:
    """Return one interval per column of `values`, shape (requests, columns).

    All columns see the same draws, so the cost of drawing is paid once.

    >>> [i.value for i in mean_intervals(np.eye(2), np.array([0, 1]), resamples=10)]
    [0.5, 0.5]
    """
    sums, counts = _per_person(values, users)
    means = np.concatenate(
        [
            (weights @ group_sums) / (weights @ group_counts)[:, None]
            for weights, group_sums, group_counts in _draws(sums, counts, resamples, seed)
        ]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    centre = values.mean(axis=0, dtype=np.float64)
    return [
        Interval(float(c), float(lo), float(hi), len(values), len(counts))
        for c, lo, hi in zip(centre, low, high, strict=True)
    ]


def paired_interval(
    a: Values,
    b: Values,
    users: IntArray,
    *,
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return the mean of a − b over the same requests, with its interval.

    `a` and `b` are of shape (requests,), or (seeds, requests) for training runs; then the
    seeds are redrawn too, independently of the people (a seed's run serves everybody), and
    seed s of `a` is compared with seed s of `b`.

    Raises:
        ValueError: Shapes that differ, no requests, or a value that is not finite.

    >>> paired_interval(np.array([1.0, 0.5]), np.array([0.5, 0.0]), np.array([0, 1])).value
    0.5
    """
    if a.shape != b.shape:
        raise ValueError(f"compare the same requests and seeds, not {a.shape} with {b.shape}")
    difference = np.atleast_2d(a.astype(np.float64) - b).T
    sums, counts = _per_person(difference, users)
    seeds = difference.shape[1]
    rng = np.random.default_rng([seed, seeds])
    means = []
    for weights, group_sums, group_counts in _draws(sums, counts, resamples, seed):
        by_seed = (weights @ group_sums) / (weights @ group_counts)[:, None]
        seed_weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=len(weights)) / seeds
        means.append((by_seed * seed_weights).sum(axis=1))
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(difference.mean()), float(low), float(high), len(difference), len(counts))


def _per_person(values: Values, users: IntArray) -> tuple[Float64Array, Float64Array]:
    """Return sums of shape (people, columns) and counts of shape (people,), in float64."""
    if len(values) != len(users) or not len(users):
        raise ValueError(f"{len(values)} values for the requests of {len(users)} people")
    if not np.all(np.isfinite(values)):
        raise ValueError("a value is not finite")
    people, index = np.unique(users, return_inverse=True)
    sums = np.zeros((len(people), values.shape[1]))
    for column in range(values.shape[1]):
        sums[:, column] = np.bincount(index, weights=values[:, column], minlength=len(people))
    return sums, np.bincount(index, minlength=len(people)).astype(np.float64)


def _draws(
    sums: Float64Array, counts: Float64Array, resamples: int, seed: int
) -> Iterator[tuple[Float64Array, Float64Array, Float64Array]]:
    """Yield chunks of (weights, sums, counts) with weights of shape (draws, groups).

    People whose sums and counts are equal are interchangeable, so they are drawn as one
    group: the same distribution, and for a shop of a million people, most of whom were
    missed by every list, far fewer numbers to draw.
    """
    rng = np.random.default_rng(seed)
    people = len(counts)
    groups, sizes = _alike(np.column_stack([sums, counts]))
    few_groups = len(groups) * 3 < people  # drawing a group costs about three times a person
    if not few_groups:
        groups, sizes = np.column_stack([sums, counts]), np.ones(people, dtype=np.int64)
    chunk = max(1, CHUNK_VALUES // people if not few_groups else CHUNK_VALUES // len(groups))
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        if few_groups:
            drawn = rng.multinomial(people, sizes / people, size=rows)
        else:
            picks = rng.integers(people, size=(rows, people)) + np.arange(rows)[:, None] * people
            drawn = np.bincount(picks.ravel(), minlength=rows * people).reshape(rows, people)
        yield drawn.astype(np.float64), groups[:, :-1], groups[:, -1]


def _alike(rows: Float64Array) -> tuple[Float64Array, IntArray]:
    """Return the different rows in order, and how often each occurs.

    As `np.unique` along an axis, which compares rows one by one and lets no other thread run
    meanwhile: for a million people that is a second in which a window stands still.
    """
    ordered = rows[np.lexsort(rows.T[::-1])]
    begins = np.flatnonzero(np.append(True, (ordered[1:] != ordered[:-1]).any(axis=1)))
    return ordered[begins], np.diff(np.append(begins, len(rows)))
