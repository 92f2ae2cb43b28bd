"""Distances of states: student's rows, already as wide, to the teacher's.

Each takes (R, d) of both and returns the mean over rows; equal states cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional as F


def layer_distance(projected: Tensor, teacher: Tensor) -> Tensor:
    """Distance D_m of a student layer to its teacher layer, on the teacher's own scale.

    Formula: mean_r ‖P h_S,r − h_T,r‖² / mean_r ‖h_T,r‖². It is 0 for equal states and 1 for
    a student that answers 0, whatever the size of the teacher's states (deep layers have
    large ones, which would otherwise outweigh the rest).

    Args:
        projected: (R, d_T), P h_S, the student's states made as wide as the teacher's.
        teacher: (R, d_T); not all zero.

    Source: algorithms.md §1.3.

    >>> layer_distance(torch.tensor([[3.0, 0.0]]), torch.tensor([[1.0, 0.0]])).item()
    4.0
    """
    return (projected - teacher).square().sum(1).mean() / teacher.square().sum(1).mean()


def mse(projected: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error: mean over rows and columns of (s − t)².

    Source: algorithms.md §7, uniform hidden MSE.

    >>> mse(torch.tensor([[3.0, 0.0]]), torch.tensor([[1.0, 0.0]])).item()
    2.0
    """
    return (projected - teacher).square().mean()


def squared(projected: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance as printed: mean over rows of ‖s − t‖², whatever the width.

    Source: algorithms.md §1.1 (8).

    >>> squared(torch.tensor([[3.0, 0.0]]), torch.tensor([[1.0, 0.0]])).item()
    4.0
    """
    return (projected - teacher).square().sum(1).mean()


def cosine(projected: Tensor, teacher: Tensor) -> Tensor:
    """Difference in direction: 1 − mean cos(s, t).

    Source: algorithms.md §3.3, D_cos of SLMRec; DistilBERT (1910.01108).

    >>> round(cosine(torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, 0.0]])).item(), 6)
    1.0
    """
    return 1 - F.cosine_similarity(projected, teacher, dim=1).mean()


def pkd(projected: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance of unit vectors: mean of ‖ s/‖s‖ − t/‖t‖ ‖², which is 2 (1 − cos).

    Source: algorithms.md §7, PKD (1908.09355).

    >>> round(pkd(torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, 0.0]])).item(), 6)
    2.0
    """
    apart = F.normalize(projected, dim=1) - F.normalize(teacher, dim=1)
    return apart.square().sum(1).mean()


def length(projected: Tensor, teacher: Tensor) -> Tensor:
    """Distance, not squared: mean of ‖s − t‖.

    Source: algorithms.md §3.3, D_norm of SLMRec's code.

    >>> length(torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 0.0]])).item()
    5.0
    """
    apart: Tensor = torch.linalg.vector_norm(projected - teacher, dim=1)
    return apart.mean()


LAYER_LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = MappingProxyType(
    {
        "distance": layer_distance,
        "mse": mse,
        "squared": squared,
        "cosine": cosine,
        "pkd": pkd,
        "length": length,
    }
)
"""By the name that a `Match` has."""
