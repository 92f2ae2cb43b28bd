"""The loop of students that read: schedule, selection by validation, patience, divergence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from distill.language.loop import LoopConfig, Place, fit
from distill.schedule import rate_share
from distill.training import Evaluated, StepDone
from recommender.backends.embedded import EmbeddedBackend
from recommender.events import Progress, StageStarted
from storage.errors import BadSetting
from tests.distill.language.classroom import (
    fitted,
    gradients,
    learner,
    losses_of,
    same,
    texts,
    weights_of,
)

CONFIG = LoopConfig(steps=6, batch=8, learning_rate=5e-3, evaluate_every=2, seed=3)


class Watched:
    """A true task that writes down where it was asked for losses."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.places, self.modes = inner, [], []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def losses(self, examples: Sequence[int], place: Place) -> Mapping[str, Tensor]:
        self.places.append((tuple(examples), place))
        self.modes.append(self.inner.student.training)
        return self.inner.losses(examples, place)

    def validate(self) -> float:
        self.modes.append(self.inner.student.training)
        return self.inner.validate()


# --- one step, whole or in pieces --------------------------------------------------------


def test_pieces_lead_to_the_same_weights(model: EmbeddedBackend) -> None:
    """Eight lessons at once, and one by one, with matches of every feature."""
    ends = []
    for accumulate in (1, 8):
        one = learner(model)
        result, said = fitted(one, replace(CONFIG, steps=4, accumulate=accumulate))
        ends.append((weights_of(one.module), result, losses_of(said)))
    (whole, first, losses), (pieces, second, others) = ends
    begin = weights_of(learner(model).module)
    for name, weight in whole.items():
        moved = float((weight - begin[name]).abs().max())
        assert moved > 1e-4, name
        # Adam divides a gradient by its size, so roundings of one that is hardly there count.
        apart = (pieces[name] - weight).abs()
        assert float(apart.median()) < 2e-3 * moved, name
    assert others == pytest.approx(losses, rel=1e-4)
    assert second.score == pytest.approx(first.score, rel=1e-4)


def test_a_step_in_pieces_knows_the_whole_step(model: EmbeddedBackend) -> None:
    task = Watched(learner(model, None))
    list(fit(task, replace(CONFIG, steps=2, accumulate=4)))
    assert [len(piece) for piece, _ in task.places] == [2] * 8
    for step in range(2):
        pieces = task.places[4 * step : 4 * step + 4]
        whole = tuple(number for piece, _ in pieces for number in piece)
        assert all(place.examples == whole and place.step == step for _, place in pieces)


def test_every_pass_has_every_lesson_once_in_an_order_of_its_own(model: EmbeddedBackend) -> None:
    """Twelve lessons in steps of eight: passes do not end where steps do."""
    task = Watched(learner(model, None, training=texts(model, 12)))
    list(fit(task, replace(CONFIG, steps=6)))
    seen = [number for piece, _ in task.places for number in piece]
    passes = [seen[at : at + 12] for at in range(0, 48, 12)]
    assert all(sorted(one) == list(range(12)) for one in passes)
    assert len({tuple(one) for one in passes}) == 4
    assert [place.epoch for _, place in task.places] == [0, 0, 1, 2, 2, 3]
    assert [place.share for _, place in task.places] == [n / 6 for n in range(6)]
    assert task.modes == [True, True, False] * 3, "dropout is for training alone"


# --- weights and schedule ----------------------------------------------------------------


def test_matrices_decay_and_norms_do_not(model: EmbeddedBackend) -> None:
    """One step of AdamW by hand: with a first step every weight moves by the rate, or not."""
    ends = []
    for decay in (0.0, 0.5):
        one = learner(model, None)
        before = weights_of(one.module)
        list(fit(one, replace(CONFIG, steps=1, warmup=0.0, weight_decay=decay)))
        ends.append(weights_of(one.module))
    for name, weight in before.items():
        decayed = 5e-3 * 0.5 * weight if weight.ndim >= 2 else torch.zeros_like(weight)
        torch.testing.assert_close(ends[0][name] - ends[1][name], decayed, rtol=1e-3, atol=1e-7)


