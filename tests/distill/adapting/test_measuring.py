"""Scores of many questions: what the backend says, kept in shards, and found again."""

from __future__ import annotations

from string import ascii_uppercase

import numpy as np
import pytest
from scipy.special import log_softmax

from distill.adapting import measuring
from distill.adapting.judging import chance_error
from distill.adapting.measuring import WAYS, Measured, Way, measure, short_letters
from distill.adapting.questions import test_questions
from distill.ground import Ground, sampler
from recommender.asking.requests import Question
from recommender.backends.embedded import EmbeddedBackend
from recommender.events import Progress, StageSkipped
from recommender.metrics import by_name
from storage.store import Store
from tests.distill.adapting.conftest import adapting
from tests.tiny import finished, stopped_at


@pytest.fixture
def questions(ground: Ground) -> list[Question]:
    return test_questions(ground.split, sampler(ground, adapting().asking()), seed=0, most=12)


@pytest.fixture
def measured(model: EmbeddedBackend, ground: Ground) -> Measured:
    return Measured(model, "tiny", ground.texts, prompt_tokens=100)


@pytest.mark.parametrize("way", WAYS)
def test_each_way_is_what_the_backend_says(
    shop: Store, measured: Measured, questions: list[Question], way: Way
) -> None:
    said, scores = finished(measure(shop.artifacts, measured, questions, way, stage="judge"))
    for question, row in zip(questions, scores, strict=True):
        prompt = measured.texts.prompt(question)
        if way == "likelihood":
            expected = measured.backend.likelihood(prompt, prompt.candidates).logprobs
        elif way == "letters":
            expected = measured.backend.score(prompt, ascii_uppercase[:5]).logprobs
        else:
            expected = tuple(short_letters(measured.backend, prompt, most=100))
        np.testing.assert_allclose(row, expected, rtol=1e-5)
    assert sum(isinstance(event, Progress) for event in said) == len(questions)

    again, found = finished(measure(shop.artifacts, measured, questions, way, stage="judge"))
    assert again == [StageSkipped("judge", "measured before")]
    np.testing.assert_array_equal(found, scores)


def test_short_letters_with_room_enough_are_the_letters(
    measured: Measured, questions: list[Question]
) -> None:
    for question in questions[:4]:
        prompt = measured.texts.prompt(question)
        asked = measured.backend.score(prompt, ascii_uppercase[:5]).logprobs
        short = short_letters(measured.backend, prompt, most=2000)
        np.testing.assert_allclose(short, log_softmax(asked), rtol=1e-4, atol=1e-5)


def test_a_stopped_measurement_asks_one_shard_again_and_no_more(
    shop: Store, measured: Measured, questions: list[Question], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "SHARD", 4)
    stopped_at(measure(shop.artifacts, measured, questions, "letters", stage="judge"), "judge", 6)
    said, _ = finished(measure(shop.artifacts, measured, questions, "letters", stage="judge"))
    assert sum(isinstance(event, Progress) for event in said) == 8


def test_other_weights_are_asked_anew(
    shop: Store, measured: Measured, questions: list[Question]
) -> None:
    finished(measure(shop.artifacts, measured, questions, "letters", stage="judge"))
    other = Measured(measured.backend, "other", measured.texts, measured.prompt_tokens)
    said, _ = finished(measure(shop.artifacts, other, questions, "letters", stage="judge"))
    assert not any(isinstance(event, StageSkipped) for event in said)


@pytest.mark.parametrize("metric", ["mrr", "ndcg@10"])
def test_the_error_of_chance_is_that_of_random_orders(metric: str) -> None:
    rng = np.random.default_rng(0)
    lengths = np.array([10] * 80 + [5] * 20)
    drawn = np.array([[rng.integers(1, n + 1) for n in lengths] for _ in range(4000)])
    means = np.array([by_name(metric, row).mean() for row in drawn])
    assert chance_error(metric, lengths) == pytest.approx(means.std(), rel=0.05)
