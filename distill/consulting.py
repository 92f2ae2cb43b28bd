"""Everything before the first student: the data, who teaches, and what they said.

Apart from the pipeline, which trains and measures, because labelling alone needs all of this
and no student: `recsys label` ends where `recsys distill` goes on.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
import torch

from distill.asking import Asked, Chosen, Gate, choose, judge
from distill.config import ORDERS_ON_SERVERS, DistilConfig
from distill.ground import Ground, prepare
from distill.teaching import Taught, plan_requests, teach
from distill.whose import describe, open_weights
from recommender.asking.evidence import Listener
from recommender.asking.grounding import Grounder
from recommender.backends import Backend, ModelCard
from recommender.backends.embedded import EmbeddedBackend
from recommender.backends.opening import open_backend, require_servers
from recommender.calibration import probabilities
from recommender.config import Settings
from recommender.embeddings import TextEncoder, embedded_encoder
from recommender.events import Event, Notice
from recommender.fusion import fit_shares, mixed, mixture_loss
from storage.errors import TeacherUnfit
from storage.store import Store


@dataclass(frozen=True, eq=False, slots=True)
class Consultant:
    """One teacher that was measured on validation and may teach."""

    listener: Listener
    card: ModelCard
    chosen: Chosen
    gate: Gate
    weights: EmbeddedBackend | None = None
    """Whose layers are measured: of the first teacher only, and None where there are none."""


@dataclass(frozen=True, eq=False, slots=True)
class Fusion:
    """How several teachers are weighed against each other."""

    shares: tuple[float, ...]
    """One a teacher, in their order, fitted on the slice that scoring was chosen on."""
    loss: float
    """Of the mixture on the gate's slice, nats."""
    alone: tuple[float, ...]
    """Of each teacher there."""


@dataclass(frozen=True, eq=False, slots=True)
class Consulted:
    """Everything before the first student."""

    ground: Ground
    teachers: tuple[Consultant, ...]
    fusion: Fusion | None
    """None for one teacher."""
    taught: Taught

    def close(self) -> None:
        """Let go of the teachers' connections."""
        let_go(self.teachers)

    @property
    def card(self) -> ModelCard:
        """The first teacher's card."""
        return self.teachers[0].card

    @property
    def chosen(self) -> Chosen:
        """How the first teacher is scored."""
        return self.teachers[0].chosen

    @property
    def gate(self) -> Gate:
        """The first teacher's gate."""
        return self.teachers[0].gate


def consult(
    store: Store, config: DistilConfig, settings: Settings, *, encoder: TextEncoder | None = None
) -> Generator[Event, None, Consulted]:
    """Prepare the data, measure each teacher, and let those teach that are fit to.

    Raises:
        TeacherUnfit: none is.
    """
    ground, teachers = yield from hire(store, config, settings, encoder=encoder, with_weights=True)
    with ExitStack() as undone:
        undone.callback(let_go, teachers)
        fusion = fuse(teachers) if len(teachers) > 1 else None
        if fusion is not None:
            yield Notice(how_fused(teachers, fusion))
        seconds = sum(one.chosen.seconds for one in teachers)
        count = yield from plan_requests(store, ground, config, teachers[0].card, seconds)
        lessons = []
        for one in teachers:
            later = one is not teachers[0]
            asked = teach(one.listener, ground, config, one.weights, one.chosen, count, quiet=later)
            lessons.append((yield from asked))
        taught = lessons[0] if fusion is None else fused(teachers, lessons, fusion)
        undone.pop_all()
    return Consulted(ground, tuple(teachers), fusion, taught)


