"""Requests through the measures, one by one, each kept as soon as it is done.

What is kept is found again by all that decides it: the weights, the measure, the loss and its
temperature, the tokens that are run, and the seed where something is drawn. So a killed run
goes on behind its last request, and a longer one begins where a shorter one ended.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from distill.importance.criteria import GREEDY, ONE_PASS, PROBE
from distill.importance.forward.greedy import greedy_importance, greedy_steps
from distill.importance.forward.probe import (
    FOLDS,
    ProbeLayer,
    candidate_features,
    collect,
    probe_layers,
)
from distill.importance.gradients.fisher import fisher_batch
from distill.importance.measures import MEASURES, Arrays, Measure, buckets, measured
from distill.importance.requests import Loss, PackedRequest
from recommender.backends.packed import PACK_TOKENS
from recommender.backends.passes import LayerStates, pack_hidden
from recommender.events import Event, Progress, StageDone, StageStarted, amount
from storage.records import FloatArray, LayerValues
from storage.store import Store

VERSION = 1
"""Of what the measures mean: raised where one changes, so that nothing old is found again."""
BATCH_TOKENS = {"cpu": 800, "cuda": 8192, "mps": 4096}
"""Tokens run side by side, filling included. On two cores a batch saves little (5 %)."""


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What is measured: requests in the tokens of one loss, of one model."""

    model: Any
    weights: str
    """Key of the model's card; a random twin's says so."""
    requests: Sequence[PackedRequest]
    loss: Loss
    temperature: float
    seed: int = 0
    checkpoint: bool = False
    """Keep one state a layer on the way there, and run each layer again on the way back: for
    models that do not fit otherwise. It changes nothing but the time."""

    def first(self, count: int) -> Asked:
        """Return the same of the first requests only."""
        return replace(self, requests=self.requests[:count])


def measure_steps(
    store: Store, asked: Asked, name: str, *, clock: Callable[[], float] = time.perf_counter
) -> Generator[Event, None, list[Arrays]]:
    """Do one measure on every request that it was not done on yet; return all, in order.

    Args:
        store: where each request's arrays are kept.
        asked: the model and its requests.
        name: one of `MEASURES`, 'greedy' or 'probe'.
        clock: seconds.
    """
    if name == GREEDY:
        return (yield from _greedy(store, asked, clock))
    if name == PROBE:
        return (yield from _probe(store, asked, clock))
    measure = MEASURES[name]
    keys = [key_of(asked, measure, request) for request in asked.requests]
    missing = [n for n, found in enumerate(_kept(store, keys)) if found is None]
    stage, started = stage_of(name, asked), clock()
    if missing:
        yield StageStarted(stage, len(missing), "requests")
        # Batches are of all requests, so that a request's company is the same in every run.
        for done, begun in _measured(asked, measure, missing, clock):
            for n, arrays, seconds in done:
                values = LayerValues(keys[n], request_key(asked.requests[n]), name, arrays, seconds)
                store.layers.add(values)
            rate = (clock() - started) / begun
            yield Progress(stage, begun, len(missing), f"{rate:.2f} s a request")
        yield StageDone(stage, clock() - started, amount(len(missing), "requests"))
    found = _kept(store, keys)
    assert all(one is not None for one in found), "a request was measured and is not kept"
    return [dict(one.arrays) for one in found if one is not None]


def missing(store: Store, asked: Asked, name: str) -> int:
    """Return on how many requests a measure is still to be done."""
    if name == PROBE:
        [kept] = _kept(store, [set_key(asked, PROBE, FOLDS, asked.seed)])
        return 0 if kept else len(asked.requests)
    if name == GREEDY:
        last = len(asked.model.model.layers) - 2
        [kept] = _kept(store, [set_key(asked, GREEDY, last)])
        return 0 if kept else len(asked.requests)
    keys = [key_of(asked, MEASURES[name], request) for request in asked.requests]
    return sum(1 for found in _kept(store, keys) if found is None)


