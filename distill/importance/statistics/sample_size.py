r"""How many requests a profile needs, and which: widths of intervals, and sampling by strata.

With v_{x,l} the values per request, the mean of layer l over n requests has the standard error
σ_l / √n. Relative to the mean that is CV_l / √n, CV_l = σ_l / |s_l|, and

    n = (1.96 CV / 0.10)²

requests put the 95 % interval of a layer within ±10 % of its mean.

Requests that differ in kind (long and short histories, popular and rare targets) can be drawn
by kind. With W_h the share of kind h among all requests and S_h its standard deviation,
Neyman's allocation n_h ∝ W_h S_h gives the narrowest interval of the mean Σ_h W_h v̄_h for a
given number of requests.

Source: algorithms.md §8 claim 14; Cochran, Sampling Techniques, 3rd ed. 1977, §5.3–§5.5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from distill.importance.statistics.ratios import (
    PERCENTILES,
    RESAMPLES,
    Matrix,
    Seed,
    checked,
    resampled_means,
)
from storage.errors import BadData, BadSetting

Stratum = int | str
Strata = npt.NDArray[Any]

NORMAL_95 = 1.96
"""The 97.5 % point of the normal distribution."""
LEAST = 2
"""Requests of a stratum: one shows no spread."""


def relative_width(values: Matrix, *, resamples: int = RESAMPLES, seed: Seed = 0) -> Matrix:
    """Give (layers,): half the width of each layer's bootstrap interval, over |its mean|.

    Infinite where the mean is 0: no width is a share of nothing.

    Args:
        values: (requests, layers).
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        ValueError: Values are not finite, or not of this shape.

    >>> relative_width(np.full((3, 2), 5.0), resamples=10).tolist()
    [0.0, 0.0]
    """
    found = _per_request(values)
    means = resampled_means(found, resamples=resamples, seed=seed)
    low, high = np.quantile(means, PERCENTILES, axis=0)
    return _relative((high - low) / 2, found.mean(axis=0))


def requests_needed(values: Matrix, *, within: float = 0.10) -> int | None:
    """Say how many requests put every layer's 95 % interval within ±`within` of its mean.

    Formula: max_l ⌈(1.96 CV_l / within)²⌉, CV_l with the n − 1 standard deviation.

    Args:
        values: (requests, layers), two requests or more: a pilot.
        within: Half-width over mean, above 0.

    Returns:
        None where a layer's mean is 0: no number is enough.

    Raises:
        ValueError: Values are not finite, not of this shape, or of one request only.
        BadSetting: `within` is not above 0.

    >>> requests_needed(np.array([[1.0, 9.0], [3.0, 11.0]]))
    193
    """
    found = _per_request(values)
    if len(found) < LEAST:
        raise ValueError("one request shows no spread: give two or more")
    if not within > 0:
        raise BadSetting(f"a half-width of {within!r} cannot be reached: it must be above 0")
    variation = _variation(found)
    if np.isinf(variation).any():
        return None
    return max(1, math.ceil((NORMAL_95 * float(variation.max()) / within) ** 2))


def stratified_plan(
    pilot_values: Matrix,
    strata: Strata,
    budget: int,
    *,
    shares: Mapping[Stratum, float] | None = None,
) -> dict[Stratum, int]:
    """Deal a budget of requests out to strata by Neyman's allocation, where that helps.

    One number a stratum must serve all layers; the layer of the widest relative interval in
    the pilot (the largest CV_l) decides, as it is the one that needs most requests:
    n_h = budget · W_h S_h / Σ W S of that layer, rounded by largest remainders, and at least 2.
    Another layer may spread where this one does not, and be served worse than by chance. So
    n_h ∝ W_h, which is never worse than no strata, is taken wherever the widest relative
    standard error of all layers is smaller by it.

    Args:
        pilot_values: (requests, layers), two requests of every stratum or more.
        strata: (requests,) which stratum each is of.
        budget: Requests to deal out.
        shares: W_h among all requests; by default those of the pilot.

    Returns:
        Stratum -> requests; they sum to the budget.

    Raises:
        ValueError: Shapes differ, or shares and strata do not name the same.
        BadData: A stratum has one request in the pilot.
        BadSetting: The budget is less than 2 for each stratum.

    >>> pilot = np.array([[9.0], [11.0], [5.0], [15.0]])
    >>> stratified_plan(pilot, np.array(["calm", "calm", "wild", "wild"]), 60)
    {'calm': 10, 'wild': 50}
    """
    found = _per_request(pilot_values)
    groups = _groups(found, strata)
    weights = _shares(groups, shares, len(found))
    for name, group in groups.items():
        if len(group) < LEAST:
            raise BadData(f"stratum {name!r} has one pilot request: two are needed to see a spread")
    if budget < LEAST * len(groups):
        raise BadSetting(
            f"{budget} requests cannot be dealt out to {len(groups)} strata: at least 2 each"
        )
    decides = int(np.argmax(_variation(found)))
    need = {
        name: weights[name] * float(group[:, decides].std(ddof=1)) for name, group in groups.items()
    }
    even = _dealt(weights, budget)
    if not any(need.values()):
        return even
    plans = (_dealt(need, budget), even)
    return min(plans, key=lambda plan: _widest(groups, weights, plan))


def _widest(
    groups: Mapping[Stratum, Matrix],
    weights: Mapping[Stratum, float],
    plan: Mapping[Stratum, int],
) -> float:
    """Give the largest relative standard error of a layer by a plan."""
    variance = sum(
        weights[name] ** 2 * group.var(axis=0, ddof=1) / plan[name]
        for name, group in groups.items()
    )
    mean = sum(weights[name] * group.mean(axis=0) for name, group in groups.items())
    return float(_relative(np.sqrt(variance), np.abs(mean)).max())


def stratified_mean(
    values: Matrix, strata: Strata, shares: Mapping[Stratum, float]
) -> tuple[Matrix, Matrix]:
    """Give the mean of every layer from requests drawn by stratum, and its standard error.

    Formula: s_l = Σ_h W_h v̄_{h,l},  SE_l = √(Σ_h W_h² S²_{h,l} / n_h). It estimates the mean
    over all requests without bias, however many were drawn of each stratum.

    Args:
        values: (requests, layers), two requests of every stratum or more.
        strata: (requests,) which stratum each is of.
        shares: W_h, the share of each stratum among all requests; they sum to 1.

    Returns:
        (layers,) means and (layers,) standard errors.

    Raises:
        ValueError: Shapes differ, or shares and strata do not name the same, or a stratum has
            one request.

    >>> mean, error = stratified_mean(
    ...     np.array([[1.0], [3.0], [10.0], [10.0]]), np.array([0, 0, 1, 1]), {0: 0.75, 1: 0.25})
    >>> mean.tolist(), error.tolist()
    ([4.0], [0.75])
    """
    found = _per_request(values)
    groups = _groups(found, strata)
    weights = _shares(groups, shares, len(found))
    mean, square = np.zeros(found.shape[1]), np.zeros(found.shape[1])
    for name, group in groups.items():
        if len(group) < LEAST:
            raise ValueError(f"stratum {name!r} has one request, which shows no spread")
        mean += weights[name] * group.mean(axis=0)
        square += weights[name] ** 2 * group.var(axis=0, ddof=1) / len(group)
    return mean, np.sqrt(square)


def _per_request(values: Matrix) -> Matrix:
    found = checked(values)
    if found.ndim != 2:
        raise ValueError("one profile has no requests to count: values must be (requests, layers)")
    return found


def _variation(values: Matrix) -> Matrix:
    return _relative(values.std(axis=0, ddof=1), values.mean(axis=0))


def _relative(width: Matrix, mean: Matrix) -> Matrix:
    share = np.full(len(mean), np.inf)
    np.divide(width, np.abs(mean), out=share, where=mean != 0)
    return share


def _groups(values: Matrix, strata: Strata) -> dict[Stratum, Matrix]:
    if np.shape(strata) != (len(values),):
        raise ValueError(f"{np.shape(strata)} strata for {len(values)} requests")
    return {name.item(): values[strata == name] for name in np.unique(strata)}


def _shares(
    groups: Mapping[Stratum, Matrix], shares: Mapping[Stratum, float] | None, requests: int
) -> dict[Stratum, float]:
    if shares is None:
        return {name: len(group) / requests for name, group in groups.items()}
    if set(shares) != set(groups):
        raise ValueError(f"shares of {sorted(map(str, shares))}, strata {sorted(map(str, groups))}")
    if min(shares.values()) <= 0 or not math.isclose(sum(shares.values()), 1, abs_tol=1e-6):
        raise ValueError(f"shares must be above 0 and sum to 1: {dict(shares)}")
    return {name: float(shares[name]) for name in groups}


def _dealt(need: Mapping[Stratum, float], budget: int) -> dict[Stratum, int]:
    """Deal the budget in proportion to the need, at least 2 each, by largest remainders."""
    exact = {name: Fraction(value) for name, value in need.items()}
    given: dict[Stratum, int] = {}
    while True:  # whoever would get less than 2 gets 2, and the others share what is left
        rest = {name: value for name, value in exact.items() if name not in given}
        left, whole = budget - sum(given.values()), sum(rest.values())
        poor = [name for name, value in rest.items() if value * left < LEAST * whole]
        if not poor:
            break
        given |= dict.fromkeys(poor, LEAST)
    parts = {name: value * left / whole for name, value in rest.items()}
    floors = {name: int(part) for name, part in parts.items()}
    short = left - sum(floors.values())
    first = sorted(parts, key=lambda name: floors[name] - parts[name])[:short]
    return {name: given.get(name, floors.get(name, 0) + (name in first)) for name in need}
