"""Everything that is asked of the teacher: how to score, whether it may teach, what it says.

Apart from the pipeline because the order is the argument. The way of scoring is chosen on
one slice of validation; the teacher is judged on another, which it was not chosen on; only
then is it asked about training data, and where its weights are at hand the first of those
questions also measure its layers, in the same pass.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from distill.config import LETTERS_MOST, DistilConfig
from distill.ground import Ground, sampler
from recommender.backends import Backend
from recommender.calibration import expected_calibration_error, fit_temperature, probabilities
from recommender.evaluation import Evaluation, evaluate_candidates
from recommender.events import Event, Notice
from recommender.labelling import address, label, label_unconditional
from recommender.metrics import chance
from recommender.requests import Question, validation_questions
from recommender.scoring import Evidence, Scoring, available, choose_scoring, combine
from recommender.teacher import gather_evidence
from storage.errors import BadData, TeacherUnfit
from storage.records import LabelRequest
from storage.store import Store

GATE_SCOPE = "gate/candidates"


@dataclass(frozen=True, eq=False, slots=True)
class Chosen:
    """How the teacher's answers are read from here on."""

    scoring: Scoring
    title_temperature: float
    """τ of the plain likelihood: the loss whose Fisher information is measured."""
    seconds: float
    """Median time of one answer."""
    gate: tuple[Question, ...]
    """The slice kept for the gate."""


@dataclass(frozen=True, eq=False, slots=True)
class Gate:
    """The teacher beside the baselines on the same candidates."""

    teacher: Evaluation
    others: tuple[Evaluation, ...]
    chance: float
    """Expected MRR of a random order."""
    standard_error: float
    calibration_error: float

    @property
    def passed(self) -> bool:
        """Whether the teacher's MRR is above chance by two standard errors."""
        return self.teacher.table["mrr"].value > self.chance + 2 * self.standard_error


@dataclass(frozen=True, eq=False, slots=True)
class Asked:
    """Answered requests with one combined score a candidate."""

    requests: tuple[LabelRequest, ...]
    evidence: tuple[Evidence, ...]
    scores: tuple[np.ndarray, ...]


def choose(
    store: Store, ground: Ground, config: DistilConfig, backend: Backend
) -> Generator[Event, None, Chosen]:
    """Choose the way of scoring on one slice of validation; keep the other for the gate.

    Raises:
        BadData: validation has too few people for two slices.
        TeacherUnfit: it was to be scored by letters, and declines to name one.
    """
    teacher = config.teacher
    questions, kept = validation_questions(
        ground.split,
        [teacher.choose_requests, teacher.gate_requests],
        sampler(ground, config),
        seed=config.seed,
    )
    if len(questions) < 2 or len(kept) < 2:
        raise BadData(
            f"validation of {ground.category.name!r} has requests of too few people to choose a "
            f"way of scoring and to judge the teacher on different ones",
            next_step="recsys data stats " + ground.category.name,
        )
    fixed = teacher.scoring != "auto"
    requests, evidence = yield from _answers(store, ground, backend, questions, "choose")
    letters = (not fixed and teacher.candidates <= LETTERS_MOST) or (
        fixed and teacher.scoring.startswith("letters")
    )
    if letters:
        evidence = yield from with_letters(store, ground, backend, questions, evidence, "choose")
        declined = sum(e.letters is None for e in evidence)
        said = f"{declined} of {len(evidence)} questions by letter were declined"
        if declined and fixed:
            raise TeacherUnfit(f"{said}: this teacher cannot be scored by {teacher.scoring!r}")
        if declined:
            yield Notice(f"{said}: letters are no way of scoring here")
    scoring = choose_scoring(evidence, (teacher.scoring,) if fixed else ())
    plain = [e.likelihood for e in evidence if e.likelihood is not None]
    answered = store.labels.get([r.key for r in requests])
    return Chosen(
        scoring=scoring,
        title_temperature=fit_temperature(plain, [e.target for e in evidence]),
        seconds=float(np.median([a.seconds for a in answered.values()])),
        gate=tuple(kept),
    )


