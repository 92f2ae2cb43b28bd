"""Learning the adapters: the loop of the language students, with the questions of a shop.

The loop owns steps, rate, checkpoints and early stopping; here it gets its task, and what it
found is kept as an artifact, so that a killed run goes on and a finished one is found again.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

from distill.adapting.events import CurvePoint
from distill.adapting.keeping import ADAPTER, keep_adapter
from distill.adapting.learner import Lesson
from distill.adapting.planning import Plan
from distill.adapting.registering import settings_of_learning
from distill.language.loop import Fitted, LoopConfig, fit
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
) -> Generator[Event, None, Learned]:
    """Learn the adapters that were put into the lesson's model, or find them.

    Args:
        artifacts: where checkpoints and the result are kept.
        lesson: questions and losses.
        adapted: of `adapters.insert`.
        plan: how long.
        inputs: data and weights; the settings are added here.
    """
    whole = {
        **inputs,
        "learning": settings_of_learning(lesson.config),
        "plan": [plan.steps, plan.evaluate_every],
    }
    found = artifacts.find(ADAPTER, whole)
    if found is not None:
        yield StageSkipped(STAGE, "learned before")
        return _read(artifacts, found)
    task = _Task(lesson, adapted)
    config = lesson.config
    loop = LoopConfig(
        steps=plan.steps,
        batch=config.batch,
        learning_rate=config.learning_rate,
        warmup=config.warmup,
        evaluate_every=plan.evaluate_every,
        patience=config.patience,
        seed=config.seed,
    )
    fitted: Fitted | None = None
    for event in fit(task, loop, checkpoint=artifacts.scratch(ADAPTER, whole), stage=STAGE):
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


def _read(artifacts: Artifacts, found: Artifact) -> Learned:
    kept = artifacts.read_json(found, "learned.json")
    return Learned(
        adapter=found,
        curve=tuple(CurvePoint(int(step), mrr, loss) for step, mrr, loss in kept["curve"]),
        best_step=int(kept["best_step"]),
        steps=int(kept["steps"]),
        seconds=float(kept["seconds"]),
    )


class _Task:
    def __init__(self, lesson, adapted):
        self.lesson, self.module = lesson, adapted
        self.examples = len(lesson.training)

    def losses(self, numbers, epoch):
        return self.lesson.losses([self.lesson.example(n, epoch) for n in numbers]), len(numbers)

    def validate(self):
        return self.lesson.validation_mrr()
