"""A backend that answers by a rule of yours: to test a ranker, a screen or a job without a model.

Apart from the models because it is none, and says so: family and digest of its card name the
script, so that nothing it answers can be taken for what a model said. What it was not given
as an ability it refuses, as every backend does.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from threading import Lock
from typing import Any

from recommender.backends import Ability, Completion, ModelCard, Prompt, Refusing, Scores
from recommender.backends.errors import BackendError
from storage.errors import BadSetting

Script = Callable[[Prompt, Sequence[str]], Sequence[float]]
"""A question and the titles on offer -> one log-probability a title, in the order offered."""

_PIECE = re.compile(r"\s*\S+\s*")
_QUESTION = re.compile(r"^Which of these (.+) will the ", re.MULTILINE)


class ScriptedBackend(Refusing):
    """Answers every question by one function. Any number of threads may ask it.

    >>> shorter = ScriptedBackend(lambda prompt, titles: [-float(len(t)) for t in titles])
    >>> shorter.score(Prompt((), ("Heat", "Alien")), "AB").logprobs
    (-4.0, -5.0)
    >>> shorter.describe().family, shorter.calls
    ('scripted', 1)
    >>> shorter.similarity(Prompt((), ("Heat",)))
    Traceback (most recent call last):
    ...
    storage.errors.BadSetting: the script 'scripted' cannot compare texts by embeddings; ...
    """

    def __init__(
        self,
        script: Script,
        *,
        abilities: Sequence[Ability] = ("letters", "text", "json", "likelihood"),
        delay: float = 0.0,
        sleep: Callable[[float], object] = time.sleep,
        failures: Iterable[BackendError | None] = (),
        words: str | Callable[[str], str] = "",
        name: str = "scripted",
        device: str = "",
        concurrent: bool = False,
    ) -> None:
        """Answer by a script.

        Args:
            script: gives one log-probability a title; for 'similarity', one cosine a title.
            abilities: what may be asked.
            delay: seconds that every answer takes.
            sleep: what waits for them.
            failures: raised one a call, before anything is answered; None lets a call pass.
            words: what it writes, or what makes that of a turn.
            name: of the card. Scripts of one name and of functions of one name are one teacher.
            device: where it stands, which tells members of `Hosts` apart.
            concurrent: whether a job may ask several questions at once.

        Raises:
            ValueError: an ability that needs weights.
        """
        if {"states", "gradients"} & set(abilities):
            raise ValueError("a script has neither states nor gradients")
        self.calls = 0
        """How many questions came, those that failed among them."""
        self.refuses_as = f"the script {name!r}"
        self._script, self._words = script, words
        self._delay, self._sleep = delay, sleep
        self._failures = iter(failures)
        self._lock = Lock()
        self._card = ModelCard(
            name=name,
            family="scripted",
            layers=0,
            hidden_size=0,
            parameters=0,
            digest=f"script:{_digest(name, script)}",
            precision="script",
            source=f"script {name}",
            abilities=tuple(abilities),
            device=device,
            concurrent=concurrent,
        )

    def describe(self) -> ModelCard:
        """Say that this is no model, and what it can do."""
        return self._card

    def score(self, prompt: Prompt, labels: Sequence[str]) -> Scores:
        """Score the candidates by the script; what is left of their probability is outside.

        Raises:
            BadSetting: there are not as many labels as candidates, or their probabilities add
                up to more than 1.
        """
        self._begin("letters", "score letters")
        if len(labels) != len(prompt.candidates):
            raise BadSetting(f"{len(labels)} labels for {len(prompt.candidates)} candidates")
        scores = self._scores(prompt, prompt.candidates)
        held = math.fsum(map(math.exp, scores.logprobs))
        if held > 1 + 1e-6:
            raise BadSetting(f"{self.refuses_as} gives probabilities that add up to {held:.3g}")
        outside = max(0.0, 1 - held)
        return Scores(scores.logprobs, (1,) * len(labels), 0.0, scores.history_shown, outside)

    def likelihood(
        self, prompt: Prompt, titles: Sequence[str], *, states_of: Sequence[int] = ()
    ) -> Scores:
        """Score titles by the script."""
        self._begin("likelihood", "score the likelihood of a given title")
        if states_of:
            raise self.refusal("show its states")
        return self._scores(prompt, titles)

    def unconditional(self, titles: Sequence[str], *, noun: str = "products") -> Scores:
        """Score titles by the script, after no history."""
        self._begin("likelihood", "score the likelihood of a given title")
        return self._scores(Prompt((), noun=noun), titles)

    def similarity(self, prompt: Prompt) -> Scores:
        """Compare the candidates by the script."""
        self._begin("similarity", "compare texts by embeddings")
        return self._scores(prompt, prompt.candidates)

    def stream(self, turn: str, *, limit: int = 200) -> Iterator[str]:
        """Write the words, one a piece."""
        self._begin("text", "write text")
        return islice(self._pieces(turn), limit)

    def complete(
        self, turn: str, *, schema: Mapping[str, object] | None = None, limit: int = 200
    ) -> Completion:
        """Write the words; with the schema of a ranking, rank what the turn offers.

        Raises:
            BadSetting: a schema or a turn that is not of a ranking.
        """
        if schema is not None:
            self._begin("json", "write by a JSON schema")
            return Completion(self._ranking(turn, schema), 0.0, tokens=1)
        self._begin("text", "write text")
        pieces = list(self._pieces(turn))
        shown = pieces[:limit]
        return Completion("".join(shown), 0.0, len(shown), whole=len(pieces) <= limit)

    def _begin(self, ability: Ability, what: str) -> None:
        """Count a call, refuse it, let it fail, or let it take its time."""
        if ability not in self._card.abilities:
            raise self.refusal(what)
        with self._lock:
            self.calls += 1
            failure = next(self._failures, None)
        if failure is not None:
            raise failure
        if self._delay:
            self._sleep(self._delay)

    def _scores(self, prompt: Prompt, titles: Sequence[str]) -> Scores:
        found = tuple(float(value) for value in self._script(prompt, titles))
        if len(found) != len(titles):
            raise BadSetting(
                f"{self.refuses_as} gives {len(found)} scores for {len(titles)} titles"
            )
        tokens = tuple(len(title.split()) or 1 for title in titles)
        return Scores(found, tokens, 0.0, len(prompt.history))

    def _pieces(self, turn: str) -> Iterator[str]:
        words = self._words if isinstance(self._words, str) else self._words(turn)
        return (found.group() for found in _PIECE.finditer(words))

    def _ranking(self, turn: str, schema: Mapping[str, Any]) -> str:
        try:
            ((field, array),) = schema["properties"].items()
            labels = list(array["items"]["enum"])
        except (KeyError, TypeError, ValueError, AttributeError):
            raise self.refusal("write by a schema that is not of a ranking") from None
        prompt = self._prompt_of(turn, labels)
        scores = self._scores(prompt, prompt.candidates).logprobs
        order = sorted(range(len(labels)), key=lambda place: -scores[place])
        return json.dumps({field: [labels[place] for place in order]})

    def _prompt_of(self, turn: str, labels: Sequence[str]) -> Prompt:
        """Read a turn of `recommender.chat_prompts` back; its titles are one line each."""
        before, _, offered = turn.rpartition("\nWhich of these ")
        lines = [line.partition(". ") for line in offered.splitlines()]
        titles = {label: title for label, dot, title in lines if dot}
        if not set(labels) <= set(titles):
            raise self.refusal("rank what no line of the turn offers")
        history = [line[2:] for line in before.splitlines() if line.startswith("- ")]
        noun = _QUESTION.search(turn)
        candidates = tuple(titles[label] for label in labels)
        return Prompt(tuple(history), candidates, noun.group(1) if noun else "products")


def _digest(name: str, script: Script) -> str:
    called = getattr(script, "__qualname__", type(script).__qualname__)
    return hashlib.sha256(f"{name}\n{script.__module__}.{called}".encode()).hexdigest()[:24]
