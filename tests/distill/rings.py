"""A log in which everybody walks around a ring of items, and what a teacher may say of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from distill.data import Distillation, TrainData
from distill.matches import Match
from distill.training import TrainConfig, Trained
from recommender.events import Event
from recommender.sequential.shape import NetworkConfig

ITEMS = 24
SHAPE = NetworkConfig(width=16, max_len=6, dropout=0.2)
MIXED = np.random.default_rng(2).normal(size=(30, 3, 12)).astype(np.float32)
CONFIG = TrainConfig(
    network=SHAPE, start="free", epochs=4, batch=16, request_batch=8, learning_rate=5e-3
)


def ring(people: int = 120, *, seed: int = 0, valid: bool = True) -> TrainData:
    """Everybody walks around a ring of items; the next item is the one after the last."""
    rng = np.random.default_rng(seed)
    starts, lengths = rng.integers(0, ITEMS, people), rng.integers(3, 10, people)
    walks = [(s + np.arange(n)) % ITEMS for s, n in zip(starts, lengths, strict=True)]
    text = rng.normal(size=(ITEMS, 20)).astype(np.float32)
    return TrainData(
        ITEMS,
        np.concatenate(walks),
        np.concatenate([[0], lengths.cumsum()]),
        valid_histories=walks[:40] if valid else (),
        valid_targets=np.array([(walk[-1] + 1) % ITEMS for walk in walks[:40]]),
        text=text,
    )


def teaching(requests: int = 30, **changes: object) -> Distillation:
    rng = np.random.default_rng(1)
    given: dict[str, object] = {
        "histories": [rng.integers(0, ITEMS, n) for n in rng.integers(1, 9, requests)],
        "candidates": np.array([rng.permutation(ITEMS)[:5] for _ in range(requests)]),
        "labels": rng.dirichlet(np.ones(5), requests).astype(np.float32),
        "states": rng.normal(size=(requests, 2, 12)).astype(np.float32),
        "state_layers": (3, 6),
        "matches": (Match(3, 1, weight=0.5), Match(6, 2, weight=1.5)),
    }
    return Distillation(**{**given, **changes})  # type: ignore[arg-type]


def result(events: Iterator[Event]) -> Trained:
    *_, last = events
    assert isinstance(last, Trained)
    return last


def digest(trained: Trained) -> str:
    whole = hashlib.sha256()
    for name, array in sorted(trained.weights.items()):
        whole.update(name.encode() + array.tobytes())
    return whole.hexdigest()
