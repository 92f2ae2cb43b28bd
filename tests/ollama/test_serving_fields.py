"""The served model answers with the fields that were recorded, in both versions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.ollama.faults import Fault
from tests.ollama.raw import LOCAL
from tests.ollama.replay import VERSIONS, Exchange, cases
from tests.ollama.serving import Serving
from tests.tiny import Letters, open_llama

WRITES = (
    *("score-letters", "score-letters-hot", "score-no-logprobs", "score-top0", "score-top21"),
    *("context-cut", "context-refused", "preload", "unload", "generate-context"),
    *("generate-stream", "chat", "chat-stream", "render", "render-generate", "rank-json"),
    *("think-bad", "think-false", "think-true", "option-unknown", "option-type", "stop-string"),
    *("raw-system", "keepalive-bad", "format-bad", "format-bad-schema", "missing-generate"),
    *("missing-chat", "body-empty", "json-bad", "method-405", "route-404", "root", "version"),
    *("tags", "ps-loaded", "show", "show-missing", "embed-completion-model", "embed-missing"),
)
NOT_ALWAYS = ("tensors", "model_info", "bytes")
"""What `/api/show` tells of a GGUF file, which is not here; and a token with no text has none."""


def shape(found: Any) -> Any:
    """Return what fields there are, and of which kind; of a list, its last one's."""
    if isinstance(found, dict):
        return {key: shape(one) for key, one in found.items() if key not in NOT_ALWAYS}
    if isinstance(found, list):
        return [shape(found[-1])] if found else []
    return "number" if isinstance(found, int | float) else type(found).__name__


def parsed(kind: str, body: bytes) -> Any:
    """Return JSON, all lines of a stream, or text."""
    if "ndjson" in kind:
        return [json.loads(line) for line in body.splitlines()]
    return json.loads(body) if "json" in kind else body


def answered(server: Serving, one: Exchange) -> httpx.Response:
    return httpx.request(one.method, server.url + one.path, content=one.sent, **LOCAL)


def same(answer: httpx.Response, one: Exchange, where: tuple[str, str]) -> None:
    """Check status, kind and fields; of a refusal, its every word but the numbers."""
    kind = one.headers["content-type"]
    assert (answer.status_code, answer.headers["content-type"]) == (one.status, kind), where
    got, said = parsed(kind, answer.content), parsed(kind, one.answer)
    if one.status >= 400 and where[1] != "context-refused":
        assert got == said, where
        return
    assert shape(got) == shape(said), where
    if one.chunked_lines:
        assert shape(got[0]) == shape(said[0]), where


@pytest.mark.parametrize("version", VERSIONS)
def test_fields_and_refusals_are_those_recorded(llama: Path, version: str) -> None:
    known = cases(version)
    with Serving(open_llama(llama), name="smollm2:135m", version=version) as server:
        server.repeats = 10_000
        for name in WRITES:
            same_words = name != "embed-completion-model" or version != "0.24.0"
            for one in known[name].exchanges:
                answer = answered(server, one)
                assert same_words or len(answer.json()["embeddings"]) == 1
                same(answer, one, (version, name))


@pytest.mark.parametrize("version", VERSIONS)
def test_an_embedding_model_answers_as_recorded(llama: Path, version: str) -> None:
    settings: dict[str, Any] = {"version": version, "encoder": Letters()}
    backend = open_llama(llama)
    with Serving(backend, name="all-minilm", capabilities=("embedding",), **settings) as server:
        for name in ("embed", "generate-embedding-model"):
            one = cases(version)[name].exchanges[0]
            same(answered(server, one), one, (version, name))


@pytest.mark.parametrize("version", VERSIONS)
def test_faults_answer_as_recorded(llama: Path, version: str) -> None:
    recorded = {
        "score-eos": (Fault.END_FIRST, 0),
        "runner-killed": (Fault.CRASH_500, 0),
        "runner-killed-stream": (Fault.DIES_MID_STREAM, 0),
        "repeat-abort": (Fault.NOT_DONE, 0),
        "busy": (Fault.BUSY_503, 4),
    }
    with Serving(open_llama(llama), name="smollm2:135m", version=version) as server:
        server.repeats = 10_000
        for name, (fault, number) in recorded.items():
            one = cases(version)[name].exchanges[number]
            server.fault, server.fault_times = fault, 1
            same(answered(server, one), one, (version, name))
            assert server.fault is None


@pytest.mark.parametrize("version", VERSIONS)
def test_a_pull_goes_as_recorded(llama: Path, version: str) -> None:
    with Serving(open_llama(llama), version=version) as server:
        for name, asked in (("pull", "shop"), ("pull-missing", "missing"), ("pull", "shop")):
            one = cases(version)[name].exchanges[0]
            answer = httpx.post(f"{server.url}/api/pull", json={"model": asked}, **LOCAL)
            got, said = parsed("ndjson", answer.content), one.parsed
            assert [set(line) for line in got if "digest" not in line] == [
                set(line) for line in said if "digest" not in line
            ]
            layers = (set(line) for line in got if "digest" in line)
            assert set(map(frozenset, layers)) <= {
                frozenset(("status", "digest", "total")),
                frozenset(("status", "digest", "total", "completed")),
            }
