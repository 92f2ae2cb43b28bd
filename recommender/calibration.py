"""Scores into probabilities: one temperature, fitted on validation, and how honest it is.

Sums of title log-probabilities differ by tens of nats between candidates. A softmax of
them as they stand would be one-hot, and a soft label would say no more than a hard one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]

TEMPERATURE_RANGE = (1e-2, 1e3)
"""Where the fit searches. An end of it means the scores say nothing, or all."""


def probabilities(scores: npt.ArrayLike, temperature: float) -> Scores:
    """Softmax of scores / temperature over the last axis.

    Formula: q_c = exp(s_c/τ) / Σ_k exp(s_k/τ), shifted by the maximum for safety.

    Args:
        scores: (…, C), nats.
        temperature: τ > 0, in the unit of the scores.

    Raises:
        ValueError: a temperature that is not positive.

    >>> probabilities([0.0, 0.0], 3.0).tolist()
    [0.5, 0.5]
    >>> [round(q, 3) for q in probabilities([2.0, 0.0], 2.0).tolist()]
    [0.731, 0.269]
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, not {temperature}")
    scaled = np.asarray(scores, dtype=np.float64) / temperature
    weights = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    result: Scores = weights / weights.sum(axis=-1, keepdims=True)
    return result


def negative_log_likelihood(
    scores: Sequence[npt.ArrayLike], targets: Sequence[int], temperature: float
) -> float:
    """Mean of −log q[target] over requests, in nats.

    Formula: (1/R) Σ_r [ log Σ_c exp(s_rc/τ) − s_r,y/τ ].

    Args:
        scores: one row a request; rows may differ in length.
        targets: index of the true candidate in its row.
        temperature: τ > 0.

    >>> round(negative_log_likelihood([[0.0, 0.0, 0.0, 0.0]], [2], 1.0), 4)
    1.3863
    """
    return _loss(_table(scores), np.asarray(targets), temperature)


def fit_temperature(scores: Sequence[npt.ArrayLike], targets: Sequence[int]) -> float:
    """Return the temperature with the least negative log-likelihood.

    The likelihood is convex in 1/τ, so one bounded search in log τ finds the minimum.

    Args:
        scores: one row a request, nats.
        targets: index of the true candidate in its row.

    Raises:
        ValueError: no requests.

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks (1706.04599).

    >>> scores, targets = [[3.0, 0.0]] * 3 + [[0.0, 3.0]], [0, 0, 0, 0]
    >>> round(fit_temperature(scores, targets), 2)  # logistic(3/τ) = 3/4
    2.73
    """
    if not len(targets):
        raise ValueError("no requests to fit a temperature on")
    # Deferred: scipy, of no use to those who only read what a distillation is asked.
    from scipy.optimize import minimize_scalar

    table, chosen = _table(scores), np.asarray(targets)
    low, high = np.log(TEMPERATURE_RANGE)
    best = minimize_scalar(
        lambda log_t: _loss(table, chosen, float(np.exp(log_t))),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(np.exp(best.x))


def expected_calibration_error(
    labels: Sequence[npt.ArrayLike], targets: Sequence[int], bins: int = 10
) -> float:
    """Return how far stated confidence is from what happens, over all candidates.

    Formula: Σ_b (n_b/n) |mean q in bin b − share of true items in bin b|, over every
    (request, candidate) pair, in `bins` bins of equal count (equal width would put nearly
    all pairs of a list of ten into the first).

    Args:
        labels: one row of probabilities a request.
        targets: index of the true candidate in its row.
        bins: how many.

    >>> expected_calibration_error([[0.5, 0.5], [0.5, 0.5]], [0, 1], bins=1)
    0.0
    """
    confidence = np.concatenate([np.asarray(row, dtype=np.float64) for row in labels])
    true = np.concatenate(
        [np.arange(len(np.asarray(row))) == t for row, t in zip(labels, targets, strict=True)]
    )
    order = np.argsort(confidence, kind="stable")
    error = 0.0
    for chunk in np.array_split(order, bins):
        if len(chunk):
            error += len(chunk) * abs(float(confidence[chunk].mean() - true[chunk].mean()))
    return error / len(confidence)


def _table(scores: Sequence[npt.ArrayLike]) -> Scores:
    """Put rows of different lengths under each other, filled up with −∞: (R, longest)."""
    rows = [np.asarray(row, dtype=np.float64) for row in scores]
    table = np.full((len(rows), max(map(len, rows))), -np.inf)
    for place, row in enumerate(rows):
        table[place, : len(row)] = row
    return table


def _loss(table: Scores, targets: npt.NDArray[np.int64], temperature: float) -> float:
    scaled = table / temperature
    highest = scaled.max(axis=1)
    total = highest + np.log(np.exp(scaled - highest[:, None]).sum(axis=1))
    return float((total - scaled[np.arange(len(targets)), targets]).mean())
