r"""Do the upper layers matter more than the lower ones: ratios of bands of layers.

A profile is s_l, l = 0 … L − 1, the mean over requests of the values per request. Each figure
here is a function of s, and its interval is the 2.5 and 97.5 % percentile of that function of
s*, the profile of requests drawn anew with replacement:

    s*_l = (1/N) Σ_x c_x v_{x,l},    c ~ Multinomial(N; 1/N, …, 1/N).

A ratio means something only where its denominator is above zero. Differences in loss from
leaving a layer out can be negative, so this is looked at: where the denominator is not above
zero in every resample, there is no number but a reason.

Source: algorithms.md §1.2 (I7), §8 claims 1–3 and 7; Efron and Tibshirani 1993, chapter 13.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]
Seed = int | Sequence[int]

Bands = Literal["quartiles", "thirty-percent"]
Mean = Literal["arithmetic", "geometric"]

RESAMPLES = 2000
PERCENTILES = (0.025, 0.975)
COUNTS_AT_ONCE = 4_000_000
"""Drawn counts held at once: 32 MB."""
THREE_BANDS = ("0-30", "30-70", "70-100")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval; NaN, and why, where there is none.

    >>> Estimate(2.0, 1.5, 2.5).defined, Estimate.none("a constant profile has no order").defined
    (True, False)
    """

    value: float
    low: float = math.nan
    """NaN, like `high`, where one profile was given and nothing could be resampled."""
    high: float = math.nan
    reason: str = ""
    """Why the figure or its interval is NaN; empty where there is nothing to explain."""

    @property
    def defined(self) -> bool:
        """True where there is a figure."""
        return not math.isnan(self.value)

    @classmethod
    def none(cls, reason: str) -> Estimate:
        """Make the estimate that is none.

        >>> Estimate.none("no layers").value
        nan
        """
        return cls(math.nan, reason=reason)

    @classmethod
    def of(cls, value: float, resampled: Matrix) -> Estimate:
        """Put a figure and the same figure of every resample together.

        Args:
            value: Of all requests.
            resampled: (resamples,), all finite; empty where nothing was resampled.

        >>> Estimate.of(2.0, np.array([1.0, 3.0])).high
        2.95
        """
        if not resampled.size:
            return cls(float(value))
        low, high = np.quantile(resampled, PERCENTILES)
        return cls(float(value), float(low), float(high))


def checked(values: Matrix) -> Matrix:
    """Return values as (requests, layers) or (layers,) float64.

    Raises:
        ValueError: They are of another shape, there are none, or one is not finite.

    >>> checked(np.array([[1, 2]])).tolist()
    [[1.0, 2.0]]
    """
    found: Matrix = np.asarray(values, dtype=np.float64)
    if found.ndim not in (1, 2) or not found.size or not np.isfinite(found).all():
        raise ValueError(
            f"values must be finite, (requests, layers) or (layers,), not of shape {found.shape}"
        )
    return found


def mean_profile(values: Matrix) -> Matrix:
    """Give s, (layers,): the mean over requests, or the profile itself.

    Raises:
        ValueError: See `checked`.

    >>> mean_profile(np.array([[1.0, 2.0], [3.0, 6.0]])).tolist()
    [2.0, 4.0]
    """
    found = checked(values)
    mean: Matrix = found.mean(axis=0) if found.ndim == 2 else found
    return mean


