"""Llama students of one data set: who teaches, what they read, how they rank.

A student ranks as its teacher does: it is opened from the directory it was written to, and the
candidates of test requests are scored by likelihood. The whole catalogue is out of reach for
something that reads every title; figures are over the candidates, and say so.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distill.adapting.measuring import Measured, measure
from distill.adapting.questions import test_questions
from distill.config import DistilConfig
from distill.consulting import hire, let_go
from distill.data import MovingWeights
from distill.ground import Ground, sampler
from distill.language.learner import Taught
from distill.language.lessons import lessons
from distill.language.making import design, profile_of
from distill.language.settings import LanguageConfig
from distill.language.training import Reading, TrainedLlama, train_llama
from distill.matches import Match
from distill.methods import Setting, method
from distill.pipeline import ALONE
from distill.studies.files import Study
from distill.studies.running import Ran, Trial
from recommender.asking.requests import Question
from recommender.backends.embedded import EmbeddedBackend
from recommender.config import Settings
from recommender.embeddings import TextEncoder
from recommender.evaluation import Evaluation, evaluate_candidates
from recommender.events import Event, Notice
from storage.errors import BadSetting
from storage.store import Store

SCOPE = "test/candidates"
TEACHER = "teacher"


@dataclass(frozen=True, eq=False, slots=True)
class Classroom:
    """Everything that students of one data set have in common."""

    store: Store
    ground: Ground
    backend: EmbeddedBackend
    """The teacher, with its weights."""
    reading: Reading
    questions: tuple[Question, ...]
    """Of test."""
    seed: int


def on_language(
    store: Store, study: Study, category: str, settings: Settings, encoder: TextEncoder | None
) -> Generator[Event, None, Ran]:
    """Train every arm of a study with every seed; the teacher is beside them."""
    base = study.config(category, study.seeds[0])
    room = yield from open_classroom(store, base, settings, encoder)
    trials: dict[str, list[Trial]] = {}
    every = [(seed, arm) for seed in study.seeds for arm in study.arms]
    for number, (seed, arm) in enumerate(every, start=1):
        yield Notice(f"{arm}, seed {seed}: {number} of {len(every)} on {category}")
        config = study.config(category, seed, arm)
        trained = yield from train(room, config, settings, name=arm)
        evaluation = yield from judged(room, trained, name=arm)
        about = trained.about
        trials.setdefault(arm, []).append(
            Trial(
                seed,
                evaluation,
                float(about.get("validation", float("nan"))),
                float(about.get("seconds", 0.0)),
                about,
            )
        )
    beside = [(yield from ranked(room, room.backend, TEACHER))]
    beside += [_baseline(room, source) for source in (room.ground.popularity, room.ground.knn)]
    return Ran(
        room.ground.category,
        {arm: tuple(some) for arm, some in trials.items()},
        tuple(beside),
        None,
    )


def open_classroom(
    store: Store, config: DistilConfig, settings: Settings, encoder: TextEncoder | None = None
) -> Generator[Event, None, Classroom]:
    """Prepare the data, open a teacher with weights that is fit to teach, lay out what is read.

    Raises:
        TeacherUnfit: it is no better than chance.
        BadSetting: it has no weights here, which a student that reads text needs.
    """
    ground, teachers = yield from hire(store, config, settings, encoder=encoder, with_weights=True)
    let_go(teachers)
    backend = teachers[0].weights
    if backend is None:
        raise BadSetting(
            f"{config.teacher.spec!r} has no weights here, and a student that reads text is "
            "taught by weights",
            next_step="--weights DIRECTORY, a GGUF file or a hub id, or --teacher embedded",
        )
    own = config.language or LanguageConfig()
    laid = lessons(
        ground.split,
        ground.texts,
        backend,
        max_tokens=own.max_tokens,
        most_tokens=max(own.tokens, 1),
        seed=config.seed,
    )
    held = lessons(
        ground.split,
        ground.texts,
        backend,
        part="valid",
        max_tokens=own.max_tokens,
        most=own.validation,
        seed=config.seed,
    )
    asked = test_questions(
        ground.split, sampler(ground, config), seed=config.seed, most=own.test_requests
    )
    reading = Reading(tuple(laid), tuple(held))
    return Classroom(store, ground, backend, reading, tuple(asked), config.seed)


def train(
    room: Classroom,
    config: DistilConfig,
    settings: Settings,
    *,
    name: str,
    tensorboard: Path | None = None,
) -> Generator[Event, None, TrainedLlama]:
    """Train the student of a configuration in a classroom."""
    own = config.language
    assert own is not None, "a configuration of a Llama student"
    card = room.backend.describe()
    made = design(room.store, room.ground.category.id, card.key, card.layers, own, seed=config.seed)
    matches, moving = _matches(room, config, made.ends, settings)
    loss = config.loss
    hears = config.method != ALONE and bool(loss.output or (loss.layer and matches))
    taught = Taught(room.backend.model, card.key, matches, loss, moving) if hears else None
    return (
        yield from train_llama(
            room.store,
            room.backend,
            made,
            room.reading,
            taught,
            own,
            seed=config.seed,
            stage=f"train {name}",
            tensorboard=tensorboard,
        )
    )


def judged(
    room: Classroom, trained: TrainedLlama, *, name: str
) -> Generator[Event, None, Evaluation]:
    """Open a student from its directory and rank the candidates of every test request."""
    card = room.backend.describe()
    backend = EmbeddedBackend.open(
        trained.artifact.path, device=card.device or "cpu", precision=card.precision
    )
    return (yield from ranked(room, backend, name))


def ranked(
    room: Classroom, backend: EmbeddedBackend, name: str
) -> Generator[Event, None, Evaluation]:
    """Score the candidates of every test request by likelihood."""
    model = Measured(backend, backend.describe().key, room.ground.texts, 0)
    rows = yield from measure(
        room.store.artifacts, model, room.questions, "likelihood", stage=f"test: {name}"
    )
    return _evaluated(room, name, rows)


def _matches(
    room: Classroom, config: DistilConfig, ends: tuple[int, ...], settings: Settings
) -> tuple[tuple[Match, ...], MovingWeights | None]:
    """Return what the method compares, weighed by what was measured."""
    chosen, loss = method(config.method, folder=settings.folder), config.loss
    if not loss.layer:
        return (), None
    card = room.backend.describe()
    importance = None
    if chosen.weighs:
        importance = profile_of(room.store, room.ground.category.id, card.key, loss.criterion)
    setting = Setting(card.layers, ends, loss, importance)
    if loss.dynamic == "teacher":
        raise BadSetting(
            "weights that follow the teacher's minibatches are for sequential students",
            next_step="loss: {dynamic: student}",
        )
    moving = MovingWeights("student", loss.eta, ends) if loss.dynamic == "student" else None
    return chosen.matches(setting), moving


def _baseline(room: Classroom, source: object) -> Evaluation:
    rows = [
        source.score([np.array(q.history, dtype=np.int64)])[0][list(q.candidates)]  # type: ignore[attr-defined]
        for q in room.questions
    ]
    return _evaluated(room, source.name, rows)  # type: ignore[attr-defined]


def _evaluated(room: Classroom, name: str, rows: list[np.ndarray]) -> Evaluation:
    return evaluate_candidates(
        name,
        SCOPE,
        rows,
        [q.target for q in room.questions],
        np.array([q.user for q in room.questions], dtype=np.int64),
        rows=np.array([q.event for q in room.questions], dtype=np.int64),
        seed=room.seed,
    )


__all__ = ["Classroom", "judged", "on_language", "open_classroom", "ranked", "train"]
