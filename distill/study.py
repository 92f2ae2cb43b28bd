"""Arms × seeds on one category, from one set of teacher's answers: is teaching worth it?

The question a single run cannot answer. Every arm is trained with every seed on the same
requests, and compared pair by pair: what text gives over no text, what the teacher gives
over text, and what is left of that when its answers are dealt to the wrong requests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from distill.arms import Arm, train_arm
from distill.asking import Chosen, Gate
from distill.config import DistilConfig, check
from distill.consulting import Consulted, consult
from distill.pipeline import measure
from distill.teaching import Taught, distillation, observed_events
from recommender.config import Settings
from recommender.evaluation import Evaluation
from recommender.events import Event
from recommender.significance import Interval, paired_interval
from storage.records import Category
from storage.store import Store

METRICS = ("ndcg@10", "hr@10")

FREE = "SASRec, free embeddings"
TEXT = "SASRec, text embeddings"
DISTILLED = "distilled"
LABELS_ONLY = "distilled, labels only"
PERMUTED = "distilled, answers permuted"
ARMS = (FREE, TEXT, DISTILLED, LABELS_ONLY, PERMUTED)

COMPARISONS = (
    (TEXT, FREE),
    (DISTILLED, TEXT),
    (LABELS_ONLY, TEXT),
    (PERMUTED, TEXT),
    (DISTILLED, PERMUTED),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One ranker: its figures over all seeds, both levels resampled."""

    name: str
    figures: tuple[Interval, ...]
    """One a metric of METRICS."""
    best: tuple[float, ...]
    """Validation NDCG@10 of each seed; empty for what is not trained."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """a − b, pair by pair."""

    a: str
    b: str
    difference: Interval
    base: float
    """What b reaches."""


@dataclass(frozen=True, eq=False, slots=True)
class Studied(Event):
    """What a study found."""

    category: Category
    gate: Gate
    chosen: Chosen
    taught: Taught
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...]
    """Of NDCG@10."""


def study(
    store: Store, config: DistilConfig, settings: Settings, seeds: Sequence[int]
) -> Iterator[Event]:
    """Train every arm with every seed; the last event is `Studied`.

    The teacher is asked once, by the seed of `config`. Everything that was finished is found
    again, so a study that was killed goes on.
    """
    check(config)
    said = yield from consult(store, config, settings)
    said.close()
    ground = said.ground
    measured: dict[str, list[Evaluation]] = {}
    best: dict[str, list[float]] = {}
    for seed in seeds:
        for name in ARMS:
            arm = arm_of(name, replace(config, seed=seed), said)
            trained = yield from train_arm(store, ground, arm)
            evaluation = yield from measure(trained.ranker(ground.split.log.items), ground, config)
            measured.setdefault(name, []).append(evaluation)
            best.setdefault(name, []).append(trained.best)
    for baseline in (ground.popularity, ground.knn):
        measured[baseline.name] = [(yield from measure(baseline, ground, config))]
    yield Studied(
        category=ground.category,
        gate=said.gate,
        chosen=said.chosen,
        taught=said.taught,
        seeds=tuple(seeds),
        rows=tuple(_row(name, e, best.get(name, [])) for name, e in measured.items()),
        comparisons=tuple(_compare(measured, a, b) for a, b in COMPARISONS),
    )


def arm_of(name: str, config: DistilConfig, said: Consulted) -> Arm:
    """Return an arm of the study by its name."""
    if name == FREE:
        return Arm(name, config.with_student(start="free"), None)
    if name == TEXT:
        return Arm(name, config, None)
    if name == LABELS_ONLY:
        config = config.with_loss(layer=0.0)
    if name == PERMUTED:
        config = config.with_loss(permute_labels=True)
    observed = observed_events(said.ground)
    return Arm(name, config, distillation(said.taught, config, observed=observed))


def _row(name: str, evaluations: Sequence[Evaluation], best: Sequence[float]) -> Row:
    figures = []
    for metric in METRICS:
        values = np.stack([e.per_request(metric) for e in evaluations])
        figures.append(paired_interval(values, np.zeros_like(values), evaluations[0].users))
    return Row(name, tuple(figures), tuple(best))


def _compare(measured: dict[str, list[Evaluation]], a: str, b: str) -> Comparison:
    left = np.stack([e.per_request("ndcg@10") for e in measured[a]])
    right = np.stack([e.per_request("ndcg@10") for e in measured[b]])
    difference = paired_interval(left, right, measured[a][0].users)
    return Comparison(a, b, difference, float(right.mean()))


def table(found: Studied) -> str:
    """Return what a study found as Markdown."""
    people = found.rows[0].figures[0]
    lines = [
        "| ranker | NDCG@10 | HR@10 |",
        "|---|---|---|",
        *(
            f"| {row.name} | {_shown(row.figures[0])} | {_shown(row.figures[1])} |"
            for row in sorted(found.rows, key=lambda row: row.figures[0].value)
        ),
        "",
        f"n = {people.n:,} test requests of {people.people:,} people, full catalogue of "
        f"{found.category.items:,} items, seeds {', '.join(map(str, found.seeds))}; 95 % "
        "intervals resample people, and seeds where there are several.",
        "",
        "| difference in NDCG@10, paired | value | relative |",
        "|---|---|---|",
        *(
            f"| {one.a} − {one.b} | {_shown(one.difference, '+.4f')} | "
            f"{one.difference.value / one.base:+.1%} |"
            for one in found.comparisons
        ),
    ]
    return "\n".join(lines)


def _shown(interval: Interval, form: str = ".4f") -> str:
    return f"{interval.value:{form}} [{interval.low:{form}}, {interval.high:{form}}]"
