"""`recsys adapt` from beginning to end: weights, data, plan, learning, merging, judging.

Reads top to bottom. What a stage made is found again by what it was made of, so a second run
skips to the end, and a killed run goes on where it was. The test part is asked about in the
last stage alone, when the weights are final.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from distill.adapting.adapters import insert
from distill.adapting.config import AdaptConfig, check
from distill.adapting.events import Adapted, CurvePoint
from distill.adapting.judging import Judged, in_words, judge
from distill.adapting.keeping import keep_merged, open_adapted
from distill.adapting.learner import Lesson, mean_reciprocal_rank
from distill.adapting.learning import Learned, learn
from distill.adapting.measuring import Measured, measure
from distill.adapting.opening import open_weights
from distill.adapting.planning import plan_steps
from distill.adapting.questions import (
    TrainingQuestions,
    choosing_questions,
    require_enough,
    test_questions,
)
from distill.adapting.rates import measure_rates
from distill.adapting.registering import register_run, settings_of_learning
from distill.boards import require_board
from distill.ground import Ground, prepare, sampler
from recommender.asking.requests import Draw, Question
from recommender.backends import ModelCard
from recommender.backends.embedded import EmbeddedBackend
from recommender.config import Settings, resolve
from recommender.embeddings import TextEncoder, embedded_encoder
from recommender.events import Event
from storage.records import Artifact
from storage.store import Store


def adapt(
    category: str | AdaptConfig,
    *,
    settings: Settings | None = None,
    encoder: TextEncoder | None = None,
    tensorboard: Path | None = None,
    **changes: object,
) -> Iterator[Event]:
    """Adapt a teacher to a category; the last event is `Adapted`.

    Args:
        category: a category's name, or the whole configuration.
        settings: where the Store is, which models; None resolves environment and files.
        encoder: what makes vectors of titles; None is the embedded one.
        tensorboard: directory to write losses and validations to.
        changes: fields of `AdaptConfig`, e.g. minutes=5, seed=1.

    Raises:
        UnknownName: no such category or model.
        BadSetting: settings out of range, or a teacher without weights.
        BadData: too little data.

    >>> next(adapt("Books", rank=0))
    Traceback (most recent call last):
    ...
    storage.errors.BadSetting: rank = 0 is out of its range: at least 1
    """
    config = category if isinstance(category, AdaptConfig) else AdaptConfig(category)
    config = replace(config, **changes)  # type: ignore[arg-type]
    check(config)
    settings = settings or resolve().settings
    with Store.open(settings.db, settings.artifacts) as store:
        yield from run(store, config, settings, encoder=encoder, tensorboard=tensorboard)


def run(
    store: Store,
    config: AdaptConfig,
    settings: Settings,
    *,
    encoder: TextEncoder | None = None,
    tensorboard: Path | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Generator[Event, None, None]:
    """Go down the road with an open Store; the rest is as in `adapt`."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
    store.catalogue.category(config.category)  # a mistyped name costs no loading
    require_board(tensorboard)  # nor does a directory that cannot be written
    backend = yield from open_weights(store, config, settings)
    card = backend.describe()
    ground = yield from prepare(
        store, config.asking(), encoder or embedded_encoder(settings.models)
    )
    asked = _questions(ground, config)
    start = yield from _before(store, backend, ground, config, asked.choosing)
    learned = yield from _learned(store, backend, ground, config, asked, tensorboard)
    del backend  # its layers hold the adapters now

    merged: Artifact | None = None
    if config.merged:
        merged = yield from keep_merged(store.artifacts, learned.adapter, card.source)
    judged, key = yield from _judged(store, ground, config, card, learned, merged, asked)
    curve = (CurvePoint(0, start, math.nan), *learned.curve)
    run = register_run(
        store,
        ground.category,
        config,
        merged or learned.adapter,
        judged,
        {
            "model": key,
            "base": card.name,
            "base_model": card.key,
            "steps": learned.steps,
            "best_step": learned.best_step,
            "seconds": learned.seconds,
            "curve": [[one.step, one.mrr, one.loss] for one in curve[1:]],
            "unadapted_mrr": start,
        },
        models=settings.models,
        now=now(),
    )
    yield Adapted(
        category=ground.category,
        run=run,
        folder=(merged or learned.adapter).path,
        teacher=run.id if merged else "",
        curve=curve,
        best_step=learned.best_step,
        rows=tuple(store.runs.measurements(run.id)),
        summary=tuple(_summary(config, ground, learned, start, judged)),
    )


