from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from recommender.asking.requests import (
    OPEN,
    Draw,
    Question,
    addressed,
    training_questions,
    validation_questions,
)
from recommender.baselines import Popularity
from recommender.candidates import CandidateSampler
from recommender.splits import TRAIN, Split, leave_last_out, temporal_split
from storage.records import NO_PART, LabelRequest, Log

PEOPLE, ITEMS = 60, 40


@pytest.fixture(scope="module")
def split() -> Split:
    """People of 1 to 14 rows, spread over one stretch of time, with some repeats."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 15, PEOPLE)
    user = np.repeat(np.arange(PEOPLE), lengths)
    time = rng.integers(0, 10_000, len(user))
    order = np.lexsort((time, user))
    log = Log(
        user=user,
        item=rng.integers(0, ITEMS, len(user)),
        time=time[order],
        rating=np.ones(len(user), dtype=np.float32),
        part=np.full(len(user), NO_PART, dtype=np.int8),
        people=PEOPLE,
        items=ITEMS,
    )
    return temporal_split(log, valid=0.2, test=0.2)


@pytest.fixture(scope="module")
def draw(split: Split) -> Draw:
    popular = Popularity.fit(split.train_sequences()[0], ITEMS)
    return CandidateSampler([popular], items=ITEMS, n=6)


def test_slices_share_no_person_and_follow_the_seed(split: Split, draw: Draw) -> None:
    slices = validation_questions(split, [8, 9], draw, seed=1)
    assert [len(one) for one in slices] == [8, 9]
    people = [question.user for one in slices for question in one]
    assert len(set(people)) == len(people)
    assert slices == validation_questions(split, [8, 9], draw, seed=1)
    assert slices != validation_questions(split, [8, 9], draw, seed=2)


def test_validation_questions_are_validation_events(split: Split, draw: Draw) -> None:
    events = set(split.events("valid").tolist())
    for question in validation_questions(split, [50], draw, seed=0)[0]:
        assert question.event in events
        assert question.user == split.log.user[question.event]
        assert question.candidates[question.target] == split.log.item[question.event]
        assert question.history == tuple(split.history(question.event))
        assert not set(question.history) & set(question.candidates)


def test_too_few_people_shorten_the_last_slice_first(split: Split, draw: Draw) -> None:
    there = len(np.unique(split.log.user[split.events("valid")]))
    first, second = validation_questions(split, [there - 2, 10], draw, seed=0)
    assert (len(first), len(second)) == (there - 2, 2)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_training_questions_know_train_rows_only(split: Split, draw: Draw, share: float) -> None:
    train = split.part == TRAIN
    events = set(split.events("train").tolist())
    asked = list(training_questions(split, draw, seed=0, open_share=share))
    for question in asked:
        own = np.flatnonzero((split.log.user == question.user) & train)
        assert not set(question.history) & set(question.candidates)
        if question.event == OPEN:
            assert question.target == OPEN
            assert question.history == tuple(split.log.item[own])
            continue
        assert question.event in events
        assert question.candidates[question.target] == split.log.item[question.event]
        assert question.history == tuple(split.log.item[own[own < question.event]])
    closed = [question.event for question in asked if question.event != OPEN]
    assert len(set(closed)) == len(closed)
    ends = [question.user for question in asked if question.event == OPEN]
    assert len(set(ends)) == len(ends)
    if share < 1:
        assert len(closed) == len(events)
        assert len(ends) == min(len(np.unique(split.log.user[train])), len(ends))


@pytest.mark.parametrize(("share", "opened"), [(0.0, 0), (0.25, 10), (0.5, 20), (1.0, 40)])
def test_open_questions_have_their_share_from_the_start(
    split: Split, draw: Draw, share: float, opened: int
) -> None:
    asked = islice(training_questions(split, draw, seed=3, open_share=share), 40)
    assert sum(question.event == OPEN for question in asked) == opened


def test_asking_for_more_goes_on_where_the_shorter_list_ended(split: Split, draw: Draw) -> None:
    few, more = (
        list(islice(training_questions(split, draw, seed=5, open_share=0.4), count))
        for count in (13, 57)
    )
    assert more[:13] == few
    other = islice(training_questions(split, draw, seed=6, open_share=0.4), 13)
    assert list(other) != few


def test_questions_do_not_depend_on_what_came_later(split: Split, draw: Draw) -> None:
    # The same people with their validation and test rows given to other items.
    rng = np.random.default_rng(9)
    later = split.part != TRAIN
    others = np.where(later, rng.integers(0, ITEMS, len(later)), split.log.item)
    changed = temporal_split(replace(split.log, item=others, part=split.part))
    asked, again = (
        list(training_questions(one, draw, seed=0, open_share=0.5)) for one in (split, changed)
    )
    assert asked == again


def test_leave_last_out_asks_about_train_rows_too(split: Split, draw: Draw) -> None:
    other = leave_last_out(split.log)
    for question in training_questions(other, draw, seed=0, open_share=0.5):
        rows = other.starts[question.user] + np.arange(len(question.history))
        assert (other.part[rows] == TRAIN).all()


QUESTION = Question(7, 30, (3, 1, 4), (5, 9, 2), 1)


def key(question: Question = QUESTION, **changes: object) -> str:
    given: dict[str, object] = {
        "category_id": 1,
        "purpose": "train",
        "teacher": "smol@sha256:ab/float32",
        "method": "likelihood",
        "template": "likelihood-1/movies",
        "shown": ["Alien", "Heat"],
        "offered": ["Up", "Jaws", "Big"],
    }
    request: LabelRequest = addressed(question, **{**given, **changes})  # type: ignore[arg-type]
    return request.key


@pytest.mark.parametrize(
    "change",
    [
        {"teacher": "smol@sha256:ab/bfloat16"},
        {"teacher": "smol@sha256:cd/float32"},
        {"method": "letters"},
        {"template": "likelihood-2/movies"},
        {"template": "likelihood-1/films"},
        {"shown": ["Heat", "Alien"]},
        {"shown": ["Alien", "Heat "]},
        {"shown": ["Heat"]},
        {"shown": ["Alien, Heat"]},
        {"offered": ["Jaws", "Up", "Big"]},
        {"offered": ["Up", "Jaws", "Bog"]},
        {"shown": ["Alien"], "offered": ["Heat", "Up", "Jaws", "Big"]},
    ],
)
def test_a_key_changes_with_all_that_decides_the_answer(
    change: dict[str, str | Sequence[str]],
) -> None:
    assert key(**change) != key()


@pytest.mark.parametrize(
    ("question", "change"),
    [
        (QUESTION, {"category_id": 2}),
        (QUESTION, {"purpose": "gate"}),
        (replace(QUESTION, user=8, event=99), {}),
        (replace(QUESTION, target=0), {}),
        (replace(QUESTION, history=(8, 3, 1, 4)), {}),
        (replace(QUESTION, candidates=(6, 10, 3)), {}),
    ],
)
def test_a_key_changes_with_nothing_else(question: Question, change: dict[str, object]) -> None:
    assert key(question, **change) == key()


def test_titles_of_any_signs_have_a_key() -> None:
    assert key(shown=["\ud800", "😀", "\x00"]) != key(shown=["\ud801", "😀", "\x00"])