def resampled_means(values: Matrix, *, resamples: int = RESAMPLES, seed: Seed = 0) -> Matrix:
    """Give s* of every resample, (resamples, layers); (0, layers) of one profile.

    The draws depend on the seed and on how many requests there are, and on nothing else: with
    one seed, two criteria measured on the same requests are resampled alike.

    Args:
        values: (requests, layers), or (layers,), which holds no requests to draw.
        resamples: How many times requests are drawn with replacement.
        seed: Of the drawing.

    Raises:
        ValueError: See `checked`.

    >>> resampled_means(np.full((4, 2), 3.0), resamples=2).tolist()
    [[3.0, 3.0], [3.0, 3.0]]
    >>> resampled_means(np.full(2, 3.0)).shape
    (0, 2)
    """
    found = checked(values)
    if found.ndim == 1:
        return np.empty((0, len(found)))
    requests = len(found)
    rng = np.random.default_rng(seed)
    even = np.full(requests, 1 / requests)
    means = np.empty((resamples, found.shape[1]))
    step = max(1, COUNTS_AT_ONCE // requests)
    for begin in range(0, resamples, step):
        end = min(resamples, begin + step)
        means[begin:end] = rng.multinomial(requests, even, size=end - begin) @ found / requests
    return means


def band_layers(layers: int, bands: Bands) -> tuple[range, range]:
    """Give the lower and the upper layers of a ratio, at least one each.

    'quartiles': the first and last ⌊L/4⌋. 'thirty-percent': those whose middle lies in the
    first or last 30 % of the depth, (l + 0.5)/L < 0.3 and (l + 0.5)/L > 0.7; a middle exactly
    on the border belongs to the middle band.

    Raises:
        ValueError: There is no layer, or the bands are unknown.

    >>> band_layers(10, "quartiles"), band_layers(10, "thirty-percent")
    ((range(0, 2), range(8, 10)), (range(0, 3), range(7, 10)))
    """
    if layers < 1:
        raise ValueError("no layers, no bands")
    if bands == "quartiles":
        width = layers // 4
    elif bands == "thirty-percent":
        width = _thirty_percent(layers)
    else:
        raise ValueError(f"unknown bands {bands!r}: 'quartiles' or 'thirty-percent'")
    width = max(1, width)
    return range(width), range(layers - width, layers)


def _thirty_percent(layers: int) -> int:
    # In whole numbers, (l + 0.5)/L < 0.3 is 10 l + 5 < 3 L: floats would place L = 5 by rounding.
    return sum(10 * layer + 5 < 3 * layers for layer in range(layers))


def band_ratio(
    values: Matrix,
    *,
    bands: Bands = "quartiles",
    mean: Mean = "arithmetic",
    resamples: int = RESAMPLES,
    seed: Seed = 0,
) -> Estimate:
    """Give R = mean(s_l, upper layers) / mean(s_l, lower layers).

    Args:
        values: (requests, layers), or one profile (layers,), which has no interval.
        bands: Which layers are upper and lower: `band_layers`.
        mean: 'arithmetic', or 'geometric': exp of the mean of log s_l, which one layer of
            enormous value does not decide; it needs every s_l above zero.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        NaN with a reason where the denominator is not above zero in every resample.

    Raises:
        ValueError: Values are not finite, or the bands or the mean are unknown.

    >>> band_ratio(np.array([[1.0, 2.0], [3.0, 6.0]])).value
    2.0
    >>> band_ratio(np.array([-1.0, 2.0])).reason
    'the mean of the lower layers is not above zero in every resample'
    """
    s = mean_profile(values)
    means = np.vstack([s, resampled_means(values, resamples=resamples, seed=seed)])
    found, reason = ratio_rows(means, bands, mean)
    return Estimate.none(reason) if reason else Estimate.of(found[0], found[1:])


def all_ratios(
    values: Matrix, *, resamples: int = RESAMPLES, seed: Seed = 0
) -> dict[str, Estimate]:
    """Give R by each of the bands and each of the means.

    >>> list(all_ratios(np.ones(8)))
    ['quartiles', 'thirty-percent', 'quartiles-geometric', 'thirty-percent-geometric']
    """
    kinds: tuple[tuple[Bands, Mean], ...] = (
        ("quartiles", "arithmetic"),
        ("thirty-percent", "arithmetic"),
        ("quartiles", "geometric"),
        ("thirty-percent", "geometric"),
    )
    return {
        bands if mean == "arithmetic" else f"{bands}-{mean}": band_ratio(
            values, bands=bands, mean=mean, resamples=resamples, seed=seed
        )
        for bands, mean in kinds
    }


def ratio_rows(means: Matrix, bands: Bands, mean: Mean) -> tuple[Matrix, str]:
    """Give R of every row, (rows,), or an empty array and the reason why there is none.

    Args:
        means: (rows, layers) profiles.
        bands: See `band_ratio`.
        mean: See `band_ratio`.

    >>> ratio_rows(np.array([[1.0, 3.0], [2.0, 2.0]]), "quartiles", "arithmetic")[0].tolist()
    [3.0, 1.0]
    """
    lower, upper = (means[:, list(band)] for band in band_layers(means.shape[1], bands))
    none: Matrix = np.empty(0)
    if mean == "geometric":
        if min(lower.min(), upper.min()) <= 0:
            return none, "a layer is not above zero in every resample: no geometric mean"
        spread: Matrix = np.exp(np.log(upper).mean(axis=1) - np.log(lower).mean(axis=1))
        return spread, ""
    if mean != "arithmetic":
        raise ValueError(f"unknown mean {mean!r}: 'arithmetic' or 'geometric'")
    below = lower.mean(axis=1)
    if below.min() <= 0:
        return none, "the mean of the lower layers is not above zero in every resample"
    found: Matrix = upper.mean(axis=1) / below
    return found, ""


@dataclass(frozen=True, slots=True)
class Band:
    """What the layers of one third of the depth come to."""

    layers: tuple[int, ...]
    """0-based."""
    mean: Estimate
    total: Estimate
    """Sum over its layers."""


def band_means(values: Matrix, *, resamples: int = RESAMPLES, seed: Seed = 0) -> dict[str, Band]:
    """Give mean and sum of s_l over the bands 0–30, 30–70 and 70–100 % of the depth.

    The borders are those of `band_layers`, so that each layer is in one band; with fewer than
    three layers a band may be empty: its sum is 0 and its mean is none.

    Args:
        values: (requests, layers), or one profile (layers,), which has no intervals.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        ValueError: Values are not finite.

    Source: algorithms.md §8 claim 1; the bands of §1.1.

    >>> found = band_means(np.array([4.0, 2.0, 2.0, 3.0, 1.0]))
    >>> [(name, band.layers, band.total.value) for name, band in found.items()]
    [('0-30', (0,), 4.0), ('30-70', (1, 2, 3), 7.0), ('70-100', (4,), 1.0)]
    """
    s = mean_profile(values)
    means = np.vstack([s, resampled_means(values, resamples=resamples, seed=seed)])
    layers, width = len(s), _thirty_percent(len(s))
    spans = (range(width), range(width, layers - width), range(layers - width, layers))
    found = {}
    for name, span in zip(THREE_BANDS, spans, strict=True):
        totals = means[:, list(span)].sum(axis=1)
        total = Estimate.of(totals[0], totals[1:])
        average = (
            Estimate.of(totals[0] / len(span), totals[1:] / len(span))
            if span
            else Estimate.none("no layer lies in this band")
        )
        found[name] = Band(tuple(span), average, total)
    return found
