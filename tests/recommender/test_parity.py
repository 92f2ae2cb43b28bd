"""A server's model against weights: the numbers alone, a true little model, and real recordings."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pytest_httpserver import HTTPServer
from tokenizers import processors
from transformers import AutoTokenizer
from werkzeug import Request, Response

from recommender.backends import ModelCard
from recommender.backends.embedded import EmbeddedBackend
from recommender.backends.ollama.backend import OllamaBackend
from recommender.backends.ollama.client import OllamaClient
from recommender.backends.ollama.templates import FAMILIES, ChatTemplate
from recommender.chat_prompts import OPENING
from recommender.differences import COMPARED, Parity, PromptParity, compare
from recommender.models import EMBEDDED_TEACHER, resolve_model
from recommender.parity import (
    DEFAULT_PROMPTS,
    FAR,
    NEAR,
    QUESTION,
    NotTheSameModel,
    ask_server,
    ask_weights,
    check_parity,
    limits_of,
    require_same,
)
from storage.errors import BadSetting
from tests.tiny import open_llama, save_llama

RECORDED = Path(__file__).parents[3] / "shared" / "ollama-transcripts"
VERSIONS = ("0.24.0", "0.32.15")
FEW = ("score-letters", "score-declined", "predict-0", "thinking-forced", "runner-killed")
CUT = "context-cut"
CHATML = FAMILIES["<|im_start|>"]

Answering = Callable[[str], tuple[int, bytes]]
Alternatives = list[tuple[str, float]]


class TestNumbers:
    def test_by_hand(self) -> None:
        top = [[("a", -1.0), ("b", -2.0), ("c", -3.0)], [("x", -0.5)]]
        here = [{"b": -1.5, "a": -1.25, "c": -3.0}, {"x": -0.5, "y": -2.0}]
        found = compare([7, 0], [7, 4], top, here)
        assert found.prompts == (
            PromptParity(7, 7, 3, largest=0.5, middle=0.25, behind=0.0),
            PromptParity(0, 4, 1, largest=0.0, middle=0.0, behind=0.0),
        )
        assert (found.compared, found.typical, found.largest) == (4, 0.125, 0.5)
        assert all(one.same_count for one in found.prompts)
        assert not compare([8], [7], [[]], [{"a": 0.0}]).prompts[0].same_count

    def test_equal_sides_are_0_apart(self) -> None:
        top = [(chr(65 + n), -float(n)) for n in range(20)]
        found = compare([3], [3], [top], [dict(top)])
        assert (found.largest, found.typical) == (0.0, 0.0)
        assert found.compared == COMPARED

    def test_a_best_token_that_is_not_the_best_here(self) -> None:
        found = compare([3], [3], [[("a", -1.0)]], [{"a": -1.0, "b": -0.25}])
        assert found.prompts[0].behind == 0.75
        assert found.largest == 0.75

    def test_a_token_unknown_here_is_the_least_likely(self) -> None:
        found = compare([3], [3], [[("a", -1.0)]], [{"b": -1.0, "c": -9.0}])
        assert found.largest == 8.0

    @pytest.mark.parametrize(
        "top",
        [
            [("", -0.1), ("a", -1.0)],  # a special token, on new servers
            [("�", -0.1), ("a", -1.0)],
            [("twice", -0.1), ("a", -1.0), ("twice", -5.0)],  # a part of a character, cut off
            [("several", -0.1), ("a", -1.0)],
        ],
    )
    def test_what_no_text_names_is_left_out(self, top: Alternatives) -> None:
        found = compare([3], [3], [top], [{"a": -1.5, "several": math.nan, "z": -0.1}])
        assert found.compared == 1
        assert found.largest == 0.5  # and whose best is behind cannot be said

    def test_no_alternatives(self) -> None:
        found = compare([3, 3], [3, 3], [[], [("a", -1.0)]], [{"a": -1.0}, {"a": -1.5}])
        assert found.typical == 0.5
        assert compare([], [], [], []).largest == 0.0

    def test_in_words(self) -> None:
        one = PromptParity(5, 5, 10, 0.2, 0.1, 0.0)
        said = "2 prompts, 20 next tokens, 0.10 nats apart as a rule and 0.20 at most"
        assert Parity((one, one)).in_words() == said


class TestRefusals:
    def refused(self, *prompts: PromptParity) -> str:
        with pytest.raises(NotTheSameModel) as caught:
            require_same(Parity(prompts), NEAR, server="llama3.1:8b", weights="org/other")
        assert isinstance(caught.value, BadSetting)
        assert caught.value.next_step.startswith("--weights PATH")
        return caught.value.what

    def test_another_tokenizer(self) -> None:
        same = PromptParity(5, 5, 10, 0.1, 0.1, 0.0)
        assert self.refused(same, PromptParity(430, 423, 10, 0.1, 0.1, 0.0)) == (
            "the weights 'org/other' are not those of 'llama3.1:8b': token counts 430 against 423 "
            "for the same text: another tokenizer"
        )

    def test_another_model(self) -> None:
        assert self.refused(PromptParity(5, 5, 10, 2.5, 0.7, 0.0)) == (
            "the weights 'org/other' are not those of 'llama3.1:8b': log-probabilities 0.70 nats "
            "apart as a rule and up to 2.50, where one model has 0.18 and 0.9 at most: another "
            "model or quantisation"
        )
        assert "up to 0.95" in self.refused(PromptParity(5, 5, 10, 0.95, 0.1, 0.0))
        assert "0.19 nats apart" in self.refused(PromptParity(5, 5, 10, 0.3, 0.19, 0.0))
        assert "up to 1.50" in self.refused(PromptParity(5, 5, 10, 0.3, 0.1, 1.5))

    def test_nothing_to_compare(self) -> None:
        assert "named no token" in self.refused(PromptParity(5, 5, 0, 0.0, 0.0, 0.0))

    def test_limits(self) -> None:
        require_same(
            Parity((PromptParity(5, 5, 10, 0.9, 0.18, 0.9),)), NEAR, server="a", weights="b"
        )
        for precision in ("F16", "bf16", "F32", "Q8_0"):
            assert limits_of(precision, same_build=False) == NEAR
        for precision in ("Q4_K_M", "Q4_0", "unknown", ""):
            assert limits_of(precision, same_build=False) == FAR
            assert limits_of(precision, same_build=True) == NEAR


@pytest.fixture
def connect(httpserver: HTTPServer) -> Iterator[Callable[..., OllamaBackend]]:
    """Stand an `OllamaBackend` before a loopback server that answers prompts by a function."""
    clients: list[OllamaClient] = []

    def make(
        answering: Answering, *, precision: str = "Q4_1", template: ChatTemplate = CHATML
    ) -> OllamaBackend:
        def answer(request: Request) -> Response:
            fields = request.get_json()
            assert fields["raw"] is True
            assert fields["options"]["num_predict"] == 1
            status, body = answering(fields["prompt"])
            return Response(body, status, content_type="application/json; charset=utf-8")

        httpserver.clear()
        httpserver.expect_request("/api/generate", method="POST").respond_with_handler(answer)
        clients.append(OllamaClient(httpserver.url_for("")))
        card = ModelCard(
            "smollm2:135m", "llama", 30, 576, 0, "sha256:ab", precision, "there", ("letters",)
        )
        return OllamaBackend(clients[-1], card, template, num_ctx=2048)

    yield make
    for client in clients:
        client.close()


def speaking(backend: EmbeddedBackend, asked: list[str] | None = None) -> Answering:
    """Answer as a server with this model does."""

    def answer(prompt: str) -> tuple[int, bytes]:
        if asked is not None:
            asked.append(prompt)
        count, logprobs = ask_weights(backend, prompt)
        top = [{"token": token, "logprob": p} for token, p in logprobs.items() if p == p][:20]
        said: dict[str, Any] = {"response": top[0]["token"], "done": True}
        said |= {"prompt_eval_count": count, "logprobs": [{**top[0], "top_logprobs": top}]}
        return 200, json.dumps(said).encode()

    return answer


class TestALittleModel:
    def test_with_itself(self, connect: Callable[..., OllamaBackend], llama: Path) -> None:
        backend = open_llama(llama)
        asked: list[str] = []
        server = connect(speaking(backend, asked))
        found = check_parity(server, backend, same_build=True)
        assert found.largest < 1e-6
        assert found.compared > 30
        # The special tokens of another family are mere text to this tokenizer, on both sides.
        assert asked == [*DEFAULT_PROMPTS, CHATML.around(QUESTION, OPENING)]
        assert check_parity(server, backend, ["Alien", "Heat"]).prompts[1].here > 0
        assert asked[5:] == ["Alien", "Heat"]

    def test_with_another(
        self, connect: Callable[..., OllamaBackend], llama: Path, tmp_path: Path
    ) -> None:
        other = open_llama(save_llama(tmp_path / "other", seed=1))
        with torch.no_grad():  # a random network is near to every other: neither says much
            other.model.lm_head.weight.mul_(40)
        with pytest.raises(NotTheSameModel, match=r"other' are not those of 'smollm2:135m': log-"):
            check_parity(connect(speaking(open_llama(llama))), other)

    def test_with_a_token_more_at_the_beginning(
        self, connect: Callable[..., OllamaBackend], llama: Path, tmp_path: Path
    ) -> None:
        backend = open_llama(llama)
        words = AutoTokenizer.from_pretrained(llama)
        words.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<|end|> $A", special_tokens=[("<|end|>", words.eos_token_id)]
        )
        begun = EmbeddedBackend(backend.model, words, backend.describe())
        with pytest.raises(NotTheSameModel, match=r"token counts (\d+) against (\d+)") as caught:
            check_parity(connect(speaking(backend)), begun)
        there, here = (int(n) for n in str(caught.value).split("token counts ")[1].split()[0:3:2])
        assert here == there + 1

    def test_special_tokens_in_a_prompt_are_special(self, llama: Path) -> None:
        backend = open_llama(llama)
        count, _ = ask_weights(backend, "a<|end|>")
        assert count == len(backend.tokenizer("a")["input_ids"]) + 1

    def test_what_follows_is_what_the_model_says(self, llama: Path) -> None:
        backend = open_llama(llama)
        ids = backend.tokenizer(" Gel Pens")["input_ids"]
        count, found = ask_weights(backend, " Gel Pens")
        with torch.inference_mode():
            logp = backend.model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        assert count == len(ids)
        assert max(p for p in found.values() if p == p) == pytest.approx(logp.max().item())
        token = int(backend.tokenizer(" Pens")["input_ids"][0])
        text = backend.tokenizer.decode([token])
        assert found[text] == pytest.approx(logp[token].item(), abs=1e-5)

    def test_a_server_without_logprobs_is_told_apart(
        self, connect: Callable[..., OllamaBackend], llama: Path
    ) -> None:
        backend = open_llama(llama)
        server = connect(lambda prompt: (200, b'{"response": "x", "done": true}'))
        assert ask_server(server, "Alien") == (0, [])
        with pytest.raises(NotTheSameModel, match="named no token"):
            check_parity(server, backend)
        old = OllamaBackend(server.client, ModelCard("m", "", 0, 0, 0, "", "", ""), CHATML)
        with pytest.raises(BadSetting, match="cannot be compared with weights"):
            check_parity(old, backend)


def recorded(version: str) -> list[tuple[str, str, str, bytes]]:
    """Return (case, model, prompt, body) of every recorded answer that names alternatives."""
    if not RECORDED.is_dir():
        pytest.skip(f"{RECORDED} is not beside the checkout")
    found = []
    for file in sorted((RECORDED / version).glob("*.json")):
        for one in json.loads(file.read_text())["exchanges"]:
            asked, body = one["request"].get("json"), one["response"].get("body")
            if one["request"]["path"] != "/api/generate" or not isinstance(asked, dict):
                continue
            raw = asked.get("raw") and one["response"]["status"] == 200 and body
            if raw and asked.get("top_logprobs") == 20 and json.loads(body).get("logprobs"):
                found.append((file.stem, asked["model"], asked["prompt"], body.encode()))
    return found


def replaying(answers: dict[str, bytes]) -> Answering:
    """Answer each recorded prompt with its recorded bytes, and refuse any other."""
    return lambda prompt: (200, answers[prompt]) if prompt in answers else (599, b"{}")


def few(version: str) -> dict[str, bytes]:
    """Return one recorded answer to each of a few prompts that differ in kind."""
    found = [(name, prompt, body) for name, _, prompt, body in recorded(version) if name in FEW]
    assert {name for name, _, _ in found} == set(FEW)
    return {prompt: body for _, prompt, body in found}


@pytest.fixture(scope="module")
def real(models: Path) -> EmbeddedBackend:
    """Open the file that the recorded servers held; to read it takes most of the time here."""
    spec = resolve_model(models, EMBEDDED_TEACHER)
    return EmbeddedBackend.open(spec, device="cpu", precision="float32")


@pytest.fixture
def without(real: EmbeddedBackend) -> Iterator[Callable[[int], EmbeddedBackend]]:
    """Leave a layer of the real model out."""
    whole = real.model.model.layers

    def leave_out(gone: int) -> EmbeddedBackend:
        kept = [layer for number, layer in enumerate(whole) if number != gone]
        real.model.model.layers = torch.nn.ModuleList(kept)
        return real

    yield leave_out
    real.model.model.layers = whole


@pytest.mark.models
@pytest.mark.parametrize("version", VERSIONS)
class TestRealServers:
    def test_the_file_they_held(
        self, connect: Callable[..., OllamaBackend], real: EmbeddedBackend, version: str
    ) -> None:
        answers = few(version)
        found = check_parity(connect(replaying(answers)), real, list(answers), same_build=True)
        assert found.compared > 40
        assert found.typical < 0.11  # measured 0.07 and 0.08
        assert found.largest < 0.45  # measured 0.39 and 0.25

    def test_a_layer_left_out(
        self,
        connect: Callable[..., OllamaBackend],
        without: Callable[[int], EmbeddedBackend],
        version: str,
    ) -> None:
        answers = few(version)
        with pytest.raises(NotTheSameModel, match="another model or quantisation"):
            check_parity(connect(replaying(answers)), without(15), list(answers), same_build=True)

    def test_six_layers_left_out_by_the_server(
        self, connect: Callable[..., OllamaBackend], real: EmbeddedBackend, version: str
    ) -> None:
        cut = {
            prompt: body for _, model, prompt, body in recorded(version) if model == "smollm2-24"
        }
        assert len(cut) == 1
        with pytest.raises(NotTheSameModel, match=r"up to 9\.[46]"):
            check_parity(connect(replaying(cut)), real, list(cut))

    @pytest.mark.slow
    @pytest.mark.parametrize("precision", ["float32", "bfloat16"])
    def test_everything_they_answered(
        self, real: EmbeddedBackend, version: str, precision: str
    ) -> None:
        model = copy.deepcopy(real.model).to(getattr(torch, precision))
        weights = EmbeddedBackend(model, real.tokenizer, real.describe())
        answers = [
            (prompt, json.loads(body))
            for name, model, prompt, body in recorded(version)
            if model == "smollm2:135m" and name not in ("busy", CUT)
        ]
        assert len(answers) > 35
        here = {prompt: ask_weights(weights, prompt) for prompt in dict(answers)}
        found = compare(
            [said["prompt_eval_count"] for _, said in answers],
            [here[prompt][0] for prompt, _ in answers],
            [
                [(one["token"], one["logprob"]) for one in said["logprobs"][0]["top_logprobs"]]
                for _, said in answers
            ],
            [here[prompt][1] for prompt, _ in answers],
        )
        assert all(one.same_count for one in found.prompts)
        require_same(found, NEAR, server=version, weights=precision)
        assert found.typical < 0.07  # measured 0.054 to 0.057
        assert found.largest < 0.65  # measured 0.27 to 0.58

    @pytest.mark.slow
    def test_any_layer_left_out(
        self,
        connect: Callable[..., OllamaBackend],
        without: Callable[[int], EmbeddedBackend],
        version: str,
    ) -> None:
        answers = few(version)
        server = connect(replaying(answers))
        for gone in range(30):
            with pytest.raises(NotTheSameModel):
                check_parity(server, without(gone), list(answers), same_build=True)

    @pytest.mark.slow
    def test_noise_in_the_weights(
        self, connect: Callable[..., OllamaBackend], real: EmbeddedBackend, version: str
    ) -> None:
        model = copy.deepcopy(real.model)
        with torch.no_grad():
            for matrix in (one for one in model.parameters() if one.ndim == 2):
                matrix.add_(torch.randn_like(matrix) * 0.05 * matrix.std())
        weights = EmbeddedBackend(model, real.tokenizer, real.describe())
        answers = few(version)
        with pytest.raises(NotTheSameModel, match="another model or quantisation"):
            check_parity(connect(replaying(answers)), weights, list(answers), same_build=True)
