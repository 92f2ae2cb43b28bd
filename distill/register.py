"""What a distillation leaves behind in the Store, and what it says about itself.

Apart because a figure must be kept with everything that made it, and printed the same way
whether it is good or bad.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from distill.arms import TrainedArm
from distill.config import DistilConfig
from distill.consulting import Consultant, Consulted, how_fused
from distill.ground import Ground
from recommender.evaluation import Evaluation
from recommender.events import amount
from recommender.scoring import Scoring
from recommender.significance import Interval, paired_interval
from storage.records import Run
from storage.store import Store

METRIC = "ndcg@10"
_GROUND = ("category", "seed", "split", "min_rating", "max_users", "data", "synthetic")
"""What every figure depends on."""


@dataclass(frozen=True, eq=False, slots=True)
class Entry:
    """One ranker with its figures on test."""

    name: str
    kind: str
    """'student' or 'baseline'."""
    evaluation: Evaluation
    trained: TrainedArm | None


def register(
    store: Store,
    config: DistilConfig,
    ground: Ground,
    said: Consulted | None,
    entries: Sequence[Entry],
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[Run]:
    """Keep one run a ranker with its figures; the same distillation again changes nothing.

    Returns the runs in the order of the entries, then the teachers', whose figures are those
    of the gate. Without anything said there was no teacher.
    """
    everything = {**config.as_dict(), "data": ground.category.digest}
    everything["synthetic"] = ground.category.synthetic
    heard = {} if said is None else _what_was_said(said)
    made = [
        _Made(e.name, e.kind, e.evaluation, e.trained, _what_decided(e, everything, heard))
        for e in entries
    ]
    made += [
        _Made(
            f"teacher {one.card.name}",
            "teacher",
            one.gate.teacher,
            None,
            {
                **{name: everything[name] for name in (*_GROUND, "teacher")},
                **heard,
                "model": one.card.key,
                "scoring": _scoring(one.chosen.scoring),
            },
            one.gate.others,
        )
        for one in (() if said is None else said.teachers)
    ]
    return [_keep(store, ground, config, one, now()) for one in made]


def _what_decided(
    entry: Entry, everything: Mapping[str, object], heard: Mapping[str, object]
) -> dict[str, object]:
    """Return what decided a ranker's figures, and nothing else.

    A baseline knows the data alone, and a student that hears nobody its own settings: the same
    ones beside another method are the same run, and the leaderboard has them once.
    """
    ground = {name: everything[name] for name in _GROUND}
    if entry.trained is None:
        return ground
    lesson = entry.trained.arm.distillation
    weights = () if lesson is None else lesson.layer_weights
    learned = {"layer_weights": list(weights), "training": dict(entry.trained.cost)}
    if lesson is not None:
        return {**everything, **heard, **learned}
    own = {name: everything[name] for name in ("student", "final")}
    return {**ground, **own, "method": "none", **learned}


def _what_was_said(said: Consulted) -> dict[str, object]:
    """Return what of the teachers decided a student."""
    taught = said.taught
    details: dict[str, object] = {
        "model": said.card.key,
        "scoring": _scoring(said.chosen.scoring),
        "requests": len(taught.asked.requests),
        "profile": taught.profile.key if taught.profile else "",
    }
    if said.fusion is not None:
        names = [one.card.key for one in said.teachers]
        details["fusion"] = dict(zip(names, said.fusion.shares, strict=True))
    return details


@dataclass(frozen=True, eq=False, slots=True)
class _Made:
    """What becomes a run."""

    name: str
    kind: str
    evaluation: Evaluation
    trained: TrainedArm | None
    details: Mapping[str, object]
    beside: Sequence[Evaluation] = ()


def _keep(store: Store, ground: Ground, config: DistilConfig, one: _Made, now: datetime) -> Run:
    artifact = one.trained.artifact.key if one.trained else ""
    run = Run(
        id=_run_id(ground, one.name, one.details, artifact),
        category_id=ground.category.id,
        kind=one.kind,
        name=one.name,
        seed=config.seed,
        config=one.details,
        status="done",
        created_at=now.isoformat(timespec="seconds"),
        artifact=artifact,
        selection=one.trained.best if one.trained else None,
    )
    if store.runs.measurements(run.id):
        return run
    rows = keep_rows(store, run, one.evaluation)
    figures = list(one.evaluation.measurements(run.id, rows))
    for other in one.beside:
        beside = other.measurements(run.id, keep_rows(store, run, other))
        figures += [replace(m, scope=f"{other.scope}/{other.name}") for m in beside]
    store.runs.add(run)
    # In one transaction: a run has all of its figures, or is registered again.
    store.runs.add_measurements(figures)
    return run


def _scoring(scoring: Scoring) -> dict[str, object]:
    """Return what a live answer of the same teacher needs to be scored alike."""
    found: dict[str, object] = {"way": scoring.way, "temperature": scoring.temperature}
    if scoring.orders > 1 or scoring.prior:
        found |= {"orders": scoring.orders, "prior": list(scoring.prior)}
    return found


def report(
    config: DistilConfig, ground: Ground, said: Consulted | None, entries: Sequence[Entry]
) -> Iterator[str]:
    """Say, line by line, what was measured: the gate, the layers, the difference, the sizes."""
    if said is not None:
        yield from _teachers(config, said)
    students = [e for e in entries if e.trained is not None]
    for entry in students:
        assert entry.trained is not None
        yield (
            f"{entry.name}: {entry.trained.artifact.size / 1e6:.1f} MB, best epoch "
            f"{entry.trained.epochs}, trained in {entry.trained.seconds:.0f} s"
        )
    if len(students) >= 2:
        yield verdict(students[0].evaluation, students[1].evaluation, config.seed)
    if ground.category.synthetic:
        yield "these are figures of a synthetic sample, and no results"


def _teachers(config: DistilConfig, said: Consulted) -> Iterator[str]:
    """Say how the teachers did, and what their layers are worth."""
    for one in said.teachers:
        yield _gate_line(config, one)
    if said.fusion is not None:
        yield how_fused(said.teachers, said.fusion)
    taught = said.taught
    ranked = config.loss.ranked
    if ranked.share and ranked.confidence:
        by = {
            "label": "the confidence of its calibrated label",
            "distance": "how near an item is to the title that the teacher named",
        }
        yield f"rankings: items weighed by {by[ranked.confidence_by]}"
    if taught.profile is None:
        yield "layers: skipped: no weights"
        return
    ratio = taught.profile.details
    yield (
        f"layers: Fisher over {amount(taught.profile.requests, 'requests')}, "
        f"last quarter over first {float(str(ratio['ratio'])):.2f} "
        f"[{float(str(ratio['ratio_low'])):.2f}, {float(str(ratio['ratio_high'])):.2f}]"
    )


def _gate_line(config: DistilConfig, one: Consultant) -> str:
    gate = one.gate
    people = len(set(gate.teacher.users.tolist()))
    beside = ", ".join(f"{e.name} {e.table['mrr'].value:.3f}" for e in gate.others)
    return (
        f"gate: teacher MRR {shown(gate.teacher.table['mrr'])} on {len(gate.teacher.ranks)} "
        f"validation requests of {people} people with {config.teacher.candidates} candidates "
        f"({beside}, chance {gate.chance:.3f}); calibration error {gate.calibration_error:.3f}"
    )


def verdict(distilled: Evaluation, undistilled: Evaluation, seed: int) -> str:
    """Say whether teaching helped, by the paired difference over people."""
    difference = paired_interval(
        distilled.per_request(METRIC),
        undistilled.per_request(METRIC),
        distilled.users,
        seed=seed,
    )
    base = undistilled.table[METRIC].value
    share = f" ({difference.value / base:+.1%})" if base > 0 else ""
    figures = f"NDCG@10 {difference.value:+.4f}{share} {bounds(difference, '+.4f')}, paired"
    if difference.low > 0:
        return f"the distilled student beats the undistilled one: {figures}"
    return f"the distilled student does not beat the undistilled one: {figures}"


def shown(interval: Interval) -> str:
    """Return a figure with its interval.

    >>> shown(Interval(0.5, 0.4, 0.6, 10, 5))
    '0.500 [0.400, 0.600]'
    """
    return f"{interval.value:.3f} {bounds(interval, '.3f')}"


def bounds(interval: Interval, form: str) -> str:
    """Return the two ends of an interval in brackets."""
    return f"[{interval.low:{form}}, {interval.high:{form}}]"


def _run_id(ground: Ground, name: str, details: Mapping[str, object], artifact: str) -> str:
    # Neither whether a last training follows nor what training took changes what was measured.
    made = {key: value for key, value in details.items() if key not in ("final", "training")}
    text = json.dumps([ground.category.id, name, made, artifact], sort_keys=True, default=str)
    slug = "".join(c if c.isalnum() else "-" for c in name.split(" (")[0].lower())
    return f"{slug}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def keep_rows(store: Store, run: Run, evaluation: Evaluation) -> str:
    """Keep what every figure of an evaluation is remade from; return the artifact's key."""
    inputs = {"run": run.id, "scope": evaluation.scope, "ranker": evaluation.name}
    with store.artifacts.writing("evaluation", inputs) as path:
        store.artifacts.save_arrays(path / "rows.safetensors", dict(evaluation.arrays()))
    return store.artifacts.key("evaluation", inputs)
