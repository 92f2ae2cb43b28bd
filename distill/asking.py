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

from distill.config import DistilConfig, TeacherConfig
from distill.ground import Ground, sampler
from recommender.asking.answering import IN_ORDERS
from recommender.asking.evidence import Heard, Listener, Priors, askable, hear, say_lost
from recommender.asking.labelling import label
from recommender.asking.requests import Question, question_of, validation_questions
from recommender.backends import ModelCard
from recommender.calibration import expected_calibration_error, fit_temperature, probabilities
from recommender.evaluation import Evaluation, evaluate_candidates
from recommender.events import Event, Notice
from recommender.letters import MOST
from recommender.metrics import chance
from recommender.scoring import (
    METHODS,
    Evidence,
    Scoring,
    available,
    choose_scoring,
    combine,
)
from recommender.splits import Split
from storage.errors import BadData, TeacherUnfit
from storage.records import LabelRequest

GATE_SCOPE = "gate/candidates"


@dataclass(frozen=True, eq=False, slots=True)
class Asked:
    """Answered requests with one combined score a candidate."""

    requests: tuple[LabelRequest, ...]
    evidence: tuple[Evidence, ...]
    scores: tuple[np.ndarray, ...]
    heard: tuple[bool, ...]
    """Whether the teacher had an opinion; where not, all candidates score 0."""

    def only_heard(self) -> tuple[Asked, list[int]]:
        """Return the requests with an opinion, and their places among all."""
        kept = [n for n, has in enumerate(self.heard) if has]
        return (
            Asked(
                tuple(self.requests[n] for n in kept),
                tuple(self.evidence[n] for n in kept),
                tuple(self.scores[n] for n in kept),
                (True,) * len(kept),
            ),
            kept,
        )


@dataclass(frozen=True, eq=False, slots=True)
class Chosen:
    """How the teacher's answers are read from here on."""

    scoring: Scoring
    title_temperature: float | None
    """τ of the plain likelihood: the loss whose Fisher information is measured. None for a
    teacher that cannot say how likely a title is."""
    seconds: float
    """What one question costs, all of its orders together."""
    priors: Priors
    """Letters: what each place gets whoever stands there."""
    asked: Asked
    """The slice it was chosen on, scored by the way chosen."""
    questions: tuple[Question, ...]
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
    asked: Asked

    @property
    def passed(self) -> bool:
        """Whether the teacher's MRR is above chance by two standard errors."""
        return self.teacher.table["mrr"].value > self.chance + 2 * self.standard_error


def choose(
    listener: Listener, ground: Ground, config: DistilConfig
) -> Generator[Event, None, Chosen]:
    """Choose the way of scoring on one slice of validation; keep the other for the gate.

    Raises:
        BadData: validation has too few people for two slices.
        TeacherUnfit: it says nothing, or not by the way of scoring that was asked for.
    """
    teacher = config.teacher
    questions, kept = validation_questions(
        ground.split,
        slice_sizes(teacher, people_in(ground.split)),
        sampler(ground, config),
        seed=config.seed,
    )
    if len(questions) < 2 or len(kept) < 2:
        raise BadData(
            f"validation of {ground.category.name!r} has requests of too few people to choose a "
            f"way of scoring and to judge the teacher on different ones",
            next_step="recsys data stats " + ground.category.name,
        )
    methods = methods_of(config, listener.backend.describe())
    heard = yield from hear(listener, questions, "choose", methods)
    yield from say_lost(heard)
    scoring = _choose_scoring(heard, config, listener.orders)
    plain = [e for e in heard.evidence if e.likelihood is not None]
    temperature = (
        fit_temperature(
            [e.likelihood for e in plain if e.likelihood is not None], [e.target for e in plain]
        )
        if plain
        else None
    )
    return Chosen(
        scoring=scoring,
        title_temperature=temperature,
        seconds=_seconds(listener, heard, scoring),
        priors=heard.priors,
        asked=combined(heard, scoring),
        questions=tuple(questions),
        gate=tuple(kept),
    )


FEWEST_AT_GATE = 30
"""Where fewer people than this would be left for the gate, both slices are halves."""


