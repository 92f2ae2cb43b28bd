r"""Greedy removal: again and again drop the layer that the model as it stands misses least.

With R the layers removed so far, the next one is

    l* = argmin_{l ∉ R ∪ protected} mean_x ℓ_x(without R ∪ {l})

Unlike leaving out one layer of the whole model, this sees that two layers can stand in for
each other. Order of removal is the importance: what goes first matters least.

A model of m layers is tried in 1 + (m − 1)/2 passes through its layers a request, because
what goes into each layer is kept (see `removal`): from L layers down to one about L²/6
passes of the whole model instead of L²/3. One request at a time is in memory.

Source: SLEB, arXiv:2402.09025, which protects the first and the last layer.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from distill.importance.forward.removal import loss_of, require_loss, scores_without
from distill.importance.requests import PackedRequest
from recommender.backends.passes import only_layers
from storage.errors import BadSetting

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class GreedyStep:
    """One layer gone.

    >>> GreedyStep(0, 2, 1.5, {1: 1.75, 2: 1.5}, np.array([[1.75], [1.5]]), 0.1).removed
    2
    """

    step: int
    """How many layers had gone before."""
    removed: int
    """The layer that goes, by its number in the whole model."""
    loss: float
    """Mean over requests without it and those before."""
    losses: dict[int, float]
    """The same for every layer tried, in order of depth."""
    per_request: Array
    """(tried, requests), rows in the order of `losses`."""
    seconds: float


def greedy_steps(
    model: Any,
    requests: Sequence[PackedRequest],
    temperature: float,
    protect: frozenset[int] = frozenset(),
    first: Sequence[int] = (),
) -> Iterator[GreedyStep]:
    """Remove layers one by one until one is left that is not protected.

    Of layers whose removal leaves the same loss, the shallowest goes. A removal whose loss is
    not a number is never the smallest. At every yield the model is whole.

    Args:
        model: a causal language model in the Llama layout. Left exactly as it was.
        requests: at least one.
        temperature: τ > 0 of the loss.
        protect: layers that stay.
        first: what an earlier run has removed already, in order; those steps are not repeated.

    Raises:
        BadSetting: a protected layer does not exist, or all of them are protected.
        ValueError: there is no request, one has no loss, or `first` names a layer that does
            not exist, is protected, or goes twice.

    Source: SLEB, arXiv:2402.09025.

    >>> from recommender.backends.packed import pack
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=9, hidden_size=8, intermediate_size=8,
    ...     num_hidden_layers=4, num_attention_heads=2))
    >>> asked = PackedRequest((pack([1, 2], [[3], [4, 5]]),), 0)
    >>> [step.removed for step in greedy_steps(model, [asked], 1.0, protect=frozenset({0, 3}))
    ...     ] in ([1], [2])
    True
    """
    layers = len(model.model.layers)
    _require_order(layers, protect, first)
    if not requests:
        raise ValueError("no requests to measure")
    for request in requests:
        require_loss(request, temperature)
    return _steps(model, requests, temperature, protect, list(first))


def _require_order(layers: int, protect: frozenset[int], first: Sequence[int]) -> None:
    every = frozenset(range(layers))
    if not protect <= every or protect == every:
        raise BadSetting(
            f"protected layers {sorted(protect)}: the model has layers 0 to {layers - 1}, "
            "and one of them must be free to go"
        )
    if len(set(first)) != len(first) or not set(first) <= every - protect:
        raise ValueError(f"layers {list(first)} cannot have been removed first of {layers}")


def _steps(
    model: Any,
    requests: Sequence[PackedRequest],
    temperature: float,
    protect: frozenset[int],
    gone: list[int],
) -> Iterator[GreedyStep]:
    layers = len(model.model.layers)
    while layers - len(protect) - len(gone) > 1:
        started = time.perf_counter()
        kept = [layer for layer in range(layers) if layer not in gone]
        tried = [layer for layer in kept if layer not in protect]
        # Inside `only_layers` a layer is named by its place among those kept.
        sets = [frozenset({kept.index(layer)}) for layer in tried]
        columns = []
        with only_layers(model, kept):
            for request in requests:
                found = scores_without(model, request, sets)
                columns.append([loss_of(scores, request, temperature) for scores in found])
        per_request = np.array(columns, dtype=np.float64).T
        means = per_request.mean(axis=1)
        best = int(np.nanargmin(means))
        yield GreedyStep(
            step=len(gone),
            removed=tried[best],
            loss=float(means[best]),
            losses=dict(zip(tried, means.tolist(), strict=True)),
            per_request=per_request,
            seconds=time.perf_counter() - started,
        )
        gone = [*gone, tried[best]]


def greedy_importance(order: Sequence[int], layers: int) -> Array:
    """Give (layers,) the step at which each layer went: 0 the first and least important.

    Layers that never went, protected or last, all get the number of steps: the highest.

    Raises:
        ValueError: the order names a layer twice or one that does not exist.

    >>> greedy_importance([2, 1], 4).tolist()
    [2.0, 1.0, 0.0, 2.0]
    """
    if len(set(order)) != len(order) or not set(order) <= set(range(layers)):
        raise ValueError(f"layers {list(order)} of {layers}")
    found = np.full(layers, float(len(order)))
    found[list(order)] = np.arange(len(order), dtype=np.float64)
    return found


def greedy_cost(
    layers: int,
    protect: frozenset[int] = frozenset(),
    first: Sequence[int] = (),
    *,
    head: float = 0.0,
) -> float:
    """Say what `greedy_steps` costs a request, in passes of the whole model.

    A step on m layers runs m and, for each layer tried, those behind it, and the head once
    for each. Where no layer is protected, that is the same whichever go. Else it is reckoned
    as if they went from the deepest up, which costs most: an upper bound.

    Args:
        layers: L.
        protect: layers that stay.
        first: layers that have gone already.
        head: the head's share of a pass, of `removal.head_share`.

    Raises:
        BadSetting: as `greedy_steps`.
        ValueError: as `greedy_steps`.

    >>> greedy_cost(4)  # (4 + 6) + (3 + 3) + (2 + 1), of 4 layers a pass
    4.75
    """
    _require_order(layers, protect, first)
    kept = [layer for layer in range(layers) if layer not in first]
    run = heads = 0
    while len(kept) - len(protect) > 1:
        places = [place for place, layer in enumerate(kept) if layer not in protect]
        run += len(kept) + sum(len(kept) - 1 - place for place in places)
        heads += len(places)
        kept.pop(places[-1])
    return (1 - head) * run / layers + head * heads
