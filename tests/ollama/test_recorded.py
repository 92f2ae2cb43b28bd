"""Every recorded case through our client, in both versions; or why our client cannot send it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from recommender.backends.errors import (
    BackendError,
    Busy,
    CannotTeach,
    ContextTooSmall,
    Cut,
    Died,
    ModelMissing,
    Refused,
    ServerDown,
)
from recommender.backends.ollama.client import OllamaClient
from recommender.backends.ollama.models import ServerModels
from tests.ollama.replay import VERSIONS, Case, Exchange, Replay, cases

PUTS = "it puts models onto a server or takes them away; a teacher is only asked"
NOT_SENT = {
    "blob-head-missing": PUTS,
    "blob-mismatch": PUTS,
    "create-from": PUTS,
    "create-llama-gguf": PUTS,
    "create-llama-safetensors": PUTS,
    "create-safetensors": PUTS,
    "delete": PUTS,
    "delete-missing": PUTS,
    "upload-create-score": PUTS,
    "body-empty": "it sends JSON with every POST",
    "json-bad": "it cannot send half a request",
    "method-405": "it knows the method of every route",
    "route-404": "it knows no other routes",
    "root": "it asks /api/version, which says more",
    "openai-chat": "it speaks the native API, whose num_ctx is heard",
    "pull-nostream": "it always pulls with a stream, to draw a bar",
    "pull-unreachable-nostream": "it always pulls with a stream, to draw a bar",
}

REFUSES: dict[str, type[BackendError]] = {
    "context-refused": ContextTooSmall,
    "embed-missing": ModelMissing,
    "format-bad": Refused,
    "format-bad-schema": Refused,
    "generate-embedding-model": CannotTeach,
    "keepalive-bad": Refused,
    "missing-chat": ModelMissing,
    "missing-generate": ModelMissing,
    "name-bad": Refused,
    "option-type": Refused,
    "pull-missing": ModelMissing,
    "pull-unreachable": ServerDown,
    "raw-system": Refused,
    "runner-killed-stream": Died,
    "score-top21": Refused,
    "show-missing": ModelMissing,
    "stop-string": Refused,
    "think-bad": Refused,
    "think-true": CannotTeach,
}
"""What every exchange of a case ends in, where it is not an answer."""

NAMES = sorted({name for version in VERSIONS for name in cases(version)})
SENT = [name for name in NAMES if name not in NOT_SENT]


def parts(one: Exchange) -> tuple[dict[str, Any], bool]:
    """Return the fields of a request and whether it is a stream."""
    fields = dict(one.json)
    return fields, fields.pop("stream", True)


def ask(client: OllamaClient, one: Exchange) -> object:
    """Send one recorded request by the method of our client that stands for it."""
    if one.path == "/api/version":
        return {"version": client.version()}
    models = ServerModels(client)
    try:
        return _ask(client, models, one)
    finally:
        models.close()


def _ask(client: OllamaClient, models: ServerModels, one: Exchange) -> object:
    if one.path == "/api/tags":
        return models.pulled()
    if one.path == "/api/show":
        return models.show(one.json["model"])
    if one.path == "/api/ps":
        return models.loaded_context("smollm2:135m")
    if one.path == "/api/embed":
        texts = one.json["input"]
        texts = [texts] if isinstance(texts, str) else texts
        return models.embed(one.json["model"], texts, truncate=one.json.get("truncate"))
    if one.path == "/api/pull":
        return list(models.pull(one.json["model"], insecure=one.json.get("insecure", False)))
    fields, stream = parts(one)
    if fields.pop("_debug_render_only", False):
        return client.rendered(fields, one.path)
    if stream:
        return list(client.stream(one.path, fields))
    send: Callable[..., object] = client.chat if one.path == "/api/chat" else client.generate
    return send(fields)


def expected(one: Exchange) -> object:
    """What our client makes of a recorded answer."""
    said = one.parsed
    if one.path == "/api/tags":
        return [(m["name"], m["digest"]) for m in said["models"]]
    if one.path == "/api/show":
        return (said["template"], said["modelfile"], tuple(said["capabilities"]))
    if one.path == "/api/ps":
        return max((m.get("context_length", 0) for m in said["models"]), default=0)
    if one.path == "/api/embed":
        return said["embeddings"]
    if one.path == "/api/pull":
        return [
            (m["status"], m.get("digest", ""), m.get("completed", 0), m.get("total", 0))
            for m in said
        ]
    if one.json and one.json.get("_debug_render_only"):
        return said["_debug_info"]["rendered_template"]
    return said


def shape(one: Exchange, found: Any) -> object:
    """Bring what our client returned into the form of `expected`."""
    if one.path == "/api/tags":
        return [(facts.name, facts.digest) for facts in found]
    if one.path == "/api/show":
        return (found.template, found.modelfile, found.capabilities)
    return found


def failing(
    case: Case, one: Exchange
) -> type[BackendError] | tuple[type[BackendError], ...] | None:
    """Return what an exchange must end in; None for an answer."""
    if case.name == "busy":
        return Busy if one.status == 503 else None
    if case.name == "runner-killed":
        return Died if one.status == 500 else None
    if case.name == "repeat-abort":
        # One of the two streams came to an end of its own before the server gave up.
        return None if b'"done":true' in one.answer else Cut
    if case.name in ("show-embedding", "show-thinking"):
        return ModelMissing  # the lists that were recorded are older than these models
    if case.name == "embed-long":
        return ContextTooSmall if one.status == 400 else None
    if case.name == "embed-completion-model":
        return CannotTeach if one.status == 501 else None
    return REFUSES.get(case.name)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", SENT)
def test_a_recorded_case_through_our_client(version: str, name: str) -> None:
    known = cases(version)
    if name not in known:
        pytest.skip(f"{name} was not recorded on {version}")
    case = known[name]
    beside = ("tags",) if name.startswith("show") and name != "show-missing" else ()
    with Replay(version, only=(name, *beside)) as server, OllamaClient(server.url) as client:
        for one in case.exchanges:
            wanted = failing(case, one)
            if wanted is None:
                assert shape(one, ask(client, one)) == expected(one)
                continue
            with pytest.raises(wanted) as failed:
                ask(client, one)
            # A sentence for people: no JSON left in it, and no half of an escape.
            assert '{"' not in failed.value.what
            assert failed.value.what.strip()
        assert server.refused == []


def test_every_case_is_sent_or_has_a_reason() -> None:
    assert set(NOT_SENT) <= set(NAMES)
    assert set(REFUSES) <= set(SENT)
    assert all(NOT_SENT.values())
    # A new recording must be looked at here.
    assert [len(cases(version)) for version in VERSIONS] == [84, 83]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_context_that_is_too_small_says_how_small(version: str) -> None:
    case = cases(version)["context-refused"]
    with (
        Replay(version, only=("context-refused",)) as server,
        OllamaClient(server.url) as client,
        pytest.raises(ContextTooSmall) as failed,
    ):
        ask(client, case.exchanges[0])
    if version == "0.32.15":
        assert (failed.value.needed, failed.value.given) == (3423, 2048)
        assert "3423 tokens, and there is room for 2048" in failed.value.what
        assert failed.value.next_step.startswith("--num-ctx 4096")
    else:  # this server does not say
        assert (failed.value.needed, failed.value.given) == (0, 0)
        assert "--num-ctx" in failed.value.next_step


def test_a_missing_model_names_the_command_that_brings_it() -> None:
    case = cases("0.32.15")["missing-generate"]
    with (
        Replay("0.32.15", only=("missing-generate",)) as server,
        OllamaClient(server.url) as client,
        pytest.raises(ModelMissing) as failed,
    ):
        ask(client, case.exchanges[0])
    assert failed.value.next_step == "ollama pull llama3.1:8b, or the same command with --pull"
