"""The bulk job: questions to a teacher, its answers into the Store, one by one.

Apart from the teacher because this is where work is lost or kept. Every answer is written
as it comes and never asked for again; hidden states, which come from the same forward
pass, are written in shards, so that a kill costs one shard of them and no label.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recommender.asking.answering import Texts, answer, soft_label
from recommender.asking.grounding import Grounder
from recommender.asking.kept_states import NAME, KeptStates
from recommender.asking.work_queue import ask_all
from recommender.backends import Backend, Scores
from recommender.backends.errors import Refused
from recommender.events import Event, Progress, StageDone, StageStarted, amount
from storage.artifacts import Artifacts
from storage.labels import Labels
from storage.records import FloatArray, LabelRequest

SHARD = 32
"""Requests whose states are written together."""
STATES = "states.safetensors"


@dataclass(frozen=True, slots=True)
class Labelled(Event):
    """The job is done: every request has its answer in the Store."""

    asked: int
    known: int
    """Answers that were in the Store already."""
    seconds: float
    failed: int = 0
    """Requests that brought no answer this time."""


def label(
    backend: Backend,
    requests: Sequence[LabelRequest],
    texts: Texts,
    labels: Labels,
    *,
    stage: str,
    grounder: Grounder | None = None,
    in_flight: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Event]:
    """Ask every request that has no answer yet, and keep each answer as it comes.

    Yields progress, and `Labelled` last. Closing it loses nothing. Where the backend takes
    several requests at once, up to `in_flight` are under way on each of its hosts; 0 finds out
    how many pay. A request that brings no answer is kept as a failure and asked again by the
    next run.

    Raises:
        BackendError: nothing could be asked any more; what was answered is kept.
    """
    started = clock()
    labels.add_requests(requests)
    known = labels.get([request.key for request in requests])
    # By key: two people with the same history and the same candidates are one question.
    missing = list({r.key: r for r in requests if r.key not in known}.values())
    if missing:
        yield StageStarted(stage, len(missing), "requests")
    counts: Counter[str] = Counter()
    last_failure = ""

    def ask(one: Backend, request: LabelRequest) -> Scores:
        return answer(one, request, texts, grounder=grounder)

    outcomes = ask_all(backend, question_groups(missing, texts), ask, in_flight=in_flight)
    with closing(outcomes):
        for batch in outcomes:
            if isinstance(batch, Event):
                yield batch
                continue
            kept = [soft_label(one.request, one.scores) for one in batch.answered]
            labels.add_many(kept)
            for failure in batch.failed:
                labels.add_failure(failure)
                last_failure = failure.message
            counts.update(one.status for one in kept)
            counts["failed"] += len(batch.failed)
            note = _rate(clock() - started, counts.total(), batch.in_flight)
            yield Progress(stage, counts.total(), len(missing), note)
    if missing:
        yield StageDone(stage, clock() - started, _summary(counts))
    failed = counts["failed"]
    if missing and failed == len(missing) == len(requests):
        raise Refused(
            f"none of {failed} requests was answered: {last_failure}",
            next_step=f"recsys doctor --teacher {backend.describe().name}",
        )
    yield Labelled(counts.total() - failed, len(requests) - len(missing), clock() - started, failed)


def question_groups(
    requests: Sequence[LabelRequest], texts: Texts
) -> list[tuple[LabelRequest, ...]]:
    """Put the orders of one question together, and questions of one history side by side.

    A server keeps what it read of the last prompt of a slot: the orders of a question share
    everything before the candidates, and go to one slot one after the other.

    >>> from recommender.asking.answering import address
    >>> from recommender.backends import example_card
    >>> from recommender.asking.requests import Question
    >>> texts = Texts(["a", "b", "c"], "things", 5)
    >>> asked = address([Question(0, 3, (0,), (1, 2), 0)], texts, category_id=1, purpose="gate",
    ...                 teacher=example_card(), method="letters", orders=2)
    >>> [len(group) for group in question_groups(asked, texts)]
    [2]
    """
    groups: dict[tuple[tuple[int, ...], tuple[int, ...], str], list[LabelRequest]] = {}
    for request in requests:
        shown = request.history[-texts.history_length :]
        groups.setdefault((shown, request.drawn, request.method), []).append(request)
    by_history: dict[tuple[int, ...], list[tuple[LabelRequest, ...]]] = {}
    for (shown, _, _), group in groups.items():
        by_history.setdefault(shown, []).append(tuple(group))
    return [group for together in by_history.values() for group in together]


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
        yield StageDone(stage, clock() - started, f"{amount(total, 'requests')} answered")
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
        artifacts.save_arrays(path / STATES, {NAME: states.astype(np.float16)})


def states_of(artifacts: Artifacts, *jobs: Sequence[LabelRequest]) -> KeptStates:
    """Find states that were kept: (requests, layers + 1, width), in the requests' order.

    Args:
        artifacts: where they are.
        jobs: requests, as they were answered: job by job.

    Raises:
        KeyError: a shard was never written.
    """
    files = []
    for requests in jobs:
        for at in range(0, len(requests), SHARD):
            found = artifacts.find("states", _inputs(requests[at : at + SHARD]))
            if found is None:
                raise KeyError(f"no states for the requests from {at}")
            files.append(Path(found.path, STATES))
    return KeptStates.open(files)


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
    teacher = texts.scored_by(backend.describe())
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
    yield StageDone(stage, clock() - started, amount(len(missing), "titles"))


def _inputs(shard: Sequence[LabelRequest]) -> dict[str, object]:
    return {"requests": [request.key for request in shard]}


def _rate(seconds: float, done: int, in_flight: int = 1) -> str:
    if in_flight == 1:
        return f"{seconds / max(1, done):.2f} s a request"
    return f"{done / seconds:.1f} a second, {in_flight} in flight"


def _summary(counts: Counter[str]) -> str:
    others = [f"{n} {status}" for status, n in sorted(counts.items()) if status != "ok" and n]
    return ", ".join([f"{amount(counts['ok'], 'requests')} answered", *others])
