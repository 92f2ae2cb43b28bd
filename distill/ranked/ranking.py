"""The loss of a ranking: the teacher's list above what the teacher put behind it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from distill.ranked.lesson import RankedLesson
from storage.records import IntArray


def ranking_loss(scores: Tensor, lists: Tensor, weights: Tensor, behind: Tensor) -> Tensor:
    """Importance-aware ranking distillation.

    Formula: mean over rows of  Σ_k w_k [−log σ(s_k)]  +  (1/|N|) Σ_{j in N} −log(1 − σ(s_j)),
    over the teacher's list and what it put behind, N. −log σ(s) is softplus(−s) and
    −log(1 − σ(s)) is softplus(s), which no score overflows. Of all orders of given scores the
    teacher's own costs least, as long as the weights fall with the place.

    The published code writes log σ(1 − s) for the second, which is log(1 − σ(s − 1)): one logit
    off. It draws one negative out of the whole catalogue, which may stand on the teacher's list,
    and was never offered. Here it is the mean over what was offered and put behind.

    Args:
        scores: (R, C), the student's scores of the candidates.
        lists: (R, K) int64, places of the teacher's list among them, best first.
        weights: (R, K), rows sum to 1.
        behind: (R, C) bool: N. A row without any has no second term.

    Source: algorithms.md §3.1, L_d with w_si; DLLM2Rec (2405.00338).

    >>> one = torch.tensor([[0.0, 0.0, 0.0]]), torch.tensor([[1]]), torch.ones(1, 1)
    >>> round(ranking_loss(*one, torch.tensor([[True, False, True]])).item(), 4)  # 2 log 2
    1.3863
    """
    wanted = (weights * F.softplus(-scores.gather(1, lists))).sum(1)
    counted = behind.to(scores.dtype)
    unwanted = (counted * F.softplus(scores)).sum(1) / counted.sum(1).clamp_min(1.0)
    return (wanted + unwanted).mean()


def step_loss(lesson: RankedLesson, rows: IntArray, scores: Tensor) -> Tensor:
    """Return the loss of some of a lesson's lists, times its share.

    What the student agrees on is looked up in its scores of this step, and is no way for a
    gradient: a weight says how much an item counts, not what it should be.

    Args:
        lesson: of all requests.
        rows: (B,) which of them.
        scores: (B, C), the student's, of the candidates as they were offered.
    """
    own = scores.detach().cpu().numpy()
    weights = torch.from_numpy(lesson.weights(rows, own)).to(scores.device, scores.dtype)
    lists = torch.from_numpy(lesson.lists[rows]).to(scores.device)
    behind = torch.from_numpy(lesson.behind[rows]).to(scores.device)
    return lesson.share * ranking_loss(scores, lists, weights, behind)
