"""Losses between what two Llamas compute on the same tokens: pure functions of tensors.

`real` is (B, T) bool: False for padding and for a begin-of-text token, whose states are of
another size than all others' and would be most of every sum (algorithms.md §1.3). Rows that are
not real count for nothing; equal tensors cost nothing. Where two models have different numbers
of heads, attention is averaged over heads, and relations are taken over heads of their own.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

_CHUNK = 1024
"""Tokens whose scores of the whole vocabulary are held at once."""
_NOWHERE = -1e9


def attention_kl(student: Tensor, teacher: Tensor, sight: Tensor, real: Tensor) -> Tensor:
    """Difference in where tokens look: mean over heads and real rows of KL( A_T ‖ A_S ).

    Args:
        student: (B, h_S, T, T) scores before the softmax.
        teacher: (B, h_T, T, T).
        sight: (B, 1, T, T) bool, which token may look at which.
        real: (B, T) bool, the rows that count.

    Source: algorithms.md §7, attention transfer for transformers; MiniLM (2002.10957).

    >>> from distill.language.features import causal
    >>> s = torch.zeros(1, 1, 2, 2); r = torch.ones(1, 2, dtype=torch.bool)
    >>> attention_kl(s, s, causal(r), r).item()
    0.0
    """
    ours, theirs = (_looks(scores, sight) for scores in (student, teacher))
    if ours.shape[1] != theirs.shape[1]:
        ours, theirs = (_mean_of_heads(one) for one in (ours, theirs))
    return _kl_of_rows(ours, theirs, real)


def scores_mse(student: Tensor, teacher: Tensor, sight: Tensor, real: Tensor) -> Tensor:
    """Squared difference of attention scores before the softmax, where one may look.

    The mean over what a row may look at, then over heads and real rows: a row counts as much
    however long the text is before it. Arguments as of `attention_kl`.

    Source: algorithms.md §7, TinyBERT (1909.10351), whose heads are as many.

    >>> from distill.language.features import causal
    >>> s = torch.zeros(1, 1, 2, 2); r = torch.ones(1, 2, dtype=torch.bool)
    >>> scores_mse(s + 2, s, causal(r), r).item()
    4.0
    """
    if student.shape[1] != teacher.shape[1]:
        student, teacher = (one.mean(1, keepdim=True) for one in (student, teacher))
    apart = _exact(student - teacher).square().masked_fill(~sight, 0.0).sum(-1)
    rows = apart / sight.sum(-1).clamp_min(1)
    return rows[real[:, None, :].expand_as(rows)].mean()


def relation_kl(
    student: Tensor, teacher: Tensor, sight: Tensor, real: Tensor, *, heads: int
) -> Tensor:
    """Difference in relations: KL of rows of R = softmax(X Xᵀ / √d_r) over relation heads.

    Args:
        student: (B, h_S, T, d_S) queries, keys or values, in as many heads as there are.
        teacher: (B, h_T, T, d_T).
        sight: (B, 1, T, T) bool; a relation to what comes later is none for a causal model.
        real: (B, T) bool.
        heads: A_r, which the whole width of either is split into anew.

    Raises:
        ValueError: a width cannot be split into so many.

    Source: algorithms.md §7, MiniLM (values), MiniLMv2 (2012.15828).

    >>> from distill.language.features import causal
    >>> x = torch.ones(1, 2, 3, 4); r = torch.ones(1, 3, dtype=torch.bool)
    >>> relation_kl(x, x, causal(r), r, heads=4).item()
    0.0
    """
    ours, theirs = (_looks(_related(one, heads), sight) for one in (student, teacher))
    return _kl_of_rows(ours, theirs, real)


def relation_heads(student: Tensor, teacher: Tensor) -> int:
    """Return A_r: at most as many as the student has heads, and whole parts of both widths.

    >>> relation_heads(torch.zeros(1, 6, 2, 64), torch.zeros(1, 9, 2, 64))
    6
    >>> relation_heads(torch.zeros(1, 2, 2, 64), torch.zeros(1, 3, 2, 64))
    2
    """
    common = math.gcd(*(one.shape[1] * one.shape[3] for one in (student, teacher)))
    return next(n for n in range(student.shape[1], 0, -1) if common % n == 0)


def token_sums(
    states: Tensor,
    head: Tensor,
    targets: Tensor,
    teacher: tuple[Tensor, Tensor] | None = None,
    *,
    temperature: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Sum over tokens of the cross-entropy and of T² · KL( p_T ‖ p_S ) over the vocabulary.

    Scores of a whole vocabulary for every token at once would be the largest thing in memory;
    they are computed piece by piece, and again in the backward pass where there are several.

    Args:
        states: (N, d_S) normed last states, at tokens that predict.
        head: (V, d_S).
        targets: (N,) int64, the tokens that came next.
        teacher: its states (N, d_T) and head (V, d_T); None: no divergence, which is then 0.
        temperature: T.

    Source: Hinton 1503.02531; algorithms.md §7.
    """
    pieces = [slice(at, at + _CHUNK) for at in range(0, len(targets), _CHUNK)]
    sums = []
    for piece in pieces:
        rows = None if teacher is None else teacher[0][piece]
        given = (states[piece], head, targets[piece], rows, teacher and teacher[1], temperature)
        again = len(pieces) > 1 and torch.is_grad_enabled()
        made = checkpoint(_piece, *given, use_reentrant=False) if again else _piece(*given)
        sums.append(made)
    if not sums:
        nothing = states.sum() * 0
        return nothing, nothing
    total = torch.stack(sums).sum(0)
    return total[0], total[1]


