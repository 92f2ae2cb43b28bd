"""What a model scores the candidates of many questions, kept as it is found.

Apart from the labels in the Store, because these are measurements: test questions are among
them, and nothing may ever be taught what was said there. Scores are kept in shards under the
hash of the weights and of the very prompts, so that a killed measurement asks one shard
again, and the unadapted teacher is asked once for all its adaptations.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Literal

import numpy as np
import torch

from distill.adapting.layout import lettered
from distill.adapting.letters_loss import letter_scores
from recommender.asking.answering import Texts
from recommender.asking.orders import merged, place_prior
from recommender.asking.requests import Question
from recommender.backends import Prompt
from recommender.backends.embedded import EmbeddedBackend
from recommender.backends.packed import pack
from recommender.backends.passes import pack_hidden
from recommender.events import Event, Progress, StageDone, StageSkipped, StageStarted
from recommender.prompts import LETTERS_TEMPLATE, LIKELIHOOD_TEMPLATE
from storage.artifacts import Artifacts

Way = Literal["short letters", "letters", "likelihood"]
WAYS: tuple[Way, ...] = ("short letters", "letters", "likelihood")
"""'short letters': the prompts that were learned from; the others: as a teacher is asked."""

SHARD = 50
KIND = "candidate-scores"

Scored = list[np.ndarray]
"""One array a question, one log-probability a candidate."""


@dataclass(frozen=True, eq=False, slots=True)
class Measured:
    """A model that is measured, under a name that stands for its very weights."""

    backend: EmbeddedBackend
    key: str
    texts: Texts
    prompt_tokens: int
    """Of the short letters."""

    def score(self, prompt: Prompt, way: Way) -> np.ndarray:
        """Ask one question one way; (C,) in the order offered."""
        if way == "likelihood":
            return np.array(self.backend.likelihood(prompt, prompt.candidates).logprobs)
        if way == "letters":
            labels = ascii_uppercase[: len(prompt.candidates)]
            return np.array(self.backend.score(prompt, labels).logprobs)
        return short_letters(self.backend, prompt, most=self.prompt_tokens)

    def inputs(self, questions: Sequence[Question], way: Way) -> dict[str, object]:
        """Return all that decides the scores of some questions."""
        prompts = [self.texts.prompt(question) for question in questions]
        asked = json.dumps([[p.noun, p.history, p.candidates] for p in prompts])
        template = LIKELIHOOD_TEMPLATE if way == "likelihood" else LETTERS_TEMPLATE
        short = self.prompt_tokens if way == "short letters" else 0
        return {
            "weights": self.key,
            "way": [way, template, short],
            "prompts": hashlib.sha256(asked.encode("utf-8", "surrogatepass")).hexdigest(),
        }


def short_letters(backend: EmbeddedBackend, prompt: Prompt, *, most: int) -> np.ndarray:
    """Ask by letters with at most `most` tokens: log-probabilities among the letters, (C,)."""
    laid = lettered(backend, prompt, most=most)
    one = pack([*laid.history, *laid.question], [[laid.variants[0][0]]])
    with torch.inference_mode():
        hidden = pack_hidden(backend.model, one)[-1:]
        scores = letter_scores(backend.model.lm_head(hidden)[0], laid.variants)
        return np.array(torch.log_softmax(scores, dim=0).double().cpu().numpy())


def measure(
    artifacts: Artifacts,
    model: Measured,
    questions: Sequence[Question],
    way: Way,
    *,
    stage: str,
    clock: Callable[[], float] = time.perf_counter,
) -> Generator[Event, None, Scored]:
    """Score the candidates of each question; what was scored before is found again."""
    shards = [questions[at : at + SHARD] for at in range(0, len(questions), SHARD)]
    inputs = [model.inputs(shard, way) for shard in shards]
    missing = [n for n, one in enumerate(inputs) if artifacts.find(KIND, one) is None]
    if not missing:
        yield StageSkipped(stage, "measured before")
    else:
        started, done = clock(), 0
        total = sum(len(shards[n]) for n in missing)
        yield StageStarted(stage, total, "requests")
        for n in missing:
            rows = []
            for question in shards[n]:
                rows.append(model.score(model.texts.prompt(question), way))
                done += 1
                yield Progress(stage, done, total, f"{(clock() - started) / done:.2f} s a request")
            with artifacts.writing(KIND, inputs[n]) as path:
                arrays = {f"{number:04d}": row for number, row in enumerate(rows)}
                artifacts.save_arrays(path / "scores.safetensors", arrays)
        yield StageDone(stage, clock() - started)
    scores: Scored = []
    for one in inputs:
        found = artifacts.find(KIND, one)
        assert found is not None, "an artifact that was just written is found"
        arrays = artifacts.load_arrays(found, "scores.safetensors")
        scores += [arrays[name] for name in sorted(arrays)]
    return scores


def prior_of(scores: Scored) -> tuple[float, ...]:
    """Return what each letter gets whoever stands there, as the program takes it off.

    >>> prior_of([np.array([0.0, -2.0]), np.array([-1.0, -3.0])])
    (1.0, -1.0)
    """
    return tuple(float(b) for b in place_prior(scores))


def without_prior(scores: Scored, prior: Sequence[float]) -> Scored:
    """Take the letters' prior off answers whose candidates are as many as it has places.

    >>> without_prior([np.array([-1.0, -2.0])], [0.5, -0.5])[0].tolist()
    [-1.5, -1.5]
    """
    return [
        merged([row.tolist()], [0], prior if len(prior) == len(row) else None) for row in scores
    ]
