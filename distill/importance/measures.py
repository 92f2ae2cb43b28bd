"""The measures: what is done with one request, as arrays that the Store keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from distill.importance.criteria import ONE_PASS, REMOVAL
from distill.importance.forward.attention import attention_sample
from distill.importance.forward.influence import angular_distances
from distill.importance.forward.removal import (
    Sets,
    band_sets,
    head_share,
    leave_one_out_sets,
    progressive_sets,
    quarter_sets,
    removal_cost,
    removal_sample,
)
from distill.importance.gradients.fisher import FisherSample, fisher_batch
from distill.importance.gradients.hessian import hessian_sample
from distill.importance.gradients.taylor import taylor_sample
from distill.importance.gradients.true_fisher import How, true_fisher
from distill.importance.requests import PackedRequest

Arrays = dict[str, npt.NDArray[Any]]

HESSIAN_PROBES = 8
BACK = 2.2
"""A way back with its norms takes about this many passes."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One kind of work on a request."""

    name: str
    run: Callable[[Any, PackedRequest, float, int], Arrays]
    """Model, request, temperature and seed, to arrays."""
    passes: Callable[[Any, int], float]
    """Model and choices of a request, to its cost in forward passes."""
    seeded: bool = False
    """Whether the seed decides the result."""


def measured(sample: FisherSample) -> Arrays:
    """Return what is kept of a pass.

    Per request: ‖G‖² by layer and weight, what lies outside the blocks, gates, directions,
    Block Influence, angles between all layers, loss and scores. States are not kept: they are
    a hundred times the rest, and cheap to make again.
    """
    outside = [sample.embedding, sample.head, sample.final_norm]
    return {
        "layers": sample.layers,
        "positions": sample.positions,
        "matrices": sample.matrices,
        "outside": np.array([*outside, np.nan if sample.tied is None else sample.tied]),
        "gates": sample.gates,
        "directions": sample.directions,
        "influence": sample.influence,
        "angles": angular_distances(sample.states),
        "loss": np.array(sample.loss, dtype=np.float64),
        "scores": np.asarray(sample.scores, dtype=np.float64),
    }


def removal_sets(layers: int) -> tuple[Sets, Sets]:
    """Return what is left out: each layer by itself; and the bands, quarters and growing ends.

    >>> [len(sets) for sets in removal_sets(30)]
    [30, 20]
    """
    others = {**band_sets(layers), **quarter_sets(layers), **progressive_sets(layers)}
    return leave_one_out_sets(layers), others


def _one_pass(model: Any, request: PackedRequest, temperature: float, _seed: int) -> Arrays:
    return measured(fisher_batch(model, [request], temperature=temperature)[0])


def _true(how: How, model: Any, request: PackedRequest, temperature: float, seed: int) -> Arrays:
    found = true_fisher(model, request, temperature=temperature, how=how, seed=seed)
    return {"layers": found.layers, "probabilities": found.probabilities}


def _hessian(model: Any, request: PackedRequest, temperature: float, seed: int) -> Arrays:
    found = hessian_sample(
        model, request, temperature=temperature, probes=HESSIAN_PROBES, seed=seed
    )
    return {"layers": found.layers, "standard_error": found.standard_error}


def _taylor(model: Any, request: PackedRequest, temperature: float, _seed: int) -> Arrays:
    found = taylor_sample(model, request, temperature=temperature)
    return {"layers": found.layers, "matrices": found.matrices}


def _attention(model: Any, request: PackedRequest, _temperature: float, _seed: int) -> Arrays:
    found = attention_sample(model, request)
    return {"concentration": found.concentration, "published": found.published}


def _removal(model: Any, request: PackedRequest, temperature: float, _seed: int) -> Arrays:
    single, others = removal_sets(len(model.model.layers))
    found = removal_sample(model, request, temperature, [*single.values(), *others.values()])
    cut = len(single)
    return {
        "base_loss": np.array(found.base_loss),
        "base_ndcg": np.array(found.base_ndcg),
        "loo_loss": found.loss[:cut],
        "loo_ndcg": found.ndcg[:cut],
        "set_loss": found.loss[cut:],
        "set_ndcg": found.ndcg[cut:],
    }


def _removal_passes(model: Any, _choices: int) -> float:
    layers = len(model.model.layers)
    sets = [one for some in removal_sets(layers) for one in some.values()]
    return removal_cost(layers, sets, head=head_share(model))


MEASURES: Mapping[str, Measure] = {
    one.name: one
    for one in (
        Measure(ONE_PASS, _one_pass, lambda _m, _c: 1 + BACK),
        Measure("fisher-true", partial(_true, "exact"), lambda _m, c: 1 + BACK * c),
        Measure("fisher-true-sampled", partial(_true, "sampled"), lambda _m, _c: 1 + BACK, True),
        Measure(
            "fisher-true-rademacher", partial(_true, "rademacher"), lambda _m, _c: 1 + BACK, True
        ),
        Measure("hessian-trace", _hessian, lambda _m, _c: 1 + 6.0 * HESSIAN_PROBES, True),
        Measure("taylor", _taylor, lambda _m, _c: 1 + BACK),
        Measure("attention", _attention, lambda _m, _c: 1.5),
        Measure(REMOVAL, _removal, _removal_passes),
    )
}


def buckets(tokens: Sequence[int], limit: int) -> list[list[int]]:
    """Put requests of like length together, so that little of a batch is filling.

    Args:
        tokens: how long each is.
        limit: a batch's rows times its longest; what is longer goes alone.

    Returns:
        Numbers of the requests, batch by batch, the longest first.

    >>> buckets([10, 90, 12, 50], 60)
    [[1], [3], [2, 0]]
    """
    found: list[list[int]] = []
    for number in sorted(range(len(tokens)), key=lambda n: (-tokens[n], n)):
        last = found[-1] if found else []
        if last and tokens[last[0]] * (len(last) + 1) <= limit:
            last.append(number)
        else:
            found.append([number])
    return found
