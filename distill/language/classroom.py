"""Llama students of one data set: who teaches, what they read, how they rank.

A student ranks as its teacher does: it is opened from the directory it was written to, and the
candidates of test requests are scored by likelihood. The whole catalogue is out of reach for
something that reads every title; figures are over the candidates, and say so.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from distill.adapting.measuring import Measured, measure
from distill.adapting.questions import test_questions
from distill.config import DistilConfig
from distill.consulting import hire, let_go
from distill.data import MovingWeights
from distill.ground import Ground, sampler
from distill.importance.criteria import CRITERIA
from distill.language.learner import Taught
from distill.language.lessons import lessons
from distill.language.making import design, profile_of
from distill.language.profiles import LISTWISE
from distill.language.settings import LanguageConfig
from distill.language.training import Reading, TrainedLlama, train_llama
from distill.matches import Match
from distill.methods import FISHER, Setting, method
from distill.pipeline import ALONE
from distill.profiling import ImportanceConfig, measure_layers
from recommender.asking.requests import Question
from recommender.backends.embedded import EmbeddedBackend
from recommender.calibration import fit_temperature
from recommender.config import Settings
from recommender.embeddings import TextEncoder
from recommender.evaluation import Evaluation, evaluate_candidates
from recommender.events import Event
from recommender.ranking import CatalogueRanker
from storage.errors import BadSetting
from storage.records import FloatArray
from storage.store import Store

SCOPE = "test/candidates"


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
    choosing: tuple[Question, ...]
    """Of validation, where a student's temperature is fitted."""
    seed: int


