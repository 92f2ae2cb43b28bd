"""How far a teacher's answers move when the same is asked again: its noise floor, measured.

On servers since 0.30 one question moves with what is cached and with what runs beside it, by
up to 0.18 nats (recorded on 0.32.15; nothing on 0.24.0). So a few questions are asked under
each of these conditions: *cold*, after another text took the place in the cache; *repeated*;
*in company*, while others are asked without a pause; *elsewhere*, on the other hosts. What
changes with the order of the candidates is a liking for places and not noise: it is measured
beside it and is no part of the floor.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from recommender.asking.evidence import askable
from recommender.asking.orders import PlaceAudit, audit_places
from recommender.asking.requests import OPEN
from recommender.backends import Backend, ModelCard, Prompt, Scores
from recommender.backends.errors import CannotTeach
from recommender.backends.hosts import members_of
from recommender.events import Event, Progress, StageDone, StageStarted
from recommender.noise.moves import REPEATED, Moves, Reading, moves_at_all, moves_in, reading
from recommender.noise.steps import CONDITIONS, ORDER, TIMES, Step, refuse_heated, steps_of
from storage.records import NoiseFloor


@dataclass(frozen=True, slots=True)
class NoiseReport:
    """What was measured beside the floor."""

    conditions: tuple[Moves, ...]
    """Those that were asked, then all of them together."""
    places: tuple[PlaceAudit, ...]
    """What each place gets whoever stands there."""
    coverage: Mapping[int, float]
    """Number of letters offered -> share of them that answers named."""
    outside: float
    """Mean probability of everything that is no letter offered."""
    questions: int


@dataclass(frozen=True, slots=True)
class NoiseMeasured(Event):
    """The measurement is done. `floor` is what the Store keeps."""

    floor: NoiseFloor
    report: NoiseReport


def measure_noise(
    backend: Backend,
    prompts: Sequence[Prompt],
    *,
    wide: Sequence[Prompt] = (),
    about: str = "",
    clock: Callable[[], float] = time.perf_counter,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Iterator[Event]:
    """Ask questions again and again, and say how far the answers move; ends with `NoiseMeasured`.

    A model on a server is unloaded once, so that nothing at all is cached, and loaded again.

    Args:
        backend: one, or `Hosts`, of which the first is asked most.
        prompts: questions with as many candidates each, at least one.
        wide: questions with more candidates, asked once each, for the share of letters named.
        about: what the questions are about, for people.
        clock: seconds, for the time it took.
        now: the moment that is kept.

    Raises:
        CannotTeach: letters cannot be asked, none is ever named, or log-probabilities change
            with the temperature.
        BackendError: it did not answer.
    """
    card = backend.describe()
    require_letters(card)
    members = members_of(backend)
    refuse_heated(members[0], prompts[0])
    steps = list(steps_of(members, prompts, wide))
    stage = f"noise of {card.name}"
    started = clock()
    yield StageStarted(stage, len(steps), "questions")
    said: list[tuple[Step, Scores]] = []
    for step in steps:
        said.append((step, step.ask()))
        yield Progress(stage, len(said), len(steps), step.condition)
    report = report_of([(step.question, step.condition, scores) for step, scores in said])
    total = report.conditions[-1]
    if not total.comparisons:
        raise CannotTeach(
            f"{card.name!r} never named a letter among its {TIMES} answers to one question",
            next_step="another model; instruct builds answer with letters",
        )
    yield StageDone(stage, clock() - started, f"{total.largest:.3f} nats at most")
    floor = _floor(card, now(), report)
    asked = {"about": about, "candidates": len(prompts[0].candidates)}
    yield NoiseMeasured(replace(floor, details={**floor.details, **asked}), report)


def report_of(said: Sequence[tuple[int, str, Scores]]) -> NoiseReport:
    """Return what (question, condition, answer) come to.

    >>> one = Scores((-1.0, -2.0), (1, 1), outside=0.5)
    >>> report = report_of([(0, "repeated", one), (0, "repeated", one), (0, "cold", one)])
    >>> [moves.condition for moves in report.conditions], report.coverage
    (['cold', 'repeated', 'any two'], {2: 1.0})
    """
    questions = len({question for question, condition, _ in said if condition in CONDITIONS})
    heard: list[dict[str, list[Reading]]] = [{} for _ in range(questions)]
    for question, condition, scores in said:
        if condition in CONDITIONS:
            heard[question].setdefault(condition, []).append(reading(scores))
    there = [name for name in CONDITIONS if any(name in one for one in heard)]
    # One answer an order: of those in the order drawn the last, which follows its like.
    in_order = {q: scores for q, condition, scores in said if condition == REPEATED}
    turned = [scores for _, condition, scores in said if condition == ORDER]
    rows = [scores.logprobs for scores in (*in_order.values(), *turned)]
    return NoiseReport(
        conditions=(*(moves_in(name, heard) for name in there), moves_at_all(heard)),
        places=audit_places(rows, [OPEN] * len(rows)),
        coverage=_coverage([scores for *_, scores in said]),
        outside=_mean([scores.outside for *_, scores in said]),
        questions=questions,
    )


def require_letters(card: ModelCard) -> None:
    """Check that a model can be asked by letters.

    Raises:
        CannotTeach: it cannot, so that it has no log-probabilities that could move.
    """
    if "letters" not in card.abilities:
        able = " or ".join(askable(card)) or "nothing"
        raise CannotTeach(
            f"{card.name!r} names no log-probabilities of letters, so there is no noise to "
            f"measure: it is asked by {able}",
            next_step="recsys label --category NAME --teacher MODEL",
        )


def _coverage(answers: Sequence[Scores]) -> dict[int, float]:
    shares: dict[int, list[float]] = {}
    for scores in answers:
        shares.setdefault(len(scores.logprobs), []).append(
            reading(scores).named / len(scores.logprobs)
        )
    return {offered: _mean(several) for offered, several in sorted(shares.items())}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _floor(card: ModelCard, moment: datetime, report: NoiseReport) -> NoiseFloor:
    total = report.conditions[-1]
    return NoiseFloor(
        teacher=card.key,
        server=card.server,
        options=card.options,
        measured_at=moment.isoformat(timespec="seconds"),
        floor=total.largest,
        median=total.median,
        flips=total.flips,
        comparisons=total.comparisons,
        details={
            "conditions": {m.condition: asdict(m) for m in report.conditions},
            "places": [audit.preference for audit in report.places],
            "coverage": {str(offered): share for offered, share in report.coverage.items()},
            "outside": report.outside,
            "questions": report.questions,
        },
    )