@dataclass(frozen=True, eq=False, slots=True)
class _Asked:
    """The three kinds of questions; those of test are drawn when the weights are final."""

    training: TrainingQuestions
    choosing: list[Question]
    draw: Draw


def _questions(ground: Ground, config: AdaptConfig) -> _Asked:
    draw = sampler(ground, config.asking())
    training = TrainingQuestions.of(ground.split, draw, seed=config.seed, most=config.requests)
    choosing = choosing_questions(ground.split, draw, seed=config.seed, most=config.valid_requests)
    people = len(np.unique(ground.split.log.user[ground.split.events("test")]))
    require_enough(training, len(choosing), people, ground.category.name)
    return _Asked(training, choosing, draw)


def _before(
    store: Store,
    backend: EmbeddedBackend,
    ground: Ground,
    config: AdaptConfig,
    choosing: Sequence[Question],
) -> Generator[Event, None, float]:
    """Measure the teacher as it came: where the curve begins."""
    model = Measured(backend, backend.describe().key, ground.texts, config.prompt_tokens)
    stage = "unadapted teacher, by short letters: validation"
    rows = yield from measure(store.artifacts, model, choosing, "short letters", stage=stage)
    return mean_reciprocal_rank(rows, [q.target for q in choosing])


def _learned(
    store: Store,
    backend: EmbeddedBackend,
    ground: Ground,
    config: AdaptConfig,
    asked: _Asked,
    tensorboard: Path | None,
) -> Generator[Event, None, Learned]:
    """Learn, as long as the minutes allow, or find what was learned."""
    card = backend.describe()
    inputs = {"data": ground.category.digest, "weights": card.key}
    if config.mix != "uniform":  # then the neighbours of titles decide who is offered
        inputs["encoder"] = ground.encoder.name
    lesson = Lesson(backend, ground.texts, asked.training, asked.choosing, config)
    adapted = insert(backend.model, config.rank, seed=config.seed)
    plan = yield from plan_steps(
        store.artifacts,
        config,
        {**inputs, "adapt": settings_of_learning(config)},
        len(asked.training),
        lambda: measure_rates(lesson),
    )
    return (
        yield from learn(store.artifacts, lesson, adapted, plan, inputs, tensorboard=tensorboard)
    )


def _judged(
    store: Store,
    ground: Ground,
    config: AdaptConfig,
    card: ModelCard,
    learned: Learned,
    merged: Artifact | None,
    asked: _Asked,
) -> Generator[Event, None, tuple[Judged, str]]:
    """Ask both teachers the test questions; return the figures and the adapted one's key."""
    after, key = open_adapted(store.artifacts, config, card.source, learned.adapter, merged)
    before = EmbeddedBackend.open(
        card.source,
        artifacts=store.artifacts,
        device=config.device,
        precision=config.precision,
    )
    test = test_questions(ground.split, asked.draw, seed=config.seed, most=config.test_requests)
    judged = yield from judge(
        store.artifacts,
        ground,
        Measured(after, key, ground.texts, config.prompt_tokens),
        Measured(before, card.key, ground.texts, config.prompt_tokens),
        asked.choosing,
        test,
        whole=config.whole_requests,
        seed=config.seed,
    )
    return judged, key


def _summary(
    config: AdaptConfig, ground: Ground, learned: Learned, start: float, judged: Judged
) -> Iterator[str]:
    best = max((one.mrr for one in learned.curve), default=math.nan)
    yield (
        f"learned {learned.steps} steps of {config.batch} questions in {learned.seconds:.0f} s; "
        f"kept step {learned.best_step}, validation MRR {best:.3f} (unadapted {start:.3f})"
    )
    yield from in_words(judged, config.prompt_tokens)
    if ground.category.synthetic:
        yield "these are figures of a synthetic sample, and no results"
