"""Weights of a served model that a hub is known to have, and of other layouts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytest_httpserver import HTTPServer
from transformers import MistralConfig, MistralForCausalLM
from werkzeug import Request, Response

from recommender.backends.embedded import EmbeddedBackend
from recommender.backends.ollama.own_weights import (
    KNOWN,
    KNOWN_PAIR,
    READABLE,
    USUAL,
    find_own_weights,
    normalised,
)
from storage.errors import BadSetting, Offline, UnknownName
from tests.recommender.served_facts import HERE, PROMPT, TITLES, facts
from tests.tiny import open_llama, tokenizer


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [
            "llama3.1",
            "llama3.1:latest",
            "llama3.1:8b",
            "llama3.1:8b-instruct-q4_K_M",
            "llama3.1:8b-instruct-fp16",
            "llama3.1:instruct",
            "Llama3.1:8B",
            "library/llama3.1",
            "registry.ollama.ai/library/llama3.1:8b-instruct-q8_0",
        ],
    )
    def test_one_model_has_many_names(self, name: str) -> None:
        assert KNOWN[normalised(name)] == "meta-llama/Llama-3.1-8B-Instruct"

    @pytest.mark.parametrize(
        ("name", "hub"),
        [
            ("llama3", "meta-llama/Meta-Llama-3-8B-Instruct"),
            ("llama3.1:8b-text-q4_0", "meta-llama/Llama-3.1-8B"),
            ("llama3.1:70b", "meta-llama/Llama-3.1-70B-Instruct"),
            ("llama3.2", "meta-llama/Llama-3.2-3B-Instruct"),
            ("llama3.2:1b-instruct-q4_K_M", "meta-llama/Llama-3.2-1B-Instruct"),
            ("llama3.3", "meta-llama/Llama-3.3-70B-Instruct"),
            ("qwen2.5:0.5b", "Qwen/Qwen2.5-0.5B-Instruct"),
            ("qwen3:0.6b", "Qwen/Qwen3-0.6B"),
            ("qwen3", "Qwen/Qwen3-8B"),
            ("qwen3:4b-q4_K_M", "Qwen/Qwen3-4B"),
            ("qwen3:4b-instruct-2507-q4_K_M", "Qwen/Qwen3-4B-Instruct-2507"),
            ("qwen3:4b-instruct", "Qwen/Qwen3-4B-Instruct-2507"),
            ("smollm2:135m", "HuggingFaceTB/SmolLM2-135M-Instruct"),
            ("tinyllama:1.1b-chat-v1-q4_0", "TinyLlama/TinyLlama-1.1B-Chat-v1.0"),
            ("mistral", "mistralai/Mistral-7B-Instruct-v0.3"),
            ("mistral:7b-instruct-v0.2-q4_K_M", "mistralai/Mistral-7B-Instruct-v0.2"),
        ],
    )
    def test_pairs(self, name: str, hub: str) -> None:
        found = find_own_weights(facts(name), "http://box:11434")
        assert (found.spec, found.how, found.same_build) == (hub, KNOWN_PAIR, False)
        assert found.reason == "the server at http://box:11434 is another machine"

    @pytest.mark.parametrize(
        "name",
        [
            "somebody/llama3.1",
            "hf.co/somebody/Llama-3.2-1B-Instruct-GGUF:Q4_K_M",
            "llama3.1:9b",
            "llama3.1:8b-mine",
            "qwen3:30b-a3b",
            "mistral:7b-instruct",  # which of three versions, no tag says
            "tinyllama:v0.6",
            "",
            ":",
            "/",
        ],
    )
    def test_a_name_that_could_be_anything_is_no_pair(self, name: str) -> None:
        with pytest.raises(BadSetting) as caught:
            find_own_weights(facts(name), "http://box:11434")
        assert str(caught.value) == (
            f"the weights of {name!r} are not known here: the server at http://box:11434 is "
            "another machine; next: --weights PATH (a Hugging Face directory, a GGUF file or a "
            "hub id), or --weights none to learn from labels alone"
        )

    def test_the_table(self) -> None:
        assert all(f"{name}:{size}" in KNOWN for name, size in USUAL.items())
        assert all(re.fullmatch(r"[A-Za-z-]+/[A-Za-z0-9.-]+", hub) for hub in KNOWN.values())
        assert all(name == normalised(name) for name in KNOWN)

    @given(st.text())
    def test_any_name_has_one_form(self, name: str) -> None:
        assert normalised(normalised(name)) == normalised(name)

    @pytest.mark.parametrize("family", ["gptoss", "gemma3", "qwen3moe", "mllama", "bert"])
    def test_other_families(self, family: str) -> None:
        with pytest.raises(BadSetting, match=f"the {family} kind, whose layers cannot be measured"):
            find_own_weights(facts("llama3.1", family=family), HERE)

    def test_a_server_that_says_no_family(self) -> None:
        assert find_own_weights(facts("qwen3", family=""), HERE).spec == "Qwen/Qwen3-8B"
        assert READABLE == ("llama", "qwen2", "qwen3")


def test_mistral_is_laid_out_like_llama(tmp_path: Path) -> None:
    torch.manual_seed(0)
    words = tokenizer()
    config = MistralConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=None,
        eos_token_id=words.eos_token_id,
    )
    MistralForCausalLM(config).save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    backend = open_llama(tmp_path)
    assert backend.describe().family == "mistral"
    ids, _ = backend.prefix_tokens(PROMPT)
    title = backend.title_tokens(TITLES[0])
    with torch.inference_mode():
        logp = backend.model(torch.tensor([[*ids, *title]])).logits[0].log_softmax(-1)
    places = range(len(ids) - 1, len(ids) + len(title) - 1)
    expected = sum(logp[place, token].item() for place, token in zip(places, title, strict=True))
    assert backend.likelihood(PROMPT, TITLES).logprobs[0] == pytest.approx(expected, abs=1e-4)


class TestTheHub:
    """What huggingface_hub makes of a hub's answers, on a loopback address."""

    NAME = "meta-llama/Llama-3.1-8B-Instruct"

    @pytest.fixture
    def hub(
        self, httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> HTTPServer:
        constants = "huggingface_hub.constants"
        monkeypatch.setattr(f"{constants}.HF_HUB_OFFLINE", False)
        place = httpserver.url_for("").rstrip("/")
        template = f"{place}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(f"{constants}.ENDPOINT", place)
        monkeypatch.setattr(f"{constants}.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(f"{constants}.HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(f"{constants}.HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        return httpserver

    def answering(self, hub: HTTPServer, status: int, **headers: str) -> None:
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        hub.expect_request(re.compile(".*")).respond_with_data("{}", status, named)

    @pytest.mark.parametrize("status", [401, 403])
    def test_a_licence_to_accept(self, hub: HTTPServer, status: int) -> None:
        self.answering(hub, status, X_Error_Code="GatedRepo")
        with pytest.raises(UnknownName) as caught:
            EmbeddedBackend.open(self.NAME)
        assert str(caught.value) == (
            "the owner of 'meta-llama/Llama-3.1-8B-Instruct' gives it only to people who have "
            "accepted its licence; next: accept the licence at "
            "https://huggingface.co/meta-llama/Llama-3.1-8B-Instruct in a browser, then "
            "hf auth login, then the same command again"
        )

    def test_a_model_whose_files_are_listed_and_not_given(self, hub: HTTPServer) -> None:
        sha = "0e9e39f249a16976918f6564b8830bc894c89659"

        def answer(request: Request) -> Response:
            if "/resolve/" in request.path:
                return Response("{}", 401, {"X-Error-Code": "GatedRepo"})
            if "/tree/" in request.path:
                file = {"type": "file", "path": "config.json", "size": 9, "oid": "ab"}
                return Response(json.dumps([file]), 200, content_type="application/json")
            return Response(
                json.dumps({"id": self.NAME, "sha": sha, "gated": "manual", "siblings": []}),
                200,
                content_type="application/json",
            )

        hub.expect_request(re.compile(".*")).respond_with_handler(answer)
        with pytest.raises(UnknownName, match="have accepted its licence"):
            EmbeddedBackend.open(self.NAME)

    def test_a_model_that_may_be_private(self, hub: HTTPServer) -> None:
        self.answering(hub, 401)
        with pytest.raises(UnknownName, match=r"or it asks for a login; next: .* hf auth login"):
            EmbeddedBackend.open(self.NAME)

    def test_a_token_that_is_not_valid(self, hub: HTTPServer) -> None:
        self.answering(hub, 401, X_Error_Message="Invalid credentials in Authorization header")
        with pytest.raises(UnknownName, match="hf auth login"):
            EmbeddedBackend.open(self.NAME)

    def test_a_model_that_is_not_there(self, hub: HTTPServer) -> None:
        self.answering(hub, 404, X_Error_Code="RepoNotFound")
        with pytest.raises(UnknownName, match=r"on the hub; next: recsys models list$"):
            EmbeddedBackend.open(self.NAME)

    def test_a_hub_that_fails(self, hub: HTTPServer) -> None:
        self.answering(hub, 500)
        with pytest.raises(Offline, match="the hub cannot be reached"):
            EmbeddedBackend.open(self.NAME)
