"""Rankers measured side by side on held-out requests, outside any distillation.

Apart from evaluation, which measures one ranker, because this decides what may be measured:
baselines are fitted on train rows alone, and a student only counts where it was trained on
the very split that it is asked about.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from recommender.baselines import ItemKNN, Popularity
from recommender.evaluation import EvaluationFinished, evaluate_steps
from recommender.events import Event, Notice
from recommender.protocol import Protocol as Protocol
from recommender.protocol import SplitKind as SplitKind
from recommender.ranking import CatalogueRanker
from recommender.sequential.student import StudentRanker
from recommender.splits import Split, positives, split_as
from storage.errors import BadData, BadSetting
from storage.records import Category, Measurement, Run
from storage.store import Store

if TYPE_CHECKING:
    from recommender.config import Settings

MEASURABLE = ("student", "student:RUN", "popularity", "item-knn")


@dataclass(frozen=True, slots=True)
class Measured(Event):
    """The result: one row a ranker."""

    category: Category
    rows: tuple[tuple[str, tuple[Measurement, ...]], ...]


def measure_rankers(
    store: Store,
    category: str,
    by: Sequence[str],
    protocol: Protocol,
    settings: Settings | None = None,
) -> Iterator[Event]:
    """Evaluate each ranker over the full catalogue; the last event is `Measured`.

    Args:
        store: with the category.
        category: its name.
        by: of `MEASURABLE`, or names of the user's own rankers.
        protocol: how they are measured.
        settings: that name the user's own; None knows none.

    Raises:
        UnknownName: no such category or run.
        BadSetting: a ranker that cannot be measured so, or a student of another split.
        BadData: the data cannot be split so, or there is no student.
    """
    chosen = store.catalogue.category(category)
    log = positives(store.catalogue.log(chosen.id), protocol.min_rating)
    split = split_as(log, protocol.split)
    rows: list[tuple[str, tuple[Measurement, ...]]] = []
    for name in by:
        ranker = open_measurable(store, chosen, split, name, protocol, settings)
        measured = yield from _measure(ranker, split, protocol)
        rows.append((name, measured))
    if chosen.synthetic:
        yield Notice(f"{chosen.name} is a synthetic sample: its figures are no results")
    yield Measured(chosen, tuple(rows))


def open_measurable(
    store: Store,
    category: Category,
    split: Split,
    name: str,
    protocol: Protocol,
    settings: Settings | None = None,
) -> CatalogueRanker:
    """Return a ranker that has seen the train rows of this split and nothing else."""
    if settings is not None and name in settings.rankers:
        return _open_own(store, category, split, name, settings)
    kind, _, which = name.partition(":")
    items, offsets = split.train_sequences()
    if name == "popularity":
        return Popularity.fit(items, split.log.items)
    if name == "item-knn":
        return ItemKNN.fit(items, offsets, split.log.items)
    if kind != "student":
        names = (*MEASURABLE, *(settings.rankers if settings else ()))
        raise BadSetting(
            f"{name!r} cannot be measured over a full catalogue: one of {', '.join(names)}; "
            "a teacher's figures are those of its gate",
            next_step=f"recsys runs list --category {category.name}",
        )
    run = store.runs.get(which) if which else _best_measurable(store, category)
    refuse_other_split(run, category, protocol)
    folder = store.artifacts.open(run.artifact, verify="full").path
    return StudentRanker.open(folder, catalogue=category.items, name=name)


def refuse_other_split(run: Run, category: Category, protocol: Protocol) -> None:
    """Refuse a student whose training rows may be among the requests.

    Raises:
        BadSetting: it is of another category, split or choice of positives, or was
            retrained on everything.
    """
    asked = {"split": protocol.split, "min_rating": protocol.min_rating}
    trained = {key: run.config.get(key) for key in asked}
    if run.category_id != category.id or run.kind != "student":
        raise BadSetting(f"run {run.id!r} is no student of {category.name!r}")
    if run.final:
        raise BadSetting(f"run {run.id!r} was trained on everything: nothing is held out from it")
    if trained != asked:
        raise BadSetting(f"run {run.id!r} was trained with {trained}, not with {asked}")


def _open_own(
    store: Store, category: Category, split: Split, name: str, settings: Settings
) -> CatalogueRanker:
    # Deferred: it is needed where the user brought a class.
    from recommender.own import Shop, open_ranker, refuse_lacking

    titles = store.catalogue.item_titles(category.id)
    made = open_ranker(name, settings, Shop(category, titles, split.train_log()))
    lacking = [] if callable(getattr(made, "score", None)) else ["score()"]
    lacking += [] if isinstance(getattr(made, "items", None), int) else ["items"]
    refuse_lacking(settings.rankers[name], "ranker", lacking)
    return cast("CatalogueRanker", made)


def _best_measurable(store: Store, category: Category) -> Run:
    best = store.runs.best(category.id, final=False)
    if best is None:
        raise BadData(
            f"{category.name!r} has no student yet",
            next_step=f"recsys distill --category {category.name}",
        )
    return best


def _measure(
    ranker: CatalogueRanker, split: Split, protocol: Protocol
) -> Generator[Event, None, tuple[Measurement, ...]]:
    steps = evaluate_steps(
        ranker, split, protocol.part, max_people=protocol.max_people or None, seed=protocol.seed
    )
    for event in steps:
        if isinstance(event, EvaluationFinished):
            return event.evaluation.measurements(ranker.name)
        yield event
    raise AssertionError("an evaluation ended without a result")