def judge(
    store: Store, ground: Ground, config: DistilConfig, backend: Backend, chosen: Chosen
) -> Generator[Event, None, Gate]:
    """Measure the teacher on the gate's slice, beside popularity and item-kNN.

    Raises:
        TeacherUnfit: it is not above chance by two standard errors, and nobody overrode it.
    """
    asked = yield from ask(store, ground, backend, chosen.gate, chosen.scoring, "gate")
    targets = [e.target for e in asked.evidence]
    users = np.array([r.user for r in asked.requests], dtype=np.int64)
    histories = [np.array(r.history, dtype=np.int64) for r in asked.requests]

    def measure(name: str, scores: Sequence[np.ndarray]) -> Evaluation:
        return evaluate_candidates(name, GATE_SCOPE, scores, targets, users, seed=config.seed)

    teacher = measure("teacher", asked.scores)
    others = tuple(
        measure(
            source.name,
            [
                source.score([history])[0][list(r.candidates)]
                for history, r in zip(histories, asked.requests, strict=True)
            ],
        )
        for source in ground.sources
    )
    reciprocal = 1.0 / teacher.ranks
    gate = Gate(
        teacher=teacher,
        others=others,
        chance=chance("mrr", np.array([len(r.candidates) for r in asked.requests])),
        standard_error=float(reciprocal.std(ddof=1) / np.sqrt(len(reciprocal))),
        calibration_error=expected_calibration_error(
            [probabilities(s, chosen.scoring.temperature) for s in asked.scores], targets
        ),
    )
    if not gate.passed and not config.teacher.ignore_gate:
        raise TeacherUnfit(refusal(gate), next_step="recsys distill --ignore-gate to go on anyway")
    if not gate.passed:
        yield Notice("the teacher is not above chance; going on because the gate is ignored")
    return gate


def refusal(gate: Gate) -> str:
    """Say in one sentence how the teacher and the others did."""
    figures = ", ".join(
        f"{e.name} {e.table['mrr'].value:.3f}" for e in (gate.teacher, *gate.others)
    )
    return (
        f"the teacher does not rank better than chance on {len(gate.teacher.ranks)} validation "
        f"requests: MRR {figures}, chance {gate.chance:.3f} ± {gate.standard_error:.3f}"
    )


def ask(
    store: Store,
    ground: Ground,
    backend: Backend,
    questions: Sequence[Question],
    scoring: Scoring,
    purpose: str,
) -> Generator[Event, None, Asked]:
    """Ask questions by the way chosen, and combine the answers to one score a candidate."""
    requests, evidence = yield from _answers(store, ground, backend, questions, purpose)
    if scoring.way.startswith("letters"):
        evidence = yield from with_letters(store, ground, backend, questions, evidence, purpose)
    return combined(requests, evidence, scoring)


def combined(
    requests: Sequence[LabelRequest], evidence: Sequence[Evidence], scoring: Scoring
) -> Asked:
    """Combine the evidence of each request by the way chosen.

    A declined answer is no opinion: all candidates score 0, which is the last rank.
    """
    scores = [
        combine(scoring.way, e) if scoring.way in available(e) else np.zeros(len(r.candidates))
        for r, e in zip(requests, evidence, strict=True)
    ]
    return Asked(requests=tuple(requests), evidence=tuple(evidence), scores=tuple(scores))


def _answers(
    store: Store,
    ground: Ground,
    backend: Backend,
    questions: Sequence[Question],
    purpose: str,
) -> Generator[Event, None, tuple[list[LabelRequest], list[Evidence]]]:
    requests = address(
        questions,
        ground.texts,
        category_id=ground.category.id,
        purpose=purpose,
        teacher=backend.describe().key,
    )
    yield from label(backend, requests, ground.texts, store.labels, stage=f"teacher: {purpose}")
    evidence = yield from evidence_of(store, ground, backend, requests)
    return requests, evidence


def evidence_of(
    store: Store, ground: Ground, backend: Backend, requests: Sequence[LabelRequest]
) -> Generator[Event, None, list[Evidence]]:
    """Return the evidence of answered requests, asking for titles by themselves as needed."""
    items = sorted({item for request in requests for item in request.candidates})
    category_id, teacher = ground.category.id, backend.describe().key
    yield from label_unconditional(
        backend, items, ground.texts, store.labels, category_id=category_id
    )
    return gather_evidence(
        requests,
        store.labels.get([request.key for request in requests]),
        store.labels.unconditional(teacher, category_id, items),
        ground.vectors,
        ground.texts.history_length,
    )


def with_letters(
    store: Store,
    ground: Ground,
    backend: Backend,
    questions: Sequence[Question],
    evidence: Sequence[Evidence],
    purpose: str,
) -> Generator[Event, None, list[Evidence]]:
    """Ask the same questions by letters; where one was declined, `letters` stays empty."""
    requests = address(
        questions,
        ground.texts,
        category_id=ground.category.id,
        purpose=purpose,
        teacher=backend.describe().key,
        method="letters",
    )
    stage = f"teacher: {purpose}, by letters"
    yield from label(backend, requests, ground.texts, store.labels, stage=stage)
    answers = store.labels.get([request.key for request in requests])
    scores = [
        np.array(answer.scores) if answer.status == "ok" else None
        for answer in (answers[request.key] for request in requests)
    ]
    return [replace(e, letters=s) for e, s in zip(evidence, scores, strict=True)]
