"""From the name of a teacher to an open backend: in this process, on a server, or one's own.

Apart because it is the one place that knows all backends. A name means, in this order: a
prefix that says it ('ollama:NAME'), a class of the user's from `recsys.toml`, what comes
along, a registered name, something on disk, a hub id, and else a model of the Ollama server.
Nothing is tried in turn: a name means one thing, and if that is not there, it is said.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal, cast

from recommender.backends import Backend
from recommender.config import Settings
from recommender.models import known_models, resolve_model
from recommender.own import construct, refuse_lacking
from storage.errors import BadSetting, UnknownName

if TYPE_CHECKING:
    from collections.abc import Sequence

    from storage.artifacts import Artifacts

Kind = Literal["process", "server", "encoder", "own"]
Mode = Literal["auto", "likelihood", "letters", "ranking", "generate", "embedding"]

SERVER_PREFIX = "ollama:"
METHODS = (
    *("describe", "score", "likelihood", "unconditional"),
    *("stream", "complete", "similarity", "close"),
)
"""What a backend of the user's must have."""

_SERVER_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)*(:[\w.-]+)?")


def kind_of(spec: str, settings: Settings) -> tuple[Kind, str]:
    """Say what a teacher's name means, and the name its backend knows it by.

    Raises:
        UnknownName: nothing can be called that; with the nearest name that is known.

    >>> from pathlib import Path
    >>> here = Settings(data_dir=Path("nowhere"))
    >>> kind_of("llama3.1:8b", here), kind_of("ollama:embedded", here)
    (('server', 'llama3.1:8b'), ('server', 'embedded'))
    >>> kind_of("org/model", here), kind_of("minilm", here)
    (('process', 'org/model'), ('encoder', 'minilm'))
    """
    if spec.startswith(SERVER_PREFIX):
        return "server", spec.removeprefix(SERVER_PREFIX)
    known = {model.name: model.kind for model in known_models(settings.models)}
    if spec in settings.backends:
        if spec in known:
            raise BadSetting(f"{spec!r} is a known model: call your own backend something else")
        return "own", spec
    if spec in known:
        return ("encoder" if known[spec] == "encoder" else "process"), spec
    names = [*known, *settings.backends]
    near = get_close_matches(spec, names, n=1, cutoff=0.8)
    if not near and ":" in spec and _SERVER_NAME.fullmatch(spec):
        return "server", spec
    try:
        resolve_model(settings.models, spec)
    except UnknownName:
        if near or not _SERVER_NAME.fullmatch(spec) or spec.endswith(".gguf") or "/" in spec:
            raise
        return "server", spec
    return "process", spec


def open_backend(
    spec: str,
    settings: Settings,
    *,
    artifacts: Artifacts | None = None,
    mode: Mode = "auto",
) -> Backend:
    """Open the teacher of a name.

    Args:
        spec: its name, see `kind_of`.
        settings: device, precision, hosts, context, the user's own backends.
        artifacts: where conversions are kept.
        mode: 'embedding' asks an embedding model by the cosine of titles.

    Raises:
        UnknownName: no such model, here or on the server.
        Offline: it would have to be fetched, or no server answers.
        CannotTeach: it cannot do what a teacher must.
        BadSetting: a class of the user's that cannot be loaded.
    """
    kind, name = kind_of(spec, settings)
    if kind == "own":
        return _own(name, settings)
    if kind == "server":
        return _on_servers(name, settings, mode)
    if kind == "encoder" or mode == "embedding":
        return _encoder(resolve_model(settings.models, name, kind=_kind(kind)), settings)
    # Deferred: it imports torch, which a server's model does not need.
    from recommender.backends.embedded import EmbeddedBackend

    return EmbeddedBackend.open(
        resolve_model(settings.models, name),
        artifacts=artifacts,
        device=settings.device,
        precision=settings.precision,
    )


def _own(name: str, settings: Settings) -> Backend:
    place = settings.backends[name]
    made = construct(place, "backend", settings.folder)
    lacking = [f"{one}()" for one in METHODS if not callable(getattr(made, one, None))]
    refuse_lacking(place, "backend", lacking)
    return cast("Backend", made)


def require_servers(specs: Sequence[str], settings: Settings) -> None:
    """See that the servers of those teachers answer that are a server's, before other work.

    Raises:
        ServerDown: one does not.
    """
    # Deferred: as below.
    from recommender.backends.ollama.client import OllamaClient

    if any(kind_of(spec, settings)[0] == "server" for spec in specs):
        for host in settings.hosts or ("",):
            with OllamaClient(host) as client:
                client.version()


def _on_servers(name: str, settings: Settings, mode: Mode) -> Backend:
    # Deferred: the HTTP client takes longer to import than `recsys --help` may.
    from recommender.backends.errors import ServerDown
    from recommender.backends.hosts import Hosts
    from recommender.backends.ollama.backend import OllamaBackend

    hosts = settings.hosts or ("",)
    try:
        if mode == "embedding" or _embeds_only(name, hosts[0]):
            return _server_encoder(name, hosts[0])
    except ServerDown as error:
        # The name too: it may be a misspelt one of a model that is here.
        raise ServerDown(
            f"{error.what}, and nothing here is called {name!r}", next_step=error.next_step
        ) from error
    members: list[Backend] = []
    with ExitStack() as undone:
        for host in hosts:
            members.append(OllamaBackend.open(name, host=host, num_ctx=settings.num_ctx))
            undone.callback(members[-1].close)
        made = members[0] if len(members) == 1 else Hosts(members)
        undone.pop_all()
    return made


def _embeds_only(name: str, host: str) -> bool:
    from recommender.backends.ollama.client import OllamaClient
    from recommender.backends.ollama.models import ServerModels

    with OllamaClient(host) as client, ServerModels(client) as models:
        client.version()
        able = models.show(name).capabilities
    return "embedding" in able and "completion" not in able


def _server_encoder(name: str, host: str) -> Backend:
    from recommender.backends.embedding import EmbeddingBackend
    from recommender.backends.ollama.encoder import OllamaEncoder

    with ExitStack() as undone:
        encoder = OllamaEncoder(name, host=host)
        undone.callback(encoder.close)
        made = EmbeddingBackend(encoder, server=encoder.server, source=name, on_close=encoder.close)
        undone.pop_all()
    return made


def _encoder(spec: str, settings: Settings) -> Backend:
    from recommender.backends.embedding import EmbeddingBackend
    from recommender.embeddings import SentenceEncoder

    return EmbeddingBackend(SentenceEncoder(spec, device=settings.device), source=spec)


def _kind(kind: Kind) -> Literal["teacher", "encoder"]:
    return "encoder" if kind == "encoder" else "teacher"
