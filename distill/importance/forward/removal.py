r"""Removing layers for real: what the loss and the ranking become without them.

A layer is removed by passing its input on as its output, h_{l+1} := h_l; the rest is as it
was. That is the ground truth of every criterion of importance:

    loo-loss   ℓ(without l) − ℓ        loo-ndcg   NDCG@10 − NDCG@10(without l)

Both are larger the more the layer matters, and both can be negative.

What goes into each layer is kept from one pass of the whole model, so that a set of removed
layers costs only the layers behind its first one: leaving out each of L layers once costs
1 + (L − 1)/2 passes through the layers and L + 1 of the head instead of L + 1 of both.

Source: leave-one-out perplexity, Shortened LLaMA, arXiv:2402.02834.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from distill.importance.forward.influence import drop_deepest
from distill.importance.requests import PackedRequest, choice_scores, request_loss
from recommender.backends.packed import Pack
from recommender.backends.passes import pack_hidden, title_logprobs
from recommender.metrics import ndcg
from recommender.ranking import candidate_rank

Array = npt.NDArray[np.float64]
Sets = dict[str, frozenset[int]]

WHOLE: frozenset[int] = frozenset()
"""Nothing removed."""


@dataclass(frozen=True, slots=True, eq=False)
class RemovalSample:
    """What one request gave, with all layers and without each set of them.

    >>> found = RemovalSample(1.0, 0.5, np.array([1.5]), np.array([0.25]), 0.1)
    >>> found.loss_rise.tolist(), found.ndcg_fall.tolist()
    ([0.5], [0.25])
    """

    base_loss: float
    base_ndcg: float
    """NDCG@10 of the target among the request's choices; NaN where there is one choice."""
    loss: Array
    """(sets,)."""
    ndcg: Array
    """(sets,)."""
    seconds: float

    @property
    def loss_rise(self) -> Array:
        """(sets,) the loss without each set minus the loss with all layers: 'loo-loss'."""
        return self.loss - self.base_loss

    @property
    def ndcg_fall(self) -> Array:
        """(sets,) NDCG@10 with all layers minus that without each set: 'loo-ndcg'."""
        return self.base_ndcg - self.ndcg


@dataclass(frozen=True, slots=True, eq=False)
class PackRun:
    """One pack through the whole model, and what it takes to go on from the middle of it."""

    hidden: Tensor
    """(T, width) after the final norm."""
    inputs: dict[int, Tensor]
    """Layer -> (1, T, width), what went into it, for the layers that were asked for."""
    feeds: dict[int, dict[str, Any]]
    """Layer -> mask, positions and whatever else the model gave it along."""


def run_pack(model: Any, one: Pack, wanted: Collection[int]) -> PackRun:
    """Run one pack and keep what goes into the layers `wanted`.

    The layers' other arguments are kept as the model gave them. So a later run from the middle
    needs to know nothing of how this kind of model makes its masks and positions.

    >>> from recommender.backends.packed import pack
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=9, hidden_size=8, intermediate_size=8,
    ...     num_hidden_layers=3, num_attention_heads=2))
    >>> run = run_pack(model, pack([1, 2], [[3, 4]]), [1])
    >>> run.hidden.shape, {layer: kept.shape for layer, kept in run.inputs.items()}
    (torch.Size([3, 8]), {1: torch.Size([1, 3, 8])})
    """
    inputs: dict[int, Tensor] = {}
    feeds: dict[int, dict[str, Any]] = {}
    wants = frozenset(wanted)

    def keep(
        layer: int, _block: nn.Module, args: tuple[Tensor, ...], named: dict[str, Any]
    ) -> None:
        feeds[layer] = named
        if layer in wants:
            inputs[layer] = args[0]

    with torch.inference_mode(), ExitStack() as hooks:
        for layer, block in enumerate(model.model.layers):
            handle = block.register_forward_pre_hook(partial(keep, layer), with_kwargs=True)
            hooks.callback(handle.remove)
        hidden = pack_hidden(model, one)
    return PackRun(hidden, inputs, feeds)


def hidden_without(model: Any, run: PackRun, removed: frozenset[int]) -> Tensor:
    """Give the last hidden state of every token without the layers `removed`, (T, width).

    Args:
        model: the model of `run_pack`.
        run: its pass; the input of the first removed layer must have been kept.
        removed: at least one layer.

    >>> from recommender.backends.packed import pack
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=9, hidden_size=8, intermediate_size=8,
    ...     num_hidden_layers=3, num_attention_heads=2))
    >>> run = run_pack(model, pack([1, 2], [[3, 4]]), [1])
    >>> bool(torch.equal(hidden_without(model, run, frozenset({1})), run.hidden))
    False
    """
    first = min(removed)
    hidden = run.inputs[first]
    with torch.inference_mode():
        for layer, block in enumerate(model.model.layers):
            if layer > first and layer not in removed:
                output = block(hidden, **run.feeds[layer])
                hidden = output if isinstance(output, Tensor) else output[0]
        last: Tensor = model.model.norm(hidden)[0]
    return last


