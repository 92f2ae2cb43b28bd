"""What a study found, as tables: figures of every arm, and paired differences with intervals.

Pure: from evaluations to numbers to tables, and to Markdown. Figures resample people;
differences resample people and, where there are several, seeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from distill.consulting import Consulted
from distill.markdown import escaped, table
from distill.register import bounds
from distill.studies.files import Study
from distill.studies.running import Ran, Studied, Trial
from recommender.evaluation import Evaluation
from recommender.significance import Interval, paired_interval


@dataclass(frozen=True, slots=True)
class Row:
    """One ranker: its figures over all seeds."""

    name: str
    figures: tuple[Interval, ...]
    """One a metric."""
    best: tuple[float, ...]
    """What each seed was selected by on validation; empty for what nothing selects."""
    seconds: float
    """Of training, mean over seeds; NaN for what is not trained."""


@dataclass(frozen=True, slots=True)
class Difference:
    """a − b, request by request."""

    a: str
    b: str
    interval: Interval
    base: float
    """What b reaches."""

    @property
    def relative(self) -> float:
        """The difference as a share of what b reaches."""
        return self.interval.value / self.base if self.base else float("nan")


def rows_of(ran: Ran, metrics: Sequence[str]) -> list[Row]:
    """Return every arm and every baseline, the best one last."""
    rows = [
        Row(
            name,
            _figures([trial.evaluation for trial in trials], metrics),
            tuple(trial.best for trial in trials if math.isfinite(trial.best)),
            float(np.mean([trial.seconds for trial in trials])),
        )
        for name, trials in ran.trials.items()
    ]
    rows += [Row(one.name, _figures([one], metrics), (), float("nan")) for one in ran.beside]
    return sorted(rows, key=lambda row: row.figures[0].value)


def differences_of(ran: Ran, against: Sequence[str], metric: str) -> list[Difference]:
    """Return every arm against each of those named, in the order of the arms."""
    return [
        Difference(
            name,
            base,
            paired_interval(
                _values(trials, metric),
                _values(ran.trials[base], metric),
                trials[0].evaluation.users,
            ),
            float(_values(ran.trials[base], metric).mean()),
        )
        for base in against
        for name, trials in ran.trials.items()
        if name != base
    ]


@dataclass(frozen=True, slots=True)
class Table:
    """One table, in no form yet: the first column has names, which are text from outside."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """Return it as Markdown, where names stay names.

        >>> print(Table(("arm", "MRR"), (("a|b", "0.5"),)).markdown())
        | arm | MRR |
        |---|---|
        | a\\|b | 0.5 |
        """
        return table(
            [escaped(self.heads[0]), *self.heads[1:]],
            [[escaped(name), *figures] for name, *figures in self.rows],
        )


def markdown(found: Studied, *, metrics: Sequence[str] = ()) -> str:
    """Return a study's tables, data set after data set."""
    blocks = blocks_of(found, metrics=metrics)
    return "\n\n".join(one.markdown() if isinstance(one, Table) else one for one in blocks)


def blocks_of(found: Studied, *, metrics: Sequence[str] = ()) -> list[Table | str]:
    """Return all that is shown of a study, tables and sentences in their order."""
    study = found.study
    shown = tuple(metrics) or (study.metric, "hr@10" if study.metric == "ndcg@10" else "ndcg@10")
    return [block for ran in found.ran for block in _blocks(study, ran, shown)]


def _blocks(study: Study, ran: Ran, metrics: Sequence[str]) -> Iterator[Table | str]:
    first = next(iter(ran.trials.values()))[0].evaluation
    yield Table(
        (f"{ran.category.name}: arm", *map(called, metrics), "validation", "training"),
        tuple(_row(row) for row in rows_of(ran, metrics)),
    )
    yield (
        f"n = {len(first.ranks):,} test requests of {len(set(first.users.tolist())):,} people "
        f"({first.scope}), seeds {', '.join(map(str, study.seeds))}; 95 % intervals resample "
        "people, and seeds where there are several."
    )
    if study.against:
        yield Table(
            (
                f"{ran.category.name}: difference in {called(study.metric)}, paired",
                "value",
                "relative",
            ),
            tuple(
                (
                    f"{one.a} − {one.b}",
                    f"{one.interval.value:+.4f} {bounds(one.interval, '+.4f')}",
                    f"{one.relative:+.1%}",
                )
                for one in differences_of(ran, study.against, study.metric)
            ),
        )
    if ran.said is not None:
        yield from teacher_lines(ran.said)


def teacher_lines(said: Consulted) -> Iterator[str]:
    """Say what the README says of the teacher that every arm of a data set had."""
    gate, profile = said.gate, said.taught.profile
    beside = ", ".join(f"{one.name} {one.table['mrr'].value:.3f}" for one in gate.others)
    mrr = gate.teacher.table["mrr"]
    yield (
        f"Teacher at the gate: scoring by {said.chosen.scoring.way}, MRR {mrr.value:.3f} "
        f"{bounds(mrr, '.3f')} on {mrr.n} validation requests "
        f"({beside}, chance {gate.chance:.3f}), calibration error "
        f"{gate.calibration_error:.3f}; {len(said.taught.asked.requests):,} training requests."
    )
    if profile is not None:
        ratio = [float(str(profile.details[n])) for n in ("ratio", "ratio_low", "ratio_high")]
        yield (
            f"Layer Fisher of the teacher over {profile.requests} requests: the last quarter of "
            f"its layers has {ratio[0]:.2f} [{ratio[1]:.2f}, {ratio[2]:.2f}] times the Fisher "
            "information of the first."
        )


def called(metric: str) -> str:
    """Return how tables head a metric.

    >>> called("ndcg@10"), called("mrr")
    ('NDCG@10', 'MRR')
    """
    return metric.upper()


def _row(row: Row) -> tuple[str, ...]:
    figures = [f"{one.value:.4f} {bounds(one, '.4f')}" for one in row.figures]
    best = f"{np.mean(row.best):.4f}" if row.best else ""
    seconds = f"{row.seconds:.0f} s" if row.best else ""
    return (row.name, *figures, best, seconds)


def _figures(evaluations: Sequence[Evaluation], metrics: Sequence[str]) -> tuple[Interval, ...]:
    found = []
    for metric in metrics:
        values = np.stack([one.per_request(metric) for one in evaluations])
        found.append(paired_interval(values, np.zeros_like(values), evaluations[0].users))
    return tuple(found)


def _values(trials: Sequence[Trial], metric: str) -> np.ndarray:
    return np.stack([trial.evaluation.per_request(metric) for trial in trials])
