from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from distill.asking import (
    GATE_SCOPE,
    Asked,
    Chosen,
    Gate,
    ask,
    choose,
    judge,
    methods_of,
    people_in,
    refusal,
    slice_sizes,
)
from distill.config import DistilConfig, TeacherConfig, check
from distill.ground import Ground, prepare
from recommender.asking.requests import OPEN, Question
from recommender.backends import Ability, example_card
from recommender.backends.embedded import EmbeddedBackend
from recommender.calibration import fit_temperature
from recommender.evaluation import evaluate_candidates
from recommender.events import Notice, StageStarted
from recommender.scoring import Scoring, combine
from storage.errors import BadData, BadSetting, TeacherUnfit
from storage.store import Store
from tests.distill.conftest import configured, listening
from tests.tiny import SHOP, Counting, Letters, add_shop, finished


def choosing(
    shop: Store, ground: Ground, model: EmbeddedBackend | Counting, **teacher: object
) -> Chosen:
    one = listening(shop, ground, model, **teacher)
    return finished(choose(one, ground, configured(**teacher)))[1]


def test_the_way_is_chosen_on_one_slice_and_the_gate_keeps_another(
    shop: Store, ground: Ground, model: EmbeddedBackend
) -> None:
    one = listening(shop, ground, model)
    said, chosen = finished(choose(one, ground, configured()))
    assert chosen.scoring.requests == len(chosen.questions) == len(chosen.asked.requests) == 20
    assert len(chosen.gate) == 25
    asked = shop.labels.requests(1, purpose="choose", method="likelihood")
    assert len(asked) == 20
    assert not {r.user for r in asked} & {q.user for q in chosen.gate}
    assert {r.event for r in asked} <= set(ground.split.events("valid").tolist())
    answers = shop.labels.get([request.key for request in asked])
    scores = [np.array(answers[request.key].scores) for request in asked]
    targets = [request.target for request in asked]
    assert chosen.title_temperature == pytest.approx(fit_temperature(scores, targets))
    assert chosen.scoring.method == "likelihood"
    assert chosen.seconds == np.median([answer.seconds for answer in answers.values()])
    for scores, evidence in zip(chosen.asked.scores, chosen.asked.evidence, strict=True):
        np.testing.assert_array_equal(scores, combine(chosen.scoring.way, evidence))
    assert [event.stage for event in said if isinstance(event, StageStarted)] == [
        "teacher: choose",
        "teacher: choose, by letters",
        "titles by themselves",
    ]


def test_choosing_again_asks_nothing_and_chooses_the_same(
    shop: Store, ground: Ground, model: EmbeddedBackend
) -> None:
    first = choosing(shop, ground, model)
    backend = Counting(model)
    again = choosing(shop, ground, backend)
    assert backend.prompts == backend.titles == []
    assert (again.scoring, again.gate) == (first.scoring, first.gate)
    assert again.title_temperature == first.title_temperature
    assert again.seconds == first.seconds


def test_letters_that_are_declined_are_no_way(
    shop: Store, ground: Ground, model: EmbeddedBackend
) -> None:
    said, chosen = finished(choose(listening(shop, ground, model), ground, configured()))
    assert Notice("20 of 20 questions by letters are no labels: 20 declined") in said
    assert not any(way.startswith("letters") for way in chosen.scoring.table)
    for asked in ({"scoring": "letters+cosine"}, {"mode": "letters"}):
        with pytest.raises(TeacherUnfit, match=r"most of 20 questions \(by letters: 20 declined\)"):
            choosing(shop, ground, model, **asked)


def test_letters_that_are_named_are_compared_with_the_rest(
    shop: Store, ground: Ground, spelling: EmbeddedBackend
) -> None:
    said, chosen = finished(choose(listening(shop, ground, spelling), ground, configured()))
    assert not any(isinstance(event, Notice) for event in said)
    assert {"letters", "letters+cosine", "likelihood", "minus+cosine"} <= set(chosen.scoring.table)
    fixed = choosing(shop, ground, spelling, scoring="letters")
    assert (fixed.scoring.way, set(fixed.scoring.table)) == ("letters", {"letters"})
    assert fixed.title_temperature == chosen.title_temperature