def scores_without(
    model: Any, request: PackedRequest, sets: Sequence[frozenset[int]]
) -> list[Tensor]:
    """Give the choices' scores, (choices,) float32, without each set of layers.

    Pack by pack, so that the states of one pack are in memory; of those only what goes into
    the first layer of each set. The empty set is the whole model.

    Raises:
        ValueError: a layer does not exist.

    >>> from recommender.backends.packed import pack
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=9, hidden_size=8, intermediate_size=8,
    ...     num_hidden_layers=3, num_attention_heads=2))
    >>> asked = PackedRequest((pack([1, 2], [[3], [4, 5]]),), 0)
    >>> [tuple(s.shape) for s in scores_without(model, asked, [WHOLE, frozenset({1, 2})])]
    [(2,), (2,)]
    """
    layers = len(model.model.layers)
    for removed in sets:
        if not removed <= set(range(layers)):
            raise ValueError(f"layers {sorted(removed)} of {layers}")
    found: list[list[Tensor]] = [[] for _ in sets]
    for one in request.packs:
        run = run_pack(model, one, {min(removed) for removed in sets if removed})
        with torch.inference_mode():
            for scores, removed in zip(found, sets, strict=True):
                hidden = hidden_without(model, run, removed) if removed else run.hidden
                scores.append(title_logprobs(model, hidden, one))
    return [choice_scores(torch.cat(scores), request) for scores in found]


def removal_sample(
    model: Any, request: PackedRequest, temperature: float, sets: Sequence[frozenset[int]]
) -> RemovalSample:
    """Measure one request without each of `sets` of layers.

    Args:
        model: a causal language model in the Llama layout. Left exactly as it was.
        request: what is asked.
        temperature: τ > 0 of the loss; the ranking does not depend on it.
        sets: the layers to remove together, 0-based.

    Raises:
        ValueError: the temperature is not above 0, the target is not among the choices, or a
            layer does not exist.

    >>> from recommender.backends.packed import pack
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=9, hidden_size=8, intermediate_size=8,
    ...     num_hidden_layers=3, num_attention_heads=2))
    >>> asked = PackedRequest((pack([1, 2], [[3], [4, 5]]),), 0)
    >>> sets = leave_one_out_sets(3)
    >>> removal_sample(model, asked, 1.0, list(sets.values())).loss_rise.shape
    (3,)
    """
    require_loss(request, temperature)
    started = time.perf_counter()
    base, *others = [
        (loss_of(scores, request, temperature), ndcg_of(scores, request.target))
        for scores in scores_without(model, request, [WHOLE, *sets])
    ]
    return RemovalSample(
        base_loss=base[0],
        base_ndcg=base[1],
        loss=np.array([loss for loss, _ in others], dtype=np.float64),
        ndcg=np.array([quality for _, quality in others], dtype=np.float64),
        seconds=time.perf_counter() - started,
    )


def require_loss(request: PackedRequest, temperature: float) -> None:
    """Check that a request has a loss.

    Raises:
        ValueError: the temperature is not above 0 or the target is not among the choices.

    >>> from recommender.backends.packed import pack
    >>> require_loss(PackedRequest((pack([1, 2], [[3], [4, 5]]),), 1), 2.0)
    """
    if not temperature > 0 or not 0 <= request.target < request.choices:
        raise ValueError(f"temperature {temperature}, target {request.target} of {request.choices}")


def loss_of(scores: Tensor, request: PackedRequest, temperature: float) -> float:
    """Give a request's loss in nats as a number.

    >>> from recommender.backends.packed import pack
    >>> request = PackedRequest((pack([1, 2], [[3], [4, 5]]),), 1)
    >>> round(loss_of(torch.tensor([0.0, 0.0]), request, 1.0), 4)
    0.6931
    """
    return float(request_loss(scores, request.target, temperature).item())


def ndcg_of(scores: Tensor, target: int) -> float:
    """Give NDCG@10 of the target among the choices; of one choice there is no ranking: NaN.

    The rank is pessimistic: 1 + the number of other choices that score at least as high.

    >>> ndcg_of(torch.tensor([0.1, 0.1, 0.2]), 0), ndcg_of(torch.tensor([0.1]), 0)
    (0.5, nan)
    """
    if len(scores) == 1:
        return math.nan
    return float(ndcg(np.array([candidate_rank(scores.cpu().numpy(), target)]), 10)[0])


