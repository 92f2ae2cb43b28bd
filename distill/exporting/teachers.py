"""Whose student is exported: the file whose tokenizer is copied, and what a server adds to it.

A run names its teacher, and what it was made of is known by digest, so that a file is taken for
the teacher's only where it is the very one. What is not found is said: without a teacher's file
the tokenizer has to be built.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

from distill.exporting.sources import Llama
from recommender.backends.errors import BackendError
from recommender.backends.ollama.creating import Manners
from recommender.backends.opening import kind_of
from recommender.backends.weights import WeightsPlace, find_weights, weights_digest
from recommender.config import Settings
from recommender.events import Event, Notice
from recommender.models import known_models, resolve_model
from storage.errors import BadSetting, RecsysError

_DIGEST = re.compile(r"@((?:sha256|sampled):[0-9a-f]+)/")


@dataclass(frozen=True, slots=True)
class Teacher:
    """What is known here of a model's teacher."""

    place: WeightsPlace | None = None
    """Its weights; None where they were not found."""
    manners: Manners = field(default_factory=Manners)
    """Template and stop words, where a server has it."""


def find_teacher(
    model: Llama, settings: Settings, named: str = ""
) -> Generator[Event, None, Teacher]:
    """Find the teacher of a model, and say what was found.

    Args:
        model: that is exported.
        settings: hosts, and where models are.
        named: by the user; it has to be there then.

    Raises:
        RecsysError: the one named by the user cannot be opened.
    """
    if named:
        found = _of_spec(named, settings)
        if found.place is None and model.place.kind != "gguf":
            raise BadSetting(f"the weights of {named!r} are not on this machine")
        return found
    manners = Manners()
    if model.teacher:
        try:
            found = _of_spec(model.teacher, settings)
        except RecsysError as error:
            yield Notice(f"the teacher {model.teacher!r} is not looked at: {error.what}")
        else:
            manners = found.manners
            if found.place is not None and _is(found.place, model.base):
                return found
    for place in _known(settings):
        if model.base and _is(place, model.base):
            return Teacher(place, manners)
    if model.base:
        yield Notice(f"the weights it was made of ({model.base}) are not on this machine")
    return Teacher(None, manners)


def _of_spec(spec: str, settings: Settings) -> Teacher:
    kind, name = kind_of(spec, settings)
    if kind == "process":
        return Teacher(find_weights(resolve_model(settings.models, name)))
    if kind != "server":
        raise BadSetting(f"{spec!r} is no language model with weights")
    return _of_server(name, settings)


def _of_server(name: str, settings: Settings) -> Teacher:
    # Deferred: the HTTP client takes longer to import than most exports need it.
    from recommender.backends.ollama.client import OllamaClient
    from recommender.backends.ollama.creating import ServerFiles
    from recommender.backends.ollama.models import ServerModels
    from recommender.backends.ollama.own_weights import find_own_weights

    with OllamaClient(settings.hosts[0] if settings.hosts else "") as client:
        client.version()
        with ServerModels(client) as models, ServerFiles(client) as files:
            facts = models.show(name)
            manners = files.manners(name)
        try:
            own = find_own_weights(facts, client.address)
        except BadSetting:
            return Teacher(None, manners)
    return Teacher(find_weights(own.spec), manners)


def _known(settings: Settings) -> Iterator[WeightsPlace]:
    for one in known_models(settings.models):
        if one.kind == "teacher" and one.present:
            try:
                yield find_weights(one.spec)
            except (RecsysError, BackendError):
                continue  # a registered name whose model went: it is nobody's teacher


def _is(place: WeightsPlace, key: str) -> bool:
    found = _DIGEST.search(key)
    return found is not None and weights_digest(place) == found[1]
