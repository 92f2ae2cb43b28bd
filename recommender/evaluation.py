"""Every request of a split asked of a ranker, and the table that comes of it.

Apart from metrics, which are formulas, because this owns the loop: batches that fit in
memory, ranks without sorting, lists for coverage and diversity, intervals over people.
What is kept is one rank a request; every rank metric at every n is remade from that.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recommender import metrics
from recommender.events import Event, Progress, StageDone, StageStarted
from recommender.ranking import CatalogueRanker, candidate_rank, target_ranks, top_indices
from recommender.significance import Interval, mean_intervals
from recommender.splits import Split
from storage.records import FloatArray, IntArray, Measurement, Part

LIST_LENGTH = 10
"""How many items of each answer are kept, for coverage, diversity and novelty."""


@dataclass(frozen=True, eq=False, slots=True)
class Evaluation:
    """One rank per request, the lists, and the table."""

    name: str
    scope: str
    """'test/full', 'valid/full' for a catalogue; for candidate lists whatever was given."""
    rows: IntArray
    """Row of each request in the split's log; −1 where there is none."""
    users: IntArray
    ranks: npt.NDArray[np.int32]
    lists: metrics.Lists
    """The first items of each answer, shape (requests, 10), −1 padded; empty for candidates."""
    table: Mapping[str, Interval]
    """'ndcg@10' … -> mean with interval. 'coverage@10' belongs to all lists together and has
    no interval: its low and high equal its value."""
    seconds: float
    """Time spent scoring and ranking."""

    def per_request(self, metric: str) -> npt.NDArray[np.float64]:
        """Return one value per request, for paired comparisons.

        >>> example_evaluation().per_request("ndcg@10").tolist()
        [1.0, 0.5]
        """
        return metrics.by_name(metric, self.ranks.astype(np.int64))

    def measurements(self, run: str, artifact: str = "") -> tuple[Measurement, ...]:
        """Return the table as records for the Store.

        >>> example_evaluation().measurements("run1")[0].scope
        'example'
        """
        return tuple(
            Measurement(run, self.scope, metric, i.value, i.low, i.high, i.n, i.people, artifact)
            for metric, i in self.table.items()
        )

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return what must be kept to remake every figure, by name, for an artifact.

        >>> sorted(example_evaluation().arrays())
        ['lists', 'ranks', 'rows', 'users']
        """
        return {"rows": self.rows, "users": self.users, "ranks": self.ranks, "lists": self.lists}


@dataclass(frozen=True, slots=True)
class EvaluationFinished(Event):
    """The last event of `evaluate_steps`."""

    evaluation: Evaluation


def evaluate(
    ranker: CatalogueRanker,
    split: Split,
    part: Part,
    *,
    n: Sequence[int] = (5, 10, 20),
    max_people: int | None = None,
    vectors: FloatArray | None = None,
    memory: int = 256_000_000,
    resamples: int = 10_000,
    seed: int = 0,
) -> Evaluation:
    """Run `evaluate_steps` to its end and return the evaluation; the arguments are the same."""
    steps = evaluate_steps(
        ranker,
        split,
        part,
        n=n,
        max_people=max_people,
        vectors=vectors,
        memory=memory,
        resamples=resamples,
        seed=seed,
    )
    *_, last = steps
    assert isinstance(last, EvaluationFinished)
    return last.evaluation


def evaluate_steps(
    ranker: CatalogueRanker,
    split: Split,
    part: Part,
    *,
    n: Sequence[int] = (5, 10, 20),
    max_people: int | None = None,
    vectors: FloatArray | None = None,
    memory: int = 256_000_000,
    resamples: int = 10_000,
    seed: int = 0,
) -> Iterator[Event]:
    """Rank the full catalogue for every request of a part, with events, the result last.

    Args:
        ranker: Items it does not know (numbers from `ranker.items` on) stand last.
        split: Decides the requests and their histories.
        part: 'valid' to choose by, 'test' to report.
        n: Cuts of the rank metrics.
        max_people: Evaluate all requests of this many people, drawn by `seed`; None is all.
        vectors: Unit vectors of all items, for diversity; None leaves diversity out.
        memory: Bytes for one batch of scores and what ranking them needs.
        resamples: Of the bootstrap.
        seed: Of the draw of people and of the bootstrap.

    Raises:
        ValueError: The part has no requests, or a score is NaN.
    """
    stage = f"evaluate {ranker.name} on {part}"
    rows = _rows(split, part, max_people, seed)
    yield StageStarted(stage, total=len(rows), unit="requests")
    # A score and its comparison take 5 bytes; a ranker's own intermediate as much again twice.
    batch = int(np.clip(memory // (split.log.items * 16), 1, 1024))
    ranks = np.empty(len(rows), dtype=np.int32)
    lists = np.full((len(rows), LIST_LENGTH), -1, dtype=np.int32)
    started = time.perf_counter()
    for start in range(0, len(rows), batch):
        some = rows[start : start + batch]
        ranks[start : start + batch] = _rank_batch(ranker, split, some, lists[start:])
        yield Progress(stage, start + len(some), len(rows))
    seconds = time.perf_counter() - started
    users = split.log.user[rows]
    table = rank_table(ranks, users, n=n, resamples=resamples, seed=seed)
    table |= _list_table(lists, users, split, vectors, resamples, seed)
    yield StageDone(
        stage, seconds, f"NDCG@10 {metrics.ndcg(ranks.astype(np.int64), 10).mean():.4f}"
    )
    yield EvaluationFinished(
        Evaluation(ranker.name, f"{part}/full", rows, users, ranks, lists, table, seconds)
    )


def evaluate_candidates(
    name: str,
    scope: str,
    scores: Sequence[npt.NDArray[np.floating]],
    targets: Sequence[int],
    users: IntArray,
    *,
    rows: IntArray | None = None,
    n: Sequence[int] = (1, 5, 10),
    resamples: int = 10_000,
    seed: int = 0,
) -> Evaluation:
    """Measure a ranker on candidate lists, as a teacher is measured at the gate.

    Args:
        name: Who ranked.
        scope: What the lists are, e.g. 'gate/candidates'.
        scores: One array per request, one score per candidate; lengths may differ.
        targets: Index of the true item within each request's candidates.
        users: Who each request is of.
        rows: The requests' rows in the log, where they have one.
        n: Cuts; 'mrr' without a cut is always added.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        ValueError: A score is NaN, a target is outside its list, or there is no request.

    >>> scores = [np.array([0.1, 0.7]), np.array([0.5, 0.5])]
    >>> evaluate_candidates("demo", "gate", scores, [1, 0], np.array([0, 1])).ranks.tolist()
    [1, 2]
    """
    started = time.perf_counter()
    pairs = list(zip(scores, targets, strict=True))
    if any(not 0 <= target < len(own) for own, target in pairs):
        raise ValueError("a target is not among its candidates")
    ranks = np.array([candidate_rank(own, target) for own, target in pairs], dtype=np.int32)
    table = rank_table(ranks, users, n=n, extra=("mrr",), resamples=resamples, seed=seed)
    return Evaluation(
        name=name,
        scope=scope,
        rows=np.full(len(ranks), -1, dtype=np.int64) if rows is None else rows,
        users=users,
        ranks=ranks,
        lists=np.empty((len(ranks), 0), dtype=np.int32),
        table=table,
        seconds=time.perf_counter() - started,
    )


def rank_table(
    ranks: npt.NDArray[np.integer],
    users: IntArray,
    *,
    n: Sequence[int] = (5, 10, 20),
    extra: Sequence[str] = (),
    resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return every rank metric at every n, and the `extra` ones, with intervals over people.

    >>> rank_table(np.array([1, 3]), np.array([0, 1]), n=(10,), resamples=10)["ndcg@10"].value
    0.75
    """
    names = [f"{metric}@{cut}" for metric in metrics.RANK_METRICS for cut in n] + list(extra)
    wide = ranks.astype(np.int64)
    values = np.stack([metrics.by_name(name, wide) for name in names], axis=1)
    intervals = mean_intervals(values, users, resamples=resamples, seed=seed)
    return dict(zip(names, intervals, strict=True))


