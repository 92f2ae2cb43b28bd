"""Several teachers made one: a mixture whose shares are fitted on validation.

Apart from calibration, which makes one teacher honest: here honest ones are weighed against
each other, by how probable they found what people really chose.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

Array = npt.NDArray[np.float64]

STEPS = 200
CLOSE = 1e-9
"""Shares that move by less than this have arrived."""


def fit_shares(likelihoods: npt.ArrayLike) -> Array:
    """Return the shares of a mixture that make what happened most probable, (T,), sum 1.

    Formula: argmax_w Σ_r log Σ_t w_t p_tr over the simplex, which is concave. By expectation
    maximisation, w_t ← mean_r [ w_t p_tr / Σ_s w_s p_sr ] from equal shares, which never goes
    wrong but nears a corner slowly; then by sequential quadratic programming from there, kept
    where it is better.

    Args:
        likelihoods: (T, R) probability each teacher gave to the true item of each request.

    Raises:
        ValueError: no teacher or no request, or a request that all of them held impossible.

    Source: Dempster, Laird and Rubin 1977, for the weights of a mixture.

    >>> fit_shares([[0.9, 0.9], [0.1, 0.1]]).round(3).tolist()
    [1.0, 0.0]
    >>> fit_shares([[0.9, 0.1], [0.1, 0.9]]).round(3).tolist()
    [0.5, 0.5]
    """
    table = np.asarray(likelihoods, dtype=np.float64)
    if table.ndim != 2 or not table.size:
        raise ValueError("shares need a teacher and a request")
    if np.any(table.sum(axis=0) <= 0):
        raise ValueError("every teacher held a true item impossible")
    shares: Array = np.full(len(table), 1.0 / len(table))
    for _ in range(STEPS):
        parts = shares[:, None] * table
        moved: Array = (parts / parts.sum(axis=0)).mean(axis=1)
        if np.abs(moved - shares).max() < CLOSE:
            return moved
        shares = moved
    return _polished(table, shares)


def _polished(table: Array, shares: Array) -> Array:
    """Go the rest of the way, where that is better."""

    def loss(some: Array) -> float:
        return float(-np.log(np.maximum(some @ table, 1e-300)).mean())

    def slope(some: Array) -> Array:
        gradient: Array = -(table / np.maximum(some @ table, 1e-300)).mean(axis=1)
        return gradient

    found = minimize(
        loss,
        shares,
        jac=slope,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * len(shares),
        constraints={"type": "eq", "fun": lambda some: some.sum() - 1.0},
        options={"ftol": 1e-12, "maxiter": 300},
    )
    ended = np.clip(np.asarray(found.x, dtype=np.float64), 0.0, 1.0)
    if not np.isfinite(ended).all() or ended.sum() <= 0:
        return shares
    ended /= ended.sum()
    return ended if loss(ended) < loss(shares) else shares


def mixed(distributions: Sequence[npt.ArrayLike], shares: npt.ArrayLike) -> Array:
    """Return Σ_t w_t q_t, (C,).

    Args:
        distributions: one (C,) a teacher, each summing to 1.
        shares: (T,), summing to 1.

    >>> mixed([[1.0, 0.0], [0.0, 1.0]], [0.25, 0.75]).tolist()
    [0.25, 0.75]
    """
    table = np.asarray(distributions, dtype=np.float64)
    result: Array = np.asarray(shares, dtype=np.float64) @ table
    return result


def mixture_loss(likelihoods: npt.ArrayLike, shares: npt.ArrayLike) -> float:
    """Return the mean of −log Σ_t w_t p_tr, in nats.

    >>> round(mixture_loss([[0.5], [0.25]], [1.0, 0.0]), 4)
    0.6931
    """
    mixture = np.asarray(shares, dtype=np.float64) @ np.asarray(likelihoods, dtype=np.float64)
    return float(-np.log(mixture).mean())