def hire(
    store: Store,
    config: DistilConfig,
    settings: Settings,
    *,
    encoder: TextEncoder | None = None,
    with_weights: bool = False,
) -> Generator[Event, None, tuple[Ground, list[Consultant]]]:
    """Prepare the data, open each teacher, choose how it is scored, and judge it.

    Of several teachers, one that is unfit is left out, and that is said. `with_weights` finds
    the first one's weights too, before anything is asked.

    Raises:
        TeacherUnfit: none is fit.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    specs = (config.teacher.spec, *config.teacher.others)
    require_servers(specs, settings)
    encoder = encoder or embedded_encoder(settings.models)
    ground = yield from prepare(store, config, encoder)
    teachers: list[Consultant] = []
    with ExitStack() as undone:
        undone.callback(let_go, teachers)
        for spec in specs:
            try:
                looked_into = with_weights and not teachers
                measured = measure_teacher(
                    store, ground, config, settings, spec, with_weights=looked_into
                )
                teachers.append((yield from measured))
            except TeacherUnfit as error:
                if len(specs) == 1:
                    raise
                yield Notice(f"{spec} is left out: {error.what}")
        undone.pop_all()
    if not teachers:
        raise TeacherUnfit(
            f"none of {', '.join(specs)} is fit to teach", next_step="recsys distill --ignore-gate"
        )
    return ground, teachers


def measure_teacher(
    store: Store,
    ground: Ground,
    config: DistilConfig,
    settings: Settings,
    spec: str,
    *,
    with_weights: bool = False,
) -> Generator[Event, None, Consultant]:
    """Open one teacher, choose how it is scored, and judge it."""
    backend = open_teacher(store, config.with_teacher(spec=spec), settings)
    with ExitStack() as undone:
        undone.callback(backend.close)
        card = backend.describe()
        yield Notice(describe(card))
        weights = None
        if with_weights:
            asked = config.with_teacher(spec=spec)
            weights = yield from open_weights(store, asked, settings, backend)
        listener = listener_of(store, ground, config, backend)
        chosen = yield from choose(listener, ground, config)
        yield Notice(how_chosen(chosen))
        gate = yield from judge(listener, ground, config, chosen)
        undone.pop_all()
    return Consultant(listener, card, chosen, gate, weights)


def let_go(teachers: Sequence[Consultant]) -> None:
    """Close the connections of teachers that are of no more use."""
    for one in teachers:
        one.listener.backend.close()


def open_teacher(store: Store, config: DistilConfig, settings: Settings) -> Backend:
    """Open the teacher that a configuration names."""
    teacher = config.teacher
    here = settings.model_copy(update={"device": teacher.device, "precision": teacher.precision})
    return open_backend(teacher.spec, here, artifacts=store.artifacts, mode=teacher.mode)


def listener_of(store: Store, ground: Ground, config: DistilConfig, backend: Backend) -> Listener:
    """Return who is asked, with what a configuration says about asking."""
    teacher = config.teacher
    guesses = teacher.mode == "generate" or teacher.scoring.startswith("generate")
    return Listener(
        store=store,
        backend=backend,
        texts=ground.texts,
        vectors=ground.vectors,
        category_id=ground.category.id,
        orders=teacher.orders or (ORDERS_ON_SERVERS if backend.describe().server else 1),
        in_flight=teacher.in_flight,
        grounder=Grounder(ground.titles, ground.vectors, ground.encoder) if guesses else None,
    )


def fuse(teachers: Sequence[Consultant]) -> Fusion:
    """Fit the shares of the teachers on one slice, and measure the mixture on the other."""
    fitted = np.stack([true_probabilities(t.chosen.asked, t.chosen) for t in teachers])
    held = np.stack([true_probabilities(t.gate.asked, t.chosen) for t in teachers])
    shares = fit_shares(fitted)
    return Fusion(
        shares=tuple(float(share) for share in shares),
        loss=mixture_loss(held, shares),
        alone=tuple(mixture_loss(held[n : n + 1], [1.0]) for n in range(len(teachers))),
    )


def true_probabilities(asked: Asked, chosen: Chosen) -> np.ndarray:
    """Return the probability a teacher gave to each true item, (requests,).

    A request it has no opinion on counts as an even spread.
    """
    rows = zip(asked.scores, asked.evidence, strict=True)
    return np.array([probabilities(s, chosen.scoring.temperature)[e.target] for s, e in rows])


def fused(teachers: Sequence[Consultant], lessons: Sequence[Taught], fusion: Fusion) -> Taught:
    """Mix what the teachers said of each training request that all of them were asked.

    Scores become log-probabilities of the mixture, at temperature 1. Where one has no opinion
    the others are weighed among themselves.
    """
    first = lessons[0]
    # With states to go with them, only the first teacher's requests count; without, all do.
    counted = lessons[:1] if first.states is not None else lessons
    every = {
        (request.user, request.event, request.drawn): (request, evidence)
        for lesson in reversed(counted)
        for request, evidence in zip(lesson.asked.requests, lesson.asked.evidence, strict=True)
    }
    requests = tuple(request for request, _ in every.values())
    said = [
        {
            (r.user, r.event, r.drawn): probabilities(s, one.chosen.scoring.temperature)
            for r, s in zip(lesson.asked.requests, lesson.asked.scores, strict=True)
        }
        for one, lesson in zip(teachers, lessons, strict=True)
    ]
    scores = []
    for request in requests:
        key = (request.user, request.event, request.drawn)
        known = [n for n, answers in enumerate(said) if key in answers]
        shares = np.array([fusion.shares[n] for n in known])
        total = float(shares.sum())
        even = np.full(len(known), 1.0 / len(known))
        weights = shares / total if total > 0 else even
        scores.append(np.log(np.maximum(mixed([said[n][key] for n in known], weights), 1e-12)))
    evidence = tuple(evidence for _, evidence in every.values())
    heard = Asked(requests, evidence, tuple(scores), (True,) * len(requests))
    return replace(first, asked=heard, temperature=1.0)


def how_chosen(chosen: Chosen) -> str:
    """Say in one line how the teacher's answers are scored, and what the other ways reached."""
    ways = ", ".join(f"{way} {mrr:.3f}" for way, (mrr, _) in chosen.scoring.table.items())
    turns = f" in {chosen.scoring.orders} orders" if chosen.scoring.orders > 1 else ""
    return (
        f"scoring by {chosen.scoring.way}{turns} at temperature {chosen.scoring.temperature:.2f}, "
        f"chosen on {chosen.scoring.requests} validation requests (MRR: {ways})"
    )


def how_fused(teachers: Sequence[Consultant], fusion: Fusion) -> str:
    """Say in one line what each teacher counts, and what that is worth on other requests."""
    parts = ", ".join(
        f"{one.card.name} {share:.2f} (alone {loss:.3f})"
        for one, share, loss in zip(teachers, fusion.shares, fusion.alone, strict=True)
    )
    return f"fused by validation likelihood: {parts}; the mixture {fusion.loss:.3f} nats"