def in_memory(asked: Asked, name: str) -> list[Arrays]:
    """Do one measure on every request, and keep it nowhere."""
    if name == GREEDY:
        steps = greedy_steps(asked.model, asked.requests, asked.temperature)
        order = [step.removed for step in steps]
        return [{"importance": greedy_importance(order, len(asked.model.model.layers))}]
    if name == PROBE:
        probe = collect(_probed(asked, [_state(asked, r) for r in asked.requests]))
        return _information(probe.losses, probe.chance)
    run = MEASURES[name].run
    return [run(asked.model, r, asked.temperature, _seed(asked, r)) for r in asked.requests]


def request_key(request: PackedRequest) -> str:
    """Return the hash of a request's tokens, their layout, and what was chosen."""
    digest = hashlib.sha256(json.dumps([request.target, list(request.owners)]).encode())
    for one in request.packs:
        for part in (one.ids, one.segments, one.rows, one.targets, one.owners):
            digest.update(len(part).to_bytes(4, "little") + part.tobytes())
    return digest.hexdigest()[:32]


def key_of(asked: Asked, measure: Measure, request: PackedRequest) -> str:
    """Return what a measure of a request is kept under."""
    return _key(asked, measure.name, request_key(request), asked.seed if measure.seeded else None)


def set_key(asked: Asked, *more: object) -> str:
    """Return what is kept of all requests together."""
    return _key(asked, *more, *(request_key(request) for request in asked.requests))


def stage_of(name: str, asked: Asked) -> str:
    """Return what a measure is called while it runs."""
    loss = "" if asked.loss == "listwise" else f" ({asked.loss})"
    twin = ", random weights" if "random-init" in asked.weights else ""
    return f"{name}{loss}{twin}"


def _key(asked: Asked, *more: object) -> str:
    # With one choice the loss has no temperature.
    temperature = 1.0 if asked.loss == "next-token" else round(asked.temperature, 6)
    decisive = [VERSION, asked.weights, asked.loss, temperature, PACK_TOKENS, *more]
    return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()


def _kept(store: Store, keys: Sequence[str]) -> list[LayerValues | None]:
    found = store.layers.get(keys)
    return [found.get(key) for key in keys]


def _seed(asked: Asked, request: PackedRequest) -> int:
    """Return a seed of its own for each request: one draw for all would not average out."""
    return int.from_bytes(
        hashlib.sha256(f"{asked.seed}/{request_key(request)}".encode()).digest()[:4], "little"
    )


def _measured(
    asked: Asked, measure: Measure, wanted: Sequence[int], clock: Callable[[], float]
) -> Iterator[tuple[list[tuple[int, Arrays, float]], int]]:
    """Yield what a batch gave, by number of the request, and how many are done."""
    done = 0
    for batch in _batches(asked, measure):
        if not set(batch) & set(wanted):
            continue
        begun = clock()
        if measure.name == ONE_PASS:
            some = [asked.requests[n] for n in batch]
            found = [
                measured(sample)
                for sample in fisher_batch(
                    asked.model, some, temperature=asked.temperature, checkpoint=asked.checkpoint
                )
            ]
        else:
            [only] = batch
            request = asked.requests[only]
            found = [measure.run(asked.model, request, asked.temperature, _seed(asked, request))]
        seconds = (clock() - begun) / len(batch)
        done += len(set(batch) & set(wanted))
        yield [(n, arrays, seconds) for n, arrays in zip(batch, found, strict=True)], done


def _batches(asked: Asked, measure: Measure) -> list[list[int]]:
    if measure.name != ONE_PASS:
        return [[n] for n in range(len(asked.requests))]
    single = [n for n, r in enumerate(asked.requests) if len(r.packs) == 1]
    alone = [[n] for n, r in enumerate(asked.requests) if len(r.packs) > 1]
    limit = BATCH_TOKENS.get(torch.device(asked.model.device).type, BATCH_TOKENS["cpu"])
    packed = buckets([asked.requests[n].tokens for n in single], limit)
    return [*([single[n] for n in batch] for batch in packed), *alone]


