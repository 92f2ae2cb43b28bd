"""A training that was stopped ends as one that was not, byte for byte."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from distill.data import MovingWeights
from distill.language.learner import LlamaLearner
from distill.language.loop import Fitted, LoopConfig, Place, fit
from distill.training import Evaluated, StepDone
from recommender.backends.embedded import EmbeddedBackend
from recommender.events import Event, Notice
from storage.errors import ArtifactDamaged, BadSetting
from tests.distill.language import training_job
from tests.distill.language.classroom import (
    EVERY_FEATURE,
    fitted,
    learner,
    losses_of,
    same,
    texts,
    weights_of,
)

CONFIG = LoopConfig(steps=5, batch=4, learning_rate=5e-3, evaluate_every=2, seed=3)
MOVING = MovingWeights("student", 0.1, (1, 3))
ROOT = Path(__file__).parents[3]


def everything(model: EmbeddedBackend) -> LlamaLearner:
    """All that a checkpoint has to know: projections, mixtures, weights that move."""
    return learner(model, EVERY_FEATURE, moving=MOVING)


def left_out(model: EmbeddedBackend) -> LlamaLearner:
    """Layers that some steps give no gradient, and so no moments, to."""
    return learner(model, None, layerdrop=0.5)


TASKS = {"everything": everything, "layers left out": left_out}


def told(said: Sequence[Event]) -> list[tuple[object, ...]]:
    """What was done, without the time it took."""
    return [
        (event.step, event.loss) if isinstance(event, StepDone) else (event.epoch, event.score)
        for event in said
        if isinstance(event, StepDone | Evaluated)
    ]


def alike(one: Fitted, other: Fitted) -> None:
    assert same(dict(one.best), dict(other.best))
    assert one.history == other.history
    assert (one.steps, one.best_step, one.score) == (other.steps, other.best_step, other.score)


def closed_after(job: Iterator[Event], events: int) -> list[Event]:
    said = list(islice(job, events))
    job.close()  # type: ignore[attr-defined]
    return said


# --- closed on the way -------------------------------------------------------------------


@pytest.mark.parametrize("kind", TASKS)
def test_closed_anywhere_it_ends_with_the_same_bytes(
    model: EmbeddedBackend, tmp_path: Path, kind: str
) -> None:
    whole = TASKS[kind](model)
    result, said = fitted(whole, CONFIG)
    for events in range(2, len(said), 2 if kind == "everything" else 3):
        place = tmp_path / str(events)
        begun = closed_after(fit(TASKS[kind](model), CONFIG, checkpoint=place), events)
        task = TASKS[kind](model)
        again, rest = fitted(task, CONFIG, checkpoint=place)
        alike(result, again)
        assert same(weights_of(whole.module), weights_of(task.module))
        assert [*told(begun), *told(rest)] == told(said), "nothing is done twice or left out"
        assert any(isinstance(event, Notice) for event in rest) == (events > 1)


def test_closed_after_every_step_it_ends_with_the_same_bytes(
    model: EmbeddedBackend, tmp_path: Path
) -> None:
    result, _ = fitted(everything(model), CONFIG)
    for sitting in range(1, CONFIG.steps + 1):
        job = fit(everything(model), CONFIG, checkpoint=tmp_path)
        for event in job:
            if isinstance(event, StepDone):
                assert event.step == sitting
                job.close()
    again, rest = fitted(everything(model), CONFIG, checkpoint=tmp_path)
    alike(result, again)
    assert not losses_of(rest), "only a validation was owed"
    assert 0 < again.seconds_to_best <= again.seconds


def test_done_already_it_says_the_same_again(model: EmbeddedBackend, tmp_path: Path) -> None:
    result, _ = fitted(everything(model), CONFIG, checkpoint=tmp_path)
    again, said = fitted(everything(model), CONFIG, checkpoint=tmp_path)
    alike(result, again)
    assert told(said) == []


def test_patience_goes_on_counting(model: EmbeddedBackend, tmp_path: Path) -> None:
    config = replace(CONFIG, steps=60, learning_rate=2e-2, patience=2)

    def task() -> LlamaLearner:
        return learner(model, None, training=texts(model, 4), validation=texts(model, 8, first=16))

    result, _ = fitted(task(), config)
    assert result.steps < 60
    for done in (result.best_step, result.best_step + 2, result.steps):
        place = tmp_path / str(done)
        for event in (job := fit(task(), config, checkpoint=place)):
            if isinstance(event, StepDone) and event.step == done:
                job.close()  # type: ignore[attr-defined]
        alike(result, fitted(task(), config, checkpoint=place)[0])


# --- stopped in another way --------------------------------------------------------------


class Stopped:
    """A true task whose fourth step is broken off, in its pieces or once weights have moved."""

    def __init__(self, inner: LlamaLearner, where: str) -> None:
        self.inner, self.where, self.step = inner, where, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def losses(self, examples: Sequence[int], place: Place) -> Mapping[str, Tensor]:
        self.step = place.step
        if self.step == 3 and self.where == "losses" and examples[0] != place.examples[0]:
            raise KeyboardInterrupt
        return self.inner.losses(examples, place)

    def follow(self) -> None:
        self.inner.follow()
        if self.step == 3 and self.where == "follow":
            raise KeyboardInterrupt


@pytest.mark.parametrize("where", ["losses", "follow"])
def test_broken_off_inside_a_step_it_goes_on_from_before(
    model: EmbeddedBackend, tmp_path: Path, where: str
) -> None:
    config = replace(CONFIG, accumulate=2, checkpoint_seconds=0.0)
    result, said = fitted(everything(model), config)
    with suppress(KeyboardInterrupt):
        list(fit(Stopped(everything(model), where), config, checkpoint=tmp_path))
    again, rest = fitted(everything(model), config, checkpoint=tmp_path)
    alike(result, again)
    assert losses_of(rest) == losses_of(said)[3:]


def test_only_at_validations_it_is_written_if_that_is_often_enough(
    model: EmbeddedBackend, tmp_path: Path
) -> None:
    job = fit(learner(model, None), CONFIG, checkpoint=tmp_path)
    written = []
    for event in job:
        if isinstance(event, StepDone | Evaluated):
            written.append([file.name for file in tmp_path.glob("step-*")])
    two, four = ["step-000000002.safetensors"], ["step-000000004.safetensors"]
    # Steps 1 and 2, a validation, 3 and 4, a validation, 5.
    assert written[:7] == [[], [], two, two, two, four, four]


@pytest.mark.parametrize("changed", ["config", "lessons", "matches"])
def test_a_checkpoint_of_another_run_is_refused(
    model: EmbeddedBackend, tmp_path: Path, changed: str
) -> None:
    closed_after(fit(everything(model), CONFIG, checkpoint=tmp_path), 3)
    task = {
        "config": everything(model),
        "lessons": learner(model, moving=MOVING, training=texts(model, 15)),
        "matches": learner(model, EVERY_FEATURE[:-1], moving=MOVING),
    }[changed]
    config = replace(CONFIG, learning_rate=1e-3) if changed == "config" else CONFIG
    with pytest.raises(BadSetting, match="of a run with other settings or data; next: rm -r"):
        next(fit(task, config, checkpoint=tmp_path))


def test_a_damaged_checkpoint_is_no_new_beginning(model: EmbeddedBackend, tmp_path: Path) -> None:
    closed_after(fit(everything(model), CONFIG, checkpoint=tmp_path), 3)
    (file,) = tmp_path.glob("step-*.safetensors")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ArtifactDamaged, match="cannot be read"):
        next(fit(everything(model), CONFIG, checkpoint=tmp_path))


# --- killed ------------------------------------------------------------------------------


def run(llama: Path, folder: Path, kill_after: int | None, delay: float = 0.0) -> list[str]:
    """Run the job, kill it some time after so many steps; return what it said."""
    result = folder / "result.safetensors"
    command = [
        sys.executable,
        "-m",
        training_job.__name__,
        *map(str, (llama, folder / "at", result)),
    ]
    job = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert job.stdout is not None
    said: list[str] = []
    for line in job.stdout:
        said.append(line.strip())
        if len(said) == kill_after:
            with suppress(subprocess.TimeoutExpired):
                job.wait(timeout=delay)
            job.send_signal(signal.SIGKILL)
            break
    said += [line.strip() for line in job.stdout if line.endswith("\n")]
    job.wait(timeout=60)
    job.stdout.close()
    return said


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_bytes(llama: Path, tmp_path: Path) -> None:
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    said = run(llama, tmp_path / "whole", None)
    assert len(said) == training_job.CONFIG.steps
    rng, begun = random.Random(0), set()
    for _ in range(3):
        begun |= set(run(llama, tmp_path / "killed", rng.randint(1, 3), rng.uniform(0, 0.05)))
        assert not (tmp_path / "killed" / "result.safetensors").exists(), "it was over too soon"
    rest = run(llama, tmp_path / "killed", None)
    assert begun | set(rest) == set(said), "a step was another one after it was killed"
    assert len(rest) < len(said), "it did not begin anew"
    whole, killed = (tmp_path / name / "result.safetensors" for name in ("whole", "killed"))
    assert whole.read_bytes() == killed.read_bytes()
