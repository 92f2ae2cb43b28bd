r"""A conditional logit with a ridge: which candidate, given a state. Convex, and solved.

For states h_x and candidates with features e_c,

    CE_x = −log softmax_c(h_xᵀ A e_c)[y]        J = mean_x CE_x + ½ ridge ‖A‖²

Source: McFadden 1974.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Choices:
    """Candidates of some requests, padded to one number."""

    features: Array
    """(requests, C, k), zeros where a request has fewer."""
    real: npt.NDArray[np.bool_]
    """(requests, C) whether there is such a candidate."""
    targets: Ints
    """(requests,) the chosen one."""

    def of(self, rows: Ints) -> Choices:
        """Give those of some requests.

        >>> both = padded([np.ones((2, 1)), np.ones((3, 1))], [0, 2])
        >>> both.of(np.array([1])).real.tolist()
        [[True, True, True]]
        """
        return Choices(self.features[rows], self.real[rows], self.targets[rows])


def padded(features: Sequence[Array], targets: Sequence[int]) -> Choices:
    """Lay candidates of requests, (C_i, k) each, into one array.

    >>> padded([np.ones((1, 2)), np.ones((3, 2))], [0, 2]).real.astype(int).tolist()
    [[1, 0, 0], [1, 1, 1]]
    """
    counts = np.array([len(one) for one in features])
    real = np.arange(counts.max()) < counts[:, None]
    rows = np.zeros((*real.shape, features[0].shape[1]))
    rows[real] = np.concatenate(features)
    return Choices(rows, real, np.asarray(targets, dtype=np.int64))


def probe_losses(weights: Array, states: Array, choices: Choices) -> Array:
    """Give the cross-entropy of every request, (requests,) nats: −log softmax_c(hᵀ A e_c)[y].

    Args:
        weights: (k, j), A.
        states: (requests, k).
        choices: With features (requests, C, j).

    >>> one = padded([np.array([[1.0], [0.0]])], [0])
    >>> probe_losses(np.array([[2.0]]), np.array([[1.0]]), one).round(4).tolist()
    [0.1269]
    """
    return _softmax(weights, states, choices)[0]


def penalised(weights: Array, states: Array, choices: Choices, ridge: float) -> tuple[float, Array]:
    """Give J = mean CE + ½ ridge ‖A‖² and ∂J/∂A.

    ∂J/∂A = (1/n) Σ_x h_x (Σ_c (p_c − 1[c = y]) e_c)ᵀ + ridge A.

    >>> one = padded([np.array([[1.0], [0.0]])], [0])
    >>> loss, slope = penalised(np.zeros((1, 1)), np.array([[1.0]]), one, 1.0)
    >>> round(loss, 4), slope.tolist()
    (0.6931, [[-0.5]])
    """
    losses, p = _softmax(weights, states, choices)
    p[np.arange(len(p)), choices.targets] -= 1.0
    pull = (p[:, None, :] @ choices.features)[:, 0]
    slope = states.T @ pull / len(p) + ridge * weights
    return float(losses.mean() + 0.5 * ridge * np.vdot(weights, weights)), slope


def fit(states: Array, choices: Choices, ridge: float, start: Array | None = None) -> Array:
    """Give the A that minimises `penalised`; where it starts from decides only how soon.

    >>> one = padded([np.array([[1.0], [0.0]])], [0])
    >>> a = fit(np.array([[1.0]]), one, 0.1)
    >>> bool(np.abs(penalised(a, np.array([[1.0]]), one, 0.1)[1]).max() < 1e-4)
    True
    """
    shape = (states.shape[1], choices.features.shape[2])
    begin = np.zeros(shape) if start is None else start
    if not begin.size:
        return begin

    def goal(flat: Array) -> tuple[float, Array]:
        loss, slope = penalised(flat.reshape(shape), states, choices, ridge)
        return loss, slope.ravel()

    options = {"maxiter": 1000, "ftol": 1e-9, "gtol": 1e-5}
    found = minimize(goal, begin.ravel(), jac=True, method="L-BFGS-B", options=options)
    best: Array = found.x.reshape(shape)
    return best


def _softmax(weights: Array, states: Array, choices: Choices) -> tuple[Array, Array]:
    """Give (requests,) cross-entropies and (requests, C) probabilities."""
    scores = (choices.features @ (states @ weights)[:, :, None])[:, :, 0]
    scores[~choices.real] = -np.inf
    scores -= scores.max(axis=1, keepdims=True)
    odds = np.exp(scores)
    total = odds.sum(axis=1)
    losses: Array = np.log(total) - scores[np.arange(len(scores)), choices.targets]
    return losses, odds / total[:, None]