def test_a_fixed_way_is_kept_and_asks_no_letters(
    shop: Store, ground: Ground, model: EmbeddedBackend
) -> None:
    chosen = choosing(shop, ground, model, scoring="half")
    assert set(chosen.scoring.table) == {"half"}
    assert shop.labels.requests(1, method="letters") == []


def test_long_lists_are_not_lettered(shop: Store, ground: Ground, model: EmbeddedBackend) -> None:
    choosing(shop, ground, model, candidates=21, choose_requests=3, gate_requests=3)
    assert shop.labels.requests(1, method="letters") == []


def test_prompts_show_the_fields_asked_for_and_vectors_are_of_titles(shop: Store) -> None:
    plain = finished(prepare(shop, configured(), Letters()))[1]
    ground = finished(prepare(shop, configured(item_fields=("brand",)), Letters()))[1]
    assert ground.titles == plain.titles == plain.texts.titles
    assert any("(brand: " in text for text in ground.texts.titles)
    np.testing.assert_array_equal(ground.vectors, plain.vectors)
    np.testing.assert_allclose(ground.vectors[:9], ground.encoder.encode(ground.titles[:9]))


def test_a_validation_of_too_few_people_is_an_error(store: Store, model: EmbeddedBackend) -> None:
    add_shop(store, people=8)  # three of them have a validation request
    ground = finished(prepare(store, configured(), Letters()))[1]
    with pytest.raises(BadData, match=f"validation of '{SHOP}' has requests of too few people"):
        choosing(store, ground, model)


def test_few_people_are_shared_by_the_two_slices(store: Store, model: EmbeddedBackend) -> None:
    add_shop(store, people=16)
    ground = finished(prepare(store, configured(), Letters()))[1]
    people = people_in(ground.split)
    assert people == len({int(ground.split.log.user[e]) for e in ground.split.events("valid")}) == 7
    chosen = choosing(store, ground, model)
    assert (len(chosen.questions), len(chosen.gate)) == (3, 4)
    everyone = [question.user for question in (*chosen.questions, *chosen.gate)]
    assert len(set(everyone)) == 7


@pytest.mark.parametrize(
    ("people", "sizes"),
    [
        (400, (90, 120)),
        (210, (90, 120)),
        (150, (90, 120)),  # the gate gets the sixty that are left
        (120, (90, 120)),
        (119, (59, 60)),
        (7, (3, 4)),
        (1, (0, 1)),
    ],
)
def test_fewer_than_thirty_at_the_gate_means_halves(people: int, sizes: tuple[int, int]) -> None:
    assert slice_sizes(TeacherConfig(), people) == sizes


def test_the_gate_measures_everyone_on_the_same_candidates(
    shop: Store, ground: Ground, model: EmbeddedBackend
) -> None:
    config = configured(scoring="likelihood")
    chosen = choosing(shop, ground, model, scoring="likelihood")
    gate = finished(judge(listening(shop, ground, model), ground, config, chosen))[1]
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
    chosen = choosing(shop, ground, model, scoring="likelihood")
    with pytest.raises(TeacherUnfit) as unfit:
        finished(judge(listening(shop, ground, model), ground, config, chosen))
    said = str(unfit.value)
    assert "not rank better than chance on 25 validation requests: MRR teacher 0." in said
    assert all(name in said for name in ("popularity 0.", "item-knn 0.", "text 0.", "chance 0.408"))
    assert said.endswith("next: recsys distill --ignore-gate to go on anyway")


def test_an_ignored_gate_is_said(shop: Store, ground: Ground, model: EmbeddedBackend) -> None:
    config = configured(scoring="likelihood")
    chosen = choosing(shop, ground, model, scoring="likelihood")
    said, gate = finished(judge(listening(shop, ground, model), ground, config, chosen))
    assert not gate.passed
    assert said[-1] == Notice(
        "the teacher is not above chance: recsys distill learns from it with --ignore-gate only"
    )


