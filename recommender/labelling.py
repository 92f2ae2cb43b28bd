"""The bulk job: questions to a teacher, its answers into the Store, one by one.

Apart from the teacher because this is where work is lost or kept. Every answer is written
as it comes and never asked for again; hidden states, which come from the same forward
pass, are written in shards, so that a kill costs one shard of them and no label.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from string import ascii_uppercase

import numpy as np

from recommender.backends import Backend, Prompt, Scores
from recommender.events import Event, Progress, StageDone, StageStarted
from recommender.prompts import LETTERS_TEMPLATE, LIKELIHOOD_TEMPLATE
from recommender.requests import Question, addressed
from storage.artifacts import Artifacts
from storage.labels import Labels
from storage.records import FloatArray, LabelRequest, SoftLabel

TEMPLATES = {"likelihood": LIKELIHOOD_TEMPLATE, "letters": LETTERS_TEMPLATE}
SHARD = 32
"""Requests whose states are written together."""


@dataclass(frozen=True, slots=True)
class Texts:
    """What a catalogue looks like to a teacher."""

    titles: Sequence[str]
    """One an item number."""
    noun: str
    history_length: int
    """How many of the last items a prompt shows."""

    def prompt(self, question: Question | LabelRequest) -> Prompt:
        """Return the prompt of a question: the end of its history, and its candidates.

        >>> question = Question(0, 3, (0, 1), (2,), 0)
        >>> Texts(["a", "b", "c"], "things", 1).prompt(question)
        Prompt(history=('b',), candidates=('c',), noun='things')
        """
        return Prompt(
            history=tuple(self.titles[i] for i in question.history[-self.history_length :]),
            candidates=tuple(self.titles[i] for i in question.candidates),
            noun=self.noun,
        )


@dataclass(frozen=True, slots=True)
class Labelled(Event):
    """The job is done: every request has its answer in the Store."""

    asked: int
    known: int
    """Answers that were in the Store already."""
    seconds: float


def address(
    questions: Sequence[Question],
    texts: Texts,
    *,
    category_id: int,
    purpose: str,
    teacher: str,
    method: str = "likelihood",
) -> list[LabelRequest]:
    """Address questions to a teacher: the requests as the Store keeps them.

    >>> asked = address([Question(0, 3, (0,), (1,), 0)], Texts(["a", "b"], "things", 5),
    ...                 category_id=1, purpose="gate", teacher="smol")
    >>> asked[0].purpose, asked[0].method
    ('gate', 'likelihood')
    """
    requests = []
    for question in questions:
        prompt = texts.prompt(question)
        request = addressed(
            question,
            category_id=category_id,
            purpose=purpose,
            teacher=teacher,
            method=method,
            template=f"{TEMPLATES[method]}/{texts.noun}",
            shown=prompt.history,
            offered=prompt.candidates,
        )
        requests.append(request)
    return requests


def soft_label(request: LabelRequest, scores: Scores) -> SoftLabel:
    """Return the record of one answer; letters under half the probability are declined.

    >>> request = address([Question(0, 3, (0,), (1,), 0)], Texts(["a", "b"], "things", 5),
    ...                   category_id=1, purpose="gate", teacher="smol")[0]
    >>> soft_label(request, Scores((-3.5,), (4,))).status
    'ok'
    """
    declined = request.method == "letters" and scores.outside > 0.5
    return SoftLabel(
        key=request.key,
        scores=scores.logprobs,
        tokens=scores.tokens,
        status="declined" if declined else "ok",
        seconds=scores.seconds,
        details={"history_shown": scores.history_shown, "outside": scores.outside},
    )


def answer(
    backend: Backend, request: LabelRequest, texts: Texts, *, states_of: Sequence[int] = ()
) -> Scores:
    """Ask one request."""
    prompt = texts.prompt(request)
    if request.method == "letters":
        return backend.score(prompt, ascii_uppercase[: len(prompt.candidates)])
    return backend.likelihood(prompt, prompt.candidates, states_of=states_of)


def label(
    backend: Backend,
    requests: Sequence[LabelRequest],
    texts: Texts,
    labels: Labels,
    *,
    stage: str,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Event]:
    """Ask every request that has no answer yet, and keep each answer as it comes.

    Yields progress, and `Labelled` last. Closing it loses nothing.
    """
    started = clock()
    labels.add_requests(requests)
    known = labels.get([request.key for request in requests])
    # By key: two people with the same history and the same candidates are one question.
    missing = list({r.key: r for r in requests if r.key not in known}.values())
    if missing:
        yield StageStarted(stage, len(missing), "requests")
    for done, request in enumerate(missing, start=1):
        labels.add(soft_label(request, answer(backend, request, texts)))
        yield Progress(stage, done, len(missing), _rate(clock() - started, done))
    if missing:
        yield StageDone(stage, clock() - started, f"{len(missing)} requests answered")
    yield Labelled(len(missing), len(requests) - len(missing), clock() - started)


def label_with_states(
    backend: Backend,
    requests: Sequence[LabelRequest],
    texts: Texts,
    labels: Labels,
    artifacts: Artifacts,
    *,
    stage: str,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Event]:
    """As `label`, and keep the state at the end of the history at every layer.

    One forward pass gives both. The states are float16 shards in the artifacts, SHARD
    requests each; `states_of` reads them back in the order of the requests.
    """
    started = clock()
    labels.add_requests(requests)
    layers = range(backend.describe().layers + 1)
    shards = [requests[at : at + SHARD] for at in range(0, len(requests), SHARD)]
    missing = [shard for shard in shards if not answered(shard, labels, artifacts)]
    total = sum(map(len, missing))
    if total:
        yield StageStarted(stage, total, "requests")
    done = 0
    for shard in missing:
        rows = []
        for request in shard:
            scores = answer(backend, request, texts, states_of=layers)
            labels.add(soft_label(request, scores))
            rows.append(scores.states)
            done += 1
            yield Progress(stage, done, total, _rate(clock() - started, done))
        keep_states(artifacts, shard, np.stack([row for row in rows if row is not None]))
    if total:
        yield StageDone(stage, clock() - started, f"{total} requests answered")
    yield Labelled(total, len(requests) - total, clock() - started)


def answered(shard: Sequence[LabelRequest], labels: Labels, artifacts: Artifacts) -> bool:
    """Return whether the states of a shard and all of its labels are kept.

    Both are looked for, because they are kept apart: one may have been removed.
    """
    keys = {request.key for request in shard}
    return artifacts.find("states", _inputs(shard)) is not None and len(
        labels.get(list(keys))
    ) == len(keys)


def keep_states(artifacts: Artifacts, shard: Sequence[LabelRequest], states: FloatArray) -> None:
    """Write the states of one shard: (requests, layers + 1, width), kept as float16."""
    with artifacts.writing("states", _inputs(shard)) as path:
        artifacts.save_arrays(path / "states.safetensors", {"states": states.astype(np.float16)})


def states_of(artifacts: Artifacts, requests: Sequence[LabelRequest]) -> FloatArray:
    """Read states back: (requests, layers + 1, width), float32, in the requests' order.

    Raises:
        KeyError: a shard was never written.
    """
    parts = []
    for at in range(0, len(requests), SHARD):
        found = artifacts.find("states", _inputs(requests[at : at + SHARD]))
        if found is None:
            raise KeyError(f"no states for the requests from {at}")
        arrays = artifacts.load_arrays(found, "states.safetensors")
        parts.append(arrays["states"].astype(np.float32))
    return np.concatenate(parts)


def label_unconditional(
    backend: Backend,
    items: Sequence[int],
    texts: Texts,
    labels: Labels,
    *,
    category_id: int,
    batch: int = 16,
    stage: str = "titles by themselves",
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Event]:
    """Keep, once an item, the log-probability of its title without any history."""
    started = clock()
    teacher = backend.describe().key
    wanted = sorted(set(items))
    known = labels.unconditional(teacher, category_id, wanted)
    missing = [item for item in wanted if item not in known]
    if not missing:
        return
    yield StageStarted(stage, len(missing), "titles")
    for at in range(0, len(missing), batch):
        part = missing[at : at + batch]
        scores = backend.unconditional([texts.titles[i] for i in part], noun=texts.noun)
        answers = zip(scores.logprobs, scores.tokens, strict=True)
        labels.add_unconditional(teacher, category_id, dict(zip(part, answers, strict=True)))
        yield Progress(stage, at + len(part), len(missing))
    yield StageDone(stage, clock() - started, f"{len(missing)} titles")


def _inputs(shard: Sequence[LabelRequest]) -> dict[str, object]:
    return {"requests": [request.key for request in shard]}


def _rate(seconds: float, done: int) -> str:
    return f"{seconds / done:.2f} s a request"
