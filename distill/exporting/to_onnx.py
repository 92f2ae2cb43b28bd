"""A sequential student as an ONNX file, and as one of 8-bit weights with what that costs.

What it costs is measured on the test requests of the split it was trained on, both files asked
the same. Beside the file stands what a program needs to call it: which number is which item.

Source: onnxruntime's dynamic quantisation; weights become 8-bit integers, a scale a matrix.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from distill.exporting.events import Exported
from distill.exporting.sources import Student
from distill.exporting.writing import refuse_taken, whole_file
from recommender.evaluation import Evaluation, EvaluationFinished, evaluate_steps
from recommender.events import Event, Notice, StageDone, StageStarted
from recommender.leaderboard import refuse_other_split
from recommender.protocol import Protocol, SplitKind
from recommender.sequential.student import StudentRanker
from recommender.significance import Interval, paired_interval
from recommender.splits import Split, positives, split_as
from storage.artifacts import Artifacts
from storage.errors import BadSetting
from storage.records import Category, Run
from storage.store import Store

NETWORK = "student.onnx"
STAGE = "quantise"
METRIC = "ndcg@10"


@dataclass(frozen=True, eq=False, slots=True)
class Cost:
    """What 8 bits cost a student, on the same requests."""

    before: Evaluation
    after: Evaluation
    difference: Interval
    """Of NDCG@10: 8-bit less float32."""

    def in_words(self) -> str:
        """Say it in one line."""
        one, other, d = self.before.table[METRIC], self.after.table[METRIC], self.difference
        share = f" ({d.value / one.value:+.1%})" if one.value > 0 else ""
        return (
            f"NDCG@10 {other.value:.4f} as int8, {one.value:.4f} as float32: {d.value:+.4f}{share} "
            f"[{d.low:+.4f}, {d.high:+.4f}], paired, {d.n} test requests of {d.people} people"
        )


def export_onnx(
    store: Store,
    student: Student,
    target: Path,
    *,
    int8: bool = False,
    force: bool = False,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Event]:
    """Write an ONNX file and a description of its items; the last event is `Exported`.

    Args:
        store: with the items.
        student: of a run.
        target: the file; the description has its name and '.json'.
        int8: of 8-bit weights, measured against the original.
        force: replace files that are there.
        seed: of the intervals.
        clock: gives seconds.

    Raises:
        BadSetting: a target is taken, or the student was trained on everything, so that
            nothing is left to measure 8 bits on.
        StoreUnavailable: they cannot be written.
    """
    described = target.with_name(f"{target.name}.json")
    for one in (target, described):
        refuse_taken(one, force=force)
    category = next(c for c in store.catalogue.categories() if c.id == student.run.category_id)
    if int8 and student.run.final:
        raise BadSetting(
            f"run {student.run.id!r} was trained on everything: nothing is held out to measure "
            "8 bits on",
            next_step="the run it was made from, see recsys runs list",
        )
    source = Path(student.artifact.path, NETWORK)
    summary = [f"{source.stat().st_size / 1e6:.1f} MB as float32"]
    figures: Mapping[str, float] = {}
    with whole_file(target, force=force) as part:
        if int8:
            cost = yield from _quantised(store, student, category, part, seed, clock)
            size = part.stat().st_size
            summary = [f"{size / 1e6:.1f} MB, {summary[0]}", cost.in_words()]
            figures = _figures(cost)
            if category.synthetic:
                yield Notice(f"{category.name} is a synthetic sample: its figures are no results")
        else:
            shutil.copyfile(source, part)
        with whole_file(described, force=force) as beside:
            Artifacts.write_json(beside, _description(store, student, category, int8=int8))
    yield Exported(
        "onnx",
        str(target),
        target.stat().st_size,
        (*summary, f"what its numbers mean: {described.name}"),
        f"onnxruntime.InferenceSession({str(target)!r})",
        figures,
    )


def quantise(source: Path, target: Path) -> None:
    """Write a network with 8-bit weights: every matrix that is multiplied, and the item table."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet():
        quantize_dynamic(source, target, weight_type=QuantType.QInt8)


def _quantised(
    store: Store,
    student: Student,
    category: Category,
    part: Path,
    seed: int,
    clock: Callable[[], float],
) -> Generator[Event, None, Cost]:
    run = student.run
    split = _split(store, run, category)
    with tempfile.TemporaryDirectory(prefix="recsys-int8-") as name:
        folder, original = Path(name), Path(student.artifact.path)
        for file in original.iterdir():
            if file.is_file() and file.name != NETWORK:
                shutil.copyfile(file, folder / file.name)
        started = clock()
        yield StageStarted(STAGE)
        quantise(original / NETWORK, folder / NETWORK)
        yield StageDone(STAGE, clock() - started)
        before = yield from _measured(original, "float32", split, seed)
        after = yield from _measured(folder, "int8", split, seed)
        shutil.copyfile(folder / NETWORK, part)
    difference = paired_interval(
        after.per_request(METRIC), before.per_request(METRIC), before.users, seed=seed
    )
    return Cost(before, after, difference)


def _split(store: Store, run: Run, category: Category) -> Split:
    kind = cast("SplitKind", run.config.get("split", "temporal"))
    least = cast("float | None", run.config.get("min_rating"))
    refuse_other_split(run, category, Protocol("test", kind, least))
    return split_as(positives(store.catalogue.log(category.id), least), kind)


def _measured(
    folder: Path, name: str, split: Split, seed: int
) -> Generator[Event, None, Evaluation]:
    ranker = StudentRanker.open(folder, name=name)
    for event in evaluate_steps(ranker, split, "test", seed=seed):
        if isinstance(event, EvaluationFinished):
            return event.evaluation
        yield event
    raise AssertionError("an evaluation ended without a result")


def _description(
    store: Store, student: Student, category: Category, *, int8: bool
) -> dict[str, object]:
    """Return what a program needs to call the file."""
    about = Artifacts.read_json(student.artifact, "student.json")
    items = store.catalogue.item_ids(category.id)[: about["items"]]
    return {
        "run": student.run.id,
        "category": category.name,
        "weights": "int8" if int8 else "float32",
        "input": "ids: int64 (people, length): a history, oldest first, item i of the list below "
        "as i + 1; 0 fills up at the left",
        "longest": about["network"]["max_len"],
        "output": "scores: float32 (people, items): the higher the likelier next",
        "items": items,
    }


def _figures(cost: Cost) -> dict[str, float]:
    return {
        "ndcg@10": cost.after.table[METRIC].value,
        "ndcg@10 float32": cost.before.table[METRIC].value,
        "difference": cost.difference.value,
        "low": cost.difference.low,
        "high": cost.difference.high,
        "n": float(cost.difference.n),
        "people": float(cost.difference.people),
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep onnxruntime's advice to prepare a network first off the terminal."""
    logger = logging.getLogger()
    level, handlers = logger.level, logger.handlers[:]
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.handlers[:] = handlers  # it sets logging up where nobody has
