r"""Squared norms of weight gradients, sample by sample, without ever forming the gradients.

For a linear layer y_t = W a_t with b_t = ∂ℓ/∂y_t, the gradient of one sample's loss is
G = Σ_t b_t a_tᵀ, so that with A (T×p) and B (T×q)

    ‖G‖² = ⟨A Aᵀ, B Bᵀ⟩        ¾ · 2T²(p+q) operations, T×T/4 buffers
         = ‖Bᵀ A‖²              2Tpq operations, a q×p buffer

and the cheaper form is taken: the first where ¾ T < pq/(p+q). The gain of an RMSNorm has
‖Σ_t b_t ⊙ a_t/rms(a_t)‖², a bias ‖Σ_t b_t‖², an embedding Σ_{t,s} [id_t = id_s] b_t·b_s.
A matrix that is both embedding and head has the gradient G_e + G_h, whose square holds twice
the cross term ⟨G_e, G_h⟩ = Σ_t Σ_r B_head[r, id_t] (b_t · a_r); leaving it out is wrong.

Source: Goodfellow, arXiv:1510.01799; Li et al., arXiv:2110.05679, eq. 3. Products are formed
in the precision of the activations (matrix units add up in float32 also for bfloat16), rows of
squares in float32 and their sums in float64.
"""

from __future__ import annotations

import torch
from torch import Tensor


def gram_entries(tokens: int) -> int:
    """Give how many entries of a symmetric T×T gram are worked out: three of its four quarters.

    >>> gram_entries(4), gram_entries(5)
    (12, 19)
    """
    half = (tokens + 1) // 2
    return half**2 + (tokens - half) ** 2 + half * (tokens - half)


def by_gram(tokens: int, p: int, q: int) -> bool:
    """Say whether ⟨A Aᵀ, B Bᵀ⟩ is less work than ‖Bᵀ A‖².

    >>> by_gram(300, 576, 1536), by_gram(600, 576, 1536)
    (True, False)
    """
    return gram_entries(tokens) * (p + q) < tokens * p * q


def linear_square(a: Tensor, b: Tensor) -> Tensor:
    """Give ‖Σ_t b_t a_tᵀ‖² of each sample.

    Args:
        a: (n, T, p) inputs.
        b: (n, T, q) gradients of the summed loss by the outputs.

    Returns:
        (n,) float64.

    >>> linear_square(torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[3.0], [1.0]]])).tolist()
    [25.0]
    """
    t, p, q = a.shape[1], a.shape[2], b.shape[2]
    if by_gram(t, p, q):
        half = (t + 1) // 2
        first, last = slice(0, half), slice(half, t)
        return (
            _grams(a[:, first], a[:, first], b[:, first], b[:, first])
            + _grams(a[:, last], a[:, last], b[:, last], b[:, last])
            + 2 * _grams(a[:, first], a[:, last], b[:, first], b[:, last])
        )
    # One sample after the other: the buffer is as large as the matrix itself.
    return torch.stack([square_sum(bi.mT @ ai) for ai, bi in zip(a, b, strict=True)])


def _grams(a: Tensor, a2: Tensor, b: Tensor, b2: Tensor) -> Tensor:
    return ((a @ a2.mT).float().mul_((b @ b2.mT).float())).sum(-1).double().sum(-1)


def square_sum(x: Tensor) -> Tensor:
    """Give Σ x², a float64 scalar, of a matrix or vector.

    >>> square_sum(torch.tensor([[3.0], [4.0]])).item()
    25.0
    """
    # Lengths of rows are one read of the memory and no copy; a square in float64 would be three.
    return _lengths(x).square().sum()


def gain_terms(a: Tensor, b: Tensor, eps: float) -> Tensor:
    """Give b_t ⊙ a_t/rms(a_t), each position's share of the gradient of an RMSNorm's gain.

    Args:
        a: (n, T, …, width) inputs; what lies between, as heads do, is summed.
        b: The same shape: gradients by the outputs.
        eps: What the norm adds to the mean square.

    Returns:
        (n, T, width) float32; the gradient is its sum over T.

    >>> x = torch.tensor([[[3.0, 3.0]]])
    >>> gain_terms(x, torch.ones(1, 1, 2), 0.0).tolist()
    [[[1.0, 1.0]]]
    """
    a = a.float()
    unit = a * torch.rsqrt(a.square().mean(-1, keepdim=True) + eps)
    return (b.float() * unit).reshape(a.shape[0], a.shape[1], -1, a.shape[-1]).sum(2)


def position_squares(a: Tensor, b: Tensor) -> Tensor:
    """Give Σ_t ‖b_t‖² ‖a_t‖²: the squares of each position's own share of a linear gradient.

    Args:
        a: (n, T, p) inputs.
        b: (n, T, q) gradients by the outputs.

    Returns:
        (n,) float64. Divided by T it is a mean over positions, which does not grow with their
        number as ‖Σ_t b_t a_tᵀ‖² does.

    >>> position_squares(torch.tensor([[[1.0], [2.0]]]), torch.tensor([[[3.0], [1.0]]])).tolist()
    [13.0]
    """
    return (_lengths(a) * _lengths(b)).square().sum(-1)


def embedding_square(ids: Tensor, b: Tensor) -> Tensor:
    """Give the squared gradient norm of an embedding matrix, of each sample.

    Args:
        ids: (n, T) token numbers.
        b: (n, T, width) gradients by the looked-up rows.

    >>> embedding_square(torch.tensor([[5, 5, 6]]), torch.ones(1, 3, 1)).tolist()
    [5.0]
    """
    squares = []
    for row, grads in zip(ids, b.double(), strict=True):
        kinds, place = row.unique(return_inverse=True)
        sums = torch.zeros(len(kinds), grads.shape[-1], dtype=grads.dtype, device=grads.device)
        squares.append(sums.index_add(0, place, grads).square().sum())
    return torch.stack(squares)


def head_columns(ids: Tensor, b_head: Tensor) -> Tensor:
    """Take from a head's gradients what an embedding of `ids` shares with it.

    Args:
        ids: (n, T) token numbers.
        b_head: (n, R, vocabulary) gradients by the logits.

    Returns:
        (n, R, T): B_head[r, id_t], a small part of a large matrix.

    >>> head_columns(torch.tensor([[1, 1]]), torch.tensor([[[5.0, 7.0]]])).tolist()
    [[[7.0, 7.0]]]
    """
    return b_head.gather(2, ids[:, None, :].expand(-1, b_head.shape[1], -1)).float()


def tied_cross(b: Tensor, a_head: Tensor, columns: Tensor) -> Tensor:
    """Give ⟨G_embedding, G_head⟩ of each sample for a matrix that is both.

    Args:
        b: (n, T, width) gradients by the looked-up rows.
        a_head: (n, R, width) inputs of the head.
        columns: (n, R, T) of `head_columns`.

    >>> one = torch.ones(1, 1, 1)
    >>> tied_cross(2 * one, 3 * one, 5 * one).tolist()
    [30.0]
    """
    return (columns * (a_head.float() @ b.float().mT)).sum(-1).double().sum(-1)


def _lengths(x: Tensor) -> Tensor:
    wide = torch.promote_types(x.dtype, torch.float32)
    lengths: Tensor = torch.linalg.vector_norm(x, dim=-1, dtype=wide).double()
    return lengths
