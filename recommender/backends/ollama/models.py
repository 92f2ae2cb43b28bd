"""The models a server holds: listed, described, pulled, and embedding models asked.

All of it by the `ollama` package, whose errors are translated here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

import ollama
from pydantic import ValidationError

from recommender.backends.errors import BackendError, Cut, ModelMissing
from recommender.backends.ollama.client import OllamaClient, translating
from recommender.backends.ollama.errors import error_of


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server says of one of its models."""

    name: str
    digest: str
    """Hex, without 'sha256:'; names one build on one server version, not a training."""
    family: str
    parameters: str
    quantisation: str
    capabilities: tuple[str, ...]
    template: str
    modelfile: str
    context: int
    """What the model was trained with; 0 where it is not said."""
    layers: int
    hidden_size: int
    size: int = 0
    """Bytes on the server's disk; 0 where it is not said."""


class ServerModels:
    """What one server holds. Close it, or use it in a `with`.

    It stands on an open client, and asks by its address and options.
    """

    def __init__(self, client: OllamaClient) -> None:
        """`client` says where, and how patiently."""
        self.address = client.address
        self._package = ollama.Client(host=client.address, **client.options)

    def __enter__(self) -> ServerModels:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def pulled(self) -> list[Facts]:
        """Return the models that are pulled, by `/api/tags`; templates are not among it."""
        with self._translating():
            found = self._package.list()
        return [
            replace(
                _facts(m.model or "", m.digest or "", m.details, (), "", "", {}),
                size=int(m.size or 0),
            )
            for m in found.models
        ]

    def show(self, model: str) -> Facts:
        """Return what the server says of a model, with its digest.

        Raises:
            ModelMissing: it is not pulled; with the nearest name that is.
        """
        with self._translating(model):
            said = self._package.show(model)
        listed = next((one for one in self.pulled() if same_name(one.name, model)), None)
        if listed is None or not listed.digest:
            raise ModelMissing(
                f"the server at {self.address} knows {model!r} but lists no build of it",
                next_step="ollama list, and the name as it stands there",
            )
        shown = _facts(
            listed.name,
            listed.digest,
            said.details,
            tuple(said.capabilities or ()),
            said.template or "",
            said.modelfile or "",
            said.modelinfo or {},
        )
        return replace(shown, size=listed.size)

    def loaded_context(self, model: str) -> int:
        """Return the context a loaded model really has, by `/api/ps`; 0 where it is not said."""
        found = self.loaded()
        return next((context for name, context in found.items() if same_name(name, model)), 0)

    def loaded(self) -> dict[str, int]:
        """Return the models in memory with the context each has, by `/api/ps`; 0 if not said."""
        with self._translating():
            found = self._package.ps()
        return {one.model or one.name or "": one.context_length or 0 for one in found.models}

    def pull(self, model: str, *, insecure: bool = False) -> Iterator[tuple[str, str, int, int]]:
        """Pull a model; yield (status, layer, bytes done, bytes in all) as the server says.

        Raises:
            ModelMissing: the registry does not have it.
            ServerDown: the server cannot reach the registry.
        """
        last = ""
        with self._translating(model):
            for one in self._package.pull(model, insecure=insecure, stream=True):
                last = one.status or ""
                yield last, one.digest or "", int(one.completed or 0), int(one.total or 0)
        if last != "success":
            raise Cut(f"the pull of {model!r} at {self.address} ended unfinished, at {last!r}")

    def embed(
        self, model: str, texts: Sequence[str], *, truncate: bool | None = None
    ) -> list[list[float]]:
        """Return one vector a text.

        Raises:
            CannotTeach: the model is no embedding model, on a server that says so.
        """
        with self._translating(model):
            found = self._package.embed(model, list(texts), truncate=truncate)
        return [list(vector) for vector in found.embeddings]

    def close(self) -> None:
        """Close the package's connections."""
        self._package._client.close()

    @contextmanager
    def _translating(self, model: str = "") -> Iterator[None]:
        with translating(self.address):
            try:
                yield
            except ollama.ResponseError as error:
                status = max(error.status_code, 200)
                said = error.error
                raise error_of(status, said, address=self.address, model=model) from error
            except (ValidationError, ValueError, RecursionError) as error:
                # The package lets a body that is not JSON, or not of its shape, fall through.
                raise Cut(f"half an answer came from {self.address}") from error


def held_by(hosts: Sequence[str], *, seconds: float = 2.0) -> Iterator[tuple[str, Facts]]:
    """Yield (address, model) for what servers hold; one that does not answer holds nothing.

    Args:
        hosts: addresses as people write them; none means the usual one.
        seconds: how long to wait for each.

    >>> list(held_by(["127.0.0.1:9"]))
    []
    """
    for host in hosts or ("",):
        with (
            suppress(BackendError),
            OllamaClient(host, answer_seconds=seconds) as client,
            ServerModels(client) as models,
        ):
            found = models.pulled()
            yield from ((client.address, facts) for facts in found)


def same_name(listed: str, asked: str) -> bool:
    """Say whether two names are one model's: with or without registry, library, tag and capitals.

    >>> same_name("llama3.1:latest", "Library/Llama3.1"), same_name("a:1b", "a:2b")
    (True, False)
    """

    def plain(name: str) -> str:
        low = full_name(name).lower().removeprefix("registry.ollama.ai/")
        return low.removeprefix("library/")

    return plain(listed) == plain(asked)


def full_name(model: str) -> str:
    """Return a model's name with its tag, as lists show it.

    >>> full_name("llama3.1"), full_name("llama3.1:8b")
    ('llama3.1:latest', 'llama3.1:8b')
    """
    return model if ":" in model.rsplit("/", 1)[-1] else f"{model}:latest"


def _facts(
    name: str,
    digest: str,
    details: Any,
    capabilities: tuple[str, ...],
    template: str,
    modelfile: str,
    info: Mapping[str, Any],
) -> Facts:
    family = str(info.get("general.architecture") or getattr(details, "family", "") or "")
    return Facts(
        name=name,
        digest=digest.removeprefix("sha256:"),
        family=family,
        parameters=str(getattr(details, "parameter_size", "") or ""),
        quantisation=str(getattr(details, "quantization_level", "") or ""),
        capabilities=capabilities,
        template=template,
        modelfile=modelfile,
        context=int(info.get(f"{family}.context_length") or 0),
        layers=int(info.get(f"{family}.block_count") or 0),
        hidden_size=int(info.get(f"{family}.embedding_length") or 0),
    )
