"""Which questions are put to a teacher: the slices of the data, and the key of each question.

Three slices that never share a person within validation, so that nothing is measured on
what it was chosen by: 'choose' fixes the way of scoring and its temperature, 'gate' says
whether the teacher may teach, 'train' is what the student learns from. Train requests come
from train rows alone. Half of them (by default) are *open*: they stand at the end of a
person's training history, where no one knows what comes next and only the teacher speaks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from recommender.splits import TRAIN, Split
from storage.records import IntArray, LabelRequest

Draw = Callable[[IntArray, int | None, np.random.Generator], IntArray]
"""History, target item or None, generator -> candidate items, target among them."""

OPEN = -1
"""`LabelRequest.event` and `.target` of a request without a target."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request before it is addressed to anybody. Items are numbers."""

    user: int
    event: int
    """Row of the target in the split's log, OPEN where there is none."""
    history: tuple[int, ...]
    """Everything before, oldest first: what a student sees; a prompt shows its end."""
    candidates: tuple[int, ...]
    target: int
    """Index into candidates, OPEN where there is none."""


def validation_questions(
    split: Split, sizes: Sequence[int], draw: Draw, *, seed: int
) -> list[list[Question]]:
    """Return disjoint slices of validation, one event a person, of the sizes asked.

    A validation with too few people gives shorter slices, the last one first.

    >>> from recommender.splits import leave_last_out, tiny_log
    >>> everything = lambda history, target, rng: np.arange(4)
    >>> [[q.target for q in s] for s in validation_questions(
    ...     leave_last_out(tiny_log()), [1, 1], everything, seed=0)]
    [[2], []]
    """
    rng = np.random.default_rng([seed, 1])
    events = rng.permutation(split.events("valid"))
    _, first = np.unique(split.log.user[events], return_index=True)
    chosen = iter(events[np.sort(first)])
    return [
        [_closed(split, int(event), draw, rng) for event in islice(chosen, size)] for size in sizes
    ]


def training_questions(
    split: Split, draw: Draw, *, seed: int, open_share: float
) -> Iterator[Question]:
    """Yield train questions in an order fixed by the seed, as many as the data has.

    Asking for more later goes on where the shorter list ended, so no answer is wasted.

    >>> from recommender.splits import leave_last_out, tiny_log
    >>> everything = lambda history, target, rng: np.arange(4)
    >>> asked = training_questions(
    ...     leave_last_out(tiny_log()), everything, seed=0, open_share=0.0)
    >>> [(q.history, q.candidates[q.target]) for q in asked]
    [((0,), 1)]
    """
    order = np.random.default_rng([seed, 2])
    closed = order.permutation(split.events("train"))
    people = order.permutation(_people_with_training(split))
    next_closed, next_open = iter(closed), iter(people)
    owed = 0.0
    for number in range(len(closed) + len(people)):
        rng = np.random.default_rng([seed, 3, number])
        owed += open_share
        person = next(next_open, None) if owed >= 1 else None
        if person is not None:
            owed -= 1
            yield _open(split, int(person), draw, rng)
            continue
        event = next(next_closed, None)
        if event is None:
            return
        yield _closed(split, int(event), draw, rng)


def addressed(
    question: Question,
    *,
    category_id: int,
    purpose: str,
    teacher: str,
    method: str,
    template: str,
    shown: Sequence[str],
    offered: Sequence[str],
    shift: int = 0,
) -> LabelRequest:
    """Return the request as the Store keeps it, under the hash of all that decides the answer.

    Args:
        question: what is asked.
        category_id: whose data it is.
        purpose: 'choose', 'gate' or 'train'.
        teacher: key of the model's card: weights, precision.
        method: 'likelihood', 'letters' …: see `recommender.asking.answering`.
        template: version of the prompt's wording, and the options it is asked with.
        shown: titles of the history as the prompt shows them.
        offered: titles of the candidates.
        shift: by how many places the question's candidates are rotated.

    >>> question = Question(0, 3, (0, 1), (2, 3), 1)
    >>> ask = lambda teacher: addressed(
    ...     question, category_id=1, purpose="train", teacher=teacher, method="likelihood",
    ...     template="1", shown=["a", "b"], offered=["c", "d"])
    >>> ask("smol").key == ask("smol").key, ask("smol").key == ask("big").key
    (True, False)
    """
    # Neither numbers nor rows, which belong to one import: only what the teacher sees.
    decisive = [teacher, method, template, list(shown), list(offered)]
    text = json.dumps(decisive, separators=(",", ":"))
    return LabelRequest(
        key=hashlib.sha256(text.encode()).hexdigest()[:32],
        category_id=category_id,
        purpose=purpose,
        user=question.user,
        event=question.event,
        history=question.history,
        candidates=question.candidates,
        target=question.target,
        teacher=teacher,
        method=method,
        template=template,
        shift=shift,
    )


def question_of(request: LabelRequest) -> Question:
    """Return the question behind a request, its candidates in the order drawn."""
    target = request.target
    if target != OPEN:
        target = (target + request.shift) % len(request.candidates)
    return Question(request.user, request.event, request.history, request.drawn, target)


def _closed(split: Split, event: int, draw: Draw, rng: np.random.Generator) -> Question:
    history = split.history(event)
    item = int(split.log.item[event])
    candidates = tuple(int(c) for c in draw(history, item, rng))
    return Question(
        user=int(split.log.user[event]),
        event=event,
        history=tuple(int(i) for i in history),
        candidates=candidates,
        target=candidates.index(item),
    )


def _open(split: Split, person: int, draw: Draw, rng: np.random.Generator) -> Question:
    rows = np.arange(split.starts[person], split.starts[person + 1])
    history = split.log.item[rows[split.part[rows] == TRAIN]]
    candidates = tuple(int(c) for c in draw(history, None, rng))
    return Question(person, OPEN, tuple(int(i) for i in history), candidates, OPEN)


def _people_with_training(split: Split) -> IntArray:
    people: IntArray = np.unique(split.log.user[split.part == TRAIN])
    return people
