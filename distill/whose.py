"""Whose weights are measured: the teacher's own where they are here, else those that are named.

A server gives no states and no gradients. So the same model's weights are looked for, and
before anything is measured on them they are asked a few prompts beside the server: weights of
another model would be measured without a word.
"""

from __future__ import annotations

from collections.abc import Generator

from distill.config import DistilConfig
from recommender.backends import Backend, ModelCard
from recommender.backends.embedded import EmbeddedBackend
from recommender.backends.hosts import members_of
from recommender.backends.ollama.backend import OllamaBackend
from recommender.backends.ollama.models import ServerModels
from recommender.backends.ollama.own_weights import find_own_weights
from recommender.config import Settings
from recommender.events import Event, Notice
from recommender.models import resolve_model
from recommender.parity import check_parity
from storage.store import Store

NONE = "none"


def open_weights(
    store: Store, config: DistilConfig, settings: Settings, backend: Backend
) -> Generator[Event, None, EmbeddedBackend | None]:
    """Open what Fisher and hidden states come from; None where there are labels only.

    Raises:
        BadSetting: no weights are known for the teacher, or those named are another model's.
        UnknownName, Offline: the weights named are not here.
    """
    spec = config.teacher.weights
    if spec == NONE:
        return None
    if isinstance(backend, EmbeddedBackend):
        if not spec or spec == config.teacher.spec:
            return backend
        weights = _opened(store, config, settings, spec)
        yield Notice(f"layers are those of another build: {weights.describe().key}")
        return weights
    server = members_of(backend)[0]
    if not isinstance(server, OllamaBackend):
        if not spec:
            yield Notice(
                f"{backend.describe().name} has no weights that could be measured: the student "
                "learns from labels alone"
            )
            return None
        return _opened(store, config, settings, spec)
    same_build = False
    if not spec:
        with ServerModels(server.client) as models:
            facts = models.show(server.describe().name)
        found = find_own_weights(facts, server.client.address)
        spec, same_build = found.spec, found.same_build
        why = f" ({found.reason})" if found.reason else ""
        yield Notice(f"weights of {facts.name}: {found.how}, {spec}{why}")
    weights = _opened(store, config, settings, spec)
    parity = check_parity(server, weights, same_build=same_build)
    yield Notice(f"weights and teacher are one model: {parity.in_words()}")
    return weights


def describe(card: ModelCard) -> str:
    """Say in one line who the teacher is.

    >>> describe(ModelCard("smol", "llama", 30, 576, 134_515_008, "sha256:ab", "float32", "x"))
    'teacher smol: llama, 30 layers, 134.5 M parameters, float32, on cpu'
    """
    size = f"{card.parameters / 1e6:.1f} M parameters, " if card.parameters else ""
    layers = f"{card.layers} layers, " if card.layers else ""
    server = f", {card.server}" if card.server else ""
    where = card.device or "cpu"
    return f"teacher {card.name}: {card.family}, {layers}{size}{card.precision}, on {where}{server}"


def _opened(store: Store, config: DistilConfig, settings: Settings, spec: str) -> EmbeddedBackend:
    return EmbeddedBackend.open(
        resolve_model(settings.models, spec),
        artifacts=store.artifacts,
        device=config.teacher.device,
        precision=config.teacher.precision,
    )
