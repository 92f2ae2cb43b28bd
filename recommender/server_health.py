"""Whether an Ollama server answers, for `recsys doctor`.

Apart from `health`, whose other checks need no HTTP client. Nobody answering is bad only where
the settings' teacher is a server's model: the embedded teacher needs no server.
"""

from __future__ import annotations

from collections.abc import Iterator

from recommender.backends.errors import BackendError, ModelMissing
from recommender.backends.ollama.client import OllamaClient
from recommender.backends.ollama.models import ServerModels
from recommender.backends.opening import kind_of
from recommender.check import Check, State
from recommender.config import Settings
from storage.errors import BadSetting, UnknownName

SECONDS = 2.0
"""How long an answer may take: `recsys doctor` is looked at while it runs."""


def check_servers(settings: Settings) -> Iterator[Check]:
    """Check the server of each host of the settings, or the usual one.

    >>> from pathlib import Path
    >>> here = Settings(data_dir=Path("nowhere"), hosts=("127.0.0.1:9",))
    >>> [check.state for check in check_servers(here)]
    ['absent']
    >>> [check.state for check in check_servers(here.model_copy(update={"teacher": "qwen3:8b"}))]
    ['bad']
    """
    try:
        kind, name = kind_of(settings.teacher, settings)
    except UnknownName as error:
        yield Check("teacher", "bad", error.what, error.next_step)
        kind, name = "process", ""
    for host in settings.hosts or ("",):
        yield check_server(host, teacher=name if kind == "server" else "")


def check_server(host: str, *, teacher: str = "") -> Check:
    """Check that a server answers, and that it has the model that is to teach, if one is.

    >>> check_server("127.0.0.1:9").says
    "no Ollama server answers at http://127.0.0.1:9; teacher 'embedded' needs no server"
    """
    try:
        with OllamaClient(host, answer_seconds=SECONDS) as client:
            return _look(client, teacher)
    except ModelMissing as error:
        return Check("ollama", "bad", error.what, error.next_step)
    except BackendError as error:
        need = f"teacher {teacher!r} needs it" if teacher else "teacher 'embedded' needs no server"
        state: State = "bad" if teacher else "absent"
        return Check("ollama", state, f"{error.what}; {need}", error.next_step or "ollama serve")
    except BadSetting as error:
        return Check("ollama", "bad", error.what, error.next_step)


def _look(client: OllamaClient, teacher: str) -> Check:
    version = client.version()
    with ServerModels(client) as models:
        held = models.pulled()
        if teacher:
            models.show(teacher)
    says = f"{version} at {client.address}, models: {len(held)}"
    return Check("ollama", "good", f"{says}, among them {teacher!r}" if teacher else says)
