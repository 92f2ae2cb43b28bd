"""Letters in four orders of a real small network: measured on one slice, used on the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from distill.asking import Asked, Chosen, Gate, ask, choose, fit_title_temperature, judge
from distill.ground import Ground
from distill.lesson import distillation
from distill.teaching import teach
from recommender.asking.evidence import Listener
from recommender.asking.orders import place_prior, shifts
from recommender.asking.requests import Question
from recommender.backends.embedded import EmbeddedBackend
from recommender.calibration import fit_temperature, probabilities
from recommender.scoring import Scoring
from storage.errors import TeacherUnfit
from storage.records import SoftLabel
from storage.store import Store
from tests.distill.conftest import configured, listening
from tests.tiny import Counting, add_shop, finished, open_llama, save_llama

FOUR: dict[str, object] = {"orders": 4, "scoring": "letters"}
TURNS = shifts(6, 4)


@pytest.fixture
def one(shop: Store, ground: Ground, spelling: EmbeddedBackend) -> Listener:
    return listening(shop, ground, spelling, **FOUR)


@pytest.fixture
def chosen(one: Listener, ground: Ground) -> Chosen:
    return finished(choose(one, ground, configured(**FOUR)))[1]


def kept(one: Listener, questions: Sequence[Question], purpose: str) -> list[list[SoftLabel]]:
    """The answers in the Store, one list a question, one answer an order."""
    requests = one.requests(questions, purpose, "letters")
    answers = one.store.labels.get([request.key for request in requests])
    rows = [answers[request.key] for request in requests]
    return [rows[at : at + 4] for at in range(0, len(rows), 4)]


def by_hand(answers: Sequence[SoftLabel], prior: Sequence[float]) -> np.ndarray:
    total = np.zeros(6)
    for answer, shift in zip(answers, TURNS, strict=True):
        for place, logprob in enumerate(answer.scores):
            total[(place + shift) % 6] += (logprob - prior[place]) / 4
    return total


def falling(label: SoftLabel) -> SoftLabel:
    """The same answer, had it only repeated the order it was offered."""
    return replace(label, scores=tuple(-1.0 - place for place in range(6)))


def test_what_places_get_is_measured_where_the_way_is_chosen(one: Listener, chosen: Chosen) -> None:
    answers = kept(one, chosen.questions, "choose")
    assert (len(answers), {len(some) for some in answers}) == (20, {4})
    rows = [label.scores for some in answers for label in some if label.status == "ok"]
    assert len(rows) == 80
    np.testing.assert_allclose(chosen.priors[6], place_prior(rows), atol=1e-12)
    assert chosen.scoring.way == "letters"
    assert (chosen.scoring.orders, chosen.scoring.prior) == (4, chosen.priors[6])
    assert np.ptp(chosen.priors[6]) > 0.1  # this network likes places
    for scores, some in zip(chosen.asked.scores, answers, strict=True):
        np.testing.assert_allclose(scores, by_hand(some, chosen.priors[6]), atol=1e-9)
    seconds = [label.seconds for some in answers for label in some]
    assert chosen.seconds == pytest.approx(4 * np.median(seconds))


def test_the_gate_and_the_training_use_that_prior(
    one: Listener, ground: Ground, chosen: Chosen
) -> None:
    gate: Gate = finished(judge(one, ground, configured(**FOUR), chosen))[1]
    answers = kept(one, chosen.gate, "gate")
    own = place_prior([label.scores for some in answers for label in some])
    assert not np.allclose(own, chosen.priors[6], atol=1e-6)
    expected = [by_hand(some, chosen.priors[6]) for some in answers]
    np.testing.assert_allclose(np.stack(gate.asked.scores), expected, atol=1e-9)
    ranks = [
        int((row >= row[question.target]).sum())
        for row, question in zip(gate.asked.scores, chosen.gate, strict=True)
    ]
    np.testing.assert_array_equal(gate.teacher.ranks, ranks)
    taught = finished(teach(one, ground, configured(**FOUR), None, chosen, 24))[1]
    requests = taught.asked.requests
    assert [request.shift for request in requests] == [0] * 24
    questions = [Question(r.user, r.event, r.history, r.candidates, r.target) for r in requests]
    expected = [by_hand(some, chosen.priors[6]) for some in kept(one, questions, "train")]
    lesson = distillation(taught, configured(**FOUR), observed=24)
    assert lesson.candidates.tolist() == [list(r.drawn) for r in requests]
    distributions = probabilities(np.stack(expected), chosen.scoring.temperature)
    np.testing.assert_allclose(lesson.labels, distributions, atol=1e-6)


def test_each_order_is_asked_once_in_all(
    shop: Store, ground: Ground, spelling: EmbeddedBackend
) -> None:
    backend, config = Counting(spelling), configured(**FOUR)
    one = listening(shop, ground, backend, **FOUR)
    for asked in (20 * (1 + 4) + 25 * 4 + 24 * 4, 0):  # the likelihood comes along, once
        backend.prompts.clear()
        chosen = finished(choose(one, ground, config))[1]
        finished(judge(one, ground, config, chosen))
        finished(teach(one, ground, config, None, chosen, 24))
        assert len(backend.prompts) == asked


def test_no_opinion_and_declined_are_counted_and_rank_last(
    one: Listener, ground: Ground, chosen: Chosen
) -> None:
    silent = {3: "no_opinion", 8: "no_opinion", 11: "declined"}
    for place, status in silent.items():
        question = chosen.gate[place]
        for number, request in enumerate(one.requests([question], "gate", "letters")):
            answer = falling(SoftLabel(request.key, (), (1,) * 6, "ok", 0.1))
            # Of four orders three must be gone: half of them would do.
            gone = status == "declined" and number < 3
            one.store.labels.add(replace(answer, status="declined") if gone else answer)
    said, gate = finished(judge(one, ground, configured(**FOUR), chosen))
    notices = [getattr(event, "text", "") for event in said]
    assert "3 of 25 questions by letters are no labels: 2 no_opinion, 1 declined" in notices
    assert [n for n, heard in enumerate(gate.asked.heard) if not heard] == sorted(silent)
    for place in silent:
        assert gate.asked.evidence[place].letters is None
        assert gate.teacher.ranks[place] == 6
    some, places = gate.asked.only_heard()
    assert places == [n for n in range(25) if n not in silent]
    assert some.requests == tuple(gate.asked.requests[n] for n in places)
    assert some.heard == (True,) * 22


def test_half_of_the_orders_is_enough(one: Listener, chosen: Chosen) -> None:
    question = chosen.gate[0]
    turned = one.requests([question], "gate", "letters")
    for request in turned[:2]:
        one.store.labels.add(SoftLabel(request.key, (0.0,) * 6, (1,) * 6, "declined", 0.1))
    asked: Asked = finished(ask(one, [question], chosen, "gate"))[1]
    assert asked.heard == (True,)
    total = np.zeros(6)
    for label, shift in list(zip(kept(one, [question], "gate")[0], TURNS, strict=True))[2:]:
        total += np.roll(np.array(label.scores) - chosen.priors[6], shift) / 2
    np.testing.assert_allclose(asked.scores[0], total, atol=1e-9)


def test_a_teacher_without_opinions_is_unfit_and_it_is_said_why(
    one: Listener, ground: Ground, chosen: Chosen
) -> None:
    folder = one.store.artifacts.root
    with Store.open(folder.parent / "other.sqlite", folder) as store:
        add_shop(store)
        other = replace(one, store=store)
        for some in kept(one, chosen.questions, "choose")[:11]:
            for label in some:
                store.labels.add(falling(label))
        with pytest.raises(TeacherUnfit, match=r"most of 20 .* \(by letters: 11 no_opinion\)"):
            finished(choose(other, ground, configured(**FOUR)))


def test_weights_of_a_teacher_without_likelihood_have_a_temperature_of_their_own(
    tmp_path: Path, one: Listener, ground: Ground, chosen: Chosen
) -> None:
    weights = open_llama(save_llama(tmp_path / "weights", seed=1))
    blind = replace(chosen, title_temperature=None)
    taught = finished(teach(one, ground, configured(**FOUR), weights, blind, 24))[1]
    inside = listening(one.store, ground, weights)
    fitted = finished(fit_title_temperature(inside, chosen.questions))[1]
    prompts = [ground.texts.prompt(question) for question in chosen.questions]
    scores = [weights.likelihood(prompt, prompt.candidates).logprobs for prompt in prompts]
    targets = [question.target for question in chosen.questions]
    assert fitted == pytest.approx(fit_temperature(scores, targets), rel=1e-3)
    assert taught.profile is not None
    assert taught.profile.weights == weights.describe().key
    assert taught.profile.details["temperature"] == fitted
    assert taught.temperature == chosen.scoring.temperature


def test_one_order_takes_the_prior_off_too(
    shop: Store, ground: Ground, spelling: EmbeddedBackend
) -> None:
    once = listening(shop, ground, spelling, scoring="letters")
    assert once.orders == 1
    chosen = finished(choose(once, ground, configured(scoring="letters")))[1]
    scoring: Scoring = chosen.scoring
    assert (scoring.orders, len(scoring.prior)) == (1, 6)
    requests = once.requests(chosen.questions, "choose", "letters")
    answers = shop.labels.get([request.key for request in requests])
    for request, scores in zip(requests, chosen.asked.scores, strict=True):
        np.testing.assert_allclose(
            scores, np.array(answers[request.key].scores) - scoring.prior, atol=1e-12
        )
