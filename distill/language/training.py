"""One Llama student trained and kept: a directory that opens as any other model does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from distill.adapting.adapters import insert
from distill.language.counting import count
from distill.language.learner import LlamaLearner, Taught
from distill.language.lessons import Lesson, digest_of
from distill.language.loop import Fitted, LoopConfig, fit, load_best
from distill.language.making import Design, make
from distill.language.settings import LanguageConfig
from recommender.backends.embedded import EmbeddedBackend
from recommender.backends.weights import quiet_transformers
from recommender.events import Event, StageSkipped
from storage.records import Artifact
from storage.store import Store

KIND = "language-student"
JUDGING = ("test_requests",)
"""Settings that decide nothing of a student: with others, it is the same one."""


@dataclass(frozen=True, eq=False, slots=True)
class Reading:
    """The lessons of a category, laid out once for all of its students."""

    training: tuple[Lesson, ...]
    validation: tuple[Lesson, ...]

    @property
    def tokens(self) -> int:
        """How many tokens one pass over the training lessons has."""
        return sum(len(one.ids) for one in self.training)


@dataclass(frozen=True, eq=False, slots=True)
class TrainedLlama:
    """A student on disk."""

    artifact: Artifact
    about: Mapping[str, Any]


def train_llama(
    store: Store,
    backend: EmbeddedBackend,
    made: Design,
    reading: Reading,
    taught: Taught | None,
    config: LanguageConfig,
    *,
    seed: int,
    stage: str,
    tensorboard: Path | None = None,
) -> Generator[Event, None, TrainedLlama]:
    """Make a student, train it, and keep it; or find it, made of the same before.

    Args:
        store: where it is kept.
        backend: the teacher: its layers, its tokenizer.
        made: what the student will be.
        reading: what it learns from and is selected by.
        taught: what it hears of the teacher; None for texts alone.
        config: how it is trained; no tokens, and it is kept as it was made.
        seed: of whatever is drawn.
        stage: what events call it.
        tensorboard: where to write losses to.
    """
    decides = {name: value for name, value in asdict(config).items() if name not in JUDGING}
    name = json.dumps([backend.describe().key, asdict(made), decides, seed], sort_keys=True)
    student = None
    inputs: dict[str, object] = {
        "teacher": backend.describe().key,
        "design": asdict(made),
        "config": decides,
        "seed": seed,
        "lessons": [digest_of(reading.training), digest_of(reading.validation)],
        "taught": _said(taught),
    }
    found = store.artifacts.find(KIND, inputs)
    if found is not None:
        yield StageSkipped(stage, "trained already")
        return TrainedLlama(found, store.artifacts.read_json(found, "about.json"))
    student = make(backend.model, made, config, seed=seed)
    parameters = count(student)
    adapted = insert(student, config.lora_rank, seed=seed) if config.lora_rank else None
    fitted: Fitted | None = None
    if config.tokens:
        learner = LlamaLearner(
            student,
            reading.training,
            reading.validation,
            taught,
            name=name,
            seed=seed,
            layerdrop=config.layerdrop,
            batch=config.batch,
        )
        scratch = store.artifacts.scratch(KIND, inputs)
        loop = loop_of(config, reading, seed=seed)
        if taught is not None:  # before, what is validated is not what is learned
            loop = replace(loop, patient_from=taught.loss.begins)
        for event in fit(learner, loop, checkpoint=scratch, tensorboard=tensorboard, stage=stage):
            if isinstance(event, Fitted):
                fitted = event
            else:
                yield event
        assert fitted is not None, "the loop ends with what it found"
        load_best(learner.module, fitted)
    if adapted is not None:
        student = adapted.merge_and_unload()
    about = {
        "design": asdict(made),
        "parameters": {**asdict(parameters), "total": parameters.total},
        "teacher": backend.describe().key,
        **(_cost(fitted) if fitted else {}),
    }
    with store.artifacts.writing(KIND, inputs) as path:
        save(student, backend, path)
        store.artifacts.write_json(path / "about.json", about)
    if config.tokens:
        store.artifacts.forget_scratch(KIND, inputs)
    found = store.artifacts.find(KIND, inputs)
    assert found is not None, "an artifact that was just written is found"
    return TrainedLlama(found, about)


def save(student: Any, backend: EmbeddedBackend, path: Path) -> None:
    """Write a student as a Hugging Face directory, with the tokenizer of its teacher."""
    own = backend.model.dtype
    student.config.use_cache = True
    with quiet_transformers():
        student.to(own if own != torch.float16 else torch.float32)
        student.save_pretrained(path)
        backend.tokenizer.save_pretrained(path)


def loop_of(config: LanguageConfig, reading: Reading, *, seed: int) -> LoopConfig:
    """Return the loop that reads as many tokens as a configuration says.

    >>> import numpy as np
    >>> lesson = Lesson(np.zeros(100, dtype=np.int64), np.ones(100, dtype=bool), 1)
    >>> loop_of(LanguageConfig(tokens=4000, batch=8), Reading((lesson,) * 20, ()), seed=0).steps
    5
    """
    a_lesson = reading.tokens / len(reading.training)
    steps = max(1, round(config.tokens / (a_lesson * config.batch)))
    return LoopConfig(
        steps=steps,
        batch=config.batch,
        accumulate=config.accumulate,
        learning_rate=config.learning_rate,
        warmup=config.warmup,
        weight_decay=config.weight_decay,
        clip=config.clip,
        precision=config.precision,
        evaluate_every=config.evaluate_every,
        patience=config.patience,
        seed=seed,
    )


def _cost(fitted: Fitted) -> dict[str, object]:
    plain = replace(fitted, best={})
    return {
        "validation": plain.score,
        "steps": plain.steps,
        "best_step": plain.best_step,
        "seconds": plain.seconds,
        "seconds_to_best": plain.seconds_to_best,
        "peak_bytes": plain.peak_bytes,
        "history": [list(point) for point in plain.history],
    }


def _said(taught: Taught | None) -> list[object]:
    """Return all that decides what a student hears of its teacher."""
    if taught is None:
        return []
    moving = taught.moving
    moved: list[object] = []
    if moving is not None:
        squares = b"" if moving.squares is None else moving.squares.tobytes()
        moved = [*moving.settings, hashlib.sha256(squares).hexdigest()]
    return [taught.key, [asdict(one) for one in taught.matches], asdict(taught.loss), moved]
