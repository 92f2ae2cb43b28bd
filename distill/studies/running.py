"""A study being run: every arm with every seed on every data set, each part found again.

The teacher is asked once a data set, by the base of the study and the first seed. What was
finished is found by the hash of what made it, so a study that was killed goes on.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field

from distill.arms import Arm, train_arm
from distill.config import DistilConfig, check
from distill.consulting import Consulted, consult
from distill.ground import Ground, prepare
from distill.lesson import lesson_of, observed_events
from distill.pipeline import ALONE, measure
from distill.ranked.vectors import item_vectors
from distill.studies.files import Study
from recommender.config import Settings
from recommender.embeddings import TextEncoder, embedded_encoder
from recommender.evaluation import Evaluation
from recommender.events import Event, Notice
from storage.records import Category
from storage.store import Store


@dataclass(frozen=True, eq=False, slots=True)
class Trial:
    """One arm with one seed."""

    seed: int
    evaluation: Evaluation
    best: float
    """What it was selected by, on validation; NaN where nothing was selected."""
    seconds: float
    """Of training, over all sittings."""
    cost: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, slots=True)
class Ran:
    """A study on one data set."""

    category: Category
    trials: Mapping[str, tuple[Trial, ...]]
    """By arm, in the order of the study's seeds."""
    beside: tuple[Evaluation, ...]
    """Baselines that nobody trained for this."""
    said: Consulted | None
    """What the teacher said; None where no arm hears one."""


@dataclass(frozen=True, eq=False, slots=True)
class Studied(Event):
    """What a study found."""

    study: Study
    ran: tuple[Ran, ...]


@dataclass(frozen=True, eq=False, slots=True)
class _Place:
    """Where the arms of one data set are trained."""

    store: Store
    settings: Settings
    ground: Ground
    said: Consulted | None
    trials: dict[str, list[Trial]] = field(default_factory=dict)


def run_study(
    store: Store, study: Study, settings: Settings, *, encoder: TextEncoder | None = None
) -> Iterator[Event]:
    """Train every arm with every seed on every data set; the last event is `Studied`.

    Raises:
        UnknownName: there is no such data set.
        TeacherUnfit: the teacher of the base is no better than chance.
        BadSetting: an arm weighs layers by what was not measured.
    """
    ran = []
    for category in study.data:
        ran.append((yield from _on(store, study, category, settings, encoder)))
    yield Studied(study, tuple(ran))


def _on(
    store: Store, study: Study, category: str, settings: Settings, encoder: TextEncoder | None
) -> Generator[Event, None, Ran]:
    base = study.config(category, study.seeds[0])
    check(base)
    if base.language is not None:
        # Deferred: transformers take seconds to load, and sequential students need none.
        from distill.language.study import on_language

        return (yield from on_language(store, study, category, settings, encoder))
    place = yield from _prepared(store, study, base, settings, encoder)
    every = [(seed, arm) for seed in study.seeds for arm in study.arms]
    for number, (seed, arm) in enumerate(every, start=1):
        yield Notice(f"{arm}, seed {seed}: {number} of {len(every)} on {category}")
        trial = yield from _trial(place, study.config(category, seed, arm), arm, seed)
        place.trials.setdefault(arm, []).append(trial)
    beside = []
    for baseline in (place.ground.popularity, place.ground.knn):
        beside.append((yield from measure(baseline, place.ground, base)))
    trials = {arm: tuple(some) for arm, some in place.trials.items()}
    return Ran(place.ground.category, trials, tuple(beside), place.said)


def _prepared(
    store: Store,
    study: Study,
    base: DistilConfig,
    settings: Settings,
    encoder: TextEncoder | None,
) -> Generator[Event, None, _Place]:
    """Ask the teacher what the base asks, unless no arm would hear it."""
    if all(study.config(base.category, arm=arm).method == ALONE for arm in study.arms):
        vectors_by = encoder or embedded_encoder(settings.models)
        return _Place(store, settings, (yield from prepare(store, base, vectors_by)), None)
    said = yield from consult(store, base, settings, encoder=encoder)
    said.close()
    return _Place(store, settings, said.ground, said)


def _trial(
    place: _Place, config: DistilConfig, arm: str, seed: int
) -> Generator[Event, None, Trial]:
    lesson = None
    if place.said is not None and config.method != ALONE:
        lesson = lesson_of(
            place.store,
            place.said.taught,
            config,
            observed=observed_events(place.ground),
            vectors=(yield from item_vectors(place.store, place.ground, config, place.settings)),
            folder=place.settings.folder,
        )
    trained = yield from train_arm(place.store, place.ground, Arm(arm, config, lesson))
    ranker = trained.ranker(place.ground.split.log.items)
    evaluation = yield from measure(ranker, place.ground, config)
    return Trial(seed, evaluation, trained.best, trained.seconds, trained.cost)
