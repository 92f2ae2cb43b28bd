"""Every published method that compares token by token, at work on a small teacher."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
import torch

from distill.config import DistilConfig, LossConfig
from distill.data import MovingWeights
from distill.language.learner import LlamaLearner, Taught
from distill.language.loop import LoopConfig, Place, fit
from distill.methods import METHODS, TOKEN_METHODS, Setting, method, with_method
from distill.training import StepDone
from recommender.backends.embedded import EmbeddedBackend
from tests.distill.language.classroom import (
    fitted,
    gradients,
    losses_of,
    same,
    small_student,
    texts,
)

COMPARING = [name for name in TOKEN_METHODS if name != "layerdrop"]
IMPORTANCE = (1.0, 3.0, 2.0)
SETTING = Setting.of(3, 2, LossConfig(), IMPORTANCE)
ON_TOKENS = [name for name, one in METHODS.items() if one.matches(SETTING)]
"""Methods for students of either family that compare layers."""
EIGHT = range(8)


def before_its_lessons(
    model: EmbeddedBackend, name: str, *, lessons: int = 8, **loss: Any
) -> LlamaLearner:
    """A small student of a method, made of the configuration that the method makes."""
    config = with_method(DistilConfig("Books").with_language(layers=2), name).with_loss(**loss)
    assert config.language is not None
    setting = Setting.of(3, 2, config.loss, IMPORTANCE)
    every = {**METHODS, **TOKEN_METHODS}[name].matches(setting)
    matches = every if config.loss.layer else ()
    return LlamaLearner(
        small_student(model.model),
        texts(model, lessons),
        texts(model, 4, first=16),
        Taught(model.model, "the small Llama", matches, config.loss),
        name=name,
        seed=0,
        layerdrop=config.language.layerdrop,
    )


def layer_losses(model: EmbeddedBackend, name: str, steps: int) -> list[float]:
    """Its own layer losses on one batch, which it learns from alone, within the first stage."""
    # In FitNets' first stage there is nothing else; balanced, they would follow what is said.
    shares = {"task": 0.0, "output": 0.0, "balance": False, "begins": 0.0, "layer_fade": 0.0}
    one = before_its_lessons(model, name, lessons=4, **shares)
    config = LoopConfig(
        steps=4 * steps, batch=4, learning_rate=3e-3, warmup=0.0, evaluate_every=4 * steps
    )
    done = (event for event in fit(one, config) if isinstance(event, StepDone))
    return losses_of(list(islice(done, steps)), "layers")


@pytest.mark.parametrize("name", TOKEN_METHODS)
def test_three_steps_of_every_method(model: EmbeddedBackend, name: str) -> None:
    one = before_its_lessons(model, name)
    result, said = fitted(one, LoopConfig(steps=3, learning_rate=3e-3, evaluate_every=3))
    losses = losses_of(said)
    assert len(losses) == 3
    assert all(torch.isfinite(torch.tensor(losses)))
    assert all(torch.isfinite(weight).all() for weight in result.best.values())


@pytest.mark.parametrize(
    "name", [*COMPARING, *(pytest.param(one, marks=pytest.mark.slow) for one in ON_TOKENS)]
)
def test_its_layer_losses_fall_on_one_batch(model: EmbeddedBackend, name: str) -> None:
    """Thirty steps bring them down by a fifth at least, some of them by far more."""
    losses = layer_losses(model, name, 30)
    assert len(losses) == 30
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("name", [*COMPARING, *ON_TOKENS])
def test_its_term_is_on(model: EmbeddedBackend, name: str) -> None:
    """The student's gradient is another one than that of the same arm without the term.

    The two share weights, lessons and whatever is drawn, so without it they would be equal.
    """
    on, off, without = (
        gradients(before_its_lessons(model, name, lessons=4, **changes), [range(4)])
        for changes in ({}, {"layer": 0.0, "begins": 0.0}, {"layer": 0.0, "begins": 0.0})
    )
    assert same(off, without)
    apart = [
        float((grad - off.get(weight, torch.zeros(()))).abs().max() / grad.abs().max())
        for weight, grad in on.items()
        if weight.startswith("student.model.layers.")
    ]
    assert max(apart) > 1e-3


def test_fitnets_has_two_stages(model: EmbeddedBackend) -> None:
    one = before_its_lessons(model, "fitnets")
    _, said = fitted(one, LoopConfig(steps=4, evaluate_every=4))
    assert all(part > 0 for part in losses_of(said, "layers")[:2])
    assert losses_of(said, "layers")[2:] == [0, 0]
    steps = [event.parts for event in said if hasattr(event, "parts")]
    assert [set(parts) for parts in steps] == [{"layers"}] * 2 + [{"task", "output", "layers"}] * 2
    touched = gradients(one, [EIGHT])
    assert any("layers.0." in name for name in touched)
    assert not any("layers.1." in name for name in touched), "layers above the hint are not learned"


def test_layerdrop_needs_no_teacher_and_leaves_layers_out(model: EmbeddedBackend) -> None:
    one = before_its_lessons(model, "layerdrop")
    assert one.layerdrop > 0
    _, said = fitted(one, LoopConfig(steps=3))
    assert {*said[1].parts} == {"task"}  # type: ignore[attr-defined]
    found = [
        sum(
            any(f"layers.{n}." in name for name in gradients(one, [[0]], step=step)) for n in (0, 1)
        )
        for step in range(30)
    ]
    assert set(found) == {1, 2}


def test_minitrons_layers_count_as_much_as_what_is_said(model: EmbeddedBackend) -> None:
    one = before_its_lessons(model, "minitron", layer_fade=0.0)
    parts = one.losses(EIGHT, Place(0, 10, 0, tuple(EIGHT)))
    assert parts["layers"].item() == pytest.approx(parts["output"].item(), rel=1e-5)
    halved = before_its_lessons(model, "minitron", layer_fade=0.0, layer=0.5)
    parts = halved.losses(EIGHT, Place(0, 10, 0, tuple(EIGHT)))
    assert parts["layers"].item() == pytest.approx(parts["output"].item() / 2, rel=1e-5)


@pytest.mark.parametrize("name", ["attention-transfer", "tinybert", "minitron", "uniform"])
def test_every_method_takes_a_cut_for_the_layers_it_stands_for(name: str) -> None:
    """Regression: published maps spread a cut's layers evenly, whatever it had kept."""
    ends = (1, 2, 3, 30)
    setting = Setting(30, ends, LossConfig())
    matched = {one.student: one.teacher for one in method(name).matches(setting) if one.student}
    assert tuple(matched[m] for m in (1, 2, 3, 4)) == ends


