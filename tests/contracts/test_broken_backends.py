"""Backends that are wrong in one way each: the contract finds every one of them."""

from __future__ import annotations

import json
import math
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from recommender.backends import Ability, Backend, Completion, ModelCard, Prompt, Refusing, Scores
from recommender.backends.scripted import ScriptedBackend
from recommender.contracts import BackendContract
from recommender.contracts.questions import TITLES

EVERYTHING: tuple[Ability, ...] = ("letters", "likelihood", "text", "json", "similarity")


def liking(prompt: Prompt, titles: Sequence[str]) -> list[float]:
    """A rule with an opinion of every title, wherever it stands: probabilities below 1 / 20."""
    return [-3.0 - (sum(map(ord, title)) % 97) / 10 for title in titles]


class Wrong:
    """A backend that passes everything on to a good one; its methods are spoiled one by one."""

    def __init__(self, abilities: Sequence[Ability] = EVERYTHING, **spoiled: object) -> None:
        self.inner = ScriptedBackend(
            liking, abilities=abilities, words="So it is. It is.", concurrent=True
        )
        for name, method in spoiled.items():
            setattr(self, name, method)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def spoiled(name: str, change: Callable[[Any], Any], **settings: Any) -> Callable[[], Backend]:
    """Return what opens a backend of which one method's answers are changed."""

    def opened() -> Any:
        wrong = Wrong(**settings)
        method = getattr(wrong.inner, name)
        setattr(wrong, name, lambda *args, **named: change(method(*args, **named)))
        return wrong

    return opened


def told(scores: Callable[[tuple[float, ...]], Sequence[float]]) -> Callable[[Scores], Scores]:
    return lambda found: replace(found, logprobs=tuple(scores(found.logprobs)))


def fewer(found: Scores) -> Scores:
    return replace(found, logprobs=found.logprobs[:-1], tokens=found.tokens[:-1])


def unsure() -> Backend:
    chance = random.Random(0)
    return ScriptedBackend(
        lambda prompt, titles: [-3 - chance.random() for _ in titles], abilities=["letters"]
    )


def unsafe() -> Backend:
    """Keeps its question in one place for all threads."""
    inside, alone = [], threading.Lock()

    def script(prompt: Prompt, titles: Sequence[str]) -> list[float]:
        with alone:
            inside.append(1)
        many.wait(0.2) if len(inside) < 2 else many.set()
        crowded = len(inside) > 1
        with alone:
            inside.pop()
        return [-4.0 - crowded] * len(titles)

    many = threading.Event()
    return ScriptedBackend(script, abilities=["letters"], concurrent=True)


def restless() -> Backend:
    """Says another thing of itself each time."""
    names = iter(range(100))
    wrong = Wrong()
    wrong.describe = lambda: replace(wrong.inner.describe(), name=f"model {next(names)}")
    return wrong


def nameless() -> Backend:
    wrong = Wrong()
    wrong.describe = lambda: replace(wrong.inner.describe(), digest="")
    return wrong


def boasting() -> Backend:
    wrong = Wrong()
    wrong.describe = lambda: replace(wrong.inner.describe(), abilities=("letters", "telepathy"))
    return wrong


class Obliging(Refusing):
    """Answers what it cannot do with something else."""

    refuses_as = "the script 'obliging'"

    def describe(self) -> ModelCard:
        return ScriptedBackend(liking, abilities=["letters"], name="obliging").describe()

    def score(self, prompt: Prompt, labels: Sequence[str]) -> Scores:
        return ScriptedBackend(liking).score(prompt, labels)

    def similarity(self, prompt: Prompt) -> Scores:
        return Scores((0.0,) * len(prompt.candidates), (1,) * len(prompt.candidates))


class Anonymous(Obliging):
    """Refuses, but says not who refuses."""

    refuses_as = "it"

    def similarity(self, prompt: Prompt) -> Scores:
        raise self.refusal("compare texts by embeddings")


def splitting() -> Backend:
    """Takes a line end inside a title for the end of the title."""
    wrong = Wrong(abilities=["letters"])

    def score(prompt: Prompt, labels: Sequence[str]) -> Scores:
        lines = [line for title in prompt.candidates for line in title.split("\n")]
        values = tuple(liking(prompt, lines))
        return Scores(values, (1,) * len(values), outside=1 - sum(map(math.exp, values)))

    wrong.score = score
    return wrong


def unclosed() -> Backend:
    """Answers nothing any more once a stream was left."""
    wrong = Wrong(abilities=["text"])
    left: list[bool] = []

    def stream(turn: str, *, limit: int = 200) -> Iterator[str]:
        whole = False
        try:
            yield "So "
            yield "it is. It is."
            whole = True
        finally:
            left.append(not whole)

    def complete(turn: str, **options: Any) -> Completion:
        return Completion("" if any(left) else "So it is. It is.", 0.0, 5)

    wrong.stream, wrong.complete = stream, complete
    return wrong


def ranked_by(change: Callable[[list[str]], list[str]]) -> Callable[[Completion], Completion]:
    def changed(done: Completion) -> Completion:
        return replace(done, text=json.dumps({"ranking": change(json.loads(done.text)["ranking"])}))

    return changed


BACKWARDS = told(lambda row: row[::-1])
TWICE = told(lambda row: [value * 0.01 for value in row])
LETTERS: dict[str, Any] = {"abilities": ["letters"]}
LIKELIHOOD: dict[str, Any] = {"abilities": ["likelihood"]}
SIMILARITY: dict[str, Any] = {"abilities": ["similarity"]}
JSON: dict[str, Any] = {"abilities": ["json"]}

