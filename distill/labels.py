"""`recsys label`: teachers asked in bulk, and compared by what they said on validation.

Everything that a distillation will ask is asked here, under the same keys, so that a later
`recsys distill` finds it. Nobody is turned away: a teacher that is no better than chance is
shown to be so, in a row like any other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from distill.asking import ask
from distill.config import ORDERS_ON_SERVERS, DistilConfig, check
from distill.consulting import Consultant, Fusion, fuse, hire, let_go
from distill.teaching import training_slice
from recommender.asking.orders import PlaceAudit, audit_places
from recommender.asking.requests import Question
from recommender.config import Settings
from recommender.embeddings import TextEncoder
from recommender.evaluation import Evaluation
from recommender.events import Event, Notice
from recommender.letters import COMFORTABLE
from recommender.significance import Interval
from storage.records import Category, LabelRequest, SoftLabel
from storage.store import Store

SLICES = ("choose", "gate", "train")
DEFAULT_REQUESTS = 500


@dataclass(frozen=True, slots=True)
class TeacherRow:
    """One teacher: how good, how biased, how honest, how fast."""

    name: str
    way: str
    orders: int
    mrr: Interval
    """On the gate's slice, over its candidates."""
    passed: bool
    """Whether it is above chance by two standard errors."""
    calibration_error: float
    places: tuple[PlaceAudit, ...]
    """Position bias: place by place; empty where order does not matter."""
    coverage: float | None
    """Share of letters that were named; None where it was not asked by letters."""
    p50: float
    """Seconds of one answer."""
    p95: float
    tokens_per_second: float | None
    """Read and written; None where nobody counts."""
    statuses: tuple[tuple[str, int], ...]
    """Of all answers: ('ok', n) and whatever else came."""
    labels: int
    """Training questions that became labels."""
    questions: int
    floor: float | None
    """The noise floor in nats, where `recsys doctor --teacher` measured it."""
    servers: tuple[str, ...]
    """Versions that answered; more than one were mixed."""

    @property
    def declined(self) -> float:
        """Share of answers that are none."""
        total = sum(n for _, n in self.statuses)
        return 1.0 - dict(self.statuses).get("ok", 0) / total if total else 0.0


@dataclass(frozen=True, eq=False, slots=True)
class CategoryLabelled(Event):
    """What came of it."""

    category: Category
    teachers: tuple[TeacherRow, ...]
    beside: tuple[tuple[str, Interval], ...]
    """The baselines on the same candidates, by MRR."""
    chance: float
    fusion: Fusion | None


def label_category(
    store: Store, config: DistilConfig, settings: Settings, *, encoder: TextEncoder | None = None
) -> Generator[Event, None, None]:
    """Ask each teacher all that a distillation will ask; the last event is `CategoryLabelled`.

    Raises:
        UnknownName, Offline, CannotTeach: a teacher cannot be opened.
        BackendError: a server does not answer any more; what it said is kept.
    """
    check(config)
    config = config.with_teacher(ignore_gate=True)
    teacher = config.teacher
    yield Notice(
        f"each teacher is asked up to {teacher.choose_requests + teacher.gate_requests} questions "
        f"of validation and {teacher.requests or DEFAULT_REQUESTS} of training, letters in "
        f"{teacher.orders or ORDERS_ON_SERVERS} orders on a server; what is kept is not asked again"
    )
    ground, teachers = yield from hire(store, config, settings, encoder=encoder)
    count = config.teacher.requests or DEFAULT_REQUESTS
    questions = training_slice(ground, config, count, measured=config.teacher.weights != "none")
    rows = []
    try:
        for one in teachers:
            asked = yield from ask(one.listener, questions, one.chosen, "train")
            rows.append(row_of(one, questions, sum(asked.heard)))
    finally:
        let_go(teachers)
    gate = teachers[0].gate
    yield CategoryLabelled(
        category=ground.category,
        teachers=tuple(rows),
        beside=tuple((e.name, e.table["mrr"]) for e in gate.others),
        chance=gate.chance,
        fusion=fuse(teachers) if len(teachers) > 1 else None,
    )


def row_of(one: Consultant, questions: Sequence[Question], labels: int) -> TeacherRow:
    """Measure one teacher by every answer that is kept of it."""
    method = one.chosen.scoring.method
    slices = {
        "choose": one.chosen.questions,
        "gate": one.chosen.gate,
        "train": questions,
    }
    asked = [r for p, some in slices.items() for r in one.listener.requests(some, p, method)]
    answers = one.listener.store.labels.get([r.key for r in asked])
    seconds = np.array([a.seconds for a in answers.values()] or [0.0])
    noise = one.listener.store.noise.latest(one.card.key, one.card.options)
    return TeacherRow(
        name=one.card.name,
        way=one.chosen.scoring.way,
        orders=one.chosen.scoring.orders,
        mrr=_mrr(one.gate.teacher),
        passed=one.gate.passed,
        calibration_error=one.gate.calibration_error,
        places=_places(asked, answers) if method == "letters" else (),
        coverage=_coverage(answers.values()) if method == "letters" else None,
        p50=float(np.median(seconds)),
        p95=float(np.quantile(seconds, 0.95)),
        tokens_per_second=_tokens_per_second(answers.values()),
        statuses=tuple(Counter(a.status for a in answers.values()).most_common()),
        labels=labels,
        questions=len(questions),
        floor=noise.floor if noise else None,
        servers=tuple(
            sorted({str(a.details["server"]) for a in answers.values() if a.details.get("server")})
        ),
    )


def crowded(config: DistilConfig) -> str:
    """Return a warning where more letters are offered than come back; else nothing.

    >>> crowded(DistilConfig("Books"))
    ''
    """
    count = config.teacher.candidates
    if count <= COMFORTABLE:
        return ""
    return (
        f"{count} lettered candidates are many: a server names 20 tokens, and of 20 letters only "
        f"13 or 14 came back; what is missing gets a bound instead. Up to {COMFORTABLE} are safe"
    )


def _mrr(evaluation: Evaluation) -> Interval:
    return evaluation.table["mrr"]


def _places(asked: Sequence[LabelRequest], answers: dict[str, SoftLabel]) -> tuple[PlaceAudit, ...]:
    """Audit the places over lists of the usual length."""
    pairs = [
        (answers[r.key].scores, r.target)
        for r in asked
        if r.key in answers and answers[r.key].status == "ok"
    ]
    if not pairs:
        return ()
    usual = Counter(len(scores) for scores, _ in pairs).most_common(1)[0][0]
    kept = [(scores, target) for scores, target in pairs if len(scores) == usual]
    return audit_places([scores for scores, _ in kept], [target for _, target in kept])


def _coverage(answers: Iterable[SoftLabel]) -> float | None:
    shares = [
        1.0 - len(missing) / len(answer.scores)
        for answer in answers
        if isinstance(missing := answer.details.get("missing"), list)
    ]
    return float(np.mean(shares)) if shares else None


def _tokens_per_second(answers: Iterable[SoftLabel]) -> float | None:
    tokens, seconds = 0, 0.0
    for answer in answers:
        read, made = answer.details.get("prompt_tokens"), answer.details.get("made_tokens")
        if isinstance(read, int) and isinstance(made, int):
            tokens, seconds = tokens + read + made, seconds + answer.seconds
    return tokens / seconds if seconds > 0 else None
