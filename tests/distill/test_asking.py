from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from distill.asking import GATE_SCOPE, Chosen, Gate, ask, choose, judge, refusal
from distill.config import DistilConfig, check
from distill.ground import Ground, prepare
from recommender.backends.embedded import EmbeddedBackend
from recommender.calibration import fit_temperature
from recommender.evaluation import evaluate_candidates
from recommender.events import Notice, StageStarted
from recommender.requests import OPEN, Question
from recommender.scoring import Scoring, combine
from storage.errors import BadData, BadSetting, TeacherUnfit
from storage.store import Store
from tests.distill.conftest import configured
from tests.tiny import SHOP, Counting, Letters, add_shop, finished


def choosing(
    shop: Store, ground: Ground, config: DistilConfig, model: EmbeddedBackend | Counting
) -> Chosen:
    return finished(choose(shop, ground, config, model))[1]


def test_the_way_is_chosen_on_one_slice_and_the_gate_keeps_another(
    shop: Store, ground: Ground, model: EmbeddedBackend
) -> None:
    said, chosen = finished(choose(shop, ground, configured(), model))
    assert chosen.scoring.requests == 20
    assert len(chosen.gate) == 25
    asked = shop.labels.requests(1, purpose="choose", method="likelihood")
    assert len(asked) == 20
    assert not {r.user for r in asked} & {q.user for q in chosen.gate}
    assert {r.event for r in asked} <= set(ground.split.events("valid").tolist())
    answers = shop.labels.get([request.key for request in asked])
    scores = [np.array(answers[request.key].scores) for request in asked]
    targets = [request.target for request in asked]
    assert chosen.title_temperature == pytest.approx(fit_temperature(scores, targets))
    assert chosen.seconds == np.median([answer.seconds for answer in answers.values()])
    assert [event.stage for event in said if isinstance(event, StageStarted)] == [
        "teacher: choose",
        "titles by themselves",
        "teacher: choose, by letters",
    ]


def test_choosing_again_asks_nothing_and_chooses_the_same(
    shop: Store, ground: Ground, model: EmbeddedBackend
) -> None:
    first = choosing(shop, ground, configured(), model)
    backend = Counting(model)
    again = choosing(shop, ground, configured(), backend)
    assert backend.prompts == backend.titles == []
    assert (again.scoring, again.gate) == (first.scoring, first.gate)
    assert again.title_temperature == first.title_temperature
    assert again.seconds == first.seconds


def test_letters_that_are_declined_are_no_way(
    shop: Store, ground: Ground, model: EmbeddedBackend
) -> None:
    said, chosen = finished(choose(shop, ground, configured(), model))
    assert (
        Notice("20 of 20 questions by letter were declined: letters are no way of scoring here")
        in said
    )
    assert not any(way.startswith("letters") for way in chosen.scoring.table)
    with pytest.raises(TeacherUnfit, match=r"declined.*'letters\+cosine'"):
        choosing(shop, ground, configured(scoring="letters+cosine"), model)


def test_letters_that_are_named_are_compared_with_the_rest(
    shop: Store, ground: Ground, spelling: EmbeddedBackend
) -> None:
    said, chosen = finished(choose(shop, ground, configured(), spelling))
    assert not any(isinstance(event, Notice) for event in said)
    assert {"letters", "letters+cosine", "likelihood", "minus+cosine"} <= set(chosen.scoring.table)
    fixed = choosing(shop, ground, configured(scoring="letters"), spelling)
    assert (fixed.scoring.way, set(fixed.scoring.table)) == ("letters", {"letters"})


def test_a_fixed_way_is_kept_and_asks_no_letters(
    shop: Store, ground: Ground, model: EmbeddedBackend
) -> None:
    chosen = choosing(shop, ground, configured(scoring="half"), model)
    assert set(chosen.scoring.table) == {"half"}
    assert shop.labels.requests(1, method="letters") == []


def test_long_lists_are_not_lettered(shop: Store, ground: Ground, model: EmbeddedBackend) -> None:
    choosing(shop, ground, configured(candidates=21, choose_requests=3, gate_requests=3), model)
    assert shop.labels.requests(1, method="letters") == []


def test_a_validation_of_too_few_people_is_an_error(store: Store, model: EmbeddedBackend) -> None:
    add_shop(store, people=14)
    config = configured()
    ground = finished(prepare(store, config, Letters()))[1]
    with pytest.raises(BadData, match=f"validation of '{SHOP}' has requests of too few people"):
        choosing(store, ground, config, model)


