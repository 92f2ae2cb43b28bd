"""The encoder on a server and the cheap teacher, against recorded answers and the real model."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.backends import Backend, Prompt
from recommender.backends.embedding import EmbeddingBackend
from recommender.backends.errors import CannotTeach, ContextTooSmall, Cut, ModelMissing, ServerDown
from recommender.backends.ollama.client import OllamaClient
from recommender.backends.ollama.encoder import BATCH, OllamaEncoder, unit_rows
from recommender.backends.ollama.models import ServerModels
from recommender.datasets.sample_shoppers import sample_items
from recommender.embeddings import SentenceEncoder
from recommender.models import EMBEDDED_ENCODER, resolve_model
from storage.errors import BadData, BadSetting
from storage.records import FloatArray
from tests.tiny import Letters

RECORDED = Path(__file__).parents[3] / "shared" / "ollama-transcripts"
VERSIONS = ("0.24.0", "0.32.15")
COSINE = 1.5e-6
"""Measured 1.09e-6 between the recorded servers and sentence-transformers."""
COMPONENT = 3e-4
"""Measured 2.62e-4."""
MINILM_DIGEST = "0123456789abcdef" * 4

Answer = tuple[int, str]
Answering = Callable[[str, dict[str, Any]], Answer]


def recorded(version: str, name: str, number: int = 0) -> tuple[dict[str, Any], Answer]:
    """Return (what was sent, (status, body)) of a recorded exchange."""
    if not RECORDED.is_dir():
        pytest.skip(f"{RECORDED} is not beside the checkout")
    one = json.loads((RECORDED / version / f"{name}.json").read_text())["exchanges"][number]
    return one["request"].get("json", {}), (one["response"]["status"], one["response"]["body"])


def tags(version: str) -> Answer:
    """Return the recorded list of models, with all-minilm in it, which was made later."""
    status, body = recorded(version, "tags")[1]
    found = json.loads(body)
    minilm = {**found["models"][0], "name": "all-minilm:latest", "model": "all-minilm:latest"}
    found["models"].append({**minilm, "digest": MINILM_DIGEST})
    return status, json.dumps(found)


class Server:
    """A loopback server that answers by a function, and writes down what it was asked."""

    def __init__(self, answering: Answering) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                fields = json.loads(body) if body else {}
                outer.asked.append((self.path, fields))
                status, text = answering(self.path, fields)
                self.send_response(status)
                self.send_header("content-type", "application/json; charset=utf-8")
                self.send_header("content-length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            do_POST = do_GET

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]

    def sent(self) -> list[list[str]]:
        return [fields["input"] for path, fields in self.asked if path == "/api/embed"]


Serve = Callable[[Answering], Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    open_: list[Server] = []

    def start(answering: Answering) -> Server:
        open_.append(Server(answering))
        return open_[-1]

    yield start
    for one in open_:
        one.close()


def replay(version: str, *names: tuple[str, int], **instead: Answer) -> Answering:
    """Answer what was recorded under `names`, byte for byte, and refuse any other request."""
    known = {
        ("/api/version", "{}"): recorded(version, "version")[1],
        ("/api/tags", "{}"): tags(version),
    }
    for name, number in names:
        sent, answer = recorded(version, name, number)
        path = "/api/show" if name.startswith("show") else "/api/embed"
        known[path, json.dumps(sent, sort_keys=True)] = instead.get(name.replace("-", "_"), answer)
    return lambda path, fields: known.get(
        (path, json.dumps(fields, sort_keys=True)), (418, '{"error":"not recorded"}')
    )


def by_letters(
    embed: Callable[[Sequence[str]], Answer] | None = None, *, listed: str = "letters:latest"
) -> Answering:
    """Serve a true little model, whose vectors are not of unit length."""

    def answering(path: str, fields: dict[str, Any]) -> Answer:
        if path == "/api/version":
            return 200, '{"version":"0.32.15"}'
        if path == "/api/tags":
            return 200, json.dumps({"models": [{"model": listed, "name": listed, "digest": "ab"}]})
        if path == "/api/show":
            return 200, json.dumps({"capabilities": ["embedding"], "model_info": {}})
        return embed(fields["input"]) if embed else vectors_answer(fields["input"])

    return answering


def vectors_answer(texts: Sequence[str]) -> Answer:
    return 200, json.dumps({"embeddings": (3 * Letters().encode(texts)).tolist()})


def encoder_of(server: Server, model: str = "letters") -> closing[OllamaEncoder]:
    return closing(OllamaEncoder(model, host=server.address))


# The encoder on a server


@pytest.mark.models
@pytest.mark.parametrize("version", VERSIONS)
def test_a_servers_minilm_is_the_one_in_this_process(
    serve: Serve, models: Path, version: str
) -> None:
    sent, _ = recorded(version, "embed")
    server = serve(replay(version, ("show-embedding", 0), ("embed", 0)))
    spec = resolve_model(models, EMBEDDED_ENCODER, kind="encoder")
    with encoder_of(server, "all-minilm") as encoder:
        there = encoder.encode(sent["input"])
    here = SentenceEncoder(spec, device="cpu").encode(sent["input"])
    cosine = 1 - (there.astype(np.float64) * here).sum(axis=1)
    assert np.abs(cosine).max() < COSINE
    assert np.abs(there - here).max() < COMPONENT
    # Not the same program, so not the same bytes: two names keep them apart.
    assert np.abs(there - here).max() > 0


@pytest.mark.parametrize("version", VERSIONS)
def test_recorded_vectors_come_back_at_unit_length_under_a_name(serve: Serve, version: str) -> None:
    sent, (_, body) = recorded(version, "embed")
    server = serve(replay(version, ("show-embedding", 0), ("embed", 0)))
    with encoder_of(server, "all-minilm") as encoder:
        assert server.asked == []
        assert encoder.name == f"all-minilm@sha256:{MINILM_DIGEST[:24]}"
        assert encoder.server == f"ollama {version}"
        vectors = encoder.encode(sent["input"])
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(vectors, json.loads(body)["embeddings"], atol=1e-6)
    assert server.paths() == ["/api/version", "/api/show", "/api/tags", "/api/embed"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_long_text_is_cut_and_a_caller_who_forbids_it_is_told(serve: Serve, version: str) -> None:
    sent, _ = recorded(version, "embed-long")
    server = serve(replay(version, ("show-embedding", 0), ("embed-long", 0), ("embed-long", 1)))
    with encoder_of(server, "all-minilm") as encoder:
        assert encoder.encode(sent["input"]).shape == (1, 384)
    with OllamaClient(server.address) as client:
        models = ServerModels(client)
        with pytest.raises(ContextTooSmall):
            models.embed("all-minilm", sent["input"], truncate=False)
        models.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_completion_model_is_refused_before_it_is_asked(serve: Serve, version: str) -> None:
    server = serve(replay(version, ("show", 0), ("embed-completion-model", 0)))
    said = r"it can do completion.*ollama pull all-minilm"
    with encoder_of(server, "smollm2:135m") as encoder, pytest.raises(CannotTeach, match=said):
        encoder.encode(["Heat"])
    assert "/api/embed" not in server.paths()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_server_that_lists_no_capabilities_is_asked(serve: Serve, version: str) -> None:
    sent, _ = recorded(version, "embed-completion-model")
    _, (status, body) = recorded(version, "show")
    old = json.dumps({k: v for k, v in json.loads(body).items() if k != "capabilities"})
    names = (("show", 0), ("embed-completion-model", 0))
    server = serve(replay(version, *names, show=(status, old)))
    with encoder_of(server, "smollm2:135m") as encoder:
        if version == "0.24.0":  # answers with vectors
            assert encoder.encode(sent["input"]).shape == (1, 576)
        else:  # answers 501
            with pytest.raises(CannotTeach, match="ollama pull all-minilm"):
                encoder.encode(sent["input"])


@pytest.mark.parametrize("version", VERSIONS)
def test_a_model_that_is_not_there_is_named(serve: Serve, version: str) -> None:
    sent, answer = recorded(version, "embed-missing")
    server = serve(lambda path, fields: (200, '{"version":"1"}') if "version" in path else answer)
    said = "ollama pull nomic-embed-text"
    with encoder_of(server, sent["model"]) as encoder, pytest.raises(ModelMissing, match=said):
        _ = encoder.name
    with OllamaClient(server.address) as client:
        models = ServerModels(client)
        with pytest.raises(ModelMissing, match="nomic-embed-text"):
            models.embed(sent["model"], sent["input"])
        models.close()


def test_nobody_is_asked_before_the_first_use() -> None:
    encoder = OllamaEncoder("all-minilm", host="127.0.0.1:9")
    with pytest.raises(ServerDown):
        _ = encoder.name
    with pytest.raises(ServerDown):
        encoder.encode(["Heat"])
    encoder.close()


def test_texts_go_in_batches_and_come_back_in_order(serve: Serve) -> None:
    server = serve(by_letters())
    texts = [f"{row.title} {n}" for n, row in enumerate(sample_items()[:50] * 3)]
    with encoder_of(server) as encoder:
        np.testing.assert_allclose(encoder.encode(texts), Letters().encode(texts), atol=1e-6)
        assert encoder.encode([]).shape[0] == 0
    assert [len(batch) for batch in server.sent()] == [BATCH, BATCH, 150 - 2 * BATCH]
    assert server.paths().count("/api/show") == 1


def test_any_text_can_be_sent(serve: Serve) -> None:
    server = serve(by_letters())
    hostile = ["", " \t\n", "half \ud83d of a pair", "\x00\x1b[31m", "x" * 100_000, "日本語 😀"]
    with encoder_of(server) as encoder:
        vectors = encoder.encode(hostile)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-6)
    sent = server.sent()[0]
    assert sent[:3] == ["(untitled)", "(untitled)", "half ? of a pair"]
    assert sent[3:] == hostile[3:]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "0.0", "1e308"])
def test_a_vector_without_direction_names_its_text(serve: Serve, number: str) -> None:
    server = serve(by_letters(lambda texts: (200, f'{{"embeddings":[[1,1],[{number},{number}]]}}')))
    said = r"'Heat \(1995\)' is zero or no number"
    with encoder_of(server) as encoder, pytest.raises(BadData, match=said):
        encoder.encode(["Alien", "Heat\x1b[31m\n(1995)"])


def test_a_text_the_server_fails_at_is_found(serve: Serve) -> None:
    said = '{"error":"failed to encode response: json: unsupported value: NaN"}'

    def embed(texts: Sequence[str]) -> Answer:
        return (500, said) if "cursed" in texts else vectors_answer(texts)

    server = serve(by_letters(embed))
    with encoder_of(server) as encoder, pytest.raises(BadData, match="'cursed'"):
        encoder.encode([*map(str, range(40)), "cursed", *map(str, range(20))])
    assert len(server.sent()) <= 13  # halved again and again, not one by one


def test_answers_that_do_not_fit_the_question_are_errors(serve: Serve) -> None:
    for body, expected in (
        ('{"embeddings":[[1,0]]}', Cut),
        ('{"embeddings":[[1,0],[1,0,0]]}', BadData),
        ('{"embeddings":[[],[]]}', BadData),
        ('{"embeddings":[[1,', Cut),
    ):
        server = serve(by_letters(lambda texts, body=body: (200, body)))  # type: ignore[misc]
        with encoder_of(server) as encoder, pytest.raises(expected):
            encoder.encode(["a", "b"])


def test_a_model_replaced_while_it_is_asked_is_an_error(serve: Serve) -> None:
    server = serve(
        by_letters(lambda texts: (200, json.dumps({"embeddings": [[1] * len(texts)] * len(texts)})))
    )
    with encoder_of(server) as encoder, pytest.raises(BadData, match="replaced"):
        encoder.encode(["a"] * (BATCH + 1))


def test_a_build_that_is_not_known_has_no_name(serve: Serve) -> None:
    server = serve(by_letters(listed="another:latest"))
    with encoder_of(server) as encoder, pytest.raises(ModelMissing, match="ollama list"):
        _ = encoder.name


@given(st.lists(st.lists(st.floats(-1e30, 1e30), min_size=3, max_size=3), min_size=1, max_size=5))
def test_unit_rows_is_its_definition(rows: list[list[float]]) -> None:
    norms = [sum(x * x for x in row) ** 0.5 for row in rows]
    names = [f"t{n}" for n in range(len(rows))]
    if min(norms) == 0:
        with pytest.raises(BadData, match=f"'t{norms.index(0)}'"):
            unit_rows(rows, names)
        return
    expected = [[x / norm for x in row] for row, norm in zip(rows, norms, strict=True)]
    np.testing.assert_allclose(unit_rows(rows, names), expected, atol=1e-6)


# The cheap teacher

TITLES = [row.title for row in sample_items()][:30]


class Opposites:
    name = "opposites"

    def encode(self, texts: Sequence[str]) -> FloatArray:
        return np.array([[-1.0 if text == "no" else 1.0, 0] for text in texts], dtype=np.float32)


def test_the_card_says_what_it_is_and_the_rest_is_refused(serve: Serve) -> None:
    backend: Backend = EmbeddingBackend(Opposites())
    assert (backend.describe().name, backend.describe().digest) == ("opposites", "")
    server = serve(by_letters())
    with encoder_of(server) as encoder:
        there: Backend = EmbeddingBackend(encoder, server=encoder.server, source="letters")
        card = there.describe()
        assert card.key == "letters@sha256:ab/float32"
        assert (card.family, card.abilities, card.concurrent) == ("encoder", ("similarity",), True)
        assert (card.server, card.source) == ("ollama 0.32.15", "letters")
        shown = Prompt((TITLES[0],), tuple(TITLES[:4]))
        expected = EmbeddingBackend(Letters()).similarity(shown).logprobs
        np.testing.assert_allclose(there.similarity(shown).logprobs, expected, atol=1e-6)
    for ask in (
        lambda: there.score(Prompt(()), "AB"),
        lambda: there.likelihood(Prompt(()), ["Heat"]),
        lambda: there.unconditional(["Heat"]),
        lambda: there.complete("Hello"),
        lambda: there.stream("Hello"),
    ):
        with pytest.raises(BadSetting, match="the encoder 'letters' cannot"):
            ask()
