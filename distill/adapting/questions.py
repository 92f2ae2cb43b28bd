"""Which questions an adaptation learns from, is chosen by, and is judged on.

Apart from the learning because leakage is decided here: training questions come from train
rows alone, those it is stopped by from validation, one a person, and the test part is read
once the weights are final. Negatives and their order are drawn anew for every training
question in every pass, so that no letter and no rival is learned by heart.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field, replace

import numpy as np

from recommender.asking.requests import Draw, Question, validation_questions
from recommender.splits import Split
from storage.errors import BadData
from storage.records import IntArray

FEWEST = 32
"""Fewer training questions, or fewer people to be judged on, say nothing."""

_ORDER, _CANDIDATES, _TEST, _EASED = 11, 12, 13, 14
"""Streams of chance of their own; those of label requests have smaller numbers."""


@dataclass(frozen=True, slots=True)
class Easing:
    """How a training question is made easier than it will be asked."""

    shown: float
    """Chance that the item that came next is put into the history too."""
    fewest: int
    """Candidates that are offered at least; each question draws how many."""

    @classmethod
    def at(cls, step: int, steps: int, *, shown: float, fewest: int) -> Easing:
        """Return the easing of a step's questions.

        Args:
            step: from 0.
            steps: of the training.
            shown: share of the steps in which items may be shown: always in the first half of
                them, then with a chance that falls to 0.
            fewest: candidates of a question, at least.

        >>> [round(Easing.at(n, 10, shown=0.4, fewest=2).shown, 2) for n in range(5)]
        [1.0, 1.0, 1.0, 0.5, 0.0]
        """
        begun = step / steps
        return cls(0.0 if begun >= shown else min(1.0, 2 * (1 - begun / shown)), fewest)


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

    def question(self, number: int, epoch: int, easing: Easing | None = None) -> Question:
        """Return a question as it is asked in a pass: its rivals and order are of that pass."""
        row = int(self.rows[number])
        rng = np.random.default_rng([self.seed, _CANDIDATES, epoch, row])
        asked = _asked_at(self.split, row, self.draw, rng)
        if easing is None:
            return asked
        return eased(asked, easing, np.random.default_rng([self.seed, _EASED, epoch, row]))


def eased(question: Question, easing: Easing, rng: np.random.Generator) -> Question:
    """Return a question with fewer rivals, and perhaps with its answer in the history.

    How many rivals stay is drawn, and which; they stay in their order. The answer becomes the last
    title of the history or the one before: a prompt that has room for few shows the last ones.

    >>> asked = Question(user=0, event=0, history=(7, 8), candidates=(1, 2, 3, 4), target=2)
    >>> easy = eased(asked, Easing(1.0, 2), np.random.default_rng(0))
    >>> len(easy.candidates), easy.candidates[easy.target], sorted(easy.history)
    (4, 3, [3, 7, 8])
    """
    rivals = [place for place in range(len(question.candidates)) if place != question.target]
    fewest = min(easing.fewest, len(question.candidates))
    many = int(rng.integers(fewest, len(question.candidates) + 1))
    kept = sorted([question.target, *rng.permutation(rivals)[: many - 1].tolist()])
    history = list(question.history)
    if rng.random() < easing.shown:
        answer = question.candidates[question.target]
        history.insert(len(history) - int(rng.integers(0, min(1, len(history)) + 1)), answer)
    return replace(
        question,
        history=tuple(history),
        candidates=tuple(question.candidates[place] for place in kept),
        target=kept.index(question.target),
    )


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
