"""A teacher made ready to answer live: its model, its way of scoring, its candidates.

Apart from `api` because this opens models.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import numpy as np

from recommender.asking.evidence import askable
from recommender.asking.grounding import Grounder
from recommender.backends import Backend
from recommender.backends.opening import open_backend
from recommender.baselines import ItemKNN, Popularity
from recommender.candidates import TextNeighbours
from recommender.config import Settings
from recommender.embeddings import TextEncoder, embedded_encoder, title_vectors
from recommender.events import Event
from recommender.scoring import Scoring
from recommender.teacher import TeacherRanker
from recommender.wording import shown_texts, texts_of
from storage.errors import BadSetting
from storage.records import Category, FloatArray, Log
from storage.store import Store

Hear = Callable[[Event], object]
"""Is told what happens while something is made ready."""

UNMEASURED = {
    "likelihood": Scoring("minus+cosine", 1.0, 0, {}),
    "letters": Scoring("letters+cosine", 1.0, 0, {}, orders=4),
    "ranking": Scoring("ranking+cosine", 1.0, 0, {}, orders=4),
    "generate": Scoring("generate", 1.0, 0, {}),
    "similarity": Scoring("similarity", 1.0, 0, {}),
}
"""How a teacher scores that was never measured on this category, by what it is asked."""


def open_teacher_ranker(
    store: Store,
    category: Category,
    log: Log,
    spec: str,
    settings: Settings,
    *,
    encoder: TextEncoder | None = None,
    hear: Hear = lambda _: None,
) -> TeacherRanker:
    """Open a model as a ranker of this category, scoring as a distillation chose to.

    Args:
        store: with the category.
        category: whose items are ranked.
        log: of the category.
        spec: of the model, or its name.
        settings: device, precision, hosts, where models are.
        encoder: what makes vectors of titles; None is the embedded one.
        hear: is told how far the vectors of the titles are, where they are not made yet.

    Raises:
        UnknownName: no such model.
        Offline: the model would have to be fetched, or no server answers.
        BadSetting: the model cannot be asked in the mode that the settings name.
    """
    backend = open_backend(spec, settings, artifacts=store.artifacts, mode=settings.teacher_mode)
    with ExitStack() as undone:
        undone.callback(backend.close)
        ranker = _ranker(store, category, log, backend, settings, encoder, hear)
        undone.pop_all()
    return ranker


def _ranker(
    store: Store,
    category: Category,
    log: Log,
    backend: Backend,
    settings: Settings,
    encoder: TextEncoder | None,
    hear: Hear,
) -> TeacherRanker:
    scoring = live_scoring(store, category, backend, settings)
    encoder = encoder or embedded_encoder(settings.models)
    titles = store.catalogue.item_titles(category.id)
    vectors = _vectors(store, titles, encoder, hear)
    offsets = np.searchsorted(log.user, np.arange(log.people + 1)).astype(np.int64)
    noise = store.noise.latest(backend.describe().key, backend.describe().options)
    shown = shown_texts(store, category, settings.item_fields)
    return TeacherRanker(
        backend=backend,
        texts=texts_of(category, shown, settings.history_length, settings.item_fields),
        scoring=scoring,
        vectors=vectors,
        sources=(
            Popularity.fit(log.item, log.items),
            ItemKNN.fit(log.item, offsets, log.items),
            TextNeighbours(vectors),
        ),
        floor=noise.floor if noise else 0.0,
        grounder=Grounder(titles, vectors, encoder) if scoring.method == "generate" else None,
    )


def live_scoring(store: Store, category: Category, backend: Backend, settings: Settings) -> Scoring:
    """Return how a model is scored live: as measured here, or in the mode the settings name.

    Raises:
        BadSetting: it cannot be asked like that.
    """
    card = backend.describe()
    able = askable(card)
    mode = "similarity" if settings.teacher_mode == "embedding" else settings.teacher_mode
    if mode == "auto":
        return chosen_scoring(store, category, card.key) or UNMEASURED[able[0]]
    if mode not in able and not (mode == "ranking" and "json" in card.abilities):
        raise BadSetting(
            f"{card.name!r} cannot be asked by {mode!r}: it can by {', '.join(able)}",
            next_step="another --teacher-mode",
        )
    return UNMEASURED[mode]


def chosen_scoring(store: Store, category: Category, model: str) -> Scoring | None:
    """Return the way of scoring that the latest distillation chose for this model."""
    for run in reversed(store.runs.list(category.id)):
        scoring = run.config.get("scoring")
        if run.kind == "teacher" and run.config.get("model") == model and isinstance(scoring, dict):
            return Scoring(
                str(scoring["way"]),
                float(scoring["temperature"]),
                0,
                {},
                prior=tuple(float(b) for b in scoring.get("prior", ())),
                orders=int(scoring.get("orders", 1)),
            )
    return None


def _vectors(store: Store, titles: list[str], encoder: TextEncoder, hear: Hear) -> FloatArray:
    steps = title_vectors(titles, encoder, store.artifacts)
    while True:
        try:
            hear(next(steps))
        except StopIteration as stop:
            vectors: FloatArray = stop.value
            return vectors