WRONG: Mapping[str, tuple[Callable[[], Backend], str, str]] = {
    "another name each time": (restless, "test_it_describes_itself", "another"),
    "no digest": (nameless, "test_it_describes_itself", "digest"),
    "an unknown ability": (boasting, "test_its_abilities", "telepathy"),
    "a letter is lost": (spoiled("score", fewer, **LETTERS), "test_letters_have_one", "scores for"),
    "letters above 1": (spoiled("score", TWICE, **LETTERS), "test_letters_have_one", "add up"),
    "letters are positive": (
        spoiled("score", told(lambda row: [-v for v in row]), **LETTERS),
        "test_letters_have_one",
        "no logarithms",
    ),
    "letters sorted": (
        spoiled("score", told(lambda row: sorted(row, reverse=True)), **LETTERS),
        "test_letters_are_in_the_order",
        "sorted",
    ),
    "a title is lost": (
        spoiled("likelihood", fewer, **LIKELIHOOD),
        "test_likelihoods_are_one",
        "scores for",
    ),
    "no tokens": (
        spoiled("likelihood", lambda s: replace(s, tokens=(0,) * len(s.tokens)), **LIKELIHOOD),
        "test_likelihoods_are_one",
        "without a token",
    ),
    "titles backwards": (
        spoiled("likelihood", told(sorted), **LIKELIHOOD),
        "test_likelihoods_follow",
        "in another order",
    ),
    "titles alone backwards": (
        spoiled("unconditional", told(sorted), **LIKELIHOOD),
        "test_likelihoods_follow",
        "in another order",
    ),
    "pieces that are no text": (
        spoiled("stream", lambda pieces: [piece.encode() for piece in pieces]),
        "test_text_comes",
        "not all is text",
    ),
    "another text at once": (
        spoiled("complete", lambda done: replace(done, text="No.")),
        "test_text_comes",
        "completed",
    ),
    "nothing after a stream was left": (unclosed, "test_text_comes", "completed"),
    "no JSON": (
        spoiled("complete", lambda done: replace(done, text="A, B"), **JSON),
        "test_json_keeps",
        "no JSON",
    ),
    "a letter that is none": (
        spoiled("complete", ranked_by(lambda found: ["Z", *found[1:]]), **JSON),
        "test_json_keeps",
        "not offered",
    ),
    "half a ranking": (
        spoiled("complete", ranked_by(lambda found: found[1:]), **JSON),
        "test_json_keeps",
        "letters of",
    ),
    "no cosine": (
        spoiled("similarity", told(lambda row: row), **SIMILARITY),
        "test_similarities",
        "no cosines",
    ),
    "cosines are no numbers": (
        spoiled("similarity", told(lambda row: [math.nan for _ in row]), **SIMILARITY),
        "test_similarities",
        "no cosines",
    ),
    "cosines sorted": (
        spoiled("similarity", told(lambda row: sorted(v / 100 for v in row)), **SIMILARITY),
        "test_similarities",
        "in another order",
    ),
    "obliging": (Obliging, "test_what_it_cannot_do", "does not declare 'similarity'"),
    "anonymous": (Anonymous, "test_what_it_cannot_do", "must name 'obliging'"),
    "by chance": (unsure, "test_the_same_question", "asked again"),
    "titles split": (splitting, "test_hostile_titles", "scores for"),
    "threads mixed up": (unsafe, "test_four_at_once", "asked beside others"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_broken_backend_fails_the_test_that_is_meant_for_it(what: str) -> None:
    opened, name, said = WRONG[what]

    class Broken(BackendContract):
        def backend(self) -> Backend:
            return opened()

    (test,) = [one for one in dir(Broken) if one.startswith(name)]
    with pytest.raises(AssertionError, match=said):
        getattr(Broken(), test)()


def test_a_good_backend_fails_none_of_them() -> None:
    class Good(BackendContract):
        abilities = ("letters", "likelihood", "text", "json")

        def backend(self) -> Any:
            return Wrong(abilities=self.abilities)

    for test in (name for name in dir(Good) if name.startswith("test_")):
        getattr(Good(), test)()


def test_what_is_expected_of_a_backend_is_held_against_it() -> None:
    class Expecting(BackendContract):
        abilities = ("letters", "similarity")

        def backend(self) -> Backend:
            return ScriptedBackend(liking, abilities=["letters"])

    with pytest.raises(AssertionError, match="instead of"):
        Expecting().test_its_abilities_are_known_words()


def test_a_question_beyond_doubt_finds_scores_in_the_wrong_place() -> None:
    class Sure(BackendContract):
        obvious = Prompt((), ("a lamp", "a stapler", "a pen"))

        def backend(self) -> Backend:
            return spoiled("score", BACKWARDS, abilities=["letters"])()

    with pytest.raises(AssertionError, match="of "):
        Sure().test_letters_are_in_the_order_of_the_labels()


def test_noise_that_is_stated_is_forgiven() -> None:
    class Noisy(BackendContract):
        noise = 1.0

        def backend(self) -> Backend:
            return unsure()

    Noisy().test_the_same_question_has_the_same_answer()


def test_a_contract_without_a_backend_says_so() -> None:
    with pytest.raises(NotImplementedError, match="overrides backend"):
        BackendContract().test_its_abilities_are_known_words()


def test_titles_are_as_many_as_letters_are_asked_about() -> None:
    assert len(set(TITLES)) == 20
