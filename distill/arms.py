"""The students that are compared, each trained once and kept under the hash of its making.

Apart from the pipeline because a comparison is only fair where every arm goes through the
same door: same data, same steps, same first weights for a seed; only the teaching differs.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from distill.boards import folder_of
from distill.config import DistilConfig
from distill.data import Distillation, TrainData
from distill.ground import Ground
from distill.train import train
from distill.training import TrainConfig, Trained
from recommender.backends.weights import choose_device
from recommender.events import Event, Progress, StageDone, StageSkipped, StageStarted
from recommender.sequential.export import write_student
from recommender.sequential.student import StudentRanker
from storage.records import Artifact, FloatArray
from storage.store import Store

KIND = "student"
COSTS = ("seconds", "steps", "peak_bytes", "steps_to_best", "seconds_to_best")
"""What every training records of what it took."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One student of a comparison."""

    name: str
    """What tables show: 'distilled', 'undistilled (text)' …"""
    config: DistilConfig
    distillation: Distillation | None


@dataclass(frozen=True, slots=True)
class TrainedArm:
    """A trained student, on disk."""

    arm: Arm
    artifact: Artifact
    best: float
    """NDCG@10 on validation."""
    epochs: int
    """The best one."""
    seconds: float
    cost: Mapping[str, object] = field(default_factory=dict)
    """Steps, peak memory, and when the best one was: see `COSTS`."""

    def ranker(self, items: int) -> StudentRanker:
        """Open it to be asked; `items` is the size of the catalogue."""
        return StudentRanker.open(self.artifact.path, catalogue=items, name=self.arm.name)


def train_arm(
    store: Store, ground: Ground, arm: Arm, *, tensorboard: Path | None = None
) -> Generator[Event, None, TrainedArm]:
    """Train one arm, or find it trained; a stopped training goes on from its checkpoint.

    With `tensorboard`, losses and validations are written there, in a folder of the arm's own.
    """
    inputs = _inputs(ground, arm)
    data = TrainData.from_split(ground.split, text=_text(ground, arm), seed=arm.config.seed)
    config = replace(arm.config.student, seed=arm.config.seed)
    stage = f"train {arm.name}"
    board = folder_of(tensorboard, arm.name)
    artifact = yield from _fit(store, ground, arm, config, data, inputs, stage, board)
    about = StudentRanker.open(artifact.path).about
    return TrainedArm(
        arm=arm,
        artifact=artifact,
        best=float(str(about["validation_ndcg@10"])),
        epochs=int(str(about["best_epoch"])),
        seconds=float(str(about["seconds"])),
        cost={name: about[name] for name in COSTS if name in about},
    )


def train_final(
    store: Store, ground: Ground, arm: Arm, epochs: int
) -> Generator[Event, None, Artifact]:
    """Train once more on everything, validation and test too, for serving.

    It ends at the epoch that was best with validation, on the same schedule. It has no
    figures of its own: nothing is left to measure it on.
    """
    inputs = {**_inputs(ground, arm), "final": epochs}
    data = TrainData.from_log(ground.split.log, text=_text(ground, arm))
    config = replace(arm.config.student, seed=arm.config.seed, stop_after=max(1, epochs))
    return (yield from _fit(store, ground, arm, config, data, inputs, "final training"))


def _fit(
    store: Store,
    ground: Ground,
    arm: Arm,
    config: TrainConfig,
    data: TrainData,
    inputs: Mapping[str, object],
    stage: str,
    tensorboard: Path | None = None,
) -> Generator[Event, None, Artifact]:
    """Train, and write the student down; or find it, where it was made of the same before."""
    found = store.artifacts.find(KIND, inputs, verify="full")
    if found is not None:
        yield StageSkipped(stage, "trained already")
        return found
    result: Trained | None = None
    device = choose_device(arm.config.teacher.device)
    checkpoint = store.artifacts.scratch(KIND, inputs)
    for event in train(
        config,
        data,
        arm.distillation,
        device=device,
        checkpoint=checkpoint,
        tensorboard=tensorboard,
    ):
        if isinstance(event, Trained):
            result = event
        else:
            yield _named(event, stage)
    assert result is not None
    about = {
        "name": arm.name,
        "category": ground.category.name,
        "data": ground.category.digest,
        "seed": config.seed,
        "validation_ndcg@10": None if math.isnan(result.best) else result.best,
        "best_epoch": result.best_epoch,
        "steps": result.steps,
        "seconds": result.seconds,
        "objective": config.objective,
        "denominator": result.objective,
        "steps_to_best": result.steps_to_best,
        "seconds_to_best": result.seconds_to_best,
        "peak_bytes": result.peak_bytes,
    }
    with store.artifacts.writing(KIND, inputs) as path:
        write_student(path, result.weights, config.network, data.popularity(), about)
    store.artifacts.forget_scratch(KIND, inputs)
    found = store.artifacts.find(KIND, inputs)
    assert found is not None
    return found


def _text(ground: Ground, arm: Arm) -> FloatArray | None:
    return ground.vectors if arm.config.student.start == "text" else None


def _named(event: Event, stage: str) -> Event:
    """Say which arm a training's event is about: all of them go through the same loop."""
    if isinstance(event, StageStarted | Progress | StageDone):
        return replace(event, stage=stage)
    return event


def _inputs(ground: Ground, arm: Arm) -> dict[str, object]:
    config = arm.config
    return {
        "data": ground.category.digest,
        "split": config.split,
        "min_rating": config.min_rating,
        "encoder": ground.encoder.name if config.student.start == "text" else "",
        "student": asdict(config.student),
        "seed": config.seed,
        "taught": _digest(arm.distillation),
    }


def _digest(taught: Distillation | None) -> str:
    """Return the hash of all that a teacher said, and of how much it counts."""
    if taught is None:
        return ""
    digest = hashlib.sha256()
    for history in taught.histories:
        digest.update(np.ascontiguousarray(history).tobytes() + b";")
    moving = taught.moving
    squares = None if moving is None else moving.squares
    for array in (taught.candidates, taught.labels, taught.states, squares, *taught.ranked.arrays):
        if array is not None:
            digest.update(np.ascontiguousarray(array).tobytes())
    moved = () if moving is None else moving.settings
    digest.update(repr([*taught.settings, *moved]).encode())
    return digest.hexdigest()
