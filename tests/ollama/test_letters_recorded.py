"""The backend's own requests are the recorded ones, and it reads the recorded answers right."""

from __future__ import annotations

import json
import math
from string import ascii_uppercase
from typing import Any

import numpy as np
import pytest

from recommender.asking.answering import ask_ranking
from recommender.asking.orders import merged, place_prior, repeats_the_order
from recommender.backends import Completion, ModelCard, Prompt, Scores
from recommender.backends.ollama.backend import OllamaBackend
from recommender.backends.ollama.client import OllamaClient
from recommender.backends.ollama.templates import ChatTemplate
from recommender.chat_prompts import OPENING, letters_turn, ranking_turn
from tests.ollama.replay import VERSIONS, Exchange, Replay, cases

CHATML = ChatTemplate("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", "rendered")
CARD = ModelCard(
    "smollm2:135m", "llama", 30, 576, 134_515_008, "sha256:ab", "Q4_1", "here",
    ("letters", "text", "json"), server="ollama", concurrent=True,
)  # fmt: skip


def backend(client: OllamaClient) -> OllamaBackend:
    return OllamaBackend(client, CARD, CHATML, num_ctx=2048)


def asked(one: Exchange) -> Prompt:
    """What was offered, read out of a recorded prompt."""
    lines = one.json["prompt"].splitlines()
    history = tuple(line[2:] for line in lines if line.startswith("- "))
    offered = tuple(line[3:] for line in lines if line[1:3] == ". ")
    return Prompt(history, offered, "products")


def read(version: str, name: str, number: int = 0, labels: str = "ABCDEFGHIJ") -> Scores:
    """Send a recorded prompt by the backend's own fields, and read the answer as it does."""
    one = cases(version)[name].exchanges[number]
    with Replay(version, only=(name,)) as server, OllamaClient(server.url) as client:
        ours = backend(client)
        text = one.json["prompt"]
        predict = one.json["options"]["num_predict"]
        for _ in range(number + 1):
            answer = client.generate(ours.fields(text, predict=predict, top=20))
        assert server.refused == []
        return ours._as_scores(answer, labels, text, 5, 0.0)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["score-letters", "score-20-candidates", "score-repeat"])
def test_our_words_and_options_are_the_recorded_ones(version: str, name: str) -> None:
    one = cases(version)[name].exchanges[0]
    prompt = asked(one)
    labels = ascii_uppercase[: len(prompt.candidates)]
    ours = backend(OllamaClient("127.0.0.1:9"))
    text = CHATML.around(letters_turn(prompt, labels), OPENING)
    # The recorded titles were cut at 80 characters and may end in a blank, which we take off.
    assert text == "\n".join(line.rstrip() for line in one.json["prompt"].split("\n"))
    fields = ours.fields(one.json["prompt"], predict=1, top=20)
    assert {**fields, "stream": False} == one.json
    ours.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_letters_are_read_with_their_probabilities(version: str) -> None:
    scores = read(version, "score-letters")
    said = cases(version)["score-letters"].exchanges[0].parsed
    top = {t["token"]: t["logprob"] for t in said["logprobs"][0]["top_logprobs"]}
    assert len(scores.logprobs) == 10
    for letter, logprob in zip("ABCDEFGHIJ", scores.logprobs, strict=True):
        variants = [top[form] for form in (letter, f" {letter}") if form in top]
        assert logprob == pytest.approx(math.log(sum(map(math.exp, variants))), abs=1e-9)
    assert 0.20 <= scores.outside <= 0.28  # ten letters hold 0.73 to 0.80 of the mass
    assert scores.status == ""
    assert scores.details["prompt_tokens"] == 423
    assert scores.details["missing"] == []


