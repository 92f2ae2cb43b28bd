"""What is a name of a model: as the server has it, part by part."""

from __future__ import annotations

import pytest

from recommender.backends.ollama.names import model_name
from recommender.backends.ollama.pulling import pull
from storage.errors import BadSetting


@pytest.mark.parametrize(
    "name",
    [
        "llama3.1:8b",
        "qwen3",
        "library/qwen3:0.6b-q4_K_M",
        "hf.co/org-name/Some.Model-GGUF:Q4_K_M",
        "localhost:5000/me/m:latest",
        "_x/y",
        "http://box:5000/me/m",
        "x" * 80,
    ],
)
def test_names_that_a_server_takes(name: str) -> None:
    assert model_name(f" {name}\n") == name
    assert model_name(f"ollama pull {name}") == name


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "it is empty"),
        ("¡", "letters, digits"),
        ("é:8b", "letters, digits"),
        ("two words", "letters, digits"),
        ("m:", "a tag has"),
        ("m:8b:9b", "a tag has"),
        (":8b", "letters, digits"),
        ("a.b/m", "a namespace has"),
        ("-host/a/m", "its host '-host' is none"),
        ("a/b/c/d", "more parts"),
        ("m\x1b[31m", "letters, digits"),
        ("x" * 81, "letters, digits"),
        ("--insecure", "begins with a letter"),
    ],
)
def test_names_that_none_takes_say_why(name: str, why: str) -> None:
    with pytest.raises(BadSetting, match="is no name of a model") as caught:
        model_name(name)
    assert why in caught.value.what
    assert len(caught.value.what) < 200


def test_a_pull_of_no_name_asks_nobody() -> None:
    with pytest.raises(BadSetting, match="no name of a model"):
        next(pull("¡", host="127.0.0.1:9"))
