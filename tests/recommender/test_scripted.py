"""The backend that answers by a rule: what it counts, what it reads back, and what it never is."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.asking.answering import ask_ranking
from recommender.asking.rankings import ranking_schema
from recommender.backends import Prompt
from recommender.backends.errors import Busy, Lost
from recommender.backends.scripted import ScriptedBackend
from recommender.chat_prompts import harmless, ranking_turn
from storage.errors import BadSetting

PROMPT = Prompt(("Heat", "Alien"), ("Jaws", "Up", "Amélie (2001)"), "movies")


def shorter(prompt: Prompt, titles: Sequence[str]) -> list[float]:
    return [-1.0 - len(title) for title in titles]


def test_it_answers_by_its_script() -> None:
    backend = ScriptedBackend(shorter)
    found = backend.score(PROMPT, "ABC")
    assert found.logprobs == (-5.0, -3.0, -14.0)
    assert found.tokens == (1, 1, 1)
    assert found.history_shown == 2
    assert found.outside == pytest.approx(1 - sum(math.exp(p) for p in found.logprobs))
    assert backend.likelihood(PROMPT, ["Up", "Kes"]).logprobs == (-3.0, -4.0)
    assert backend.likelihood(PROMPT, ["Amélie (2001)", ""]).tokens == (2, 1)
    assert backend.unconditional(["Up"]).logprobs == (-3.0,)
    assert backend.calls == 4


def test_a_script_is_told_the_whole_question() -> None:
    asked: list[tuple[Prompt, tuple[str, ...]]] = []

    def script(prompt: Prompt, titles: Sequence[str]) -> list[float]:
        asked.append((prompt, tuple(titles)))
        return [-2.0] * len(titles)

    backend = ScriptedBackend(script)
    backend.score(PROMPT, "ABC")
    backend.likelihood(PROMPT, ["Up"])
    backend.unconditional(["Up"], noun="films")
    ask_ranking(backend, PROMPT, "ABC")
    assert asked == [
        (PROMPT, PROMPT.candidates),
        (PROMPT, ("Up",)),
        (Prompt((), noun="films"), ("Up",)),
        (PROMPT, PROMPT.candidates),
    ]


def test_a_ranking_is_what_the_scores_give() -> None:
    found = ask_ranking(ScriptedBackend(shorter), PROMPT, "ABC")
    assert found.logprobs == (1.0, 2.0, 0.0)
    assert found.status == ""
    assert found.details["repaired"] == []
    tied = ScriptedBackend(lambda prompt, titles: [-1.0] * len(titles))
    assert ask_ranking(tied, PROMPT, "ABC").logprobs == (2.0, 1.0, 0.0)


@given(
    st.lists(st.text(max_size=40), max_size=5),
    st.lists(st.text(max_size=40), min_size=1, max_size=20),
    st.sampled_from(["products", "movies", "office products"]),
)
def test_a_turn_is_read_back_whatever_the_titles_are(
    history: list[str], candidates: list[str], noun: str
) -> None:
    read: list[Prompt] = []

    def script(prompt: Prompt, titles: Sequence[str]) -> list[float]:
        read.append(prompt)
        return [0.0] * len(titles)

    labels = "ABCDEFGHIJKLMNOPQRST"[: len(candidates)]
    prompt = Prompt(tuple(history), tuple(candidates), noun)
    ask_ranking(ScriptedBackend(script), prompt, labels)
    assert read == [
        Prompt(tuple(map(harmless, history)), tuple(map(harmless, candidates)), noun),
    ]


@pytest.mark.parametrize(
    ("schema", "turn"),
    [
        ({"type": "object"}, ranking_turn(PROMPT, "ABC")),
        ({"properties": {"a": {}, "b": {}}}, ranking_turn(PROMPT, "ABC")),
        ({"properties": {"a": {"type": "string"}}}, ranking_turn(PROMPT, "ABC")),
        (ranking_schema("ABC"), "Say anything."),
        (ranking_schema("ABCD"), ranking_turn(PROMPT, "ABC")),
    ],
)
def test_what_is_no_ranking_is_refused(schema: dict[str, object], turn: str) -> None:
    with pytest.raises(BadSetting, match="the script 'scripted' cannot"):
        ScriptedBackend(shorter).complete(turn, schema=schema)


def test_failures_come_first_and_in_order() -> None:
    failures = [Busy("full"), None, Lost("gone")]
    backend = ScriptedBackend(shorter, failures=failures, words="Yes.")
    with pytest.raises(Busy):
        backend.score(PROMPT, "ABC")
    assert backend.complete("Well?").text == "Yes."
    with pytest.raises(Lost):
        backend.stream("Well?")
    for _ in range(3):
        assert list(backend.stream("Well?")) == ["Yes."]
    assert backend.calls == 6


def test_a_refusal_is_no_call_and_uses_no_failure_up() -> None:
    backend = ScriptedBackend(shorter, abilities=["letters"], failures=[Busy("full")])
    for attempt in (
        lambda: backend.likelihood(PROMPT, ["Up"]),
        lambda: backend.unconditional(["Up"]),
        lambda: backend.stream("Well?"),
        lambda: backend.complete("Well?"),
        lambda: backend.complete("Well?", schema=ranking_schema("AB")),
        lambda: backend.similarity(PROMPT),
    ):
        with pytest.raises(BadSetting, match="the script 'scripted' cannot"):
            attempt()
    assert backend.calls == 0
    with pytest.raises(Busy):
        backend.score(PROMPT, "ABC")


def test_every_answer_takes_its_time() -> None:
    slept: list[float] = []
    backend = ScriptedBackend(shorter, delay=2.5, sleep=slept.append, failures=[Busy("full")])
    with pytest.raises(Busy):
        backend.score(PROMPT, "ABC")
    assert slept == []
    backend.score(PROMPT, "ABC")
    backend.complete("Well?")
    assert slept == [2.5, 2.5]


def test_words_may_depend_on_the_turn_and_are_cut_at_the_limit() -> None:
    backend = ScriptedBackend(shorter, words=lambda turn: f"You said: {turn}!\nAnd so on.")
    pieces = list(backend.stream("well"))
    assert pieces == ["You ", "said: ", "well!\n", "And ", "so ", "on."]
    assert backend.complete("well").text == "".join(pieces)
    assert backend.complete("well").whole
    short = backend.complete("well", limit=2)
    assert (short.text, short.tokens, short.whole) == ("You said: ", 2, False)
    assert list(backend.stream("well", limit=2)) == ["You ", "said: "]
    assert list(ScriptedBackend(shorter).stream("well")) == []


def test_its_labels_are_never_a_models() -> None:
    card = ScriptedBackend(shorter, name="smollm2-135m-instruct").describe()
    assert card.family == "scripted"
    assert card.digest.startswith("script:")
    assert (card.layers, card.parameters) == (0, 0)
    assert card.key == ScriptedBackend(shorter, name="smollm2-135m-instruct").describe().key
    assert card.key != ScriptedBackend(shorter).describe().key
    other = ScriptedBackend(lambda prompt, titles: [], name="smollm2-135m-instruct")
    assert card.key != other.describe().key
    with pytest.raises(ValueError, match="neither states nor gradients"):
        ScriptedBackend(shorter, abilities=["letters", "states"])
    with pytest.raises(BadSetting, match="states"):
        ScriptedBackend(shorter).likelihood(PROMPT, ["Up"], states_of=[1])


def test_a_script_that_gives_nonsense_is_told_so() -> None:
    with pytest.raises(BadSetting, match="2 labels for 3 candidates"):
        ScriptedBackend(shorter).score(PROMPT, "AB")
    with pytest.raises(BadSetting, match="gives 1 scores for 3 titles"):
        ScriptedBackend(lambda prompt, titles: [-1.0]).score(PROMPT, "ABC")
    with pytest.raises(BadSetting, match="add up to 3"):
        ScriptedBackend(lambda prompt, titles: [0.0] * 3).score(PROMPT, "ABC")


def test_threads_are_counted_and_fail_once_each() -> None:
    backend = ScriptedBackend(shorter, failures=[Busy("full")] * 50)

    def ask(_: int) -> bool:
        try:
            return len(backend.score(PROMPT, "ABC").logprobs) == 3
        except Busy:
            return False

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(ask, range(200)))
    assert (backend.calls, found.count(False)) == (200, 50)


def test_neither_it_nor_the_contracts_need_torch_or_pytest() -> None:
    code = (
        "import recommender.backends.scripted, recommender.contracts, recommender.own, sys, json\n"
        "print(json.dumps([n for n in ('torch', 'pytest', 'httpx') if n in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
