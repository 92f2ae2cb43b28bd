"""Which questions there are: never the same rivals twice, never a later part's rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from distill.adapting.questions import (
    FEWEST,
    TrainingQuestions,
    choosing_questions,
    require_enough,
    test_questions,
)
from distill.ground import Ground, sampler
from recommender.splits import TRAIN, Split, temporal_split
from storage.errors import BadData
from tests.distill.adapting.conftest import adapting


def test_a_pass_draws_other_rivals_in_another_order(training: TrainingQuestions) -> None:
    first, again, second = (training.question(3, epoch) for epoch in (0, 0, 1))
    assert first == again
    assert first.event == second.event
    assert first.candidates[first.target] == second.candidates[second.target]
    assert set(first.candidates) != set(second.candidates)


def test_the_right_letter_is_every_letter_alike(training: TrainingQuestions) -> None:
    places = [training.question(n, epoch).target for n in range(48) for epoch in range(20)]
    counts = np.bincount(places, minlength=5)
    assert counts.min() > 0.7 * len(places) / 5


def test_training_questions_are_of_train_rows_and_do_not_look_ahead(
    training: TrainingQuestions, ground: Ground
) -> None:
    split = ground.split
    for number in range(len(training)):
        question = training.question(number, 0)
        assert split.part[question.event] == TRAIN
        assert list(question.history) == split.history(question.event).tolist()
        assert not set(question.candidates) & set(question.history)


def test_every_person_is_judged_on_once(ground: Ground) -> None:
    draw = sampler(ground, adapting().asking())
    for some, part in (
        (choosing_questions(ground.split, draw, seed=0, most=999), "valid"),
        (test_questions(ground.split, draw, seed=0, most=999), "test"),
    ):
        assert len({q.user for q in some}) == len(some) > FEWEST
        assert {q.event for q in some} <= set(ground.split.events(part).tolist())


def poisoned(split: Split) -> Split:
    """The same split with other items, and other people's order, in its test rows."""
    items = split.log.item.copy()
    test = split.part > 1
    items[test] = (items[test] + 1) % split.log.items
    return temporal_split(replace(split.log, item=items))


def test_what_is_learned_and_chosen_by_never_reads_the_test_part(ground: Ground) -> None:
    draw = sampler(ground, adapting().asking())
    other = poisoned(ground.split)
    for split in (ground.split, other):
        split.assert_no_leak()
    a, b = (TrainingQuestions.of(split, draw, seed=0) for split in (ground.split, other))
    assert [a.question(n, 0) for n in range(len(a))] == [b.question(n, 0) for n in range(len(b))]
    valid = [choosing_questions(s, draw, seed=0, most=60) for s in (ground.split, other)]
    assert valid[0] == valid[1]
    tests = [test_questions(s, draw, seed=0, most=60) for s in (ground.split, other)]
    assert tests[0] != tests[1], "the poison is one"


@pytest.mark.parametrize(
    ("choosing", "people", "what"),
    [(3, 99, "3 people with a validation request"), (99, 2, "2 people with a test request")],
)
def test_too_little_data_is_refused(
    training: TrainingQuestions, choosing: int, people: int, what: str
) -> None:
    with pytest.raises(BadData, match=what):
        require_enough(training, choosing, people, "Tiny shop")


def test_too_few_training_requests_are_refused(ground: Ground) -> None:
    few = TrainingQuestions.of(ground.split, sampler(ground, adapting().asking()), seed=0, most=5)
    with pytest.raises(BadData, match="5 training requests: an adaptation needs at least 32"):
        require_enough(few, 99, 99, "Tiny shop")
