"""Asking what a student will be taught: how many questions fit the time, answers, states.

What a method makes of them is in `distill.lesson`.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from distill.asking import Asked, Chosen, ask, fit_title_temperature
from distill.config import DistilConfig
from distill.ground import Ground, sampler
from distill.measuring import measure_layers, measured_values
from recommender.asking.evidence import Listener
from recommender.asking.kept_states import KeptStates, States
from recommender.asking.labelling import label_with_states, states_of
from recommender.asking.requests import Question, training_questions
from recommender.backends import ModelCard
from recommender.backends.embedded import EmbeddedBackend
from recommender.events import Event, Notice, StageSkipped
from storage.errors import BadData, TeacherUnfit
from storage.records import FloatArray, LayerProfile
from storage.store import Store

TEACHING_SHARE = 0.5
"""Share of `--minutes` for everything that is asked; the rest is for training and judging."""
FISHER_COST = 3.5
"""A request forward and backward takes about this many times the forward pass alone."""
TITLES_COST = 40
"""Scoring a few hundred titles by themselves takes about this many requests' time."""
FEWEST = 32
"""Fewer training requests than this teach nothing that could be measured."""


@dataclass(frozen=True, eq=False, slots=True)
class Taught:
    """The teacher's answers to the training requests, and what its layers are worth."""

    asked: Asked
    states: States | None
    """(requests, layers + 1, width) at the end of the history; None without weights."""
    profile: LayerProfile | None
    """None where nobody asked for it."""
    temperature: float
    """What makes the scores a distribution."""
    squares: FloatArray | None = None
    """(n, L) squared gradient of each measured request by layer."""


def affordable(config: DistilConfig, seconds: float) -> int:
    """Return how many training requests fit into the minutes, at this rate.

    What is asked besides is taken off first: the two validation slices, the first of them
    by letters too, the titles by themselves, and the backward passes.

    >>> affordable(DistilConfig("Books", minutes=10), seconds=0.5)
    180
    """
    teacher = config.teacher
    besides = 2 * teacher.choose_requests + teacher.gate_requests + TITLES_COST
    passes = config.minutes * 60 * TEACHING_SHARE / seconds
    passes -= besides + teacher.fisher_requests * (FISHER_COST - 1)
    return max(FEWEST, int(passes))


def plan_requests(
    store: Store, ground: Ground, config: DistilConfig, card: ModelCard, seconds: float
) -> Generator[Event, None, int]:
    """Decide how many training requests to ask; a plan once made is kept to.

    Kept, because a second run at another speed must find the work of the first.
    """
    if config.teacher.requests:
        return config.teacher.requests
    if not config.minutes:
        return 500
    teacher = config.teacher
    inputs = {
        "data": ground.category.digest,
        "teacher": card.key,
        "minutes": config.minutes,
        "seed": config.seed,
        "candidates": teacher.candidates,
        "history": teacher.history_length,
        "asked": [list(teacher.others), teacher.mode, teacher.orders, list(teacher.item_fields)],
        "besides": [teacher.choose_requests, teacher.gate_requests, teacher.fisher_requests],
    }
    found = store.artifacts.find("plan", inputs)
    if found is None:
        count = affordable(config, seconds)
        with store.artifacts.writing("plan", inputs) as path:
            store.artifacts.write_json(path / "plan.json", {"requests": count, "rate": seconds})
        fit = f"{count} training requests fit into {config.minutes:g} minutes"
        if count == FEWEST:
            fit = (
                f"{config.minutes:g} minutes hardly cover choosing how the teacher scores and "
                f"judging it; {count} training requests are asked all the same"
            )
        yield Notice(f"one request takes {seconds:.2f} s here: {fit}")
        return count
    plan = store.artifacts.read_json(found, "plan.json")
    yield Notice(f"{plan['requests']} training requests, as planned before")
    return int(plan["requests"])


def teach(
    listener: Listener,
    ground: Ground,
    config: DistilConfig,
    weights: EmbeddedBackend | None,
    chosen: Chosen,
    count: int,
    *,
    quiet: bool = False,
) -> Generator[Event, None, Taught]:
    """Ask the training requests; look into `weights` while the same questions pass through.

    Where teacher and weights are one model, one pass gives labels, states and Fisher. Where
    they are two, the weights answer the same questions for themselves, under their own name.
    Without weights there are labels only, which is said unless `quiet`.

    Raises:
        BadData: no request has as many candidates as are asked for.
        TeacherUnfit: the teacher has no opinion on any of them.
    """
    kept = training_slice(ground, config, count, measured=weights is not None)
    states, profile, squares = None, None, None
    if weights is None:
        if not quiet:
            yield StageSkipped("layer Fisher", "no weights")
    else:
        inside = replace(listener, backend=weights, orders=1)
        states, profile = yield from _look_inside(inside, ground, config, weights, chosen, kept)
    asked, places = (yield from ask(listener, kept, chosen, "train")).only_heard()
    if not places:
        raise TeacherUnfit(f"the teacher has no opinion on any of {len(kept)} training requests")
    temperature = chosen.scoring.temperature
    if profile is not None:
        squares = measured_values(listener.store, profile)
    states = states if states is None else states.taken(places)
    return Taught(asked, states, profile, temperature, squares)


def training_slice(
    ground: Ground, config: DistilConfig, count: int, *, measured: bool
) -> list[Question]:
    """Return the training questions in the order they are asked.

    Args:
        ground: the data.
        config: the seed, the candidates, how many are open.
        count: how many at most.
        measured: put those first whose gradient will be measured.

    Raises:
        BadData: no request has as many candidates as are asked for.
    """
    questions = training_questions(
        ground.split,
        sampler(ground, config),
        seed=config.seed,
        open_share=config.teacher.open_share,
    )
    kept = [q for q in islice(questions, count) if len(q.candidates) == config.teacher.candidates]
    if not kept:
        raise BadData(
            f"{ground.category.name!r} has no training request with {config.teacher.candidates} "
            f"candidates: its {ground.category.items} items are too few",
            next_step="ask with fewer: RECSYS_CANDIDATES=5 recsys distill",
        )
    return _measured_first(kept, config.teacher.fisher_requests if measured else 0)


def _look_inside(
    inside: Listener,
    ground: Ground,
    config: DistilConfig,
    weights: EmbeddedBackend,
    chosen: Chosen,
    questions: Sequence[Question],
) -> Generator[Event, None, tuple[KeptStates, LayerProfile | None]]:
    """Pass the questions through the weights: states of all, Fisher of the first."""
    requests = inside.requests(questions, "train", "likelihood")
    store = inside.store
    first = sum(1 for r in requests[: config.teacher.fisher_requests] if r.target >= 0)
    measured, rest = requests[:first], requests[first:]
    profile: LayerProfile | None = None
    if measured:
        temperature = chosen.title_temperature
        if temperature is None:
            temperature = yield from fit_title_temperature(inside, chosen.questions)
        profile = yield from measure_layers(
            store,
            weights,
            measured,
            ground.texts,
            temperature,
            category_id=ground.category.id,
            seed=config.seed,
        )
    yield from label_with_states(
        weights, rest, ground.texts, store.labels, store.artifacts, stage="teacher: train"
    )
    return states_of(store.artifacts, measured, rest), profile


def _measured_first(questions: Sequence[Question], most: int) -> list[Question]:
    """Put up to `most` questions with a known answer first: only those have a gradient."""
    first = [q for q in questions if q.target >= 0][:most]
    chosen = {id(q) for q in first}
    return [*first, *(q for q in questions if id(q) not in chosen)]
