"""The whole road: data, teacher, gate, Fisher, students, figures. Each stage runs once.

Reads top to bottom. What a stage made is found again by what it was made of, so a second
run skips to the end, and a killed run goes on where it was.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from distill.arms import Arm, TrainedArm, train_arm, train_final
from distill.boards import require_board
from distill.config import DistilConfig, check
from distill.consulting import Consulted, consult
from distill.ground import Ground, prepare
from distill.lesson import lesson_of, observed_events
from distill.methods import FIRST, check_method
from distill.ranked.vectors import item_vectors
from distill.register import Entry, register, report
from distill.training import LayersWeighed
from recommender.config import Settings, resolve
from recommender.embeddings import TextEncoder, embedded_encoder
from recommender.evaluation import Evaluation, EvaluationFinished, evaluate_steps
from recommender.events import Event
from recommender.ranking import CatalogueRanker
from storage.records import Category, Measurement
from storage.store import Store

ALONE = "none"
"""The method that hears no teacher."""
DISTILLED = "distilled"
UNDISTILLED = "undistilled (same text, same budget)"


@dataclass(frozen=True, eq=False, slots=True)
class Distilled(Event):
    """What came of a distillation."""

    category: Category
    run: str
    """Id of the distilled student's run: what `--by student:RUN` takes."""
    rows: tuple[tuple[str, tuple[Measurement, ...]], ...]
    """One a ranker: its name and its figures."""
    layer_weights: tuple[float, ...]
    summary: tuple[str, ...]
    """What to say about it, line by line."""
    scope: str = "test/full"
    """What the figures are over."""
    teacher: str = ""
    """Name that `--teacher` takes, where the student is one that takes the teacher's place."""


def distil(
    category: str | DistilConfig,
    *,
    settings: Settings | None = None,
    encoder: TextEncoder | None = None,
    tensorboard: Path | None = None,
    **changes: object,
) -> Iterator[Event]:
    """Distil a category's teacher into a student; the last event is `Distilled`.

    Args:
        category: a category's name, or the whole configuration.
        settings: where the Store is, which models; None resolves environment and files.
        encoder: what makes vectors of titles; None is the embedded one.
        tensorboard: directory to write losses and validations to.
        changes: fields of `DistilConfig`, e.g. minutes=5, seed=1, final=True.

    Raises:
        UnknownName: no such category or model.
        TeacherUnfit: the teacher is no better than chance.
        BadData: too little data.

    >>> next(distil("Books", minutes=-1))
    Traceback (most recent call last):
    ...
    storage.errors.BadSetting: minutes and requests cannot be negative
    """
    config = category if isinstance(category, DistilConfig) else DistilConfig(category)
    config = replace(config, **changes)  # type: ignore[arg-type]
    settings = settings or resolve().settings
    check(config)
    check_method(config, folder=settings.folder)
    with Store.open(settings.db, settings.artifacts) as store:
        yield from run(store, config, settings, encoder=encoder, tensorboard=tensorboard)


def run(
    store: Store,
    config: DistilConfig,
    settings: Settings,
    *,
    encoder: TextEncoder | None = None,
    tensorboard: Path | None = None,
) -> Generator[Event, None, None]:
    """Go down the road with an open Store; the rest as in `distil`."""
    require_board(tensorboard)  # before a teacher is asked for an hour
    if config.language is not None:
        # Deferred: transformers take seconds to load, and sequential students need none.
        from distill.language.pipeline import run_llama

        yield from run_llama(store, config, settings, encoder=encoder, tensorboard=tensorboard)
        return
    if config.method == ALONE:
        yield from _run_alone(store, config, settings, encoder, tensorboard)
        return
    said = yield from consult(store, config, settings, encoder=encoder)
    said.close()
    lesson = lesson_of(
        store,
        said.taught,
        config,
        observed=observed_events(said.ground),
        vectors=(yield from item_vectors(store, said.ground, config, settings)),
        folder=settings.folder,
    )
    if lesson is not None and lesson.layer_weights:
        yield LayersWeighed(0, lesson.layer_weights, config.method)
    trained = []
    for arm in (Arm(UNDISTILLED, config, None), Arm(called(config.method), config, lesson)):
        trained.append((yield from train_arm(store, said.ground, arm, tensorboard=tensorboard)))
    yield from conclude(store, config, said.ground, said, trained[::-1])


def called(method_name: str) -> str:
    """Return what tables call a student of a method.

    >>> called("fisher-ld"), called("pkd-last")
    ('distilled', 'distilled (pkd-last)')
    """
    return DISTILLED if method_name == FIRST else f"{DISTILLED} ({method_name})"


def _run_alone(
    store: Store,
    config: DistilConfig,
    settings: Settings,
    encoder: TextEncoder | None,
    tensorboard: Path | None,
) -> Generator[Event, None, None]:
    """Train a student that nobody teaches; no model is opened."""
    ground = yield from prepare(store, config, encoder or embedded_encoder(settings.models))
    arm = Arm(UNDISTILLED, config, None)
    alone = yield from train_arm(store, ground, arm, tensorboard=tensorboard)
    yield from conclude(store, config, ground, None, [alone])


def conclude(
    store: Store,
    config: DistilConfig,
    ground: Ground,
    said: Consulted | None,
    students: Sequence[TrainedArm],
) -> Generator[Event, None, None]:
    """Measure everything on test, register it, and say what came of it; the first one is new."""
    entries = []
    for arm in students:
        measured = yield from measure(arm.ranker(ground.split.log.items), ground, config)
        entries.append(Entry(arm.arm.name, "student", measured, arm))
    for baseline in (ground.popularity, ground.knn):
        measured = yield from measure(baseline, ground, config)
        entries.append(Entry(baseline.name, "baseline", measured, None))
    runs = register(store, config, ground, said, entries)
    made = students[0]
    if config.final:
        final = yield from train_final(store, ground, made.arm, made.epochs)
        store.runs.add(replace(runs[0], id=f"{runs[0].id}-final", artifact=final.key, final=True))
    lesson = made.arm.distillation
    yield Distilled(
        category=ground.category,
        run=runs[0].id,
        rows=tuple((run.name, tuple(store.runs.measurements(run.id))) for run in runs),
        layer_weights=() if lesson is None else lesson.layer_weights,
        summary=tuple(report(config, ground, said, entries)),
    )


def measure(
    ranker: CatalogueRanker, ground: Ground, config: DistilConfig
) -> Generator[Event, None, Evaluation]:
    """Rank the full catalogue for every test request."""
    steps = evaluate_steps(
        ranker,
        ground.split,
        "test",
        max_people=config.max_users or None,
        vectors=ground.vectors,
        seed=config.seed,
    )
    for event in steps:
        if isinstance(event, EvaluationFinished):
            return event.evaluation
        yield event
    raise AssertionError("an evaluation ended without a result")
