"""What is known of each question: asked by method, in orders, found again, lost and counted."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recommender.asking.answering import Texts
from recommender.asking.evidence import Heard, Listener, askable, hear, priors_of, say_lost
from recommender.asking.orders import merged, place_prior, shifts
from recommender.asking.requests import OPEN, Question
from recommender.backends import Backend, ModelCard, Prompt, Refusing, Scores, example_card
from recommender.backends.embedded import EmbeddedBackend
from recommender.backends.embedding import EmbeddingBackend
from recommender.backends.errors import ContextTooSmall
from recommender.datasets.sample_shoppers import sample_items
from recommender.events import Notice, StageStarted
from recommender.scoring import available
from recommender.teacher import similarity
from storage.errors import BadSetting
from storage.store import Store
from tests.tiny import Counting, Letters, add_shop, finished, open_llama

TITLES = [row.title for row in sample_items()]
VECTORS = Letters().encode(TITLES)
TEXTS = Texts(TITLES, "gadgets", 3)
REPEATS, DECLINES, TOO_LONG = 290, 291, 292
"""Items after which the moody model below has no opinion, does not answer, or cannot."""
LIKED = (0.2, 0.9, -0.7, -0.4)
"""What it gives to each place."""


class Moody(Refusing):
    """Knows a title by its length, likes some places more, and has its moods."""

    def __init__(self, *, concurrent: bool = False) -> None:
        self.asked: list[Prompt] = []
        self._card = replace(example_card("letters"), concurrent=concurrent, device="here")

    def describe(self) -> ModelCard:
        return self._card

    def score(self, prompt: Prompt, labels: Sequence[str]) -> Scores:
        self.asked.append(prompt)
        if TITLES[TOO_LONG] in prompt.history:
            raise ContextTooSmall("the prompt is too long")
        known = [opinion(title) + LIKED[n] for n, title in enumerate(prompt.candidates)]
        if TITLES[REPEATS] in prompt.history:
            known = [-float(n) for n in range(len(labels))]
        outside = 0.9 if TITLES[DECLINES] in prompt.history else 0.1
        return Scores(tuple(known), (1,) * len(labels), 0.25, outside=outside)


def opinion(title: str) -> float:
    return -len(title) / 7


def questions(count: int = 6, *, candidates: int = 4, last: int | None = None) -> list[Question]:
    rng = np.random.default_rng(count)
    made = []
    for number in range(count):
        items = [int(i) for i in rng.permutation(280)[: candidates + 4]]
        past = tuple(items[:4]) if last is None else (*items[:3], last)
        made.append(Question(number % 4, number, past, tuple(items[4:]), number % candidates))
    return made


def listener(store: Store, backend: Backend, orders: int = 4) -> Listener:
    shop = add_shop(store, people=4)
    return Listener(store, backend, TEXTS, VECTORS, shop.id, orders=orders)


def heard_by(one: Listener, asked: Sequence[Question], *methods: str, **options: object) -> Heard:
    return finished(hear(one, asked, "choose", methods, **options))[1]  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def model(llama: Path) -> EmbeddedBackend:
    return open_llama(llama)


def test_evidence_is_gathered_in_the_order_of_the_questions(
    store: Store, model: EmbeddedBackend
) -> None:
    asked = [*questions(3), Question(1, OPEN, (), (9, 8, 7, 6), OPEN)]
    one = listener(store, Counting(model))
    said, heard = finished(hear(one, asked, "gate", ["likelihood"]))
    assert [e.stage for e in said if isinstance(e, StageStarted)] == [
        "teacher: gate",
        "titles by themselves",
    ]
    assert [r.drawn for r in heard.requests] == [q.candidates for q in asked]
    for question, evidence in zip(asked, heard.evidence, strict=True):
        assert evidence.target == question.target
        assert evidence.letters is None
        titles = [TITLES[i] for i in question.candidates]
        prompt = TEXTS.prompt(question)
        for found, expected in (
            (evidence.likelihood, model.likelihood(prompt, titles)),
            (evidence.unconditional, model.unconditional(titles, noun="gadgets")),
        ):
            np.testing.assert_allclose(found, expected.logprobs, atol=1e-4)
        cosine = similarity(VECTORS, question.history, question.candidates, 3)
        np.testing.assert_array_equal(evidence.cosine, cosine)
    assert (heard.priors, heard.lost) == ({}, {"likelihood": Counts()})


def test_hearing_again_asks_nothing_and_says_the_same(store: Store, model: EmbeddedBackend) -> None:
    backend = Counting(model)
    one, methods = listener(store, backend), ("likelihood", "letters")
    first = heard_by(one, questions(3), *methods)
    assert len(backend.prompts) == 3 + 3 * 4
    again = heard_by(one, questions(3), *methods)
    assert len(backend.prompts) == 15
    for before, after in zip(first.evidence, again.evidence, strict=True):
        np.testing.assert_array_equal(after.likelihood, before.likelihood)
        assert available(after) == available(before)


def test_priors_are_measured_on_every_answer_and_taken_off(store: Store) -> None:
    heard = heard_by(listener(store, Moody()), questions(40), "letters")
    rows = []
    for question in questions(40):
        for shift in range(4):
            turned = [question.candidates[(place + shift) % 4] for place in range(4)]
            rows.append([opinion(TITLES[i]) + LIKED[n] for n, i in enumerate(turned)])
    np.testing.assert_allclose(heard.priors[4], place_prior(rows), atol=1e-9)
    # All rotations of a question: the items' part cancels, and the liking for places is left.
    np.testing.assert_allclose(heard.priors[4], LIKED, atol=1e-9)
    for question, evidence in zip(questions(40), heard.evidence, strict=True):
        expected = [opinion(TITLES[i]) for i in question.candidates]
        np.testing.assert_allclose(evidence.letters, expected, atol=1e-9)


def test_priors_of_another_slice_are_used_as_they_are(store: Store) -> None:
    one, given = listener(store, Moody(), orders=2), {4: (1.0, 0.0, 0.0, -1.0)}
    heard = heard_by(one, questions(5), "letters", priors=given)
    assert heard.priors == given
    answers = store.labels.get([r.key for r in one.requests(questions(5), "choose", "letters")])
    for number, evidence in enumerate(heard.evidence):
        turns = one.requests(questions(5)[number : number + 1], "choose", "letters")
        rows = [answers[r.key].scores for r in turns]
        np.testing.assert_array_equal(evidence.letters, merged(rows, shifts(4, 2), given[4]))


def test_each_length_of_list_has_a_prior_of_its_own(store: Store) -> None:
    asked = [*questions(30), *questions(31, candidates=3)]
    heard = heard_by(listener(store, Moody()), asked, "letters")
    assert sorted(heard.priors) == [3, 4]
    np.testing.assert_allclose(heard.priors[3], np.array(LIKED[:3]) - np.mean(LIKED[:3]), atol=1e-9)
    for question, evidence in zip(asked, heard.evidence, strict=True):
        expected = np.array([opinion(TITLES[i]) for i in question.candidates])
        shared = 0 if len(expected) == 4 else np.mean(LIKED[:3])
        np.testing.assert_allclose(evidence.letters, expected + shared, atol=1e-9)


def test_what_is_no_label_is_counted_by_its_reason_and_said(store: Store) -> None:
    asked = [
        *questions(4),
        *questions(3, last=REPEATS),
        *questions(2, last=DECLINES),
        *questions(1, last=TOO_LONG),
    ]
    heard = heard_by(listener(store, Moody(concurrent=True)), asked, "letters")
    assert heard.lost == {"letters": Counts(no_opinion=3, declined=2, failed=1)}
    has = [evidence.letters is not None for evidence in heard.evidence]
    assert has == [True] * 4 + [False] * 6
    assert finished(say_lost(heard))[0] == [
        Notice("6 of 10 questions by letters are no labels: 3 no_opinion, 2 declined, 1 failed")
    ]


def test_one_order_alone_is_never_no_opinion(store: Store) -> None:
    heard = heard_by(listener(store, Moody(), orders=1), questions(3, last=REPEATS), "letters")
    assert heard.lost == {"letters": Counts()}
    assert finished(say_lost(heard))[0] == []


def test_declined_answers_do_not_make_a_prior(store: Store) -> None:
    one = listener(store, Moody())
    asked = [*questions(4), *questions(2, last=DECLINES)]
    heard = heard_by(one, asked, "letters")
    requests = one.requests(asked, "choose", "letters")
    answers = store.labels.get([r.key for r in requests])
    assert heard.priors == priors_of(requests[:16], answers) == priors_of(requests, answers)
    assert priors_of(requests[16:], answers) == {}


def test_what_a_model_cannot_do_is_refused_before_anything_is_asked(store: Store) -> None:
    backend = Moody()
    with pytest.raises(BadSetting, match="'smol' cannot be asked by 'ranking'; it can by letters"):
        heard_by(listener(store, backend), questions(2), "letters", "ranking")
    assert backend.asked == []


def test_a_teacher_of_embeddings_has_one_kind_of_evidence(store: Store) -> None:
    backend = EmbeddingBackend(Letters())
    assert askable(backend.describe()) == ("similarity",)
    heard = heard_by(listener(store, backend), questions(3), "similarity")
    for evidence in heard.evidence:
        np.testing.assert_allclose(evidence.similarity, evidence.cosine, atol=1e-6)
        assert available(evidence) == ("similarity",)