def test_it_is_adamw_of_clipped_gradients(model: EmbeddedBackend) -> None:
    """The same run by hand: gradients, their norm, AdamW, the rate of each step."""
    config = replace(CONFIG, steps=4, clip=0.05, warmup=0.25)
    task = Watched(learner(model))
    list(fit(task, config))
    twin = learner(model)
    named = dict(twin.module.named_parameters())
    decays = ([w for w in named.values() if w.ndim >= 2], [w for w in named.values() if w.ndim < 2])
    optimiser = torch.optim.AdamW(
        [{"params": some, "weight_decay": d} for some, d in zip(decays, (0.01, 0.0), strict=True)]
    )
    for piece, place in task.places:
        found = gradients(twin, [piece], step=place.step, steps=4)
        norm = sum(float(grad.square().sum()) for grad in found.values()) ** 0.5
        assert norm > config.clip, "or nothing is clipped"
        for name, weight in named.items():
            weight.grad = found[name] * (config.clip / norm)
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate * rate_share(place.step, 4, 0.25)
        optimiser.step()
    for name, weight in weights_of(task.inner.module).items():
        torch.testing.assert_close(weight, named[name].detach(), rtol=1e-3, atol=2e-5)


def test_the_rate_rises_and_falls(model: EmbeddedBackend) -> None:
    one = learner(model, None)
    config = replace(CONFIG, steps=8, warmup=0.25, weight_decay=0.0)
    moved, before = [], weights_of(one.module)["student.model.norm.weight"]
    for event in fit(one, config):
        if isinstance(event, StepDone):
            now = weights_of(one.module)["student.model.norm.weight"]
            moved.append(float((now - before).abs().max()))
            before = now
    # Adam's first step has exactly the size of the rate, the second nearly.
    assert moved[0] == pytest.approx(5e-3 / 2, rel=1e-3)
    assert rate_share(7, 8, 0.25) < 0.1
    assert moved[7] < 0.2 * max(moved)


def test_what_asks_for_no_gradient_stays_as_it_is(model: EmbeddedBackend) -> None:
    one = learner(model, None)
    one.student.model.embed_tokens.weight.requires_grad_(False)
    before = weights_of(one.module)
    result, _ = fitted(one, CONFIG)
    after = weights_of(one.module)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == set(before) - {"student.model.embed_tokens.weight"} == set(result.best)
    one.student.requires_grad_(False)
    with pytest.raises(BadSetting, match="nothing of the model is to be learned"):
        next(fit(one, CONFIG))


def test_the_same_seed_is_the_same_run_and_another_is_not(model: EmbeddedBackend) -> None:
    first, again = (fitted(learner(model), CONFIG)[0] for _ in range(2))
    assert same(dict(first.best), dict(again.best))
    assert first.history == again.history
    other, _ = fitted(learner(model), replace(CONFIG, seed=4))
    assert not same(dict(first.best), dict(other.best))


def test_in_half_precision_weights_stay_in_single(model: EmbeddedBackend) -> None:
    one = learner(model)
    exact, _ = fitted(learner(model), CONFIG)
    result, said = fitted(one, replace(CONFIG, precision="bfloat16"))
    assert {weight.dtype for weight in result.best.values()} == {torch.float32}
    assert losses_of(said)[-1] < losses_of(said)[0]
    assert result.score == pytest.approx(exact.score, rel=0.02)
    assert result.score != exact.score


# --- what it says ------------------------------------------------------------------------


def test_it_says_what_it_does(model: EmbeddedBackend) -> None:
    result, said = fitted(learner(model), replace(CONFIG, steps=3), stage="train it")
    assert said[0] == StageStarted("train it", 3, "steps")
    progress = [event for event in said if isinstance(event, Progress)]
    assert [(one.stage, one.done, one.total) for one in progress] == [
        ("train it", n, 3) for n in (1, 2, 3)
    ]
    for event in said:
        if isinstance(event, StepDone):
            assert set(event.parts) == {"task", "output", "layers"}
            assert event.loss == pytest.approx(sum(event.parts.values()))
    assert [e.best for e in said if isinstance(e, Evaluated)][-1] == result.score
    assert 0 < result.seconds_to_best <= result.seconds


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"batch": 0},
        {"batch": 8, "accumulate": 3},
        {"accumulate": 0},
        {"learning_rate": 0.0},
        {"clip": 0.0},
        {"warmup": 1.0},
        {"weight_decay": -0.1},
        {"evaluate_every": 0},
        {"patience": 0},
        {"patient_from": 1.0},
    ],
)
def test_settings_out_of_their_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadSetting, match=r"out of its range|cannot be cut"):
        replace(CONFIG, **wrong)
