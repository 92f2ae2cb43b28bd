"""The losses a student learns from: pure functions of tensors.

Apart from the training loop so that each can be read beside its formula and tested against
a loop written from the definition. Every one returns a scalar, the mean over its rows, in
the dtype of its input (float32 in training).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def ce_full(scores: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy over the whole catalogue: mean of −log( e^{s_y} / Σ_i e^{s_i} ).

    Args:
        scores: (N, items).
        targets: (N,) int64, the item y that came next.

    Source: algorithms.md §6.1; Klenitskiy and Vasilev (2309.07602) for what it is worth.

    >>> ce_full(torch.zeros(1, 4), torch.tensor([2])).item()  # log 4
    1.3862943649291992
    """
    return F.cross_entropy(scores, targets)


def ce_sampled(
    target_scores: Tensor,
    sample_scores: Tensor,
    targets: Tensor,
    sample: Tensor,
    log_expected: Tensor,
) -> Tensor:
    """Cross-entropy against a sample of the catalogue, corrected for how it was drawn.

    Formula: mean of −s_y + log( e^{s_y} + Σ_{j in sample, j ≠ y} e^{s_j − log E_j} ), where
    E_j is how often item j is expected in the sample. Then e^{s_y} plus the sum has the
    full softmax's denominator as its mean. The target is always present, so its own
    correction is log 1 = 0; drawn again by chance, it is left out of the sum.

    Args:
        target_scores: (N,), the score s_y of what came next.
        sample_scores: (N, K), scores of the shared sample.
        targets: (N,) int64.
        sample: (K,) int64, drawn with replacement.
        log_expected: (K,), log E_j = log(K · probability of j in one draw).

    Source: Bengio and Senécal 2008 (importance sampling); the place of the correction as in
    "Correcting the LogQ Correction" (2507.09331).

    >>> s = torch.tensor([[0.0, 1.0, 2.0]])  # the whole catalogue as its own sample
    >>> sampled = ce_sampled(s[:, 1], s, torch.tensor([1]), torch.arange(3), torch.zeros(3))
    >>> torch.allclose(sampled, ce_full(s, torch.tensor([1])))
    True
    """
    others = (sample_scores - log_expected).masked_fill(
        sample.unsqueeze(0) == targets.unsqueeze(1), -torch.inf
    )
    everything = torch.cat([target_scores.unsqueeze(1), others], dim=1)
    return (everything.logsumexp(1) - target_scores).mean()


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