def test_fitnets_hints_at_what_the_middle_layer_stands_for() -> None:
    [hint] = method("fitnets").matches(Setting(30, (1, 2, 3, 30), LossConfig()))
    assert (hint.teacher, hint.student) == (2, 2)


def test_weights_that_move_follow_the_students_gradients(model: EmbeddedBackend) -> None:
    config = with_method(DistilConfig("Books"), "uniform").with_loss(dynamic="student")
    setting = Setting.of(3, 2, config.loss, IMPORTANCE)
    matches = METHODS["uniform"].matches(setting)
    moving = MovingWeights("student", 0.5, setting.ends)
    one, still = (
        LlamaLearner(
            small_student(model.model),
            texts(model, 8),
            texts(model, 4, first=16),
            Taught(model.model, "the small Llama", matches, config.loss, given),
            name="moving",
            seed=0,
        )
        for given in (moving, None)
    )
    assert one.scale.factors() == [1, 1]
    first = [gradients(each, [EIGHT]) for each in (one, still)]
    assert same(*first)
    one.follow()
    squares = [
        sum(float(g.double().square().sum()) for n, g in first[0].items() if f"layers.{m}." in n)
        for m in (0, 1)
    ]
    assert one.scale.factors() == pytest.approx([2 * s / sum(squares) for s in squares], rel=1e-5)
    assert not same(gradients(one, [EIGHT]), gradients(still, [EIGHT]))
