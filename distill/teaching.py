"""What the student is taught: how many questions fit the time, their answers, their states.

Apart from the asking because here answers become training material: a distribution a
request, the teacher's states at the matched layers, and one weight a layer.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from distill.asking import Asked, Chosen, combined, evidence_of, with_letters
from distill.config import DistilConfig
from distill.data import Distillation
from distill.ground import Ground, sampler
from distill.matches import matched_layers
from distill.measuring import measure_layers
from distill.weights import layer_weights
from recommender.backends import Backend, ModelCard
from recommender.backends.embedded import EmbeddedBackend
from recommender.calibration import probabilities
from recommender.events import Event, Notice, StageSkipped
from recommender.labelling import address, label, label_with_states, states_of
from recommender.requests import Question, training_questions
from recommender.scoring import available
from storage.errors import BadData, TeacherUnfit
from storage.records import FloatArray, LabelRequest, LayerProfile
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
    states: FloatArray | None
    """(requests, layers + 1, width) at the end of the history, float32; None without weights."""
    profile: LayerProfile | None
    """None where nobody asked for it."""


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
    store: Store,
    ground: Ground,
    config: DistilConfig,
    backend: Backend,
    weights: EmbeddedBackend | None,
    chosen: Chosen,
    count: int,
) -> Generator[Event, None, Taught]:
    """Ask the training requests; look into `weights` while the same questions pass through.

    Where teacher and weights are one model, one pass gives labels, states and Fisher. Where
    they are two, the weights answer the same questions for themselves, under their own name.
    Without weights there are labels only.

    Raises:
        BadData: no request has as many candidates as are asked for.
        TeacherUnfit: every question by letter was declined.
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
    kept = _measured_first(kept, config.teacher.fisher_requests if weights else 0)
    requests = _address(ground, kept, backend)
    if weights is None:
        yield StageSkipped("layer Fisher", "no weights")
        stage = "teacher: train"
        yield from label(backend, requests, ground.texts, store.labels, stage=stage)
        states, profile = None, None
    else:
        if weights is not backend:
            stage = "teacher: train"
            yield from label(backend, requests, ground.texts, store.labels, stage=stage)
        states, profile = yield from _look_inside(store, ground, config, weights, chosen, kept)
    evidence = yield from evidence_of(store, ground, backend, requests)
    if chosen.scoring.way.startswith("letters"):
        evidence = yield from with_letters(store, ground, backend, kept, evidence, "train")
    heard = [n for n, e in enumerate(evidence) if chosen.scoring.way in available(e)]
    if not heard:
        raise TeacherUnfit(f"the teacher declined all {len(evidence)} training requests")
    if len(heard) < len(evidence):
        yield Notice(f"{len(evidence) - len(heard)} training requests were declined: no labels")
    requests, evidence = [requests[n] for n in heard], [evidence[n] for n in heard]
    states = states if states is None else states[heard]
    return Taught(combined(requests, evidence, chosen.scoring), states, profile)


def _look_inside(
    store: Store,
    ground: Ground,
    config: DistilConfig,
    weights: EmbeddedBackend,
    chosen: Chosen,
    questions: Sequence[Question],
) -> Generator[Event, None, tuple[FloatArray, LayerProfile | None]]:
    requests = _address(ground, questions, weights)
    first = sum(1 for r in requests[: config.teacher.fisher_requests] if r.target >= 0)
    measured, rest = requests[:first], requests[first:]
    profile: LayerProfile | None = None
    if measured:
        profile = yield from measure_layers(
            store,
            weights,
            measured,
            ground.texts,
            chosen.title_temperature,
            category_id=ground.category.id,
            seed=config.seed,
        )
    yield from label_with_states(
        weights, rest, ground.texts, store.labels, store.artifacts, stage="teacher: train"
    )
    states = [states_of(store.artifacts, some) for some in (measured, rest) if some]
    return np.concatenate(states), profile


def _measured_first(questions: Sequence[Question], most: int) -> list[Question]:
    """Put up to `most` questions with a known answer first: only those have a gradient."""
    first = [q for q in questions if q.target >= 0][:most]
    chosen = {id(q) for q in first}
    return [*first, *(q for q in questions if id(q) not in chosen)]


def _address(ground: Ground, questions: Sequence[Question], backend: Backend) -> list[LabelRequest]:
    return address(
        questions,
        ground.texts,
        category_id=ground.category.id,
        purpose="train",
        teacher=backend.describe().key,
    )


def distillation(
    taught: Taught, chosen: Chosen, config: DistilConfig, *, observed: int
) -> Distillation:
    """Make training material of the answers; `permute_labels` deals them to wrong requests.

    `observed` is how many events people left to learn from: see `taught_share`.

    A permuted request keeps its own history, and gets the candidates, the distribution and
    the states of another: all that the teacher said, about somebody else.
    """
    requests = taught.asked.requests
    share = taught_share(len(requests), observed)
    dealt = np.arange(len(requests))
    if config.loss.permute_labels:
        # One cycle through all of them in random order: nobody keeps their own.
        order = np.random.default_rng([config.seed, 7]).permutation(len(requests))
        dealt[order] = np.roll(order, 1)
    labels = np.stack([probabilities(s, chosen.scoring.temperature) for s in taught.asked.scores])
    states, weights = None, None
    student_layers = config.student.network.blocks
    if taught.states is not None:
        depth = taught.states.shape[1] - 1
        states = taught.states[:, list(matched_layers(depth, student_layers))][dealt]
        importance = taught.profile.layers if taught.profile else (1.0,) * depth
        weights = layer_weights(importance, student_layers, mode=config.loss.layer_weights)
    return Distillation(
        histories=[np.array(r.history, dtype=np.int64) for r in requests],
        candidates=_offered(requests)[dealt],
        labels=labels[dealt].astype(np.float32),
        states=states,
        layer_weights=weights,
        task=config.loss.task,
        output=config.loss.output * share,
        layers=config.loss.layer * share,
        temperature=config.loss.temperature,
    )


def taught_share(requests: int, observed: int) -> float:
    """Return how much the teacher's mean loss counts beside the mean loss of observed events.

    Formula: min(1, R / N): R answers against N observed events. Both losses are means; with
    this factor one answer weighs as much as one event (times the loss weights), however few
    answers there are. Without it, a teacher of 32 answers is heard as loudly as 80,000
    events, 600 times over, and the student learns those answers by heart (measured on
    MovieLens-100K: −4 % NDCG@10).

    >>> taught_share(50, 200), taught_share(300, 200)
    (0.25, 1.0)
    """
    return min(1.0, requests / max(1, observed))


def observed_events(ground: Ground) -> int:
    """Return how many training rows have a history: what cross-entropy learns from."""
    return len(ground.split.events("train"))


def _offered(requests: Sequence[LabelRequest]) -> np.ndarray:
    return np.array([request.candidates for request in requests], dtype=np.int64)
