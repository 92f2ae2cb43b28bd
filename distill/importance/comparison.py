r"""Do criteria order layers alike, and like the truth: τ of pairs, of nulls, and of hybrids.

Criteria are measured on the first n of the same requests, each with an n of its own. Two are
compared on the requests that both were measured on, which are resampled together. Where one
is a single profile of all requests (the greedy order), there is τ and no interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import rankdata

from distill.importance.statistics.agreement import (
    TauMatrix,
    kendall_rows,
    order_estimate,
    tau_against,
)
from distill.importance.statistics.nulls import depth_only, shuffled
from distill.importance.statistics.ratios import (
    PERCENTILES,
    RESAMPLES,
    Estimate,
    Matrix,
    mean_profile,
    resampled_means,
)

SHUFFLES = 1000
DEPTH_ONLY = "depth alone"
SHUFFLED = "dealt by lot"
BY_RANK = "hybrid by rank"
BY_VALUE = "hybrid by value"


def agreement(
    values: Mapping[str, Matrix], *, resamples: int = RESAMPLES, seed: int = 0
) -> TauMatrix:
    """Give Kendall's τ_b of every pair of criteria, on the requests that both have.

    Args:
        values: criterion -> (requests, layers), or (layers,), which has no interval; row x of
            all of them is of one request.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    >>> up = np.array([[1.0, 2.0, 3.0]] * 4)
    >>> agreement({"a": up, "b": -up[:2], "c": np.array([3.0, 2.0, 1.0])}).value.tolist()
    [[1.0, -1.0, -1.0], [-1.0, 1.0, 1.0], [-1.0, 1.0, 1.0]]
    """
    names = tuple(values)
    rows = _Rows(values, resamples, seed)
    value, low, high = (np.full((len(names), len(names)), np.nan) for _ in range(3))
    for i, one in enumerate(names):
        for j, other in enumerate(names[i:], start=i):
            found = rows.tau(one, other)
            value[i, j] = value[j, i] = found.value
            low[i, j] = low[j, i] = found.low
            high[i, j] = high[j, i] = found.high
    return TauMatrix(names, value, low, high)


def against_nulls(
    truth: Matrix, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Estimate]:
    """Give τ of the truth with depth alone, and with its own values dealt out by lot.

    The interval of the second is not of a bootstrap: it holds 95 % of 1,000 deals, so a
    criterion inside it agrees no better than chance.

    >>> found = against_nulls(np.array([[1.0, 2.0, 3.0, 4.0]] * 3))
    >>> found["depth alone"].value, abs(found["dealt by lot"].value) < 0.1
    (1.0, True)
    """
    layers = truth.shape[-1]
    profile = mean_profile(truth)
    dealt = np.stack([shuffled(profile, seed + n) for n in range(SHUFFLES)])
    taus = kendall_rows(np.broadcast_to(profile, dealt.shape), dealt)
    if np.isnan(taus).any():
        chance = order_estimate(float("nan"), taus)
    else:
        low, high = np.quantile(taus, PERCENTILES)
        chance = Estimate(float(taus.mean()), float(low), float(high))
    depth = tau_against(
        truth, {DEPTH_ONLY: depth_only(layers)}, same_requests=True, resamples=resamples, seed=seed
    )
    return {**depth, SHUFFLED: chance}


def against_hybrids(
    truth: Matrix,
    values: Mapping[str, Matrix],
    positive: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Give τ of the truth with the mean rank of all criteria, and with the mean of the positive.

    Args:
        truth: (requests, layers).
        values: criterion -> (requests, layers); none of them may be the truth. All are cut to
            the requests that all of them and the truth have.
        positive: those of them that are never below zero, and can be scaled to mean 1.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        Nothing for a hybrid of fewer than two criteria.

    Source: algorithms.md §2.1, §8 claims 40 and 41; see `hybrid`.

    >>> up = np.array([[1.0, 2.0, 3.0]] * 4)
    >>> found = against_hybrids(up, {"a": up, "b": up**2}, ["a", "b"])
    >>> [(name, one.value) for name, one in found.items()]
    [('hybrid by rank', 1.0), ('hybrid by value', 1.0)]
    """
    everything = {**values, "": truth}
    count = min(len(one) for one in everything.values())
    rows = _Rows(everything, resamples, seed)
    means = {name: rows.means(name, count) for name in everything}
    found = {}
    if len(values) > 1:
        found[BY_RANK] = _tau(
            means[""], np.mean([rankdata(means[n], axis=1) for n in values], axis=0)
        )
    scaled = [means[n] for n in positive if (means[n].mean(axis=1) > 0).all()]
    if len(scaled) > 1:
        by_value = np.mean([one / one.mean(axis=1, keepdims=True) for one in scaled], axis=0)
        found[BY_VALUE] = _tau(means[""], by_value)
    return found


class _Rows:
    """The profile and its resamples of the first n requests, made once for each n."""

    def __init__(self, values: Mapping[str, Matrix], resamples: int, seed: int) -> None:
        self._values = values
        self._resamples = resamples
        self._seed = seed
        self._made: dict[tuple[str, int], Matrix] = {}

    def means(self, name: str, count: int) -> Matrix:
        """Give (1 + resamples, layers): the profile first. One profile is one row."""
        key = (name, count)
        if key not in self._made:
            values = self._values[name]
            some = values[:count] if values.ndim == 2 else values
            drawn = resampled_means(some, resamples=self._resamples, seed=self._seed)
            self._made[key] = np.vstack([mean_profile(some), drawn])
        return self._made[key]

    def tau(self, one: str, other: str) -> Estimate:
        """Give τ of two criteria on their common requests."""
        counts = [len(self._values[n]) for n in (one, other) if self._values[n].ndim == 2]
        count = min(counts, default=0)
        a, b = self.means(one, count), self.means(other, count)
        both = min(len(a), len(b))  # 1 where either is a single profile: no interval
        return _tau(a[:both], b[:both])


def _tau(a: Matrix, b: Matrix) -> Estimate:
    taus = kendall_rows(a, b)
    return order_estimate(float(taus[0]), taus[1:])
