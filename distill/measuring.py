"""Layer Fisher in the same pass as the labels: what a request's answer also tells.

The questions with a known answer come first: each is run forward and backward once, and
gives its soft label, its states at every layer and its gradient norms together. They are
kept in shards, so that a killed run asks one shard again and no more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence

import numpy as np

from distill.importance.gradients.fisher import CRITERION, FisherSample, fisher_pass
from distill.importance.profile import layer_profile
from distill.importance.requests import FisherRequest
from recommender.asking.answering import Texts, soft_label
from recommender.asking.labelling import SHARD, answered, keep_states
from recommender.backends import Scores
from recommender.backends.embedded import EmbeddedBackend
from recommender.events import Event, Progress, StageDone, StageStarted, amount
from storage.records import FloatArray, LabelRequest, LayerProfile
from storage.store import Store

STAGE = "layer Fisher"


def measure_layers(
    store: Store,
    backend: EmbeddedBackend,
    requests: Sequence[LabelRequest],
    texts: Texts,
    temperature: float,
    *,
    category_id: int,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> Generator[Event, None, LayerProfile]:
    """Measure the layers on these requests, and label them on the way.

    Args:
        store: where labels, states, values per request and the profile are kept.
        backend: an open model, whose weights stay as they are.
        requests: each with a target.
        texts: of the catalogue.
        temperature: τ of the listwise loss, fitted on validation.
        category_id: whose requests they are.
        seed: of the bootstrap.
        clock: seconds.
    """
    started = clock()
    store.labels.add_requests(requests)
    shards = [requests[at : at + SHARD] for at in range(0, len(requests), SHARD)]
    inputs = [_inputs(shard, temperature) for shard in shards]
    missing = [
        n
        for n, (shard, one) in enumerate(zip(shards, inputs, strict=True))
        if store.artifacts.find("fisher", one) is None
        or not answered(shard, store.labels, store.artifacts)
    ]
    total = sum(len(shards[n]) for n in missing)
    if total:
        yield StageStarted(STAGE, total, "requests")
    done = 0
    for n in missing:
        samples: list[FisherSample] = []
        asked = [fisher_request(request, texts) for request in shards[n]]
        for sample in fisher_pass(backend, asked, temperature=temperature):
            samples.append(sample)
            done += 1
            yield Progress(STAGE, done, total, f"{(clock() - started) / done:.2f} s a request")
        _keep(store, shards[n], samples, inputs[n])
    if total:
        much = amount(total, "requests")
        yield StageDone(STAGE, clock() - started, f"{much}, forward and backward")
    return _profile(store, backend, inputs, temperature, category_id, seed)


def fisher_request(request: LabelRequest, texts: Texts) -> FisherRequest:
    """Return the question of a request in the form the Fisher pass takes."""
    prompt = texts.prompt(request)
    return FisherRequest(prompt, prompt.candidates, request.target)


def _keep(
    store: Store,
    shard: Sequence[LabelRequest],
    samples: Sequence[FisherSample],
    inputs: dict[str, object],
) -> None:
    for request, sample in zip(shard, samples, strict=True):
        scores = Scores(tuple(float(s) for s in sample.scores), sample.tokens, sample.seconds)
        store.labels.add(soft_label(request, scores))
    keep_states(store.artifacts, shard, np.stack([sample.states for sample in samples]))
    with store.artifacts.writing("fisher", inputs) as path:
        arrays = {
            "layers": np.stack([sample.layers for sample in samples]),
            "matrices": np.stack([sample.matrices for sample in samples]),
            "outside": np.array([[s.embedding, s.head, s.final_norm] for s in samples]),
            "loss": np.array([s.loss for s in samples]),
            "seconds": np.array([s.seconds for s in samples]),
        }
        store.artifacts.save_arrays(path / "fisher.safetensors", arrays)
        store.artifacts.write_json(path / "names.json", {"matrices": list(samples[0].names)})


def measured_values(store: Store, profile: LayerProfile) -> FloatArray:
    """Return the values per request behind a profile that was measured here, (requests, L).

    Raises:
        KeyError: they are not kept any more.
    """
    keys = profile.artifact.split(",")
    kept = [store.artifacts.open(key) for key in keys]
    rows = [store.artifacts.load_arrays(one, "fisher.safetensors")["layers"] for one in kept]
    return np.concatenate(rows).astype(np.float32)


def _profile(
    store: Store,
    backend: EmbeddedBackend,
    inputs: Sequence[dict[str, object]],
    temperature: float,
    category_id: int,
    seed: int,
) -> LayerProfile:
    found = [store.artifacts.find("fisher", one) for one in inputs]
    kept = [store.artifacts.load_arrays(f, "fisher.safetensors") for f in found if f is not None]
    profile = layer_profile(
        np.concatenate([arrays["layers"] for arrays in kept]),
        category_id=category_id,
        weights=backend.describe().key,
        criterion=CRITERION,
        artifact=",".join(f.key for f in found if f is not None),
        details={
            "temperature": temperature,
            "seconds": float(np.concatenate([arrays["seconds"] for arrays in kept]).sum()),
        },
        seed=seed,
    )
    store.runs.add_profile(profile)
    return profile


def _inputs(shard: Sequence[LabelRequest], temperature: float) -> dict[str, object]:
    return {
        "requests": [request.key for request in shard],
        "targets": [request.target for request in shard],
        "criterion": CRITERION,
        "temperature": round(temperature, 6),
    }
