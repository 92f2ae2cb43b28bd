r"""Trace of the loss's Hessian by the weights of each layer. For study, of tiny models only.

Three things are called Fisher or Hessian of a layer and are not the same (ℓ_y the listwise
loss of one request at choice y, p the model's probabilities of the choices, θ_l the weights):

    empirical Fisher    F̂_l = ‖∇ℓ_y‖² at the observed y
    true Fisher         F_l = Σ_c p_c ‖∇ℓ_c‖²      of a softmax also the trace of the GGN
    Hessian             tr H_l = tr ∇²ℓ_y = F_l + residual

The residual depends on y and may be of either sign. Its mean over y drawn from p is exactly
0 (Σ_c p_c ∇²ℓ_c = Σ_c p_c ∇ℓ_c ∇ℓ_cᵀ because Σ_c p_c = 1): for a model that is right, F = H
on average. For one that is not, such as one of random weights, they differ. This module
measures tr H_l, so that the difference can be seen and not be argued about.

Hutchinson: for r of independent ±1, E r_lᵀ (H r)_l = tr H_l. One product H r with r over the
weights of all blocks gives every layer at once: the terms between two blocks have mean 0, so
the estimate stays unbiased, and has more variance than one product a layer would have.

Source: Hutchinson, Commun. Stat. Simul. 19 (1990); Martens, arXiv:1412.1193; Kunstner et al.,
arXiv:1905.12558.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from distill.importance.forward.attention import eager_attention
from distill.importance.requests import PackedRequest, request_loss, scores_of
from storage.errors import BadSetting

Array = npt.NDArray[np.float64]
Blocks = Sequence[Sequence[Tensor]]
"""A tensor for every weight of every block."""

CRITERION = "hessian-trace"

PARAMETERS = 20_000_000
"""Largest model that is measured. A probe costs two passes back through the graph of a pass."""


@dataclass(frozen=True, slots=True, eq=False)
class HessianSample:
    """What one request gave."""

    layers: Array
    """(layers,) estimate of tr H_l, in nats; may be negative."""
    standard_error: Array
    """(layers,) of the estimate, over probes."""
    loss: float
    """In nats."""
    seconds: float


def quadratic_forms(loss: Tensor, weights: Blocks) -> Callable[[Blocks], Array]:
    """Give a function of r that computes r_lᵀ (H r)_l of each block l, (layers,) float64.

    (H r) is the gradient of ⟨∇ℓ, r⟩, r over the weights of all blocks.

    Args:
        loss: A scalar of `weights`, twice differentiable; its graph is kept for every call.
        weights: Of every block.

    >>> x, y = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor(3.0, requires_grad=True)
    >>> of = quadratic_forms((x * x).sum() * y, [[x], [y]])  # H = [[6, 0, 2], [0, 6, 4], [2, 4, 0]]
    >>> of([[torch.tensor([1.0, 1.0])], [torch.tensor(0.0)]]).tolist()
    [12.0, 0.0]
    >>> of([[torch.tensor([1.0, -1.0])], [torch.tensor(1.0)]]).tolist()  # with cross terms
    [10.0, -2.0]
    """
    flat = [weight for block in weights for weight in block]
    gradients = torch.autograd.grad(loss, flat, create_graph=True, materialize_grads=True)
    bends = [number for number, grad in enumerate(gradients) if grad.requires_grad]

    def forms(r: Blocks) -> Array:
        probe = [part for block in r for part in block]
        products = torch.autograd.grad(
            [gradients[number] for number in bends],
            flat,
            [probe[number] for number in bends],
            retain_graph=True,
            materialize_grads=True,
        )
        terms = [
            (one.double() * product.double()).sum().item()
            for one, product in zip(probe, products, strict=True)
        ]
        starts = np.cumsum([0] + [len(block) for block in r])
        return np.array([sum(terms[a:b]) for a, b in pairwise(starts)])

    return forms


def signs(weights: Blocks, generator: torch.Generator) -> list[list[Tensor]]:
    """Draw a probe: +1 or −1, each with probability ½, for every weight.

    >>> [[r]] = signs([[torch.zeros(2, 3)]], torch.Generator().manual_seed(0))
    >>> r.shape, r.abs().sum().item()
    (torch.Size([2, 3]), 6.0)
    """
    return [[_signs(weight, generator) for weight in block] for block in weights]


def hessian_sample(
    model: Any,
    request: PackedRequest,
    *,
    temperature: float,
    probes: int,
    seed: int,
    limit: int = PARAMETERS,
) -> HessianSample:
    """Estimate tr H_l of one request's loss for every layer.

    Attention is computed in the open meanwhile ('eager'): fused kernels cannot be
    differentiated twice. The model is left exactly as it was.

    Args:
        model: A causal language model in the Llama layout, in float32 or float64.
        request: In tokens.
        temperature: τ > 0 of the loss.
        probes: How many products H r; the standard error falls with its root.
        seed: Of the probes.
        limit: Most weights a model may have.

    Raises:
        ValueError: The temperature is not above 0, or the target is not among the choices.
        BadSetting: The model is too large or rounds too coarsely, or there are under 2 probes.

    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> from recommender.backends.packed import pack
    >>> config = LlamaConfig(vocab_size=16, hidden_size=4, intermediate_size=8,
    ...     num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1)
    >>> asked = PackedRequest((pack([1, 2, 3], [[4, 5], [6], [7, 8]]),), target=1)
    >>> found = hessian_sample(LlamaForCausalLM(config), asked, temperature=2.0, probes=4, seed=0)
    >>> found.layers.shape, bool((found.standard_error > 0).all())
    ((2,), True)
    """
    if not temperature > 0 or not 0 <= request.target < request.choices:
        raise ValueError(f"temperature {temperature}, target {request.target} of {request.choices}")
    _require_measurable(model, probes, limit)
    started = time.perf_counter()
    weights = [list(block.parameters()) for block in model.model.layers]
    generator = torch.Generator().manual_seed(seed)
    with eager_attention(model), _only_by(model, weights), torch.enable_grad():
        loss = request_loss(scores_of(model, request), request.target, temperature)
        forms = quadratic_forms(loss, weights)
        found = np.stack([forms(signs(weights, generator)) for _ in range(probes)])
    return HessianSample(
        layers=found.mean(axis=0),
        standard_error=found.std(axis=0, ddof=1) / np.sqrt(probes),
        loss=loss.item(),
        seconds=time.perf_counter() - started,
    )


def _require_measurable(model: nn.Module, probes: int, limit: int) -> None:
    size = sum(p.numel() for p in model.parameters())
    if size > limit:
        raise BadSetting(
            f"the Hessian is for study, of models up to {limit:,} weights; this one has {size:,}"
        )
    coarse = {p.dtype for p in model.parameters()} - {torch.float32, torch.float64}
    if coarse:
        named = ", ".join(sorted(str(one).removeprefix("torch.") for one in coarse))
        raise BadSetting(
            f"second derivatives are lost in {named}",
            next_step="the same command behind RECSYS_PRECISION=float32",
        )
    if probes < 2:
        raise BadSetting(f"{probes} probes have no standard error; at least 2 are needed")


def _signs(weight: Tensor, generator: torch.Generator) -> Tensor:
    # Drawn on the CPU, so that a seed means the same probes on every device.
    bits = torch.randint(0, 2, weight.shape, generator=generator)
    return (2 * bits - 1).to(weight)


@contextmanager
def _only_by(model: nn.Module, weights: Blocks) -> Iterator[None]:
    """Let gradients reach these weights and no others."""
    wanted = {id(weight) for block in weights for weight in block}
    before = [(p, p.requires_grad) for p in model.parameters()]
    try:
        for parameter, _ in before:
            parameter.requires_grad_(id(parameter) in wanted)
        yield
    finally:
        for parameter, flag in before:
            parameter.requires_grad_(flag)
