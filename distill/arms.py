"""The students that are compared, each trained once and kept under the hash of its making.

Apart from the pipeline because a comparison is only fair where every arm goes through the
same door: same data, same steps, same first weights for a seed; only the teaching differs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from dataclasses import asdict, dataclass, replace

import numpy as np

from distill.config import DistilConfig
from distill.data import Distillation, TrainData
from distill.ground import Ground
from distill.train import train
from distill.training import Trained
from recommender.backends.weights import choose_device
from recommender.events import Event, Progress, StageDone, StageSkipped, StageStarted
from recommender.sequential.export import write_student
from recommender.sequential.student import StudentRanker
from storage.records import Artifact
from storage.store import Store

KIND = "student"


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

    def ranker(self, items: int) -> StudentRanker:
        """Open it to be asked; `items` is the size of the catalogue."""
        return StudentRanker.open(self.artifact.path, catalogue=items, name=self.arm.name)


def train_arm(store: Store, ground: Ground, arm: Arm) -> Generator[Event, None, TrainedArm]:
    """Train one arm, or find it trained; a stopped training goes on from its checkpoint."""
    inputs = _inputs(ground, arm)
    found = store.artifacts.find(KIND, inputs)
    if found is not None:
        yield StageSkipped(f"train {arm.name}", "trained already")
        return _trained(arm, found)
    text = ground.vectors if arm.config.student.start == "text" else None
    data = TrainData.from_split(ground.split, text=text, seed=arm.config.seed)
    checkpoint = store.artifacts.scratch(KIND, inputs)
    config = replace(arm.config.student, seed=arm.config.seed)
    result: Trained | None = None
    device = choose_device(arm.config.teacher.device)
    for event in train(config, data, arm.distillation, device=device, checkpoint=checkpoint):
        if isinstance(event, Trained):
            result = event
        else:
            yield _named(event, f"train {arm.name}")
    assert result is not None
    about = {
        "name": arm.name,
        "category": ground.category.name,
        "data": ground.category.digest,
        "seed": config.seed,
        "validation_ndcg@10": result.best,
        "best_epoch": result.best_epoch,
        "steps": result.steps,
        "seconds": result.seconds,
        "objective": result.objective,
    }
    with store.artifacts.writing(KIND, inputs) as path:
        write_student(path, result.weights, config.network, data.popularity(), about)
    store.artifacts.forget_scratch(KIND, inputs)
    found = store.artifacts.find(KIND, inputs)
    assert found is not None
    return _trained(arm, found)


def train_final(
    store: Store, ground: Ground, arm: Arm, epochs: int
) -> Generator[Event, None, Artifact]:
    """Train once more on everything, validation and test too, for serving.

    It ends at the epoch that was best with validation, on the same schedule. It has no
    figures of its own: nothing is left to measure it on.
    """
    inputs = {**_inputs(ground, arm), "final": epochs}
    found = store.artifacts.find(KIND, inputs)
    if found is not None:
        yield StageSkipped("final training", "trained already")
        return found
    text = ground.vectors if arm.config.student.start == "text" else None
    data = TrainData.from_log(ground.split.log, text=text)
    config = replace(arm.config.student, seed=arm.config.seed, stop_after=max(1, epochs))
    checkpoint = store.artifacts.scratch(KIND, inputs)
    result: Trained | None = None
    device = choose_device(arm.config.teacher.device)
    for event in train(config, data, arm.distillation, device=device, checkpoint=checkpoint):
        if isinstance(event, Trained):
            result = event
        else:
            yield _named(event, "final training")
    assert result is not None
    about = {
        "name": arm.name,
        "category": ground.category.name,
        "data": ground.category.digest,
        "seed": config.seed,
        "final": True,
        "steps": result.steps,
        "seconds": result.seconds,
    }
    with store.artifacts.writing(KIND, inputs) as path:
        write_student(path, result.weights, config.network, data.popularity(), about)
    store.artifacts.forget_scratch(KIND, inputs)
    found = store.artifacts.find(KIND, inputs)
    assert found is not None
    return found


def _named(event: Event, stage: str) -> Event:
    """Say which arm a training's event is about: all of them go through the same loop."""
    if isinstance(event, StageStarted | Progress | StageDone):
        return replace(event, stage=stage)
    return event


def _trained(arm: Arm, artifact: Artifact) -> TrainedArm:
    about = StudentRanker.open(artifact.path).about
    return TrainedArm(
        arm=arm,
        artifact=artifact,
        best=float(str(about["validation_ndcg@10"])),
        epochs=int(str(about["best_epoch"])),
        seconds=float(str(about["seconds"])),
    )


def _inputs(ground: Ground, arm: Arm) -> dict[str, object]:
    config = arm.config
    return {
        "data": ground.category.digest,
        "split": config.split,
        "min_rating": config.min_rating,
        "encoder": ground.encoder if config.student.start == "text" else "",
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
    for array in (taught.candidates, taught.labels, taught.states, taught.layer_weights):
        if array is not None:
            digest.update(np.ascontiguousarray(array).tobytes())
    digest.update(repr([taught.task, taught.output, taught.layers, taught.temperature]).encode())
    return digest.hexdigest()
