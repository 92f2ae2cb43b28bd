"""The whole road of a student that reads text: teacher, lessons, student, figures, a name.

It is registered as a teacher's run and by a name that `--teacher` takes: it ranks as its
teacher does, in its place. Figures are over the candidates, since no model that reads every
title can be asked for a whole catalogue.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from distill.boards import folder_of
from distill.config import DistilConfig
from distill.language.classroom import (
    SCOPE,
    Classroom,
    baselines,
    open_classroom,
    opened,
    ranked,
    temperature_of,
    train,
)
from distill.language.training import TrainedLlama
from distill.pipeline import ALONE, UNDISTILLED, Distilled, called
from distill.register import bounds, keep_rows, shown
from recommender.config import Settings
from recommender.embeddings import TextEncoder
from recommender.evaluation import Evaluation
from recommender.events import Event
from recommender.models import register
from recommender.significance import paired_interval
from storage.records import Run
from storage.store import Store

METRIC = "mrr"
TEACHER = "teacher"


@dataclass(frozen=True, eq=False, slots=True)
class Pupil:
    """A student, trained and measured."""

    name: str
    config: DistilConfig
    trained: TrainedLlama
    evaluation: Evaluation
    key: str
    """Of its very weights."""
    temperature: float


def run_llama(
    store: Store,
    config: DistilConfig,
    settings: Settings,
    *,
    encoder: TextEncoder | None = None,
    tensorboard: Path | None = None,
) -> Generator[Event, None, None]:
    """Train a student that reads text, and its twin that hears nobody; the last is `Distilled`."""
    room = yield from open_classroom(store, config, settings, encoder)
    arms = [(called(config.method), config)]
    if config.method != ALONE:
        arms.append((UNDISTILLED, _alone(config)))
    else:
        arms = [(UNDISTILLED, config)]
    pupils = []
    for name, one in arms:
        board = folder_of(tensorboard, name)
        trained = yield from train(room, one, settings, name=name, tensorboard=board)
        backend = opened(room, trained)
        evaluation = yield from ranked(room, backend, name)
        temperature = yield from temperature_of(room, backend, name)
        key = backend.describe().key
        pupils.append(Pupil(name, one, trained, evaluation, key, temperature))
    teacher = yield from ranked(room, room.backend, TEACHER)
    beside = [teacher, *baselines(room)]
    runs = [register_pupil(room, one, beside, settings) for one in pupils]
    rows = [(run.name, tuple(store.runs.measurements(run.id))) for run in runs]
    rows = [(name, tuple(m for m in some if m.scope == SCOPE)) for name, some in rows]
    rows += [(one.name, tuple(one.measurements("", ""))) for one in beside]
    yield Distilled(
        category=room.ground.category,
        run=runs[0].id,
        rows=tuple(rows),
        layer_weights=(),
        summary=tuple(_said(room, pupils, teacher)),
        scope=SCOPE,
        teacher=runs[0].id,
    )


def _alone(config: DistilConfig) -> DistilConfig:
    """Return the twin that hears nobody; what LayerDrop itself switched on is off again."""
    twin = replace(config, method=ALONE)
    return twin.with_language(layerdrop=0.0) if config.method == "layerdrop" else twin


def register_pupil(
    room: Classroom,
    pupil: Pupil,
    beside: Sequence[Evaluation],
    settings: Settings,
    *,
    now: datetime | None = None,
) -> Run:
    """Keep a student's run with its figures, and name it as a teacher of this machine."""
    store, artifact = room.store, pupil.trained.artifact
    card = room.backend.describe()
    details: dict[str, object] = {
        **pupil.config.as_dict(),
        "model": pupil.key,
        "base": card.name,
        "base_model": card.key,
        "scoring": {"way": "likelihood", "temperature": pupil.temperature},
        "data": room.ground.category.digest,
        "synthetic": room.ground.category.synthetic,
        "student_of": dict(pupil.trained.about),
    }
    slug = "llama" if pupil.config.method == ALONE else "distilled-llama"
    run = Run(
        id=f"{slug}-{_hash([pupil.config.as_dict(), artifact.key])}",
        category_id=room.ground.category.id,
        kind="teacher",
        name=f"{pupil.trained.about['design']['name']}, {pupil.name}",
        seed=pupil.config.seed,
        config=details,
        status="done",
        created_at=(now or datetime.now(UTC)).isoformat(timespec="seconds"),
        artifact=artifact.key,
    )
    register(settings.models, run.id, artifact.path)
    if store.runs.measurements(run.id):
        return run
    figures = []
    for one in (pupil.evaluation, *beside):
        rows = keep_rows(store, run, one)
        scope = one.scope if one is pupil.evaluation else f"{one.scope}/{one.name}"
        figures += [replace(m, scope=scope) for m in one.measurements(run.id, rows)]
    store.runs.add(run)
    # In one transaction: a run has all of its figures, or is registered again.
    store.runs.add_measurements(figures)
    return run


def _said(room: Classroom, pupils: Sequence[Pupil], teacher: Evaluation) -> Iterator[str]:
    for one in pupils:
        about = one.trained.about
        count: Mapping[str, int] = about["parameters"]
        cost = f", trained in {about['seconds']:.0f} s" if "seconds" in about else ""
        head = f" + {count['head'] / 1e6:.1f} M head" if count["head"] else ""
        yield (
            f"{one.name}: {about['design']['name']}, parameters {count['body'] / 1e6:.1f} M body + "
            f"{count['embedding'] / 1e6:.1f} M embedding{head} = "
            f"{count['total'] / 1e6:.1f} M{cost}"
        )
    first = pupils[0]
    for other in (teacher, *(one.evaluation for one in pupils[1:])):
        apart = paired_interval(
            first.evaluation.per_request(METRIC),
            other.per_request(METRIC),
            other.users,
            seed=room.seed,
        )
        yield (
            f"{first.name} − {other.name}: MRR {apart.value:+.4f} {bounds(apart, '+.4f')}, paired, "
            f"{len(other.ranks)} test requests"
        )
    yield f"teacher: MRR {shown(teacher.table[METRIC])}"


def _hash(parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:8]
