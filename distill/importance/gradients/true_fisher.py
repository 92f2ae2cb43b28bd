r"""The true Fisher: the label is drawn from the model's own distribution, not observed.

With p = softmax_c(s_c / τ) over the choices of a request and ℓ_c = −log p_c,

    F_l = Σ_c p_c ‖∇_{θ_l} ℓ_c‖²                                'exact': one way back a choice
        = E_{y~p} ‖∇_{θ_l} ℓ_y‖²                                'sampled': one way back
        = E_r ‖∇_{θ_l} Σ_c v_c s_c/τ‖²,  v = S r,  r ∈ {±1}^C    'rademacher': one way back

with S = diag(√p) − p √pᵀ, for which S Sᵀ = diag(p) − p pᵀ is the Hessian of ℓ by the scores: so
the last is the trace of the generalised Gauss-Newton matrix, which for a softmax is the Fisher.
The two that draw are unbiased. p is over the request's choices, not over the vocabulary: that
would be another Fisher. Source: algorithms.md §4.4; Kunstner et al., arXiv:1905.12558.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from distill.importance.gradients.fisher import Array, Read, run_requests
from distill.importance.gradients.ghost import GhostNorms
from distill.importance.requests import PackedRequest, request_loss
from storage.errors import BadSetting

How = Literal["exact", "sampled", "rademacher"]
MOST_CHOICES = 32
"""Up to here every choice is gone back from: a way back costs two passes."""


@dataclass(frozen=True, slots=True, eq=False)
class TrueFisherSample:
    """One request's share of the true Fisher."""

    layers: Array
    """(layers,)."""
    probabilities: Array
    """(choices,) p."""
    backwards: int
    """Ways back it took."""
    seconds: float


def true_fisher(
    model: Any, request: PackedRequest, *, temperature: float, how: How = "exact", seed: int = 0
) -> TrueFisherSample:
    """Measure one request.

    Args:
        model: A causal language model in the Llama layout. Left exactly as it was.
        request: At least two choices.
        temperature: τ > 0.
        how: See above.
        seed: Of what is drawn.

    Raises:
        BadSetting: 'exact' with more than `MOST_CHOICES` choices.
        ValueError: There is nothing to choose, or τ is not above 0.
        BadData: The model has weights of an unknown kind.

    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> from recommender.backends.packed import pack
    >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=32, hidden_size=8, intermediate_size=16,
    ...     num_hidden_layers=2, num_attention_heads=2))
    >>> asked = PackedRequest((pack([1, 2, 3], [[4, 5], [6], [7, 8]]),), target=1)
    >>> found = true_fisher(model, asked, temperature=2.0)
    >>> found.layers.shape, found.backwards
    ((2,), 3)
    """
    if request.choices < 2 or not temperature > 0:
        raise ValueError(f"{request.choices} choices, temperature {temperature}")
    if how == "exact" and request.choices > MOST_CHOICES:
        raise BadSetting(
            f"{request.choices} candidates are too many for the exact true Fisher: at most "
            f"{MOST_CHOICES}",
            next_step="--criterion fisher-true-rademacher",
        )
    started = time.perf_counter()
    with torch.enable_grad(), GhostNorms(model) as norms:
        [scores] = run_requests(norms, [request])
        p = torch.softmax(scores.detach().double() / temperature, dim=0)
        losses = _losses(scores, p, temperature, how, seed)
        total = np.zeros(len(model.model.layers))
        for number, (weight, loss) in enumerate(losses):
            norms.backward(loss, again=number < len(losses) - 1)
            total += weight * Read(norms).matrices[0].sum(axis=1)
    return TrueFisherSample(
        layers=total,
        probabilities=p.cpu().numpy(),
        backwards=len(losses),
        seconds=time.perf_counter() - started,
    )


def _losses(
    scores: torch.Tensor, p: torch.Tensor, temperature: float, how: How, seed: int
) -> list[tuple[float, torch.Tensor]]:
    """Give what is gone back from, each with its weight."""
    rng = np.random.default_rng(seed)
    if how == "exact":
        return [(float(p[c]), request_loss(scores, c, temperature)) for c in range(len(scores))]
    if how == "sampled":
        drawn = int(rng.choice(len(scores), p=p.cpu().numpy()))
        return [(1.0, request_loss(scores, drawn, temperature))]
    signs = torch.from_numpy(rng.choice([-1.0, 1.0], size=len(scores))).to(p.device)
    v = gauss_newton_probe(p, signs).to(scores.dtype)
    return [(1.0, (v * scores / temperature).sum())]


def gauss_newton_probe(p: torch.Tensor, signs: torch.Tensor) -> torch.Tensor:
    """Give v = S r with S = diag(√p) − p √pᵀ.

    Args:
        p: (C,) probabilities.
        signs: (C,) r, each −1 or +1.

    >>> gauss_newton_probe(torch.tensor([0.25, 0.75]), torch.tensor([1.0, 1.0])).sum().abs() < 1e-6
    tensor(True)
    """
    root = p.sqrt() * signs
    return root - p * root.sum()