def open_classroom(
    store: Store,
    config: DistilConfig,
    settings: Settings,
    encoder: TextEncoder | None = None,
    *,
    tokens: int = 0,
) -> Generator[Event, None, Classroom]:
    """Prepare the data, open a teacher with weights that is fit to teach, lay out what is read.

    Args:
        store: where data and what was said are kept.
        config: whose teacher, candidates and lessons every student of the room has.
        settings: of this machine.
        encoder: what makes vectors of titles; None is the embedded one.
        tokens: that the most diligent student reads; the configuration's, where it is fewer.

    Raises:
        TeacherUnfit: it is no better than chance.
        BadSetting: it has no weights here, which a student that reads text needs.
    """
    if config.teacher.weights == "none":  # a method that hears no layers: the student has some
        config = config.with_teacher(weights="")
    ground, teachers = yield from hire(store, config, settings, encoder=encoder, with_weights=True)
    let_go(teachers)
    backend = teachers[0].weights
    if backend is None:
        raise _without_weights(config)
    own = config.language or LanguageConfig()
    laid = lessons(
        ground.split,
        ground.texts,
        backend,
        max_tokens=own.max_tokens,
        most_tokens=max(own.tokens, tokens, 1),
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
    most = min(own.test_requests, config.max_users or own.test_requests)  # one a person
    asked = test_questions(ground.split, sampler(ground, config), seed=config.seed, most=most)
    reading = Reading(tuple(laid), tuple(held))
    choosing = teachers[0].chosen.questions
    return Classroom(store, ground, backend, reading, tuple(asked), choosing, config.seed)


def _without_weights(config: DistilConfig) -> BadSetting:
    return BadSetting(
        f"{config.teacher.spec!r} has no weights here, and a student that reads text is "
        "taught by weights",
        next_step="--weights DIRECTORY, a GGUF file or a hub id, or --teacher embedded",
    )


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
    yield from measure_missing(room, config, settings)
    made = design(room.store, room.ground.category.id, card.key, card.layers, own, seed=config.seed)
    loss = config.loss
    squares = None
    if loss.layer and loss.dynamic == "teacher":
        squares = yield from _squares(room, config)
    matches, moving = _matches(room, config, made.ends, settings, squares)
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


def measure_missing(
    room: Classroom, config: DistilConfig, settings: Settings
) -> Generator[Event, None, None]:
    """Measure the importance of layers by every criterion that a student of this needs."""
    own = config.language or LanguageConfig()
    chosen = method(config.method, folder=settings.folder)
    wanted = [own.keep] if own.making == "cut" else [own.supervised_by]
    if chosen.weighs and config.loss.layer:
        wanted.append(config.loss.criterion)
    known = {
        one.criterion
        for one in room.store.runs.profiles(room.ground.category.id)
        if one.weights == room.backend.describe().key
    }
    missing = [one for one in wanted if one in CRITERIA and f"{one}-{LISTWISE}" not in known]
    if missing:
        asked = ImportanceConfig(tuple(missing), requests=max(1, config.teacher.fisher_requests))
        yield from measure_layers(room.store, room.ground, config, asked, room.backend)


def judged(
    room: Classroom, trained: TrainedLlama, *, name: str
) -> Generator[Event, None, Evaluation]:
    """Open a student from its directory and rank the candidates of every test request."""
    return (yield from ranked(room, opened(room, trained), name))


def opened(room: Classroom, trained: TrainedLlama) -> EmbeddedBackend:
    """Open a student as any other model is opened, computed as its teacher is."""
    card = room.backend.describe()
    return EmbeddedBackend.open(
        trained.artifact.path, device=card.device or "cpu", precision=card.precision
    )


def ranked(
    room: Classroom, backend: EmbeddedBackend, name: str
) -> Generator[Event, None, Evaluation]:
    """Score the candidates of every test request by likelihood."""
    rows = yield from _scored(room, backend, room.questions, f"test: {name}")
    return _evaluated(room, name, rows)


def temperature_of(
    room: Classroom, backend: EmbeddedBackend, name: str
) -> Generator[Event, None, float]:
    """Fit what makes a student's likelihoods a distribution, on validation."""
    rows = yield from _scored(room, backend, room.choosing, f"temperature: {name}")
    return fit_temperature(rows, [one.target for one in room.choosing])


def baselines(room: Classroom) -> list[Evaluation]:
    """Rank the candidates of every test request by popularity and by item-kNN."""
    return [_baseline(room, source) for source in (room.ground.popularity, room.ground.knn)]


def _scored(
    room: Classroom, backend: EmbeddedBackend, questions: Sequence[Question], stage: str
) -> Generator[Event, None, list[np.ndarray]]:
    model = Measured(backend, backend.describe().key, room.ground.texts, 0)
    return (yield from measure(room.store.artifacts, model, questions, "likelihood", stage=stage))


def _matches(
    room: Classroom,
    config: DistilConfig,
    ends: tuple[int, ...],
    settings: Settings,
    squares: FloatArray | None = None,
) -> tuple[tuple[Match, ...], MovingWeights | None]:
    """Return what the method compares, weighed by what was measured."""
    chosen, loss = method(config.method, folder=settings.folder), config.loss
    if not loss.layer:
        return (), None
    card = room.backend.describe()
    importance = None
    if chosen.weighs or chosen.own:
        importance = _importance(room, card.key, loss.criterion, needed=chosen.weighs)
    setting = Setting(card.layers, ends, loss, importance)
    moving = None
    if loss.dynamic != "none":
        moving = MovingWeights(loss.dynamic, loss.eta, ends, squares, setting.emphasis)
    return chosen.matches(setting), moving


def _squares(room: Classroom, config: DistilConfig) -> Generator[Event, None, FloatArray]:
    """Measure the teacher's Fisher request by request, or find it: what D1 draws from.

    Of one seed for every student of a classroom: the teacher is the same.
    """
    config = replace(config, seed=room.seed)
    asked = ImportanceConfig((FISHER,), requests=max(1, config.teacher.fisher_requests))
    measured = yield from measure_layers(room.store, room.ground, config, asked, room.backend)
    values: FloatArray = measured.found[FISHER].values.astype(np.float32)
    return values


def _importance(
    room: Classroom, weights: str, criterion: str, *, needed: bool
) -> tuple[float, ...] | None:
    """Return what was measured; where a method of the user's own may not need it, also nothing."""
    try:
        return profile_of(room.store, room.ground.category.id, weights, criterion)
    except BadSetting:
        if needed:
            raise
        return None


def _baseline(room: Classroom, source: CatalogueRanker) -> Evaluation:
    rows = [
        source.score([np.array(q.history, dtype=np.int64)])[0][list(q.candidates)]
        for q in room.questions
    ]
    return _evaluated(room, source.name, rows)


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