def _greedy(
    store: Store, asked: Asked, clock: Callable[[], float]
) -> Generator[Event, None, list[Arrays]]:
    """Take layers away one by one; each step is kept, and an interrupted one is done again."""
    layers = len(asked.model.model.layers)
    keys = [set_key(asked, GREEDY, step) for step in range(layers - 1)]
    kept = [one for one in _kept(store, keys) if one is not None]
    order = [int(one.arrays["removed"]) for one in kept]
    stage, started = stage_of(GREEDY, asked), clock()
    if len(order) < layers - 1:
        yield StageStarted(stage, layers - 1 - len(order), "layers")
        steps = greedy_steps(asked.model, asked.requests, asked.temperature, first=order)
        for done, step in enumerate(steps, start=1):
            arrays = {
                "removed": np.array(step.removed, dtype=np.int64),
                "loss": np.array(step.loss, dtype=np.float64),
                "tried": np.array(list(step.losses), dtype=np.int64),
                "per_request": step.per_request,
            }
            key = keys[step.step]
            store.layers.add(LayerValues(key, "all", GREEDY, arrays, step.seconds))
            order.append(step.removed)
            note = f"layer {step.removed} went, loss {step.loss:.3f}"
            yield Progress(stage, done, layers - 1 - len(kept), note)
        yield StageDone(stage, clock() - started, amount(len(asked.requests), "requests"))
    losses = [float(one.arrays["loss"]) for one in _kept(store, keys) if one is not None]
    return [
        {
            "importance": greedy_importance(order, layers),
            "order": np.array(order, dtype=np.int64),
            "losses": np.array(losses),
        }
    ]


def _probe(
    store: Store, asked: Asked, clock: Callable[[], float]
) -> Generator[Event, None, list[Arrays]]:
    """Probe all layers; the result is kept as a whole."""
    key = set_key(asked, PROBE, FOLDS, asked.seed)
    [kept] = _kept(store, [key])
    if kept is None:
        stage, started = stage_of(PROBE, asked), clock()
        yield StageStarted(stage, len(asked.requests), "requests")
        states = []
        for done, request in enumerate(asked.requests, start=1):
            states.append(_state(asked, request))
            yield Progress(stage, done, len(asked.requests), "states")
        layers = []
        for found in _probed(asked, states):
            layers.append(found)
            loss = f"state {found.layer}: {found.losses.mean():.3f} nats"
            yield Progress(stage, len(asked.requests), len(asked.requests), loss)
        probe = collect(layers)
        arrays = {"losses": probe.losses, "chance": probe.chance, "ridges": probe.ridges}
        kept = LayerValues(key, "all", PROBE, arrays, clock() - started)
        store.layers.add(kept)
        yield StageDone(stage, clock() - started, amount(len(asked.requests), "requests"))
    return _information(kept.arrays["losses"], kept.arrays["chance"])


def _information(losses: Any, chance: Any) -> list[Arrays]:
    """Give σ of each layer's output; the losses of all states, the embedding's first, with it."""
    return [
        {"information": c - row[1:], "states": row} for row, c in zip(losses, chance, strict=True)
    ]


def _probed(asked: Asked, states: Sequence[FloatArray]) -> Iterator[ProbeLayer]:
    features = [candidate_features(asked.model, request) for request in asked.requests]
    targets = [request.target for request in asked.requests]
    return probe_layers(np.stack(states), features, targets, seed=asked.seed)


def _state(asked: Asked, request: PackedRequest) -> FloatArray:
    """Give the states at the end of the history, (layers + 1, width)."""
    one = request.packs[0]
    layers = range(len(asked.model.model.layers) + 1)
    with torch.inference_mode(), LayerStates(asked.model, one.prefix - 1, layers) as kept:
        pack_hidden(asked.model, one)
    return np.asarray(kept.taken().numpy())