def slice_sizes(teacher: TeacherConfig, people: int) -> tuple[int, int]:
    """Return how many validation requests choose the scoring, and how many judge the teacher.

    >>> from distill.config import TeacherConfig
    >>> slice_sizes(TeacherConfig(), 400), slice_sizes(TeacherConfig(), 100)
    ((90, 120), (50, 50))
    """
    choose, gate = teacher.choose_requests, teacher.gate_requests
    if people - choose >= min(FEWEST_AT_GATE, gate):
        return choose, gate
    return min(choose, people // 2), min(gate, people - people // 2)


def people_in(split: Split) -> int:
    """Return how many people have a validation request."""
    return len(np.unique(split.log.user[split.events("valid")]))


def methods_of(config: DistilConfig, card: ModelCard) -> tuple[str, ...]:
    """Return what a teacher is asked by on the slice that decides.

    A way of scoring that was asked for by name is the only one. 'auto' tries all that the model
    can but the free guess, which costs a whole answer and has to be asked for.

    Raises:
        TeacherUnfit: the model can do nothing that is wanted.

    >>> from recommender.backends import example_card
    >>> methods_of(DistilConfig("Books"), example_card("likelihood", "letters", "text"))
    ('likelihood', 'letters')
    """
    teacher, able = config.teacher, askable(card)
    if teacher.scoring != "auto":
        wanted = [METHODS[teacher.scoring.partition("+")[0]]]
        # The likelihood comes along: it fits the temperature of the loss that is measured.
        wanted = [*(m for m in ("likelihood",) if m in able and m not in wanted), *wanted]
    elif teacher.mode == "auto":
        few = teacher.candidates <= MOST
        wanted = [m for m in able if m != "generate" and (few or m not in IN_ORDERS)]
    else:
        wanted = ["similarity" if teacher.mode == "embedding" else teacher.mode]
        if wanted == ["ranking"] and "json" in card.abilities:
            able = (*able, "ranking")
    lacking = [m for m in wanted if m not in able]
    if lacking or not wanted:
        raise TeacherUnfit(
            f"{card.name!r} cannot be asked by {', '.join(lacking) or 'anything'}: it can by "
            f"{', '.join(able) or 'nothing'}",
            next_step="another --teacher-mode, or another --teacher",
        )
    return tuple(wanted)


def _choose_scoring(heard: Heard, config: DistilConfig, orders: int) -> Scoring:
    """Choose on this slice; letters keep the prior and the orders they were asked with."""
    fixed = () if config.teacher.scoring == "auto" else (config.teacher.scoring,)
    try:
        scoring = choose_scoring(heard.evidence, fixed)
    except ValueError as error:
        said = "; ".join(
            f"by {method}: " + ", ".join(f"{n} {why}" for why, n in reasons.most_common())
            for method, reasons in heard.lost.items()
            if reasons
        )
        raise TeacherUnfit(
            f"the teacher has no opinion on most of {len(heard.requests)} questions ({said})",
            next_step="another --teacher, or another --teacher-mode",
        ) from error
    prior = heard.priors.get(config.teacher.candidates, ())
    lettered = scoring.method == "letters"
    return replace(
        scoring,
        prior=tuple(prior) if lettered else (),
        orders=orders if scoring.method in IN_ORDERS else 1,
    )


def _seconds(listener: Listener, heard: Heard, scoring: Scoring) -> float:
    """Return what a question costs by the way chosen, with so many under way at once."""
    requests = listener.requests([question_of(r) for r in heard.requests], "choose", scoring.method)
    answers = listener.store.labels.get([r.key for r in requests])
    once = float(np.median([a.seconds for a in answers.values()])) if answers else 0.0
    at_once = max(1, listener.in_flight) if listener.backend.describe().concurrent else 1
    return max(once * scoring.orders / at_once, 1e-4)


def fit_title_temperature(
    listener: Listener, questions: Sequence[Question], method: str = "likelihood"
) -> Generator[Event, None, float]:
    """Fit the temperature of the plain likelihood of a model on a slice of validation.

    Or of its letters, by `method`, in the orders the listener asks. For weights that are not the
    teacher's own process: a server cannot say how likely a title is, and the loss whose Fisher
    information is measured needs to be calibrated all the same.
    """
    requests = listener.requests(questions, "choose", method)
    labels = listener.store.labels
    yield from label(listener.backend, requests, listener.texts, labels, stage="weights: choose")
    answers = labels.get([request.key for request in requests])
    return fit_temperature(
        [answers[request.key].scores for request in requests],
        [request.target for request in requests],
    )


def judge(
    listener: Listener, ground: Ground, config: DistilConfig, chosen: Chosen
) -> Generator[Event, None, Gate]:
    """Measure the teacher on the gate's slice, beside popularity and item-kNN.

    Raises:
        TeacherUnfit: it is not above chance by two standard errors, and nobody overrode it.
    """
    asked = yield from ask(listener, chosen.gate, chosen, "gate")
    targets = [e.target for e in asked.evidence]
    users = np.array([r.user for r in asked.requests], dtype=np.int64)
    rows = np.array([r.event for r in asked.requests], dtype=np.int64)
    histories = [np.array(r.history, dtype=np.int64) for r in asked.requests]

    def measure(name: str, scores: Sequence[np.ndarray]) -> Evaluation:
        return evaluate_candidates(
            name, GATE_SCOPE, scores, targets, users, rows=rows, seed=config.seed
        )

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
        asked=asked,
    )
    if not gate.passed and not config.teacher.ignore_gate:
        raise TeacherUnfit(refusal(gate), next_step="recsys distill --ignore-gate to go on anyway")
    if not gate.passed:
        yield Notice(
            "the teacher is not above chance: recsys distill learns from it with --ignore-gate only"
        )
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
    listener: Listener, questions: Sequence[Question], chosen: Chosen, purpose: str
) -> Generator[Event, None, Asked]:
    """Ask questions by the way chosen, and combine the answers to one score a candidate."""
    heard = yield from hear(
        listener, questions, purpose, [chosen.scoring.method], priors=chosen.priors
    )
    yield from say_lost(heard)
    return combined(heard, chosen.scoring)


def combined(heard: Heard, scoring: Scoring) -> Asked:
    """Combine the evidence of each request by the way chosen.

    A declined answer is no opinion: all candidates score 0, which is the last rank.
    """
    has = [scoring.way in available(e) for e in heard.evidence]
    scores = [
        combine(scoring.way, e) if known else np.zeros(len(r.candidates))
        for r, e, known in zip(heard.requests, heard.evidence, has, strict=True)
    ]
    return Asked(
        requests=heard.requests,
        evidence=heard.evidence,
        scores=tuple(scores),
        heard=tuple(has),
    )
