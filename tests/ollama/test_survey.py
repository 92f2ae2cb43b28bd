"""Servers looked at: up, down, gone in between, and what is said of their models."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from recommender.backends.ollama.backend import OllamaBackend
from recommender.backends.ollama.survey import Survey
from tests.ollama.faults import Fault
from tests.ollama.serving import Serving

Serve = Callable[..., Serving]


def test_what_a_server_holds(serve: Serve) -> None:
    server = serve(version="0.32.15")
    survey = Survey()
    found = survey.look(server.url)
    assert (found.up, found.version, found.address) == (True, "0.32.15", server.url)
    (model,) = found.models
    assert (model.name, model.loaded) == ("tiny:latest", None)
    assert model.abilities == ("letters", "json")
    assert model.size > 0
    assert model.context == 2048
    backend = OllamaBackend.open("tiny", host=server.url, num_ctx=1024)
    assert backend.describe().key == model.key
    backend.close()
    (model,) = survey.look(server.url).models
    assert model.loaded == 1024


def test_a_model_is_described_once(serve: Serve) -> None:
    server = serve()
    survey = Survey()
    survey.look(server.url)
    survey.look(server.url)
    assert [one.path for one in server.seen].count("/api/show") == 1
    server.digest = "f" * 64
    survey.look(server.url)
    assert [one.path for one in server.seen].count("/api/show") == 2


@pytest.mark.parametrize(
    ("settings", "able"),
    [
        ({"version": "0.12.10"}, ("json",)),
        ({"capabilities": ("embedding",)}, ("embeddings",)),
        ({"template": "chatml-think"}, ("letters", "json", "thinking")),
    ],
)
def test_abilities(serve: Serve, settings: dict[str, object], able: tuple[str, ...]) -> None:
    (model,) = Survey().look(serve(**settings).url).models
    assert model.abilities == able


def test_what_is_wrong_is_said(serve: Serve) -> None:
    survey = Survey(seconds=1.0)
    down = survey.look("127.0.0.1:9")
    assert (down.up, down.models) == (False, ())
    assert "ollama serve" in down.next_step
    bad = survey.look("http://")
    assert not bad.up
    assert "no address" in bad.problem
    server = serve()
    server.fault = Fault.HTML_PROXY
    proxy = survey.look(server.url)
    assert "something else than Ollama" in proxy.problem
    server.fault = None
    assert survey.look(server.url).up