@pytest.mark.parametrize("version", VERSIONS)
def test_of_twenty_letters_some_do_not_come_back(version: str) -> None:
    scores = read(version, "score-20-candidates", labels=ascii_uppercase[:20])
    missing = scores.details["missing"]
    assert isinstance(missing, list)
    assert 20 - len(missing) in (13, 14)
    named = [p for n, p in enumerate(scores.logprobs) if n not in missing]
    bounds = {scores.logprobs[n] for n in missing}
    assert len(bounds) == 1
    assert bounds.pop() <= min(named)
    assert math.fsum(map(math.exp, scores.logprobs)) <= 1.0 + 1e-9


@pytest.mark.parametrize("version", VERSIONS)
def test_an_end_before_any_answer_is_declined_and_no_error(version: str) -> None:
    scores = read(version, "score-eos")
    assert scores.outside == 1.0
    assert scores.status == ""  # the record says 'declined', by what is outside
    assert len(scores.logprobs) == 10
    assert all(math.isfinite(p) for p in scores.logprobs)


@pytest.mark.parametrize("version", VERSIONS)
def test_something_else_than_a_letter_is_outside(version: str) -> None:
    assert read(version, "score-declined").outside > 0.5


@pytest.mark.parametrize("version", VERSIONS)
def test_rotations_take_most_of_the_liking_for_a_place_off(version: str) -> None:
    case = cases(version)["score-letters-rotations"]
    rows = []
    with (
        Replay(version, only=("score-letters-rotations",)) as server,
        OllamaClient(server.url) as client,
    ):
        ours = backend(client)
        for one in case.exchanges:
            text = one.json["prompt"]
            answer = client.generate(ours.fields(text, predict=1, top=20))
            rows.append(ours._as_scores(answer, "ABCDEFGHIJ", text, 5, 0.0).logprobs)
    first_places = [math.exp(row[0]) for row in rows]
    assert all(0.14 <= share <= 0.21 for share in first_places)  # slot A, whoever stands there
    prior = place_prior(rows)
    assert prior[0] > 0.5
    plain, corrected = merged(rows, case.rotations), merged(rows, case.rotations, prior)
    assert not repeats_the_order(rows)
    assert np.ptp(corrected) < np.ptp(plain)


@pytest.mark.parametrize(
    ("version", "repaired"), [("0.24.0", ["J came again", "F was left out"]), ("0.32.15", [])]
)
def test_a_recorded_json_ranking_is_mended_by_rule(version: str, repaired: list[str]) -> None:
    one = cases(version)["rank-json"].exchanges[0]
    prompt = asked(one)
    turn = ranking_turn(prompt, "ABCDEFGHIJ")
    assert CHATML.around(turn) == "\n".join(
        line.rstrip() for line in one.json["prompt"].split("\n")
    )
    said = Completion(one.parsed["response"], 0.1, 49)
    scores = ask_ranking(_Says(said), prompt, "ABCDEFGHIJ")
    assert scores.status == ""
    assert scores.details["repaired"] == repaired
    assert sorted(scores.logprobs) == list(range(10))
    # In the order of the alphabet it is a ranking, but no opinion.
    assert repeats_the_order([scores.logprobs] * 4) is (version == "0.32.15")


def test_a_ranking_that_was_cut_is_of_the_wrong_format() -> None:
    one = cases("0.32.15")["rank-json-cut"].exchanges[0]
    scores = ask_ranking(
        _Says(Completion(one.parsed["response"], 0.1, 12)), asked(one), "ABCDEFGHIJ"
    )
    assert scores.status == "wrong_format"


class _Says:
    """A recorded completion, for whoever asks."""

    def __init__(self, said: Completion) -> None:
        self._said = said

    def __getattr__(self, name: str) -> Any:
        assert name == "complete"
        return lambda turn, **_: self._said


def test_what_is_sent_is_plain_json() -> None:
    ours = backend(OllamaClient("127.0.0.1:9"))
    assert json.loads(json.dumps(ours.fields("x", predict=1, top=20)))["options"]["num_ctx"] == 2048
    ours.close()
