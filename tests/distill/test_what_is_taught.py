"""From answers to what a student hears: labels, layer weights, shares, and how many answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from distill.asking import Asked, Chosen
from distill.ground import Ground
from distill.lesson import distillation, importance_of, lesson_of, observed_events, taught_share
from distill.losses import soft_label_kl
from distill.matches import matched_layers
from distill.methods import with_method
from distill.teaching import FEWEST, Taught, affordable, plan_requests
from recommender.backends.embedded import EmbeddedBackend
from recommender.calibration import probabilities
from recommender.events import Notice
from recommender.scoring import Evidence, Scoring
from storage.errors import BadSetting
from storage.records import LabelRequest, LayerProfile
from storage.store import Store
from tests.distill.conftest import configured
from tests.tiny import finished

CHOSEN = Chosen(Scoring("likelihood", 40.0, 20, {}), 40.0, 0.01, {}, Asked((), (), (), ()), (), ())


# --- training material


@dataclass(frozen=True)
class Held:
    """States that are in memory."""

    array: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.array.shape

    def at(self, layers: Sequence[int]) -> np.ndarray:
        return self.array[:, list(layers)]


def taught(requests: int = 12, *, layers: int = 6, profile: bool = True) -> Taught:
    rng = np.random.default_rng(0)
    asked = [
        LabelRequest(
            key=f"{n}",
            category_id=1,
            purpose="train",
            user=n,
            event=n,
            history=tuple(range(n + 1)),
            candidates=tuple(range(50 * n, 50 * n + 4)),
            target=0,
            teacher="t",
            method="likelihood",
        )
        for n in range(requests)
    ]
    importance = tuple(float(v) for v in range(1, layers + 1))
    measured = LayerProfile("k", 1, "t", "fisher", 4, importance, importance, importance, "a")
    return Taught(
        Asked(
            tuple(asked),
            tuple(Evidence(0) for _ in asked),
            tuple(30 * rng.normal(size=4) for _ in asked),
            (True,) * requests,
        ),
        Held(rng.normal(size=(requests, layers + 1, 8)).astype(np.float32)),
        measured if profile else None,
        40.0,
    )


def test_labels_are_the_scores_at_the_fitted_temperature() -> None:
    one = taught()
    lesson = distillation(one, configured(), observed=12)
    expected = np.stack([probabilities(scores, 40.0) for scores in one.asked.scores])
    np.testing.assert_allclose(lesson.labels, expected, rtol=1e-6)
    np.testing.assert_allclose(lesson.labels.sum(axis=1), 1, rtol=1e-6)
    for history, candidates, request in zip(
        lesson.histories, lesson.candidates, one.asked.requests, strict=True
    ):
        assert (tuple(history), tuple(candidates)) == (request.history, request.candidates)
    assert one.states is not None
    np.testing.assert_array_equal(lesson.states, one.states.at(matched_layers(6, 2)))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_who_says_what_the_teacher_says_has_nothing_to_learn(temperature: float) -> None:
    """Regression: labels stayed as sharp as they were where the divergence was softened."""
    one = taught()
    lesson = distillation(one, configured().with_loss(temperature=temperature), observed=12)
    same = torch.from_numpy(np.stack(one.asked.scores) / one.temperature)
    labels = torch.from_numpy(lesson.labels)
    assert soft_label_kl(same, labels, lesson.temperature).item() == pytest.approx(0, abs=1e-6)
    other = configured().with_loss(temperature=temperature, divergence="bernoulli")
    calibrated = distillation(one, configured(), observed=12).labels
    np.testing.assert_array_equal(distillation(one, other, observed=12).labels, calibrated)


def test_a_teacher_without_weights_teaches_no_layers(shop: Store) -> None:
    """Regression: the student heard nothing, and was called distilled."""
    bare = replace(taught(), states=None, profile=None)
    with pytest.raises(BadSetting, match="'layers-only' hears nothing but layers"):
        lesson_of(shop, bare, with_method(configured(), "layers-only"), observed=12)
    assert lesson_of(shop, bare, configured(), observed=12) is not None


def test_a_block_that_predicts_for_itself_learns_from_the_log_however_few_answers() -> None:
    """Regression: its share of the loss fell with the answers, though it hears none."""
    config = with_method(configured(), "slmrec")
    few = distillation(taught(), config, observed=1200)
    assert few.layers == pytest.approx(config.loss.layer * 0.01)
    assert few.supervision == config.loss.layer


@pytest.mark.parametrize("blocks", [1, 2, 3])
@pytest.mark.parametrize("mode", ["fisher-ld", "uniform"])
def test_layer_weights_sum_to_the_number_of_blocks(blocks: int, mode: str) -> None:
    config = with_method(configured(), mode)
    network = replace(config.student.network, blocks=blocks)
    lesson = distillation(taught(), config.with_student(network=network), observed=12)
    assert sum(lesson.layer_weights) == pytest.approx(blocks)
    if mode == "uniform":
        assert set(lesson.layer_weights) == {1.0}
    elif blocks == 2:
        np.testing.assert_allclose(lesson.layer_weights, [2 * 6 / 21, 2 * 15 / 21], rtol=1e-6)


def test_a_student_deeper_than_the_teacher_is_refused() -> None:
    config = configured()
    deep = config.with_student(network=replace(config.student.network, blocks=7))
    with pytest.raises(BadSetting, match="7 layers"):
        distillation(taught(), deep, observed=12)


@pytest.mark.parametrize("count", [2, 3, 12, 40])
def test_permuted_answers_all_go_to_somebody_else(count: int) -> None:
    one = taught(count)
    config = configured()
    told = distillation(one, config, observed=count)
    dealt = distillation(one, config.with_loss(permute_labels=True), observed=count)
    whose = [
        next(n for n in range(count) if (told.candidates[n] == row).all())
        for row in dealt.candidates
    ]
    assert sorted(whose) == list(range(count))
    assert all(n != place for place, n in enumerate(whose))
    np.testing.assert_array_equal(dealt.labels, told.labels[whose])
    assert told.states is not None
    np.testing.assert_array_equal(dealt.states, told.states[whose])
    for mine, kept in zip(dealt.histories, told.histories, strict=True):
        np.testing.assert_array_equal(mine, kept)
    # The marginals: what is said over all requests is what was said.
    np.testing.assert_array_equal(np.sort(dealt.labels, axis=0), np.sort(told.labels, axis=0))
    assert dealt.layer_weights == pytest.approx(told.layer_weights)
    again = distillation(one, config.with_loss(permute_labels=True), observed=count)
    np.testing.assert_array_equal(again.candidates, dealt.candidates)


def test_one_answer_counts_as_much_as_one_event() -> None:
    config = configured().with_loss(output=0.8, layer=2.0, task=1.0)
    lesson = distillation(taught(12), config, observed=48)
    assert (lesson.output, lesson.layers, lesson.task) == (0.2, 0.5, 1.0)
    assert taught_share(5, 0) == 1.0


def test_events_are_training_rows_with_a_history(ground: Ground) -> None:
    assert observed_events(ground) == len(ground.split.events("train"))


# --- how many


def test_more_minutes_afford_more_and_never_too_few() -> None:
    config = configured(requests=0)
    counts = [affordable(replace(config, minutes=m), 0.5) for m in (0.1, 5, 10, 20)]
    assert counts[0] == FEWEST
    assert counts == sorted(counts)
    assert counts[3] - counts[2] == pytest.approx(2 * (counts[2] - counts[1]), abs=2)


def test_a_plan_once_made_is_kept_to(shop: Store, ground: Ground, model: EmbeddedBackend) -> None:
    card = model.describe()
    config = replace(configured(requests=0), minutes=2)
    said, first = finished(plan_requests(shop, ground, config, card, 0.5))
    assert first == affordable(config, 0.5)
    assert said == [
        Notice(
            "one request takes 0.50 s here: 2 minutes hardly cover choosing how the teacher scores "
            f"and judging it; {first} training requests are asked all the same"
        )
    ]
    said, again = finished(plan_requests(shop, ground, config, card, 0.01))
    assert again == first
    assert said == [Notice(f"{first} training requests, as planned before")]
    for other in (
        replace(config, minutes=3),
        replace(config, seed=1),
        config.with_teacher(candidates=9),
        config.with_teacher(history_length=9),
        config.with_teacher(fisher_requests=0),
    ):
        assert finished(plan_requests(shop, ground, other, card, 0.1))[1] != first


def test_a_number_that_was_given_is_no_plan(
    shop: Store, ground: Ground, model: EmbeddedBackend
) -> None:
    card = model.describe()
    assert finished(plan_requests(shop, ground, configured(requests=77), card, 9.0)) == ([], 77)
    assert finished(plan_requests(shop, ground, configured(requests=0), card, 9.0)) == ([], 500)


def test_the_criterion_of_the_configuration_weighs_the_layers(shop: Store) -> None:
    """Not the Fisher information, which was measured on the way."""
    one = taught()
    assert one.profile is not None
    category = shop.catalogue.categories()[0].id
    profile = replace(one.profile, category_id=category)
    one = replace(one, profile=profile)
    worth = (9.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    for key, weights, criterion in (
        ("a", profile.weights, "block-influence-listwise"),
        ("b", "other", "taylor-listwise"),
    ):
        shop.runs.add_profile(
            LayerProfile(key, category, weights, criterion, 9, worth, worth, worth, "")
        )
    lesson = lesson_of(shop, one, with_method(configured(), "block-influence"), observed=12)
    assert lesson is not None
    np.testing.assert_allclose(lesson.layer_weights, [1.8, 0.2])
    fisher = distillation(one, configured(), observed=12)
    assert fisher.layer_weights[0] < fisher.layer_weights[1]
    with pytest.raises(BadSetting, match="'taylor' was not measured"):
        lesson_of(shop, one, with_method(configured(), "taylor"), observed=12)


def test_of_as_many_requests_what_was_measured_on_the_way_counts(shop: Store) -> None:
    """Regression: a hash chose among seeds, so another one's measurement changed a student."""
    one = taught()
    assert one.profile is not None
    own = replace(
        one.profile,
        key="z",
        category_id=shop.catalogue.categories()[0].id,
        criterion="fisher-empirical-listwise",
    )
    another = replace(own, key="a", layers=own.layers[::-1])
    shop.runs.add_profile(another)
    shop.runs.add_profile(own)
    for mine in (own, another):
        found = importance_of(shop, replace(one, profile=mine), configured())
        assert found == mine.layers


@pytest.mark.parametrize("by", ["teacher", "student"])
def test_weights_that_move_say_by_what_they_do(by: str) -> None:
    one = replace(taught(), squares=np.ones((9, 6), dtype=np.float32))
    config = configured().with_loss(dynamic=by, eta=0.2, depth_beta=1.0)
    moving = distillation(one, config, observed=12).moving
    assert moving is not None
    assert (moving.by, moving.eta, moving.ends) == (by, 0.2, (3, 6))
    assert moving.emphasis == (1.5, 2.0)
    assert moving.squares is one.squares
    assert distillation(one, configured(), observed=12).moving is None
