"""What servers hold right now, in a form that can be shown: quickly, and never as an error.

Apart from `models`, which answers one question and raises, because whoever looks at several
machines wants the others when one of them is down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

from recommender.backends.errors import BackendError, ModelMissing, Transient
from recommender.backends.ollama.address import address_of
from recommender.backends.ollama.backend import FIRST_WITH_LOGPROBS, version_of
from recommender.backends.ollama.client import OllamaClient
from recommender.backends.ollama.models import Facts, ServerModels
from storage.errors import RecsysError

SECONDS = 2.0
"""How long to wait for each answer."""


@dataclass(frozen=True, slots=True)
class HeldModel:
    """A model on a server."""

    name: str
    key: str
    """As `ModelCard.key` of the same model when it is opened."""
    parameters: str
    quantisation: str
    size: int
    """Bytes on disk; 0 where it is not said."""
    context: int
    """What it was trained with; 0 where it is not said."""
    loaded: int | None
    """The context it is loaded with, 0 where it is not said; None where it is not in memory."""
    abilities: tuple[str, ...]
    """What the server says it can do, see `abilities_of`; empty where it says nothing."""


@dataclass(frozen=True, slots=True)
class HostState:
    """A server, with what it holds or with why nobody knows."""

    host: str
    """As it was written; empty for the usual one."""
    address: str
    version: str = ""
    models: tuple[HeldModel, ...] = ()
    problem: str = ""
    next_step: str = ""

    @property
    def up(self) -> bool:
        """Whether it answered."""
        return not self.problem


class Survey:
    """Looks at servers again and again, and asks what a model is only once.

    >>> found = Survey().look("127.0.0.1:9")
    >>> found.up, found.problem
    (False, 'no Ollama server answers at http://127.0.0.1:9')
    """

    def __init__(self, *, seconds: float = SECONDS) -> None:
        """`seconds` is how long to wait for each answer."""
        self._seconds = seconds
        self._known: dict[tuple[str, str, str], Facts] = {}
        self._lock = Lock()

    def look(self, host: str) -> HostState:
        """Return how a server stands; what is wrong with it is part of that."""
        try:
            address = address_of(host)
        except RecsysError as error:
            return HostState(host, host, problem=error.what, next_step=error.next_step)
        version = ""
        try:
            with (
                OllamaClient(host, answer_seconds=self._seconds) as client,
                ServerModels(client) as models,
            ):
                version = client.version()
                return HostState(host, address, version, self._held(models, version))
        except RecsysError as error:
            return HostState(host, address, version, (), error.what, error.next_step)

    def _held(self, models: ServerModels, version: str) -> tuple[HeldModel, ...]:
        loaded = models.loaded()
        found = []
        for listed in models.pulled():
            facts = self._facts(models, listed)
            if facts is not None:
                found.append(_model(facts, listed, loaded.get(listed.name), version))
        return tuple(found)

    def _facts(self, models: ServerModels, listed: Facts) -> Facts | None:
        """Return all that is known of a model; None where it was removed a moment ago."""
        key = (models.address, listed.name, listed.digest)
        with self._lock:
            known = self._known.get(key)
        if known is not None:
            return known
        try:
            shown = models.show(listed.name)
        except ModelMissing:
            return None
        except Transient:
            raise  # it would be the same with every other model, and each would be waited for
        except BackendError:
            # One model that cannot be described hides none of the others; it is asked again.
            return listed
        with self._lock:
            self._known[key] = shown
        return shown


def _model(facts: Facts, listed: Facts, loaded: int | None, version: str) -> HeldModel:
    digest = f"sha256:{facts.digest[:24]}"
    return HeldModel(
        name=facts.name,
        key=f"{facts.name}@{digest}/{facts.quantisation or 'unknown'}",
        parameters=facts.parameters,
        quantisation=facts.quantisation,
        size=listed.size,
        context=facts.context,
        loaded=loaded,
        abilities=abilities_of(facts.capabilities, version),
    )


def abilities_of(capabilities: Sequence[str], version: str) -> tuple[str, ...]:
    """Return what a model can do here, by what its server says of it.

    Letters need a server that names log-probabilities; whether a model that thinks can be kept
    from it shows only when it is asked.

    >>> abilities_of(["completion", "tools"], "0.32.15"), abilities_of(["completion"], "0.9.1")
    (('letters', 'json'), ('json',))
    >>> abilities_of(["embedding"], "0.32.15"), abilities_of([], "0.6.0")
    (('embeddings',), ())
    """
    found = []
    if "completion" in capabilities:
        found += ["letters"] if version_of(f"ollama {version}") >= FIRST_WITH_LOGPROBS else []
        found.append("json")
    found += ["embeddings"] if "embedding" in capabilities else []
    found += ["thinking"] if "thinking" in capabilities else []
    return tuple(found)
