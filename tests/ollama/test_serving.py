"""The served model: what it says is computed, and it says what a server of its version says."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import ollama
import pytest
import torch

from recommender.backends import Prompt
from recommender.backends.embedded import EmbeddedBackend
from recommender.prompts import heading, letters_question
from tests.ollama.faults import Fault
from tests.ollama.raw import LOCAL, OPTIONS, PROMPT, generated, lines, post, scoring
from tests.ollama.serving import Serving
from tests.tiny import Letters

OLD, NEW = "0.24.0", "0.32.15"
LETTERS = list("ABCDEFGHIJ")
SCHEMA = {
    "type": "object",
    "properties": {
        "ranking": {
            "type": "array",
            "items": {"type": "string", "enum": LETTERS},
            "minItems": 10,
            "maxItems": 10,
        }
    },
    "required": ["ranking"],
}


Serve = Callable[..., Serving]


def expected(tiny: EmbeddedBackend, prompt: str, number: int = 20) -> list[tuple[str, float]]:
    """Return the likeliest next tokens, by one pass without a cache."""
    ids = torch.tensor([tiny.tokenizer(prompt)["input_ids"]])
    with torch.inference_mode():
        logits = tiny.model(ids, use_cache=False).logits[0, -1].double()
    logp = logits - torch.logsumexp(logits, dim=0)
    best = sorted(range(len(logp)), key=lambda one: -float(logp[one]))[:number]
    return [(tiny.tokenizer.decode([one]), float(logp[one])) for one in best]


def test_logprobs_are_those_of_the_model(serve: Serve, tiny: EmbeddedBackend) -> None:
    found = generated(serve())
    (entry,) = found["logprobs"]
    top = entry["top_logprobs"]
    want = expected(tiny, PROMPT)
    assert [one["logprob"] for one in top] == pytest.approx([p for _, p in want], abs=1e-4)
    printed = [(one, said) for one, (said, _) in zip(top, want, strict=True) if one["token"]]
    assert printed
    assert all(one["token"] == said for one, said in printed)
    assert all(bytes(one["bytes"]).decode() == one["token"] for one, _ in printed)
    assert all("bytes" not in one for one in top if not one["token"])
    assert (entry["token"], entry["logprob"]) == (found["response"], top[0]["logprob"])
    assert found["prompt_eval_count"] == len(tiny.tokenizer(PROMPT)["input_ids"])
    assert found["created_at"].endswith("Z")
    assert {"total_duration", "load_duration", "eval_duration"} < set(found)
    assert (found["done"], found["done_reason"], found["eval_count"]) == (True, "length", 1)
    assert "context" not in found


def test_letters_are_scored_as_in_this_process(serve: Serve, tiny: EmbeddedBackend) -> None:
    prompt = Prompt(("Pen", "Red ink"), ("Paper", "Stapler"), "office products")
    text = f"{heading(prompt.noun)}- Pen\n- Red ink\n{letters_question(prompt, 'AB')}"
    # Line by line, as the backend makes its tokens, so that both read the same prompt.
    lines = text.splitlines(keepends=True)
    server = serve()
    logp, _ = server.speaker.pass_on([t for one in lines for t in tiny._tokens(one)], None)
    forms = [tiny._label_tokens(letter) for letter in "AB"]
    summed = [float(torch.logsumexp(logp[form], dim=0)) for form in forms]
    assert summed == pytest.approx(tiny.score(prompt, "AB").logprobs, abs=1e-4)


def test_several_tokens_each_have_their_own(serve: Serve, tiny: EmbeddedBackend) -> None:
    server = serve()
    said = {"prompt": PROMPT, "options": {"num_predict": 6, "stop": []}, "top": 3}
    whole, parts = generated(server, **said), lines(server, **said)
    assert "".join(part["response"] for part in parts) == whole["response"]
    assert [entry for part in parts for entry in part.get("logprobs", [])] == whole["logprobs"]
    assert [part["done"] for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1]["eval_count"] == whole["eval_count"] == 6
    text = PROMPT
    for entry in whole["logprobs"]:
        if (
            tiny.tokenizer(text + entry["token"])["input_ids"][:-1]
            == (tiny.tokenizer(text)["input_ids"])
        ):
            assert entry["logprob"] == pytest.approx(expected(tiny, text, 1)[0][1], abs=1e-4)
        text += entry["token"]


def test_sampling_changes_the_token_and_not_the_numbers(serve: Serve) -> None:
    server = serve()
    cold = generated(server)["logprobs"][0]["top_logprobs"]
    hot = [
        generated(server, options={"temperature": 5.0, "seed": seed, "repeat_penalty": 1.8})
        for seed in range(5)
    ]
    assert all(one["logprobs"][0]["top_logprobs"] == cold for one in hot)
    assert len({one["response"] for one in hot}) > 1


def test_special_tokens_in_a_prompt_are_special(serve: Serve, tiny: EmbeddedBackend) -> None:
    plain = generated(serve(), prompt="ab")["prompt_eval_count"]
    assert generated(serve(), prompt="a<|end|>b")["prompt_eval_count"] == plain + 1
    end = tiny.tokenizer.eos_token_id
    for version, text in ((NEW, ""), (OLD, "<|end|>")):
        server = serve(version=version)
        found = server.speaker.entry((end, torch.zeros(600)), 0)
        assert found.get("token") == text
        assert ("bytes" in found) == (version == OLD)


@pytest.mark.parametrize("version", [OLD, NEW])
def test_a_prompt_that_does_not_fit(serve: Serve, version: str) -> None:
    server = serve(version=version)
    long: dict[str, Any] = {"prompt": "x" * 900, "options": {"num_ctx": 512}}
    refused = post(server, "/api/generate", scoring(**long))
    assert refused.status_code == 400
    said = refused.json()["error"]
    if version == OLD:
        assert said == "the input length exceeds the context length"
    else:
        inner = json.loads(said)["error"]
        assert (inner["n_prompt_tokens"], inner["n_ctx"]) == (900, 512)
    cut = generated(server, **long, truncate=True)
    assert cut["prompt_eval_count"] == (512 if version == OLD else 258)
    assert [one["context_length"] for one in _ps(server)] == [512]


def _ps(server: Serving) -> list[dict[str, Any]]:
    return list(httpx.get(f"{server.url}/api/ps", **LOCAL).json()["models"])


def test_it_is_loaded_once_for_one_set_of_options(serve: Serve) -> None:
    server = serve()
    loading = {"model": "tiny", "stream": False, "options": OPTIONS}
    assert _ps(server) == []
    assert post(server, "/api/generate", loading).json()["done_reason"] == "load"
    generated(server)
    generated(server, options={"temperature": 1})
    assert server.loads == 1
    generated(server, options={"num_ctx": 1024})
    assert server.loads == 2
    gone = post(server, "/api/generate", {**loading, "keep_alive": 0}).json()
    assert (gone["done_reason"], _ps(server)) == ("unload", [])


def test_a_ranking_by_schema(serve: Serve) -> None:
    server = serve()
    server.repeats = 1000
    asked = {"format": SCHEMA, "options": {"num_predict": 200}}
    found = generated(server, **asked)
    ranking = json.loads(found["response"])["ranking"]
    assert len(ranking) == 10
    assert set(ranking) <= set(LETTERS)
    assert "".join(entry["token"] for entry in found["logprobs"]) == found["response"]
    server.fault = Fault.REPEATED_LETTER
    spoiled = json.loads(generated(server, **asked)["response"])["ranking"]
    assert (len(spoiled), len(set(spoiled))) == (10, 9)
    server.fault = None
    cut = generated(server, format=SCHEMA, options={"num_predict": 12})
    assert cut["done_reason"] == "length"
    with pytest.raises(ValueError):
        json.loads(cut["response"])


@pytest.mark.parametrize(
    ("template", "unset", "unthinking"),
    [
        ("chatml", "assistant\n", "assistant\n"),
        ("chatml-think", "assistant\n", "</think>\n\n"),
        ("thinking-only", "<think>\n", "<think>\n"),
        ("llama3", "assistant<|end_header_id|>\n\n", "assistant<|end_header_id|>\n\n"),
        ("harmony", "<|start|>assistant", "<|start|>assistant"),
    ],
)
def test_templates_are_rendered(serve: Serve, template: str, unset: str, unthinking: str) -> None:
    server = serve(template=template)
    turn = {"model": "tiny", "stream": False, "messages": [{"role": "user", "content": "<&> é"}]}

    def rendered(**more: Any) -> str:
        answer = post(server, "/api/chat", {**turn, "_debug_render_only": True, **more})
        return str(answer.json()["_debug_info"]["rendered_template"])

    assert rendered().count("<&> é") == 1
    assert rendered().endswith(unset)
    assert rendered(think=False).endswith(unthinking)
    shown = post(server, "/api/show", {"model": "tiny"}).json()
    thinks = "thinking" in shown["capabilities"]
    assert thinks == (template not in ("chatml", "llama3"))
    assert post(server, "/api/chat", {**turn, "think": True, "options": OPTIONS}).status_code == (
        200 if thinks else 400
    )
    said = post(server, "/api/chat", {**turn, "think": False, "options": OPTIONS}).json()
    raw = generated(server, prompt=rendered(think=False))
    assert said["message"]["content"] == raw["response"]
    assert said["prompt_eval_count"] == raw["prompt_eval_count"]


def test_a_server_that_does_not_render_writes_an_answer(serve: Serve) -> None:
    fields = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "stream": False}
    server = serve(debug_render=False, logprobs=False)
    more = {"_debug_render_only": True, "options": OPTIONS}
    found = post(server, "/api/chat", {**fields, **more}).json()
    assert found["done"] is True
    assert "_debug_info" not in found
    assert "logprobs" not in generated(server)


@pytest.mark.parametrize(
    ("path", "changed", "status", "said"),
    [
        ("/api/generate", {"model": "other"}, 404, "model 'other' not found"),
        ("/api/embed", {"model": "other"}, 404, 'model "other" not found, try pulling it first'),
        ("/api/embed", {"input": "x"}, 501, "This server does not support embeddings."),
        ("/api/generate", {"top_logprobs": 21}, 400, "top_logprobs must be between 0 and 20"),
        ("/api/generate", {"keep_alive": "-1"}, 400, 'time: missing unit in duration "-1"'),
        ("/api/generate", {"system": "x"}, 400, "raw mode does not support template, system"),
        ("/api/generate", {"think": "extreme"}, 400, 'invalid think value: "extreme"'),
        ("/api/generate", {"options": {"num_ctx": "big"}}, 500, 'option "num_ctx" must be of type'),
        ("/api/generate", {"options": {"stop": "x"}}, 500, 'option "stop" must be of type array'),
        ("/api/generate", {"format": "yaml"}, 500, 'invalid format: "\\"yaml\\""; expected'),
        ("/api/generate", {"format": {"type": "nonsense"}}, 400, '{"error":{"code":400,"message"'),
    ],
)
def test_refusals(serve: Serve, path: str, changed: dict[str, Any], status: int, said: str) -> None:
    answer = post(serve(), path, {**scoring(), **changed})
    assert answer.status_code == status
    assert answer.json()["error"].startswith(said)


def test_what_is_no_request(serve: Serve) -> None:
    server = serve()
    with httpx.Client(base_url=server.url, **LOCAL) as client:
        assert client.get("/").text == "Ollama is running"
        assert client.head("/api/version").headers["content-type"].startswith("application/json")
        assert client.get("/api/nothing").status_code == 404
        assert client.get("/api/generate").status_code == 405
        assert client.post("/api/generate").json()["error"] == "missing request body"
        assert client.post("/api/generate", content=b"{").json()["error"] == "unexpected EOF"


def test_the_package_lists_shows_pulls_and_embeds(serve: Serve) -> None:
    server = serve(capabilities=("embedding",), encoder=Letters(), gguf="/models/tiny.gguf")
    client = ollama.Client(host=server.url)
    try:
        assert [one.model for one in client.list().models] == ["tiny:latest"]
        said = list(client.pull("other:1b", stream=True))
        layers = {one.digest for one in said if one.digest}
        assert [one.status for one in said][:1] == ["pulling manifest"]
        assert [one.status for one in said][-3:] == [
            "verifying sha256 digest",
            "writing manifest",
            "success",
        ]
        assert {one.digest for one in said if one.total and one.completed == one.total} == layers
        assert len(layers) == 3
        server.pull_ends = False
        said = list(client.pull("again", stream=True))
        assert len({one.digest for one in said if one.total}) == 2
        assert all((one.completed or 0) < one.total for one in said if one.total)
        assert said[-1].status == "success"
        assert client.pull("third").status == "success"
        names = [(one.model, one.digest) for one in client.list().models]
        assert [name for name, _ in names] == [
            "tiny:latest",
            "other:1b",
            "again:latest",
            "third:latest",
        ]
        assert {digest for _, digest in names} == {server.digest}
        assert len(bytes.fromhex(server.digest)) == 32
        server.digest = "ab" * 32
        assert {one.digest for one in client.list().models} == {"ab" * 32}
        for name, words in (("missing:1b", "does not exist"), ("unreachable", "dial tcp")):
            with pytest.raises(ollama.ResponseError, match=words):
                list(client.pull(name, stream=True))
            with pytest.raises(ollama.ResponseError, match=words) as failed:
                client.pull(name)
            assert failed.value.status_code == 500
        shown = client.show("third")
        assert "FROM /models/tiny.gguf" in (shown.modelfile or "")
        assert (shown.modelinfo or {})["llama.block_count"] == 3
        found = client.embed("tiny", ["Pen", "Red ink"])
        assert np.allclose(found.embeddings, Letters().encode(["Pen", "Red ink"]))
        counted = [len(server.speaker.tokens(text)) for text in ("Pen", "Red ink")]
        assert found.prompt_eval_count == sum(counted)
        with pytest.raises(ollama.ResponseError, match="does not support generate"):
            client.generate("tiny", "x")
    finally:
        client._client.close()


def test_old_servers_embed_with_any_model(serve: Serve) -> None:
    (vector,) = post(serve(version=OLD), "/api/embed", {"model": "tiny", "input": "Pen"}).json()[
        "embeddings"
    ]
    assert sum(one * one for one in vector) == pytest.approx(1)


def test_the_same_token_again_and_again_ends_without_done(serve: Serve) -> None:
    server = serve()
    server.speaker.pass_on = lambda *_: (torch.eye(600)[33].log(), None)  # type: ignore[method-assign]
    found = generated(server, options={"num_predict": 100})
    assert (found["response"], found["done"]) == ("A" * 31, False)
    assert "done_reason" not in found
    parts = lines(server, options={"num_predict": 100})
    assert len(parts) == 31
    assert not parts[-1]["done"]


def test_a_stop_is_not_printed(serve: Serve) -> None:
    server = serve()
    server.repeats = 1000
    free = {"num_predict": 12, "stop": []}
    text = generated(server, options=free)["response"]
    stop = text[4:7]
    found = generated(server, options={**free, "stop": [stop]})
    assert found["response"] == text[: text.index(stop)]
    assert found["done_reason"] == "stop"
    parts = lines(server, options={**free, "stop": [stop]})
    assert "".join(part["response"] for part in parts) == found["response"]
