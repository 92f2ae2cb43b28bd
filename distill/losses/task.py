"""Losses of what came next: over the whole catalogue, against a sample, or yes and no."""

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


def bce_sampled(target_scores: Tensor, negative_scores: Tensor) -> Tensor:
    """Binary cross-entropy: mean over rows of −log σ(s_y) − Σ_j log(1 − σ(s_j)).

    Args:
        target_scores: (N,), of what came next.
        negative_scores: (N, K), of K items that did not.

    Source: algorithms.md §1.1 (7), L_task with 1:K negatives; SASRec (1808.09781) with K = 1.

    >>> round(bce_sampled(torch.zeros(1), torch.zeros(1, 4)).item(), 4)  # 5 log 2
    3.4657
    """
    return (F.softplus(-target_scores) + F.softplus(negative_scores).sum(1)).mean()


def gbce(target_scores: Tensor, negative_scores: Tensor, *, items: int, t: float) -> Tensor:
    """Generalised binary cross-entropy: mean of −[ β log σ(s_y) + Σ_k log(1 − σ(s_k)) ] / (K + 1).

    With α = K / (items − 1) and β = α (t (1 − 1/α) + 1/α): t = 0 is binary cross-entropy
    (β = 1), t = 1 is calibrated for the sampling (β = α). β log σ(s) is −β · softplus(−s),
    which needs none of the float64 detours of code that transforms the score first.

    Args:
        target_scores: (N,).
        negative_scores: (N, K), of items drawn uniformly.
        items: of the catalogue, more than K.
        t: calibration, between 0 and 1.

    Source: gSASRec (2308.07192); algorithms.md §6.1.

    >>> two = torch.zeros(1), torch.zeros(1, 2)
    >>> round(gbce(*two, items=5, t=0.0).item(), 4)  # log 2
    0.6931
    >>> round(gbce(*two, items=5, t=1.0).item(), 4)  # (0.5 + 2) / 3 log 2
    0.5776
    """
    drawn = negative_scores.shape[1]
    alpha = drawn / (items - 1)
    beta = alpha * (t * (1 - 1 / alpha) + 1 / alpha)
    rows = beta * F.softplus(-target_scores) + F.softplus(negative_scores).sum(1)
    return (rows / (drawn + 1)).mean()


def dros(scores: Tensor, targets: Tensor, share: Tensor, *, beta: float) -> Tensor:
    """Distributionally robust term: mean over rows of β log Σ_i p_i exp( ℓ_i / β ).

    ℓ_i = (s_i − [i = y])²: the worst mean squared error over the distributions of items that
    are near p in Kullback-Leibler divergence, written by its dual. Beta above 0: the larger,
    the nearer to the plain mean Σ p_i ℓ_i.

    The published code puts p_i inside the exponential, exp(p_i ℓ_i / β), and leaves β before
    the logarithm out: that is no expectation under p, and unlike it, not 0 where ℓ is 0.

    Args:
        scores: (N, items).
        targets: (N,) int64, the item y that came next.
        share: (items,) p, how often each item is chosen; they sum to 1.
        beta: β > 0.

    Source: Yang et al., "A Generic Learning Framework for Sequential Recommendation with
    Distribution Shifts" (SIGIR 2023); as DLLM2Rec (2405.00338) uses it.

    >>> right = torch.tensor([[0.0, 1.0, 0.0]])
    >>> round(dros(right, torch.tensor([1]), torch.tensor([0.2, 0.5, 0.3]), beta=1.0).item(), 6)
    0.0
    """
    apart = scores.square().scatter_add(
        1, targets.unsqueeze(1), 1.0 - 2.0 * scores.gather(1, targets.unsqueeze(1))
    )
    # (s − 1)² = s² + 1 − 2 s at the target.
    return beta * (share.log() + apart / beta).logsumexp(1).mean()
