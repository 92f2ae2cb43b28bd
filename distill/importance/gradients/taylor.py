r"""Taylor importance: to first order, how far the loss of a request hangs on each weight.

    taylor_l = E_x Σ_{w ∈ block l} |w · ∂ℓ_x/∂w|

|w · ∂ℓ/∂w| is what the loss would change by, to first order, were w set to 0. Shortened LLaMA
takes the same sum of the gradient of one batch, where what two requests pull at in opposite
directions cancels; here every request is a sample and nothing cancels between requests.

No norm gives Σ|w ⊙ G| away without G, so gradients are formed, but never as autograd would:
weights are frozen, hooks keep inputs A (T×p) and output gradients B (T×q) of each module, and
G = Bᵀ A is formed a piece of `PIECE` entries at a time, reduced, and dropped. A request of
several packs is one sample: its G is the sum over the tokens of all of them, so the pairs
(A, B) of a module wait for its last pack.

Source: Kim et al., Shortened LLaMA, arXiv:2402.02834, section 3.1. Gradients are formed in
float32, also of a bfloat16 model; sums are taken in float64.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from distill.importance.gradients.modules import epsilon, frozen, has_weights, is_rms
from distill.importance.requests import PackedRequest, request_loss, scores_of
from storage.errors import BadData

Array = npt.NDArray[np.float64]

CRITERION = "taylor"

PIECE = 1 << 20
"""Entries of a gradient that are formed at once: 4 MB, twice that while they are squared."""


@dataclass(frozen=True, slots=True, eq=False)
class TaylorSample:
    """What one request gave, from one forward and one backward pass."""

    layers: Array
    """(layers,) Σ|w ⊙ ∂ℓ/∂w| of each block, in nats."""
    matrices: Array
    """(layers, weights of a block): the same by `names`; its rows sum to `layers`."""
    names: tuple[str, ...]
    """Weights inside a block: 'self_attn.q_proj' with its bias, …, 'input_layernorm'."""
    squares: Array
    """(layers,) ‖∂ℓ/∂θ_l‖² of the same gradients: the empirical Fisher, nothing more to pay."""
    loss: float
    """In nats."""
    seconds: float


def linear_taylor(weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor) -> tuple[float, float]:
    """Give Σ|W ⊙ G| + Σ|bias ⊙ g| and ‖G‖² + ‖g‖², with G = Bᵀ A and g = Σ_t b_t.

    Args:
        weight: (q, p).
        bias: (q,), or None.
        a: (T, p) inputs.
        b: (T, q) gradients of the loss by the outputs.

    >>> w, a, b = torch.tensor([[2.0, -1.0]]), torch.tensor([[1.0, 3.0]]), torch.tensor([[1.0]])
    >>> linear_taylor(w, None, a, b)
    (5.0, 10.0)
    >>> linear_taylor(w, torch.tensor([-4.0]), a, b)
    (9.0, 11.0)
    """
    a, b = _fine(a), _fine(b)
    step = max(1, PIECE // weight.shape[1])
    taylor = square = 0.0
    for begin in range(0, len(weight), step):
        gradient = b[:, begin : begin + step].T @ a
        more = _reduced(weight[begin : begin + step], gradient)
        taylor, square = taylor + more[0], square + more[1]
    if bias is not None:
        more = _reduced(bias, b.sum(0))
        taylor, square = taylor + more[0], square + more[1]
    return taylor, square


def gain_taylor(gain: Tensor, a: Tensor, b: Tensor, eps: float) -> tuple[float, float]:
    """Give Σ|γ ⊙ g| and ‖g‖² of an RMSNorm's gain γ, with g = Σ_t b_t ⊙ a_t/rms(a_t).

    Args:
        gain: (width,).
        a: (T, width) inputs.
        b: (T, width) gradients of the loss by the outputs.
        eps: What the norm adds to the mean square.

    >>> one = torch.ones(1, 2)
    >>> gain_taylor(torch.tensor([2.0, -3.0]), one, one, 0.0)
    (5.0, 2.0)
    """
    a = _fine(a)
    unit = a * torch.rsqrt(a.square().mean(-1, keepdim=True) + eps)
    return _reduced(gain, (_fine(b) * unit).sum(0))


def taylor_sample(model: Any, request: PackedRequest, *, temperature: float) -> TaylorSample:
    """Measure one request.

    Args:
        model: A causal language model in the Llama layout. Left exactly as it was.
        request: In tokens; of any number of packs, of any loss.
        temperature: τ > 0 of the loss.

    Raises:
        ValueError: The temperature is not above 0, or the target is not among the choices.
        BadData: A block has weights of an unknown kind.

    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> from recommender.backends.packed import pack
    >>> config = LlamaConfig(vocab_size=32, hidden_size=8, intermediate_size=16,
    ...     num_hidden_layers=4, num_attention_heads=2, num_key_value_heads=1)
    >>> asked = PackedRequest((pack([1, 2, 3], [[4, 5], [6], [7, 8]]),), target=1)
    >>> found = taylor_sample(LlamaForCausalLM(config), asked, temperature=2.0)
    >>> found.matrices.shape, bool((found.layers > 0).all()), found.names[0]
    ((4, 9), True, 'input_layernorm')
    """
    if not temperature > 0 or not 0 <= request.target < request.choices:
        raise ValueError(f"temperature {temperature}, target {request.target} of {request.choices}")
    started = time.perf_counter()
    table = model.model.embed_tokens
    sums = _Sums(model)
    with frozen(model), sums.hooked(), torch.enable_grad():
        embeds = [
            table(torch.from_numpy(one.ids)[None].to(table.weight.device))
            .detach()
            .requires_grad_(True)
            for one in request.packs
        ]
        loss = request_loss(scores_of(model, request, embeds), request.target, temperature)
        torch.autograd.grad(loss, embeds)
    names, found = sums.by_block(len(model.model.layers))
    return TaylorSample(
        layers=found[:, :, 0].sum(axis=1),
        matrices=found[:, :, 0],
        names=names,
        squares=found[:, :, 1].sum(axis=1),
        loss=loss.item(),
        seconds=time.perf_counter() - started,
    )


class _Sums:
    """Both sums of every module of the blocks, filled in as gradients arrive."""

    def __init__(self, model: Any) -> None:
        self._watched = {
            name: module
            for name, module in model.model.layers.named_modules()
            if has_weights(module)
        }
        for name, module in self._watched.items():
            if not (isinstance(module, nn.Linear) or is_rms(module)):
                kind = type(module).__name__
                raise BadData(f"no weight gradient for 'layers.{name}', a {kind}")
        self._found: dict[str, tuple[float, float]] = {}
        self._calls = dict.fromkeys(self._watched, 0)
        self._arrived: dict[str, list[tuple[Tensor, Tensor]]] = {n: [] for n in self._watched}

    @contextmanager
    def hooked(self) -> Iterator[None]:
        handles = [
            module.register_forward_hook(partial(self._forward, name))
            for name, module in self._watched.items()
        ]
        try:
            yield
            for name in [name for name, pairs in self._arrived.items() if pairs]:
                self._settle(name)  # a call whose output the loss did not hang on never reports
        finally:
            for handle in handles:
                handle.remove()

    def _forward(self, name: str, _module: nn.Module, args: Any, output: Tensor) -> None:
        self._calls[name] += 1
        output.register_hook(partial(self._backward, name, args[0].detach()))  # type: ignore[no-untyped-call]

    def _backward(self, name: str, a: Tensor, b: Tensor) -> None:
        pairs = self._arrived[name]
        pairs.append((a.flatten(0, -2), b.detach().flatten(0, -2)))
        if len(pairs) == self._calls[name]:
            self._settle(name)  # now: of one pack, B need not outlive this step of the way back

    @torch.no_grad()
    def _settle(self, name: str) -> None:
        module = self._watched[name]
        inputs, gradients = zip(*self._arrived[name], strict=True)
        self._arrived[name] = []
        a, b = torch.cat(inputs), torch.cat(gradients)
        if isinstance(module, nn.Linear):
            self._found[name] = linear_taylor(module.weight, module.bias, a, b)
        else:
            gain = module.weight
            assert isinstance(gain, Tensor)
            self._found[name] = gain_taylor(gain, a, b, epsilon(module))

    def by_block(self, depth: int) -> tuple[tuple[str, ...], Array]:
        """Give the names inside a block and (layers, names, 2); 0 where no gradient came."""
        names = tuple(sorted({name.split(".", 1)[1] for name in self._watched}))
        rows = [
            [self._found.get(f"{layer}.{name}", (0.0, 0.0)) for name in names]
            for layer in range(depth)
        ]
        return names, np.array(rows)


def _reduced(weight: Tensor, gradient: Tensor) -> tuple[float, float]:
    """Give Σ|w g| and Σ g², overwriting the gradient."""
    square = gradient.square().sum(dtype=torch.float64).item()
    return gradient.mul_(weight).abs_().sum(dtype=torch.float64).item(), square


def _fine(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
