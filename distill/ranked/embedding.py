"""A table of items as a projection of vectors: e_i = b_i + A z_i, collaborative embedding
distillation.

It stands in the place of a network's own table while the network learns, and a plain table comes
out: whoever serves a student knows nothing of it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from distill.ranked.lesson import ProjectedItems
from storage.errors import BadSetting
from storage.records import FloatArray

TABLE = "table"
_BLOCK = 65_536


class ProjectedTable(nn.Module):
    """From a free offset b to a whole table: b + Z Aᵀ, or Z Aᵀ alone.

    Z is the vectors, centred, and as long as 1 in the mean square: vectors of a language model
    share a large common part and may be a hundred times as long, and one step of the optimiser
    would carry items far. A begins at the principal components, at a given spread of the table,
    as a table that starts from text does; what the published code weighs by `ed_weight` is in A.
    Of vectors narrower than the table the columns that are left start at 0 and are learned.

    Source: algorithms.md §3.2, e_i = b_i + A z_i; §6.4 for the start.

    >>> z = np.array([[9.0, 1.0, 0.0], [9.0, -1.0, 0.0]], dtype=np.float32)
    >>> projected = ProjectedTable(ProjectedItems(z), width=2, std=0.1)
    >>> (projected(torch.zeros(2, 2)).abs() > 1e-6).tolist()
    [[True, False], [True, False]]
    """

    vectors: Tensor

    def __init__(self, items: ProjectedItems, *, width: int, std: float) -> None:
        """Lay the vectors out.

        Raises:
            BadSetting: vectors that are not finite, or all the same.
        """
        super().__init__()
        self.offset = items.offset
        scaled = unit_vectors(items.vectors)
        # Of the run, and not of its checkpoints: it is given again.
        self.register_buffer("vectors", torch.from_numpy(scaled), persistent=False)
        self.weight = nn.Parameter(torch.from_numpy(first_projection(scaled, width, std=std)))

    def forward(self, free: Tensor) -> Tensor:
        """Return the table (items, width) of an offset of the same shape."""
        projected = self.vectors @ self.weight.T
        return free + projected if self.offset else projected


def unit_vectors(vectors: FloatArray) -> FloatArray:
    """Centre vectors and make their mean squared length 1: (z_i − mean) / sqrt(mean ‖z_i − mean‖²).

    Args:
        vectors: (items, wide).

    Raises:
        BadSetting: they are not finite, or all the same.

    >>> unit_vectors(np.array([[5.0], [3.0]], dtype=np.float32)).tolist()
    [[1.0], [-1.0]]
    """
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise BadSetting("item vectors hold numbers that are not finite")
    centred = vectors - vectors.mean(0, dtype=np.float64).astype(np.float32)
    size = float(np.sqrt(np.einsum("iw,iw->", centred, centred, dtype=np.float64) / len(vectors)))
    if size == 0:
        raise BadSetting("item vectors are all the same")
    scaled: FloatArray = (centred / np.float32(size)).astype(np.float32)
    return scaled


def first_projection(vectors: FloatArray, width: int, *, std: float) -> FloatArray:
    """Return A whose Z Aᵀ is the principal components of Z, at a given spread of the table.

    The same rows as `recommender.sequential.sasrec.text_table` makes: signs fixed, directions at
    their relative lengths, one factor for all. Rows of A that no component is left for are 0.

    Args:
        vectors: (items, wide), centred.
        width: of the table.
        std: standard deviation of all entries of Z Aᵀ that are not 0 throughout.

    Returns:
        (width, wide) float32.
    """
    spread = np.zeros((vectors.shape[1], vectors.shape[1]))
    for start in range(0, len(vectors), _BLOCK):  # float64 copies of a large catalogue
        rows = vectors[start : start + _BLOCK].astype(np.float64)
        spread += rows.T @ rows
    kept = min(width, vectors.shape[1])
    directions = np.linalg.eigh(spread)[1][:, ::-1][:, :kept]
    largest = directions[np.abs(directions).argmax(0), np.arange(kept)]
    directions = directions * np.sign(largest)
    table = vectors @ directions.astype(np.float32)
    first = np.zeros((width, vectors.shape[1]), dtype=np.float32)
    first[:kept] = (directions * (std / float(table.std()))).T
    return first


def project(network: nn.Module, items: ProjectedItems, *, std: float) -> None:
    """Put a projection in the place of a network's table; what was there becomes b.

    Without an offset what was there is forgotten, and never learned.

    Raises:
        BadSetting: the vectors are of another number of items.
    """
    own = network.get_parameter(TABLE)
    if len(items.vectors) != len(own):
        raise BadSetting(f"vectors of {len(items.vectors)} items for a table of {len(own)}")
    projected = ProjectedTable(items, width=own.shape[1], std=std).to(own.device)
    if not items.offset:
        own.requires_grad_(False).zero_()
    parametrize.register_parametrization(network, TABLE, projected)


def plain_weights(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of a network's weights, its table as it is and not what it is made of.

    >>> sorted(plain_weights(nn.Linear(1, 1)))
    ['bias', 'weight']
    """
    state = network.state_dict()
    if parametrize.is_parametrized(network, TABLE):
        state = {name: one for name, one in state.items() if "parametrizations" not in name}
        state[TABLE] = getattr(network, TABLE)
    return {name: tensor.detach().clone() for name, tensor in state.items()}
