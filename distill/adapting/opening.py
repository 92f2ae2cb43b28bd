"""Whose weights are adapted: opened here, since a server lets nobody train what it serves.

A GGUF file's numbers are quantised, and gradients need numbers that can move a little: what
is adapted are its de-quantised weights, and the result is a directory of such weights too.
"""

from __future__ import annotations

from collections.abc import Generator

from distill.adapting.config import AdaptConfig
from distill.whose import describe
from recommender.backends.embedded import EmbeddedBackend
from recommender.backends.opening import kind_of
from recommender.backends.weights import find_weights
from recommender.config import Settings
from recommender.events import Event, Notice
from recommender.models import resolve_model
from storage.errors import BadSetting
from storage.store import Store

NAME_WEIGHTS = (
    "recsys adapt --teacher embedded, or --teacher PATH (a Hugging Face directory, a GGUF file "
    "or a hub id)"
)


def open_weights(
    store: Store, config: AdaptConfig, settings: Settings
) -> Generator[Event, None, EmbeddedBackend]:
    """Open the weights that the teacher's name means.

    Raises:
        BadSetting: there are none that could be trained here.
        UnknownName, Offline, BadData: they cannot be opened.
    """
    spec = yield from weights_spec(config.teacher, settings)
    backend = EmbeddedBackend.open(
        spec, artifacts=store.artifacts, device=config.device, precision=config.precision
    )
    yield Notice(describe(backend.describe()))
    if find_weights(spec).kind == "gguf":
        yield Notice(
            f"{backend.describe().name} is a GGUF file: its de-quantised weights are adapted, "
            "and the result is a directory of such weights"
        )
    return backend


def weights_spec(teacher: str, settings: Settings) -> Generator[Event, None, str]:
    """Return what `EmbeddedBackend.open` takes for a teacher's name.

    A model of the server is adapted where the server holds its file on this machine.

    Raises:
        BadSetting: it is something that has no weights of a language model here.
        ServerDown, UnknownName: the server that would know them does not answer, or not of it.
    """
    kind, name = kind_of(teacher, settings)
    if kind == "process":
        return resolve_model(settings.models, name)
    if kind != "server":
        what = "a text encoder" if kind == "encoder" else "your own backend"
        raise BadSetting(
            f"{teacher!r} is {what}: only a language model can be adapted", next_step=NAME_WEIGHTS
        )
    # Deferred: the HTTP client takes longer to import than help may.
    from recommender.backends.ollama.client import OllamaClient
    from recommender.backends.ollama.models import ServerModels
    from recommender.backends.ollama.own_weights import find_own_weights

    with OllamaClient(settings.hosts[0] if settings.hosts else "") as client:
        client.version()
        with ServerModels(client) as models:
            facts = models.show(name)
        try:
            found = find_own_weights(facts, client.address)
        except BadSetting as error:
            raise BadSetting(
                f"a server trains nothing, and here {error.what}", next_step=NAME_WEIGHTS
            ) from error
    yield Notice(f"weights of {facts.name}: {found.how}, {found.spec}")
    return found.spec