@pytest.mark.parametrize(
    ("teacher", "abilities", "methods"),
    [
        ({}, ("likelihood", "letters", "text", "json"), ("likelihood", "letters")),
        ({}, ("letters", "text", "json"), ("letters",)),
        ({}, ("text", "json"), ("ranking",)),
        ({}, ("similarity",), ("similarity",)),
        ({"candidates": 21}, ("likelihood", "letters"), ("likelihood",)),
        ({"mode": "ranking"}, ("letters", "text", "json"), ("ranking",)),
        ({"mode": "generate"}, ("letters", "text", "json"), ("generate",)),
        ({"mode": "embedding"}, ("similarity",), ("similarity",)),
        ({"scoring": "letters+cosine"}, ("likelihood", "letters"), ("likelihood", "letters")),
        ({"scoring": "letters"}, ("letters", "json"), ("letters",)),
        ({"scoring": "half"}, ("likelihood", "letters"), ("likelihood",)),
    ],
)
def test_a_teacher_is_asked_by_what_it_can(
    teacher: dict[str, object], abilities: tuple[Ability, ...], methods: tuple[str, ...]
) -> None:
    assert methods_of(configured(**teacher), example_card(*abilities)) == methods


@pytest.mark.parametrize(
    ("teacher", "abilities", "words"),
    [
        ({}, (), "cannot be asked by anything: it can by nothing"),
        ({}, ("text",), "cannot be asked by anything: it can by generate"),
        ({"candidates": 21}, ("letters", "text"), "cannot be asked by anything"),
        ({"mode": "ranking"}, ("letters", "text"), "by ranking: it can by letters, generate"),
        ({"mode": "likelihood"}, ("letters",), "by likelihood: it can by letters"),
        ({"scoring": "minus"}, ("letters", "json"), "by likelihood: it can by letters"),
    ],
)
def test_a_teacher_that_cannot_do_what_is_wanted_is_unfit(
    teacher: dict[str, object], abilities: tuple[Ability, ...], words: str
) -> None:
    with pytest.raises(TeacherUnfit, match=words):
        methods_of(configured(**teacher), example_card(*abilities))


def gate_of(ranks: list[int]) -> Gate:
    scores = [np.array([0.0, *[1.0] * (rank - 1), *[-1.0] * (10 - rank)]) for rank in ranks]
    users = np.arange(len(ranks))
    found = evaluate_candidates("teacher", GATE_SCOPE, scores, [0] * len(ranks), users)
    spread = (1 / np.array(ranks)).std(ddof=1) / np.sqrt(len(ranks))
    return Gate(found, (), 0.293, float(spread), 0.0, Asked((), (), (), ()))


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
    chosen = choosing(shop, ground, model, scoring="half")
    for way in ("letters", "letters+cosine"):
        by_letters = replace(chosen, scoring=Scoring(way, 1.0, 0, {}))
        one = listening(shop, ground, model)
        said, asked = finished(ask(one, chosen.gate[:4], by_letters, "gate"))
        assert said[-1] == Notice("4 of 4 questions by letters are no labels: 4 declined")
        assert asked.heard == (False,) * 4
        assert all(evidence.letters is None for evidence in asked.evidence)
        np.testing.assert_array_equal(np.stack(asked.scores), np.zeros((4, 6)))
        assert asked.only_heard()[1] == []


def test_answers_are_combined_by_the_way_that_was_chosen(
    shop: Store, ground: Ground, model: EmbeddedBackend
) -> None:
    questions = [Question(0, OPEN, (1, 2), (5, 6, 7), OPEN), Question(1, 3, (9,), (5, 8, 1), 2)]
    scoring = Scoring("minus+cosine", 1.0, 0, {})
    chosen = Chosen(scoring, None, 0.1, {}, Asked((), (), (), ()), (), ())
    one = listening(shop, ground, model)
    asked = finished(ask(one, questions, chosen, "train"))[1]
    assert asked.heard == (True, True)
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
        (configured(mode="letters", candidates=21), "21 candidates are too many for letters"),
        (configured(mode="ranking", candidates=21), "21 candidates are too many for letters"),
    ],
)
def test_settings_that_cannot_work_are_refused(config: DistilConfig, words: str) -> None:
    check(configured())
    with pytest.raises(BadSetting, match=words):
        check(config)
