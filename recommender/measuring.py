"""Rankers by name, measured on held-out requests: what `recsys evaluate` runs.

Apart from `evaluation`, which knows rankers and splits only: here they are opened from the
Store. A student that was trained on everything is refused, for nothing is held out from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from recommender.api import Recommender
from recommender.baselines import ItemKNN, Popularity
from recommender.config import Settings, resolve
from recommender.evaluation import EvaluationFinished, evaluate_steps
from recommender.events import Event
from recommender.ranking import CatalogueRanker
from recommender.sequential.student import StudentRanker
from recommender.splits import Kind, Split, leave_last_out, positives, temporal_split
from storage.errors import BadSetting
from storage.records import Category, Measurement, Part


@dataclass(frozen=True, slots=True)
class Evaluated(Event):
    """The figures of each ranker, in the order asked."""

    category: Category
    rows: tuple[tuple[str, tuple[Measurement, ...]], ...]


def evaluate_rankers(
    category: str,
    by: Sequence[str],
    *,
    settings: Settings | None = None,
    part: Part = "test",
    split: Kind = "temporal",
    min_rating: float | None = None,
    max_users: int = 0,
) -> Iterator[Event]:
    """Measure rankers over the full catalogue; the last event is `Evaluated`.

    Baselines are fitted on train rows. A student must have been trained on the same split.

    Raises:
        UnknownName: no such category, run or ranker.
        BadSetting: a teacher, which cannot rank a full catalogue; a student of another split,
            or one that has seen the requests.
    """
    settings = settings or resolve().settings
    with Recommender.open(category, settings=settings) as shop:
        log = positives(shop.store.catalogue.log(shop.category.id), min_rating)
        parted = temporal_split(log) if split == "temporal" else leave_last_out(log)
        rows = []
        for name in by:
            ranker = _ranker(shop, name, parted, split, min_rating)
            steps = evaluate_steps(
                ranker, parted, part, max_people=max_users or None, seed=settings.seed
            )
            for event in steps:
                if isinstance(event, EvaluationFinished):
                    rows.append((name, tuple(event.evaluation.measurements(name))))
                else:
                    yield event
        yield Evaluated(shop.category, tuple(rows))


def _ranker(
    shop: Recommender, name: str, split: Split, kind: Kind, min_rating: float | None
) -> CatalogueRanker:
    items, offsets = split.train_sequences()
    if name == "popularity":
        return Popularity.fit(items, split.log.items)
    if name == "item-knn":
        return ItemKNN.fit(items, offsets, split.log.items)
    if not name.startswith("student"):
        raise BadSetting(
            f"{name!r} cannot rank a full catalogue: a teacher is measured on candidates",
            next_step=f"recsys distill --category {shop.category.name} prints its figures",
        )
    run = shop.measured_student(name.partition(":")[2])
    if run.final:
        raise BadSetting(
            f"run {run.id!r} was trained on everything: nothing is held out to measure it on",
            next_step=f"recsys runs list --category {shop.category.name}",
        )
    if (run.config.get("split"), run.config.get("min_rating")) != (kind, min_rating):
        raise BadSetting(
            f"run {run.id!r} was trained on another split: {run.config.get('split')}, "
            f"min_rating {run.config.get('min_rating')}",
            next_step="repeat its --split and --min-rating",
        )
    path = shop.store.artifacts.open(run.artifact).path
    return StudentRanker.open(path, catalogue=shop.category.items, name=name)
