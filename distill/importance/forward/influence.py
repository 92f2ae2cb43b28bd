r"""What a layer does to the states that pass through it: angles only, no gradient.

State l of a model with L layers is what goes *into* layer l (0-based): state 0 is the
embedding, state L what the last layer gives, before the final norm. `LayerStates` numbers
them the same way.

*Block influence*, averaged over all tokens (ShortGPT, Men et al., arXiv:2403.03853):

    BI_l = 1 − mean_t cos(h_{l,t}, h_{l+1,t})

*Angular distance* over n layers, at the last token of the history only (Gromov et al.,
arXiv:2403.17887):

    d(l, n) = (1/π) arccos cos(h_l, h_{l+n})

Both say how far a layer turns its input, not what that is worth: whether it agrees with the
loss of removing the layer is what `removal` is for.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[np.float64]


def block_influence(before: Tensor, after: Tensor, mask: Tensor | None = None) -> Tensor:
    """Give BI = 1 − mean_t cos(before_t, after_t) of each sample: 0 unchanged, 2 turned round.

    Products along the width are taken in float32, the mean over tokens in float64.

    Args:
        before: (n, T, width) or (T, width), what goes into the block.
        after: what it gives, of the same shape.
        mask: (n, T) or (T,) booleans, the tokens that count; all where there is none.

    Returns:
        (n,) or (), float64.

    Raises:
        ValueError: the shapes differ, a sample has no token that counts, or a state that
            counts is zero or not finite and so has no direction.

    Source: ShortGPT, arXiv:2403.03853.

    >>> before = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    >>> after = torch.tensor([[0.0, 3.0], [0.0, 1.0]])  # the first is turned by 90 degrees
    >>> block_influence(before, after).item()
    0.5
    >>> block_influence(before, after, torch.tensor([True, False])).item()
    1.0
    """
    counts = torch.ones(before.shape[:-1], dtype=torch.bool, device=before.device)
    if mask is not None:
        counts = mask
    if before.shape != after.shape or counts.shape != before.shape[:-1]:
        raise ValueError(
            f"states {tuple(before.shape)} and {tuple(after.shape)}, mask {tuple(counts.shape)}"
        )
    tokens = counts.sum(dim=-1)
    if not bool((tokens > 0).all()):
        raise ValueError("a sample without a token that counts")
    a, b = before.float(), after.float()
    lengths = a.norm(dim=-1).double() * b.norm(dim=-1).double()
    if not bool(((lengths > 0) & lengths.isfinite())[counts].all()):
        raise ValueError("a state is zero or not finite: it has no direction")
    cosines = (a * b).sum(dim=-1).double() / lengths
    return 1 - torch.where(counts, cosines, 0.0).sum(dim=-1) / tokens


def angular_distances(states: npt.ArrayLike) -> Array:
    """Give D[l, l+n] = (1/π) arccos cos(h_l, h_{l+n}), 0 on and below the diagonal.

    Args:
        states: (layers + 1, width) of one token, the last of the history.

    Returns:
        (layers + 1, layers + 1) between 0 and 1, in half turns.

    Raises:
        ValueError: these are not at least two states, or one has no direction.

    Source: Gromov et al., arXiv:2403.17887.

    >>> angular_distances([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]]).tolist()
    [[0.0, 0.5, 1.0], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0]]
    """
    rows = np.asarray(states, dtype=np.float64)
    if rows.ndim != 2 or len(rows) < 2:
        raise ValueError(f"states must be (layers + 1, width), not {rows.shape}")
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        raise ValueError("a state is zero or not finite: it has no direction")
    unit = rows / lengths
    # Rounding takes the cosine of two equal states past 1, where arccos has no value.
    angles = np.arccos(np.clip(unit @ unit.T, -1.0, 1.0)) / np.pi
    return np.asarray(np.triu(angles, k=1), dtype=np.float64)


def angular_importance(distances: Array) -> Array:
    """Give (layers,) d(l, 1): by how much each layer alone turns the token's state.

    Args:
        distances: (layers + 1, layers + 1) of `angular_distances`, or a mean of them.

    Source: Gromov et al., arXiv:2403.17887, n = 1.

    >>> angular_importance(angular_distances([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])).tolist()
    [0.5, 0.5]
    """
    return np.diagonal(distances, offset=1).copy()


def best_block(mean_distances: Array, n: int) -> tuple[int, float]:
    """Find the n layers in a row that turn the state least: l* = argmin_l d(l, n).

    Layers l*, …, l* + n − 1 are the ones to drop; of equal blocks the first is taken.

    Args:
        mean_distances: (layers + 1, layers + 1), the mean of `angular_distances` over requests.
        n: how many layers.

    Returns:
        l* and its distance, in half turns.

    Raises:
        ValueError: n is not between 1 and the number of layers.

    Source: Gromov et al., arXiv:2403.17887.

    >>> best_block(angular_distances([[1.0, 0.0], [1.0, 1.0], [1.0, 1.1], [0.0, 1.0]]), 1)[0]
    1
    """
    layers = len(mean_distances) - 1
    if not 1 <= n <= layers:
        raise ValueError(f"a block of {n} of {layers} layers")
    choices = np.diagonal(mean_distances, offset=n)
    start = int(np.argmin(choices))
    return start, float(choices[start])


def drop_deepest(layers: int, n: int, *, keep_last: bool = True) -> frozenset[int]:
    """Name the n deepest layers, by the simple rule all but the very last one.

    Raises:
        ValueError: there are not as many.

    Source: Gromov et al., arXiv:2403.17887: drop the deepest n and keep the last.

    >>> sorted(drop_deepest(8, 3)), sorted(drop_deepest(8, 3, keep_last=False))
    ([4, 5, 6], [5, 6, 7])
    """
    end = layers - 1 if keep_last else layers
    if not 0 <= n <= end:
        raise ValueError(f"{n} of {end} layers cannot be dropped")
    return frozenset(range(end - n, end))
