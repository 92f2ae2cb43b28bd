r"""One profile of several: the hybrids of criteria, by rank and by value.

S003 names a hybrid of Fisher, attention and gradient scores and gives no weights. Both usual
readings are here. Ranks ask only that each criterion orders layers; values keep how much more
one layer matters than another, and need criteria that are above zero on the mean.

Source: algorithms.md §2.1, §8 claims 40 and 41.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.stats import rankdata

from distill.importance.statistics.ratios import Matrix, mean_profile
from storage.errors import BadData, BadSetting


def rank_average(
    profiles: Mapping[str, Matrix], *, weights: Mapping[str, float] | None = None
) -> Matrix:
    """Give the weighted mean rank of every layer, (layers,): from 1, the least, to L.

    Formula: Σ_c w_c rank_c(l) / Σ w; equal layers share their mean rank.

    Args:
        profiles: Criterion -> (layers,), or (requests, layers), which is averaged.
        weights: Criterion -> w_c, of all of them; by default 1 each.

    Raises:
        BadData: There is no profile, or they are of different lengths.
        BadSetting: Weights are of other criteria, negative, not finite, or all zero.
        ValueError: A value is not finite.

    >>> rank_average({"a": np.array([1.0, 9.0, 2.0]), "b": np.array([5.0, 5.0, 7.0])}).tolist()
    [1.25, 2.25, 2.5]
    """
    stacked, shares = _together(profiles, weights)
    return _averaged(rankdata(stacked, axis=1), shares)


def weighted_mean(
    profiles: Mapping[str, Matrix], *, weights: Mapping[str, float] | None = None
) -> Matrix:
    """Give the weighted mean of profiles that were each scaled to mean 1, (layers,).

    Formula: Σ_c w_c s_{c,l} / s̄_c / Σ w, s̄_c the mean over layers; it has mean 1 itself.

    Args:
        profiles: Criterion -> (layers,), or (requests, layers), which is averaged.
        weights: Criterion -> w_c, of all of them; by default 1 each.

    Raises:
        BadData: There is no profile, they are of different lengths, or the mean of one is not
            above zero, so that it cannot be scaled.
        BadSetting: Weights are of other criteria, negative, not finite, or all zero.
        ValueError: A value is not finite.

    >>> weighted_mean({"a": np.array([1.0, 3.0]), "b": np.array([30.0, 10.0])}).tolist()
    [1.0, 1.0]
    """
    stacked, shares = _together(profiles, weights)
    means = stacked.mean(axis=1)
    for name, mean in zip(profiles, means, strict=True):
        if mean <= 0:
            raise BadData(
                f"the profile {name!r} has a mean of {mean:.3g} and cannot be scaled to 1",
                next_step="combine by rank",
            )
    return _averaged(stacked / means[:, None], shares)


def _averaged(scores: Matrix, shares: Matrix) -> Matrix:
    mean: Matrix = shares @ scores / shares.sum()
    return mean


def _together(
    profiles: Mapping[str, Matrix], weights: Mapping[str, float] | None
) -> tuple[Matrix, Matrix]:
    """Give (criteria, layers) and (criteria,), or refuse what cannot be combined."""
    if not profiles:
        raise BadData("a hybrid needs one profile at least")
    means = {name: mean_profile(values) for name, values in profiles.items()}
    lengths = {name: len(mean) for name, mean in means.items()}
    if len(set(lengths.values())) > 1:
        raise BadData(f"profiles of different lengths cannot be combined: {lengths}")
    if weights is None:
        return np.stack(list(means.values())), np.ones(len(means))
    if set(weights) != set(means):
        raise BadSetting(f"weights of {sorted(weights)} for profiles {sorted(means)}")
    shares = np.array([weights[name] for name in means], dtype=np.float64)
    if not np.isfinite(shares).all() or (shares < 0).any() or not shares.any():
        raise BadSetting(f"weights must be finite, not negative, and not all zero: {dict(weights)}")
    return np.stack(list(means.values())), shares
