"""From values per request to a profile per layer, with intervals. Numbers only, no network.

Intervals are percentiles of a bootstrap over requests: what another sample of requests of
the same kind would have given.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from distill.importance.statistics.ratios import (
    PERCENTILES,
    Estimate,
    Matrix,
    ratio_rows,
    resampled_means,
)
from distill.importance.statistics.ratios import RESAMPLES as RESAMPLES
from storage.records import LayerProfile


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """Mean of each layer over requests and the ratio of late to early layers, with intervals."""

    mean: Matrix
    """(layers,)."""
    low: Matrix
    """(layers,) 2.5 % of the bootstrap."""
    high: Matrix
    """(layers,) 97.5 %."""
    ratio: float
    """Mean of the last quarter of layers over mean of the first; NaN where that means nothing."""
    ratio_low: float
    ratio_high: float
    ratio_reason: str = ""
    """Why the ratio is NaN."""


def profile(values: Matrix, *, resamples: int = RESAMPLES, seed: int = 0) -> Profile:
    """Summarise values per request and layer.

    R = mean(s_l, last ⌊L/4⌋ layers) / mean(s_l, first ⌊L/4⌋ layers), at least one layer
    each; s_l the mean over requests, taken anew for every resample. Other bands and means:
    `ratios`.

    Args:
        values: (requests, layers).
        resamples: How many times requests are drawn with replacement.
        seed: Of the drawing.

    Raises:
        ValueError: There is no request, or a value is not finite.

    >>> p = profile(np.array([[1.0, 2.0], [3.0, 6.0]]))
    >>> p.mean.tolist(), p.ratio, (round(p.ratio_low, 9), round(p.ratio_high, 9))
    ([2.0, 4.0], 2.0, (2.0, 2.0))
    """
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        raise ValueError("values must be finite, (requests, layers), with at least one request")
    means = resampled_means(values, resamples=resamples, seed=seed)
    mean = values.mean(axis=0)
    low, high = np.quantile(means, PERCENTILES, axis=0)
    rows, reason = ratio_rows(np.vstack([mean, means]), "quartiles", "arithmetic")
    ratio = Estimate.none(reason) if reason else Estimate.of(rows[0], rows[1:])
    return Profile(mean, low, high, ratio.value, ratio.low, ratio.high, reason)


def layer_profile(
    values: Matrix,
    *,
    category_id: int,
    weights: str,
    criterion: str,
    artifact: str,
    details: Mapping[str, object] | None = None,
    seed: int = 0,
) -> LayerProfile:
    """Make the record that the Store keeps.

    Args:
        values: (requests, layers).
        category_id: Whose requests they are.
        weights: `ModelCard.key` of the weights that were measured.
        criterion: Which value it is, e.g. 'fisher-empirical-listwise'.
        artifact: Key of the artifact with the values per request.
        details: What else decided them: temperature, template.
        seed: Of the bootstrap.

    >>> record = layer_profile(np.ones((4, 3)), category_id=1, weights="m", criterion="fisher",
    ...     artifact="abc", details={"temperature": 2.0})
    >>> record.requests, record.layers, record.details["ratio"]
    (4, (1.0, 1.0, 1.0), 1.0)
    """
    found = profile(values, seed=seed)
    figures = {"ratio": found.ratio, "ratio_low": found.ratio_low, "ratio_high": found.ratio_high}
    # JSON has no NaN.
    ratio: dict[str, object] = {k: v if math.isfinite(v) else None for k, v in figures.items()}
    if found.ratio_reason:
        ratio["ratio_reason"] = found.ratio_reason
    identity = [category_id, weights, criterion, artifact, dict(details or {})]
    text = json.dumps(identity, sort_keys=True, default=str)
    return LayerProfile(
        key=hashlib.sha256(text.encode()).hexdigest()[:24],
        category_id=category_id,
        weights=weights,
        criterion=criterion,
        requests=len(values),
        layers=tuple(found.mean.tolist()),
        low=tuple(found.low.tolist()),
        high=tuple(found.high.tolist()),
        artifact=artifact,
        details={**(details or {}), **ratio},
    )
