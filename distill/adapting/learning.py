"""Learning the adapters: the loop of the language students, with the questions of a shop.

The loop owns steps, rate, checkpoints and early stopping; here it gets its task, and what it
found is kept as an artifact, so that a killed run goes on and a finished one is found again.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from distill.adapting.events import CurvePoint
from distill.adapting.keeping import ADAPTER, keep_adapter
from distill.adapting.learner import Lesson
from distill.adapting.planning import Plan
from distill.adapting.registering import settings_of_learning
from distill.checkpoint import fingerprint
from distill.language.loop import Fitted, LoopConfig, Place, fit
from recommender.events import Event, StageSkipped
from storage.artifacts import Artifacts
from storage.records import Artifact

STAGE = "adapt"


@dataclass(frozen=True, eq=False, slots=True)
class Learned:
    """What a learning left behind."""

    adapter: Artifact
    curve: tuple[CurvePoint, ...]
    best_step: int
    steps: int
    seconds: float
    """Over all sittings."""


def learn(
    artifacts: Artifacts,
    lesson: Lesson,
    adapted: Any,
    plan: Plan,
    inputs: Mapping[str, object],
    *,
    tensorboard: Path | None = None,
) -> Generator[Event, None, Learned]:
    """Learn the adapters that were put into the lesson's model, or find them.

    Args:
        artifacts: where checkpoints and the result are kept.
        lesson: questions and losses.
        adapted: of `adapters.insert`.
        plan: how long.
        inputs: data and weights; the settings are added here.
        tensorboard: directory to write losses and validations to.
    """
    whole = {
        **inputs,
        "learning": settings_of_learning(lesson.config),
        "plan": [plan.steps, plan.evaluate_every],
    }
    found = artifacts.find(ADAPTER, whole)
    if found is not None:
        nothing = "" if tensorboard is None else ", nothing is left to be logged"
        yield StageSkipped(STAGE, f"learned before{nothing}")
        return _read(artifacts, found)
    task = AdaptTask(lesson, adapted, whole)
    loop = loop_of(lesson, plan)
    fitted: Fitted | None = None
    scratch = artifacts.scratch(ADAPTER, whole)
    for event in fit(task, loop, checkpoint=scratch, tensorboard=tensorboard, stage=STAGE):
        if isinstance(event, Fitted):
            fitted = event
        else:
            yield event
    assert fitted is not None, "the loop ends with what it found"
    learned = {
        "steps": fitted.steps,
        "best_step": fitted.best_step,
        "seconds": fitted.seconds,
        "curve": [list(point) for point in fitted.history],
    }
    base = lesson.backend.describe().source
    found = keep_adapter(artifacts, whole, adapted, fitted.best, base, learned)
    artifacts.forget_scratch(ADAPTER, whole)
    return _read(artifacts, found)


def loop_of(lesson: Lesson, plan: Plan) -> LoopConfig:
    """Return how the loop learns a lesson for as long as was planned."""
    config = lesson.config
    return LoopConfig(
        steps=plan.steps,
        batch=config.batch,
        accumulate=config.batch // lesson.at_once,
        learning_rate=config.learning_rate,
        warmup=config.warmup,
        evaluate_every=plan.evaluate_every,
        patience=config.patience,
        patient_from=config.shown,
        seed=config.seed,
    )


def _read(artifacts: Artifacts, found: Artifact) -> Learned:
    kept = artifacts.read_json(found, "learned.json")
    return Learned(
        adapter=found,
        curve=tuple(CurvePoint(int(step), mrr, loss) for step, mrr, loss in kept["curve"]),
        best_step=int(kept["best_step"]),
        steps=int(kept["steps"]),
        seconds=float(kept["seconds"]),
    )


class AdaptTask:
    """An adaptation as the loop's `Task`: two losses of a question, selected by MRR."""

    def __init__(self, lesson: Lesson, adapted: nn.Module, inputs: Mapping[str, object]) -> None:
        """Set adapters before their lesson.

        Args:
            lesson: questions, losses and validation, of the model the adapters are in.
            adapted: of `adapters.insert`.
            inputs: all that decides what is learned: data, weights, settings, plan.
        """
        self.lesson, self._adapted, self._inputs = lesson, adapted, inputs
        # As after every validation: a run that goes on must drop out what a whole one does.
        adapted.train()

    @property
    def module(self) -> nn.Module:
        """The model with its adapters, which alone ask for gradients."""
        return self._adapted

    @property
    def examples(self) -> int:
        """How many training questions there are."""
        return len(self.lesson.training)

    @property
    def measure(self) -> str:
        """What `validate` returns."""
        return "MRR"

    def losses(self, examples: Sequence[int], place: Place) -> Mapping[str, Tensor]:
        """Return both weighted losses: these questions' share of the mean over the step's."""
        whole = len(place.examples)
        first = place.step * whole
        # A step may have the end of one pass and the beginning of the next.
        passes = {n: (first + at) // self.examples for at, n in enumerate(place.examples)}
        easing = self.lesson.easing(place.step, place.steps)
        asked = [self.lesson.example(number, passes[number], easing) for number in examples]
        return {name: total / whole for name, total in self.lesson.losses(asked).items()}

    def validate(self) -> float:
        """Return the MRR by short letters on the choosing questions."""
        return self.lesson.validation_mrr()

    def fingerprint(self) -> str:
        """Return the hash of data, weights, settings and plan."""
        return fingerprint(dict(self._inputs))

    def follow(self) -> None:
        """Look at no gradient: nothing here moves by one but the adapters."""
