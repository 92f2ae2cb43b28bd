"""Which weights of a training are kept: by validation alone, and none that are no numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from distill.language.lessons import Lesson
from distill.language.loop import LoopConfig, fit, load_best
from distill.matches import Match
from distill.training import Evaluated
from recommender.backends.embedded import EmbeddedBackend
from recommender.events import StageDone
from storage.errors import BadSetting
from tests.distill.language.classroom import (
    fitted,
    learner,
    losses_of,
    same,
    texts,
    weights_of,
)

CONFIG = LoopConfig(steps=6, batch=8, learning_rate=5e-3, evaluate_every=2, seed=3)


def contrary(model: EmbeddedBackend) -> tuple[list[Lesson], list[Lesson]]:
    """Lessons, and others of which a student that learns the first by heart knows less."""
    return texts(model, 4), texts(model, 8, first=16)


def by_heart(model: EmbeddedBackend, **more: Any) -> tuple[Any, LoopConfig]:
    training, validation = contrary(model)
    one = learner(model, None, training=training, validation=validation)
    return one, replace(CONFIG, steps=60, learning_rate=2e-2, patience=60, **more)


def test_the_best_of_validation_is_kept_not_the_last(model: EmbeddedBackend) -> None:
    one, config = by_heart(model)
    weights = {}
    for event in fit(one, config):
        if isinstance(event, Evaluated):
            weights[2 * event.epoch] = weights_of(one.module)
    result = event
    scores = {step: score for step, score, _ in result.history}
    assert list(scores) == list(range(2, 61, 2))
    assert scores[result.best_step] == result.score == max(scores.values())
    assert 2 < result.best_step < 50, "else first or last would do as well"
    losses = {step: loss for step, _, loss in result.history}
    assert losses[60] < losses[result.best_step], "by the training loss it would be the last"
    assert same(dict(result.best), weights[result.best_step])
    assert same(weights_of(one.module), weights[60]), "the module has the last ones"
    load_best(one.module, result)
    assert same(weights_of(one.module), weights[result.best_step])
    with torch.no_grad():
        assert one.validate() == result.score


def test_it_stops_when_patience_ends(model: EmbeddedBackend) -> None:
    one, config = by_heart(model)
    patient, _ = fitted(one, config)
    one, config = by_heart(model)
    result, said = fitted(one, replace(config, patience=3))
    assert result.steps == result.best_step + 6 < 60
    assert result.history == patient.history[: len(result.history)]
    assert isinstance(said[-2], StageDone)


def test_patience_begins_when_the_task_does(model: EmbeddedBackend) -> None:
    """Regression: FitNets was stopped in its first stage, in which nothing is validated better."""
    hint = [Match(2, 1, loss="mse", ends=0.5)]
    config = replace(CONFIG, steps=40, patience=3)
    stopped, _ = fitted(learner(model, hint, begins=0.5), config)
    assert stopped.steps < 20
    result, _ = fitted(learner(model, hint, begins=0.5), replace(config, patient_from=0.5))
    assert result.best_step > 20
    assert result.score > stopped.score + 0.1
    # With nothing better in the second stage either, it is three validations there that count.
    one, config = by_heart(model)
    ruined = replace(config, steps=40, learning_rate=0.2, patience=3, patient_from=0.5)
    result, _ = fitted(one, ruined)
    assert result.best_step < 20
    assert result.steps == 26


def test_the_last_step_is_validated_wherever_it_is(model: EmbeddedBackend) -> None:
    result, said = fitted(learner(model, None), replace(CONFIG, steps=5))
    assert [step for step, _, _ in result.history] == [2, 4, 5]
    steps = losses_of(said)
    means = [sum(steps[:2]) / 2, sum(steps[2:4]) / 2, steps[4]]
    assert [loss for _, _, loss in result.history] == pytest.approx(means)


@pytest.mark.parametrize(("steps", "how"), [(50, "loss"), (1, "validation")])
def test_a_training_that_diverges_says_so(model: EmbeddedBackend, steps: int, how: str) -> None:
    """Regression: a last step that ruined the weights was kept as the best one."""
    one = learner(model, None)
    one.student.model.embed_tokens.requires_grad_(False)
    one.student.model.layers.requires_grad_(False)
    config = replace(CONFIG, steps=steps, warmup=0.0, learning_rate=1e30)
    sentence = rf"the training diverged at step \d+: its {how} is -?(nan|inf); try .* below 1e\+30"
    with pytest.raises(BadSetting, match=sentence):
        list(fit(one, replace(config, evaluate_every=50)))


def test_best_weights_go_where_their_names_are() -> None:
    module = nn.ModuleDict({"student": nn.Linear(2, 2), "other": nn.Linear(2, 2)})
    kept = module["other"].weight.detach().clone()
    best = {"student.weight": torch.ones(2, 2)}
    load_best(module, type("Best", (), {"best": best})())  # type: ignore[arg-type]
    assert torch.equal(module["student"].weight, torch.ones(2, 2))
    assert torch.equal(module["other"].weight, kept)
