"""Which questions an adaptation learns from, is chosen by, and is judged on.

Apart from the learning because leakage is decided here: training questions come from train
rows alone, those it is stopped by from validation, one a person, and the test part is read
once the weights are final. Negatives and their order are drawn anew for every training
question in every pass, so that no letter and no rival is learned by heart.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field

import numpy as np

from recommender.asking.requests import Draw, Question, validation_questions
from recommender.splits import Split
from storage.errors import BadData
from storage.records import IntArray

FEWEST = 32
"""Fewer training questions, or fewer people to be judged on, say nothing."""

_ORDER, _CANDIDATES, _TEST = 11, 12, 13
"""Streams of chance of their own; those of label requests have smaller numbers."""


@dataclass(frozen=True, eq=False, slots=True)
class TrainingQuestions:
    """Every training question, by pass and number.

    >>> from recommender.splits import leave_last_out, tiny_log
    >>> draw = lambda history, target, rng: rng.permutation(4)
    >>> some = TrainingQuestions.of(leave_last_out(tiny_log()), draw, seed=0)
    >>> len(some), some.question(0, 0).candidates == some.question(0, 0).candidates
    (1, True)
    """

    split: Split
    draw: Draw
    seed: int
    rows: IntArray = field(repr=False)
    """Of the split's log, each the target of one question."""

    @classmethod
    def of(cls, split: Split, draw: Draw, *, seed: int, most: int = 0) -> TrainingQuestions:
        """Take the train rows that have a history, or `most` of them drawn by the seed."""
        rows = np.random.default_rng([seed, _ORDER]).permutation(split.events("train"))
        return cls(split, draw, seed, rows[:most] if most else rows)

    def __len__(self) -> int:
        """Return how many questions one pass has."""
        return len(self.rows)

    def question(self, number: int, epoch: int) -> Question:
        """Return a question as it is asked in a pass: its rivals and order are of that pass."""
        row = int(self.rows[number])
        rng = np.random.default_rng([self.seed, _CANDIDATES, epoch, row])
        return _asked_at(self.split, row, self.draw, rng)


def choosing_questions(split: Split, draw: Draw, *, seed: int, most: int) -> list[Question]:
    """Return validation questions, one a person: what the adaptation is stopped by.

    >>> from recommender.splits import leave_last_out, tiny_log
    >>> draw = lambda history, target, rng: np.arange(4)
    >>> [q.target for q in choosing_questions(leave_last_out(tiny_log()), draw, seed=0, most=9)]
    [2]
    """
    return validation_questions(split, [most], draw, seed=seed)[0]


def test_questions(split: Split, draw: Draw, *, seed: int, most: int) -> list[Question]:
    """Return test questions, one a person, in the manner of `validation_questions`.

    >>> from recommender.splits import leave_last_out, tiny_log
    >>> draw = lambda history, target, rng: np.arange(4)
    >>> [q.target for q in test_questions(leave_last_out(tiny_log()), draw, seed=0, most=9)]
    [3]
    """
    rng = np.random.default_rng([seed, _TEST])
    events = rng.permutation(split.events("test"))
    _, first = np.unique(split.log.user[events], return_index=True)
    chosen = events[np.sort(first)][:most]
    return [_asked_at(split, int(row), draw, rng) for row in chosen]


test_questions.__test__ = False  # type: ignore[attr-defined]  # pytest takes it for a test


def require_enough(training: TrainingQuestions, choosing: int, people: int, name: str) -> None:
    """Refuse data that is too small to learn from or to judge on.

    Args:
        training: what would be learned from.
        choosing: validation questions there are.
        people: with a test request.
        name: of the category.

    Raises:
        BadData: it is.
    """
    counts = {
        "training requests": len(training),
        "people with a validation request": choosing,
        "people with a test request": people,
    }
    for what, count in counts.items():
        if count < FEWEST:
            raise BadData(
                f"{name!r} has {count} {what}: an adaptation needs at least {FEWEST}",
                next_step=f"recsys data stats {shlex.quote(name)}",
            )


def _asked_at(split: Split, row: int, draw: Draw, rng: np.random.Generator) -> Question:
    history = split.history(row)
    item = int(split.log.item[row])
    candidates = tuple(int(c) for c in draw(history, item, rng))
    return Question(
        user=int(split.log.user[row]),
        event=row,
        history=tuple(int(i) for i in history),
        candidates=candidates,
        target=candidates.index(item),
    )
