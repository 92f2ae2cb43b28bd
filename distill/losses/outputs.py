"""Losses of what a teacher says: over the candidates it was offered."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def soft_label_kl(scores: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Divergence from a teacher's labels: mean of T² · KL( q ‖ softmax(s / T) ).

    The labels are the teacher's distribution at the same T; then T² keeps the gradient's
    size when T changes (Hinton, 1503.02531). Only offered candidates appear: what was not
    offered is no teacher negative (algorithms.md §3.2).

    Args:
        scores: (R, C), the student's scores of the offered candidates.
        labels: (R, C), the teacher's distribution q over them; rows sum to 1. A zero counts
            as 0 · log 0 = 0.
        temperature: T > 0.

    >>> q = torch.tensor([[0.25, 0.75]])
    >>> round(soft_label_kl(torch.zeros(1, 2), q, 1.0).item(), 4)
    0.1308
    """
    log_student = F.log_softmax(scores / temperature, dim=1)
    divergence: Tensor = torch.special.xlogy(labels, labels) - labels * log_student
    return divergence.sum(1).mean() * (temperature * temperature)


def bernoulli_kl(scores: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Divergence of two classes an item, as published: mean of KL( Bern(p_T) ‖ Bern(p_S) ).

    p_T = σ(logit(q) / T), p_S = σ(s / T), and no T², as printed. Every candidate is a question
    of its own, yes or no: nothing compares one with another, which is what a ranking is.

    Args:
        scores: (R, C), the student's scores of the offered candidates.
        labels: (R, C), the teacher's distribution q over them.
        temperature: T > 0.

    Source: algorithms.md §1.1 (7) L_out, §1.2 (I9).

    >>> q = torch.tensor([[0.5, 0.5]])
    >>> bernoulli_kl(torch.zeros(1, 2), q, 4.0).item()
    0.0
    """
    teacher = torch.logit(labels, eps=1e-6) / temperature
    p = torch.sigmoid(teacher)
    student = scores / temperature
    # log p = −softplus(−x), log(1 − p) = −softplus(x): no logarithm of a rounded zero.
    yes = p * (F.softplus(-student) - F.softplus(-teacher))
    no = (1 - p) * (F.softplus(student) - F.softplus(teacher))
    return (yes + no).mean()