def _piece(
    states: Tensor,
    head: Tensor,
    targets: Tensor,
    teacher_states: Tensor | None,
    teacher_head: Tensor | None,
    temperature: float,
) -> Tensor:
    scores = _exact(F.linear(states, head))
    if teacher_states is None or teacher_head is None:
        entropy = F.cross_entropy(scores, targets, reduction="sum")
        return torch.stack([entropy, entropy.new_zeros(())])
    with torch.no_grad():
        theirs = F.log_softmax(_exact(F.linear(teacher_states, teacher_head)) / temperature, 1)
    made: Tensor = _BothSums.apply(scores, theirs, targets, temperature)  # type: ignore[no-untyped-call]
    return made


class _BothSums(torch.autograd.Function):
    """Σ CE and T² Σ KL of the same scores, with their gradients written down.

    With p_T = softmax(s / T): ∂CE/∂s = p_1 − onehot, ∂(T² KL)/∂s = T (p_T − q). What is as
    large as the vocabulary is passed over fewer times than by autograd.
    """

    @staticmethod
    def forward(
        ctx: Any, scores: Tensor, theirs: Tensor, targets: Tensor, temperature: float
    ) -> Tensor:
        """Return (2,): both sums."""
        plain = F.log_softmax(scores, 1)
        logs = plain if temperature == 1 else F.log_softmax(scores / temperature, 1)
        said = theirs.exp()
        apart = torch.linalg.vecdot(said, theirs - logs).sum() * temperature**2
        entropy = -plain.gather(1, targets[:, None]).sum()
        soft = logs.exp()
        chances = soft if temperature == 1 else plain.exp()
        ctx.save_for_backward(chances, (soft - said) * temperature, targets)
        return torch.stack([entropy, apart])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        """Return the gradient by the scores."""
        chances, apart, targets = ctx.saved_tensors
        made = torch.add(chances * grad[0], apart * grad[1])
        made.scatter_add_(1, targets[:, None], -grad[0].expand(len(targets), 1))
        return made, None, None, None


def _looks(scores: Tensor, sight: Tensor) -> Tensor:
    """Return log-probabilities of looking, (B, h, T, T); where one may not look, about −1e9.

    Its exponential is 0 exactly. Minus infinity would be no number in the gradient of a mean
    over heads.
    """
    return F.log_softmax(_exact(scores).masked_fill(~sight, _NOWHERE), dim=-1)


def _exact(x: Tensor) -> Tensor:
    """Return half precision as float32, and what is more exact as it is."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def _mean_of_heads(logs: Tensor) -> Tensor:
    return logs.logsumexp(1, keepdim=True) - math.log(logs.shape[1])


def _kl_of_rows(ours: Tensor, theirs: Tensor, real: Tensor) -> Tensor:
    counted = real[:, None, :].expand(-1, ours.shape[1], -1)
    ours, theirs = ours[counted], theirs[counted]
    return (theirs.exp() * (theirs - ours)).sum(-1).mean()


def _related(x: Tensor, heads: int) -> Tensor:
    batch, own, length, width = x.shape
    whole = own * width
    if whole % heads:
        raise ValueError(f"a width of {whole} cannot be split into {heads} heads")
    parts = x.transpose(1, 2).reshape(batch, length, heads, whole // heads).transpose(1, 2)
    return parts @ parts.transpose(-1, -2) / math.sqrt(whole // heads)