def test_the_gate_measures_everyone_on_the_same_candidates(
    shop: Store, ground: Ground, model: EmbeddedBackend
) -> None:
    config = configured(scoring="likelihood")
    chosen = choosing(shop, ground, config, model)
    gate = finished(judge(shop, ground, config, model, chosen))[1]
    asked = shop.labels.requests(1, purpose="gate")
    assert [request.event for request in asked] == [question.event for question in chosen.gate]
    answers = shop.labels.get([request.key for request in asked])
    ranks = []
    for request in asked:
        own = answers[request.key].scores
        ranks.append(sum(score >= own[request.target] for score in own))
    np.testing.assert_array_equal(gate.teacher.ranks, ranks)
    assert gate.teacher.scope == GATE_SCOPE
    assert [other.name for other in gate.others] == ["popularity", "item-knn", "text"]
    popular = []
    for request in asked:
        own = ground.popularity.counts[list(request.candidates)]
        popular.append((own >= own[request.target]).sum())
    np.testing.assert_array_equal(gate.others[0].ranks, popular)
    assert gate.chance == pytest.approx(sum(1 / rank for rank in range(1, 7)) / 6)
    reciprocal = 1 / np.array(ranks)
    assert gate.standard_error == pytest.approx(reciprocal.std(ddof=1) / 5)
    assert 0 <= gate.calibration_error <= 1


def test_a_teacher_of_random_weights_is_unfit(
    shop: Store, ground: Ground, model: EmbeddedBackend
) -> None:
    config = configured(scoring="likelihood", ignore_gate=False)
    chosen = choosing(shop, ground, config, model)
    with pytest.raises(TeacherUnfit) as unfit:
        finished(judge(shop, ground, config, model, chosen))
    said = str(unfit.value)
    assert "not rank better than chance on 25 validation requests: MRR teacher 0." in said
    assert all(name in said for name in ("popularity 0.", "item-knn 0.", "text 0.", "chance 0.408"))
    assert said.endswith("next: recsys distill --ignore-gate to go on anyway")


def test_an_ignored_gate_is_said(shop: Store, ground: Ground, model: EmbeddedBackend) -> None:
    config = configured(scoring="likelihood")
    chosen = choosing(shop, ground, config, model)
    said, gate = finished(judge(shop, ground, config, model, chosen))
    assert not gate.passed
    assert said[-1] == Notice(
        "the teacher is not above chance; going on because the gate is ignored"
    )


def gate_of(ranks: list[int]) -> Gate:
    scores = [np.array([0.0, *[1.0] * (rank - 1), *[-1.0] * (10 - rank)]) for rank in ranks]
    users = np.arange(len(ranks))
    found = evaluate_candidates("teacher", GATE_SCOPE, scores, [0] * len(ranks), users)
    spread = (1 / np.array(ranks)).std(ddof=1) / np.sqrt(len(ranks))
    return Gate(found, (), 0.293, float(spread), 0.0)


@pytest.mark.parametrize(
    ("ranks", "passed"),
    [
        ([1, 2, 1, 3] * 25, True),
        ([10, 9, 10, 8] * 25, False),
        ([1, 10, 10, 10] * 25, False),  # 0.325 is above 0.293, not by two standard errors
        ([1, 10, 10, 10] * 250, True),
    ],
)
def test_above_chance_is_by_two_standard_errors(ranks: list[int], passed: bool) -> None:
    assert gate_of(ranks).passed is passed
    assert f"on {len(ranks)} validation requests" in refusal(gate_of(ranks))


def test_a_declined_answer_has_the_last_rank(
    shop: Store, ground: Ground, model: EmbeddedBackend
) -> None:
    questions = choosing(shop, ground, configured(scoring="half"), model).gate[:4]
    for way in ("letters", "letters+cosine"):
        asked = finished(ask(shop, ground, model, questions, Scoring(way, 1.0, 0, {}), "gate"))[1]
        assert all(evidence.letters is None for evidence in asked.evidence)
        np.testing.assert_array_equal(np.stack(asked.scores), np.zeros((4, 6)))


def test_answers_are_combined_by_the_way_that_was_chosen(
    shop: Store, ground: Ground, model: EmbeddedBackend
) -> None:
    questions = [Question(0, OPEN, (1, 2), (5, 6, 7), OPEN), Question(1, 3, (9,), (5, 8, 1), 2)]
    scoring = Scoring("minus+cosine", 1.0, 0, {})
    asked = finished(ask(shop, ground, model, questions, scoring, "train"))[1]
    for evidence, scores, request in zip(asked.evidence, asked.scores, asked.requests, strict=True):
        np.testing.assert_array_equal(scores, combine("minus+cosine", evidence))
        titles = [ground.texts.titles[item] for item in request.candidates]
        prompt = ground.texts.prompt(request)
        np.testing.assert_allclose(
            evidence.likelihood, model.likelihood(prompt, titles).logprobs, atol=1e-4
        )
        np.testing.assert_allclose(
            evidence.unconditional,
            model.unconditional(titles, noun=ground.texts.noun).logprobs,
            atol=1e-4,
        )


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (configured(candidates=1), "1 candidates"),
        (configured(candidates=101), "101 candidates"),
        (configured(history_length=0), "history"),
        (configured(open_share=1.5), "open_share"),
        (configured(requests=-1), "negative"),
        (replace(configured(), minutes=-0.5), "negative"),
        (configured(scoring="guess"), r"no way of scoring 'guess'.*minus\+cosine"),
        (configured(scoring="letters", candidates=21), "21 candidates are too many for letters"),
    ],
)
def test_settings_that_cannot_work_are_refused(config: DistilConfig, words: str) -> None:
    check(configured())
    with pytest.raises(BadSetting, match=words):
        check(config)