def example_evaluation() -> Evaluation:
    """Return two requests ranked 1 and 3, for examples."""
    ranks, users = np.array([1, 3], dtype=np.int32), np.array([0, 1])
    table = rank_table(ranks, users, n=(10,), resamples=10)
    lists = np.empty((2, 0), dtype=np.int32)
    return Evaluation("example", "example", np.array([4, 9]), users, ranks, lists, table, 0.0)


def _rows(split: Split, part: Part, max_people: int | None, seed: int) -> IntArray:
    rows = split.events(part)
    if not len(rows):
        raise ValueError(f"the {part!r} part of this {split.kind} split has no request")
    people = np.unique(split.log.user[rows])
    if max_people is None or len(people) <= max_people:
        return rows
    chosen = np.random.default_rng(seed).choice(people, size=max_people, replace=False)
    return rows[np.isin(split.log.user[rows], chosen)]


def _rank_batch(
    ranker: CatalogueRanker, split: Split, rows: IntArray, lists: metrics.Lists
) -> IntArray:
    """Rank one batch, and write the first items of each answer into `lists`."""
    histories = [split.history(int(row)) for row in rows]
    scores = ranker.score(histories)
    missing = split.log.items - scores.shape[1]
    if missing > 0:
        scores = np.pad(scores, ((0, 0), (0, missing)), constant_values=-np.inf)
    ranks = target_ranks(scores, split.log.item[rows], histories)
    for index, history in enumerate(histories):
        own = scores[index].copy()
        own[history] = -np.inf
        best = top_indices(own, LIST_LENGTH)
        best = best[own[best] != -np.inf]
        lists[index, : len(best)] = best
    return ranks


def _list_table(
    lists: metrics.Lists,
    users: IntArray,
    split: Split,
    vectors: FloatArray | None,
    resamples: int,
    seed: int,
) -> dict[str, Interval]:
    counts = np.bincount(split.train_sequences()[0], minlength=split.log.items)
    columns = {"novelty@10": metrics.novelty(lists, counts)}
    if vectors is not None:
        columns["diversity@10"] = metrics.diversity(lists, vectors)
    values = np.stack(list(columns.values()), axis=1)
    intervals = mean_intervals(values, users, resamples=resamples, seed=seed)
    share = metrics.coverage(lists, split.log.items)
    people = intervals[0].people
    return {
        "coverage@10": Interval(share, share, share, n=len(lists), people=people),
        **dict(zip(columns, intervals, strict=True)),
    }
