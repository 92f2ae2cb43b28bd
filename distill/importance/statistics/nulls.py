r"""What a profile must beat: profiles that know nothing of the model.

A ratio of upper to lower layers says something of *training* only beside that of a model of
random weights (`random_twin`), and weights by importance help by *importance* only if they
beat the same numbers dealt to other layers, and weights by depth alone.

Source: algorithms.md §0.2, §1.2 (I6), §1.3 (mandatory arms), §8 claim 1.
"""

from __future__ import annotations

import numpy as np

from distill.importance.statistics.ratios import (
    RESAMPLES,
    Bands,
    Estimate,
    Matrix,
    Mean,
    checked,
    mean_profile,
    ratio_rows,
    resampled_means,
)


def depth_only(layers: int, *, beta: float = 0.3, delta: float = 1.0) -> Matrix:
    """Give the profile that depth alone makes, (layers,): (1 + β l/L)^δ, l = 1 … L.

    Args:
        layers: L.
        beta: β, how much the last layer is above nothing.
        delta: δ.

    Raises:
        ValueError: There is no layer.

    Source: algorithms.md §1.1 (6) with w_l = 1, §1.2 (I6).

    >>> depth_only(2, beta=0.5).tolist()
    [1.25, 1.5]
    """
    if layers < 1:
        raise ValueError("no layers, no profile")
    profile: Matrix = (1 + beta * np.arange(1, layers + 1) / layers) ** delta
    return profile


def shuffled(profile: Matrix, seed: int) -> Matrix:
    """Deal the values of a profile (layers,) out to layers by lot.

    With two layers or more, never as they were: the null would be the profile itself.

    >>> sorted(shuffled(np.array([1.0, 2.0, 3.0]), 0).tolist())
    [1.0, 2.0, 3.0]
    """
    rng = np.random.default_rng(seed)
    still = np.arange(len(profile))
    order = rng.permutation(len(profile))
    while len(profile) > 1 and (order == still).all():
        order = rng.permutation(len(profile))
    return profile[order]


def ratio_to_null(
    values: Matrix,
    null_values: Matrix,
    *,
    same_requests: bool,
    bands: Bands = "quartiles",
    mean: Mean = "arithmetic",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Give R of a model over R of its null, with its interval: 1 where training changed nothing.

    Args:
        values: (requests, layers) of the model, or (layers,), which is held fixed.
        null_values: The same of the null.
        same_requests: Row x of both is one request: drawn together.
        bands: See `band_ratio`.
        mean: See `band_ratio`.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        NaN with a reason where either R has none, or that of the null is not above zero.

    Raises:
        ValueError: Values are not finite, or the same requests are not as many.

    Source: algorithms.md §0.2, §8 claim 1.

    >>> ratio_to_null(np.array([1.0, 6.0]), np.array([1.0, 3.0]), same_requests=True).value
    2.0
    """
    a, b = checked(values), checked(null_values)
    if same_requests and a.ndim == b.ndim == 2 and len(a) != len(b):
        raise ValueError(f"the same requests, and yet {len(a)} and {len(b)} of them")
    seeds = (seed, seed) if same_requests else ([seed, 0], [seed, 1])
    found = []
    for whose, one, own in (("model", a, seeds[0]), ("null", b, seeds[1])):
        means = np.vstack([mean_profile(one), resampled_means(one, resamples=resamples, seed=own)])
        ratios, reason = ratio_rows(means, bands, mean)
        if reason:
            return Estimate.none(f"{whose}: {reason}")
        found.append(ratios)
    if found[1].min() <= 0:
        return Estimate.none("null: its ratio is not above zero in every resample")
    # A profile that is held fixed has one ratio, which numpy repeats beside the other's many.
    over = found[0][1:] if len(found[0]) > 1 else found[0]
    under = found[1][1:] if len(found[1]) > 1 else found[1]
    resampled = over / under if a.ndim == 2 or b.ndim == 2 else np.empty(0)
    return Estimate.of(found[0][0] / found[1][0], resampled)
