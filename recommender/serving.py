"""A teacher made ready to answer live: its model, its way of scoring, its candidates.

Apart from `api` because this imports torch.
"""

from __future__ import annotations

import numpy as np

from recommender.backends.embedded import EmbeddedBackend
from recommender.baselines import ItemKNN, Popularity
from recommender.candidates import TextNeighbours
from recommender.config import Settings
from recommender.embeddings import TextEncoder, embedded_encoder, title_vectors
from recommender.models import resolve_model
from recommender.scoring import Scoring
from recommender.teacher import TeacherRanker
from recommender.wording import texts_of
from storage.records import Category, FloatArray, Log
from storage.store import Store

UNMEASURED = Scoring("minus+cosine", 1.0, 0, {})
"""How a teacher scores that was never measured on this category."""


def open_teacher_ranker(
    store: Store,
    category: Category,
    log: Log,
    spec: str,
    settings: Settings,
    *,
    encoder: TextEncoder | None = None,
) -> TeacherRanker:
    """Open a model as a ranker of this category, scoring as a distillation chose to.

    Args:
        store: with the category.
        category: whose items are ranked.
        log: of the category.
        spec: of the model, or its name.
        settings: device, precision, where models are.
        encoder: what makes vectors of titles; None is the embedded one.

    Raises:
        UnknownName: no such model.
        Offline: the model would have to be fetched.
    """
    backend = EmbeddedBackend.open(
        resolve_model(settings.models, spec),
        artifacts=store.artifacts,
        device=settings.device,
        precision=settings.precision,
    )
    titles = store.catalogue.item_titles(category.id)
    vectors = _vectors(store, titles, encoder or embedded_encoder(settings.models))
    offsets = np.searchsorted(log.user, np.arange(log.people + 1)).astype(np.int64)
    return TeacherRanker(
        backend=backend,
        texts=texts_of(category, titles, settings.history_length),
        scoring=chosen_scoring(store, category, backend.describe().key),
        vectors=vectors,
        sources=(
            Popularity.fit(log.item, log.items),
            ItemKNN.fit(log.item, offsets, log.items),
            TextNeighbours(vectors),
        ),
    )


def chosen_scoring(store: Store, category: Category, model: str) -> Scoring:
    """Return the way of scoring that the latest distillation chose for this model."""
    for run in reversed(store.runs.list(category.id)):
        scoring = run.config.get("scoring")
        if run.kind == "teacher" and run.config.get("model") == model and isinstance(scoring, dict):
            return Scoring(str(scoring["way"]), float(scoring["temperature"]), 0, {})
    return UNMEASURED


def _vectors(store: Store, titles: list[str], encoder: TextEncoder) -> FloatArray:
    steps = title_vectors(titles, encoder, store.artifacts)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            vectors: FloatArray = stop.value
            return vectors