def leave_one_out_sets(layers: int) -> Sets:
    """Name each layer by itself.

    >>> leave_one_out_sets(2)
    {'layer 0': frozenset({0}), 'layer 1': frozenset({1})}
    """
    return {f"layer {layer}": frozenset({layer}) for layer in range(layers)}


def band_sets(layers: int) -> Sets:
    """Name the bands 0–30 %, 30–70 % and 70–100 % of depth, each layer in exactly one.

    The first is layers 0 … e − 1, the last L − e … L − 1, e = ⌊0.3 L⌋ and at least 1, so that
    the outer two, which are compared, are equally large; the middle is what lies between.

    Raises:
        ValueError: there are fewer than three layers.

    >>> {name: sorted(band) for name, band in band_sets(6).items()}
    {'0-30%': [0], '30-70%': [1, 2, 3, 4], '70-100%': [5]}
    """
    if layers < 3:
        raise ValueError(f"{layers} layers cannot be put into three bands")
    edge = max(1, 3 * layers // 10)
    return {
        "0-30%": frozenset(range(edge)),
        "30-70%": frozenset(range(edge, layers - edge)),
        "70-100%": frozenset(range(layers - edge, layers)),
    }


def quarter_sets(layers: int) -> Sets:
    """Name the first and the last ⌊L/4⌋ layers, at least one each (1-8 and 25-32 of 32).

    Raises:
        ValueError: there are fewer than two layers.

    >>> {name: sorted(quarter) for name, quarter in quarter_sets(8).items()}
    {'first quarter': [0, 1], 'last quarter': [6, 7]}
    """
    if layers < 2:
        raise ValueError("one layer has no first and last quarter")
    quarter = max(1, layers // 4)
    return {
        "first quarter": frozenset(range(quarter)),
        "last quarter": frozenset(range(layers - quarter, layers)),
    }


def progressive_sets(layers: int, step: float = 0.1, most: float = 0.5) -> Sets:
    """Name growing sets: the deepest, the deepest but the last layer, and the shallowest.

    A share p of the depth is ⌊p L + ½⌋ layers, at least 1 and at most L − 1. Where two shares
    are equally many layers, only the smaller is named.

    Args:
        layers: L, at least 2.
        step: from one share to the next, in (0, most].
        most: the largest share, below 1.

    Raises:
        ValueError: there is one layer, or the shares are out of bounds.

    Source: Gromov et al., arXiv:2403.17887, for keeping the last layer.

    >>> {name: sorted(removed) for name, removed in progressive_sets(10, 0.2, 0.2).items()}
    {'deepest 20%': [8, 9], 'deepest 20% but the last': [7, 8], 'shallowest 20%': [0, 1]}
    """
    if layers < 2 or not 0 < step <= most < 1:
        raise ValueError(f"{layers} layers in steps of {step} up to {most}")
    shares: dict[int, float] = {}
    for number in range(1, math.floor(most / step + 1e-9) + 1):
        share = number * step
        shares.setdefault(min(max(1, math.floor(share * layers + 0.5 + 1e-9)), layers - 1), share)
    found: Sets = {}
    for n, share in shares.items():
        found[f"deepest {share:.0%}"] = drop_deepest(layers, n, keep_last=False)
        found[f"deepest {share:.0%} but the last"] = drop_deepest(layers, n)
        found[f"shallowest {share:.0%}"] = frozenset(range(n))
    return found


def removal_cost(layers: int, sets: Collection[frozenset[int]], *, head: float = 0.0) -> float:
    """Say what `removal_sample` costs a request, in passes of the whole model.

    (1 − f)·(1 + Σ_sets layers run anew / L) + f·(1 + sets), f the head's share of a pass.

    Args:
        layers: L.
        sets: the removed layers.
        head: f, of `head_share`.

    >>> removal_cost(30, leave_one_out_sets(30).values())
    15.5
    >>> removal_cost(30, leave_one_out_sets(30).values(), head=1.0)
    31.0
    """
    run = sum(_behind(layers, removed) for removed in sets if removed)
    return (1 - head) * (1 + run / layers) + head * (1 + len(sets))


def _behind(layers: int, removed: frozenset[int]) -> int:
    return layers - min(removed) - len(removed)


def head_share(model: Any) -> float:
    """Estimate the head's share of a pass as its share of the weights that tokens meet.

    Too high where much of a request is prefix, on which the head does not run.

    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> config = LlamaConfig(vocab_size=99, hidden_size=8, intermediate_size=8,
    ...     num_hidden_layers=3, num_attention_heads=2)
    >>> round(head_share(LlamaForCausalLM(config)), 3)
    0.363
    """
    head = int(model.lm_head.weight.numel())
    body = sum(int(p.numel()) for p in model.model.layers.parameters())
    return head / (head + body)
