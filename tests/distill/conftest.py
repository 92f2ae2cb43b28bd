"""What every test of a distillation starts from: a shop, its split and vectors, a small Llama."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.config import DistilConfig
from distill.consulting import listener_of
from distill.ground import Ground, prepare
from distill.training import TrainConfig
from recommender.asking.evidence import Listener
from recommender.backends import Backend
from recommender.backends.embedded import EmbeddedBackend
from recommender.sequential.shape import NetworkConfig
from storage.store import Store
from tests.tiny import SHOP, Letters, add_shop, finished, open_llama, spell


def configured(**teacher: object) -> DistilConfig:
    """A distillation of a few seconds, most of them for writing the students as ONNX."""
    small: dict[str, object] = {
        "device": "cpu",
        "precision": "float32",
        "candidates": 6,
        "history_length": 5,
        "choose_requests": 20,
        "gate_requests": 25,
        "fisher_requests": 6,
        "requests": 24,
        "ignore_gate": True,
    }
    network = NetworkConfig(width=16, blocks=2, max_len=20)
    config = DistilConfig(SHOP, student=TrainConfig(network=network, epochs=2, batch=32))
    return config.with_teacher(**{**small, **teacher})


def listening(shop: Store, ground: Ground, backend: Backend, **teacher: object) -> Listener:
    """Who is asked about the shop, as a distillation configured like that would ask."""
    return listener_of(shop, ground, configured(**teacher), backend)


@pytest.fixture(scope="session")
def model(llama: Path) -> EmbeddedBackend:
    """The small Llama, opened."""
    return open_llama(llama)


@pytest.fixture
def shop(store: Store) -> Store:
    """A Store with the shop in it."""
    add_shop(store)
    return store


@pytest.fixture
def ground(shop: Store) -> Ground:
    """The shop, split, with vectors and baselines."""
    return finished(prepare(shop, configured(), Letters()))[1]


@pytest.fixture
def spelling(llama: Path) -> EmbeddedBackend:
    """The same Llama with a head that nearly always names a letter after a colon."""
    return spell(open_llama(llama), "ABCDEF")
