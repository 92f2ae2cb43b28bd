"""`recsys importance`: the layers of a model measured on what people of a category chose.

Questions are training questions with a known answer, one a person as long as there are people:
so requests are independent of each other, which the intervals need, and validation and test
stay unseen. The temperature of the loss is fitted on validation, as for the road's own Fisher.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from string import ascii_uppercase

import numpy as np
import torch

from distill.asking import fit_title_temperature, people_in, slice_sizes
from distill.config import DistilConfig, check
from distill.consulting import listener_of, open_teacher
from distill.ground import Ground, prepare, sampler
from distill.importance.criteria import GREEDY, ONE_PASS, PROBE, REMOVAL, Criterion, chosen
from distill.importance.forward.greedy import greedy_cost
from distill.importance.forward.removal import head_share
from distill.importance.layers import Importance, importance, require_fitting
from distill.importance.measures import MEASURES, Arrays
from distill.importance.measuring import Asked, measure_steps, missing, set_key, stage_of
from distill.importance.planning import needs_checkpointing
from distill.importance.profile import layer_profile
from distill.importance.random_twin import random_twin
from distill.importance.requests import FisherRequest, Loss, PackedRequest, lay_out, scores_of
from distill.language.profiles import RANDOM_TWIN
from distill.whose import describe, open_weights
from recommender.asking.requests import Question, training_questions, validation_questions
from recommender.backends import ModelCard
from recommender.backends.embedded import EmbeddedBackend
from recommender.config import Settings
from recommender.embeddings import TextEncoder, embedded_encoder
from recommender.events import Event, Notice
from storage.errors import BadData, BadSetting
from storage.records import Category, LayerProfile
from storage.store import Store

THIRDS = {"history": ("short", "middle", "long"), "people": ("light", "middle", "heavy")}
LOOKED_AT = 100_000
"""Training questions looked through, at most, for people who were not asked yet."""


@dataclass(frozen=True, slots=True)
class ImportanceConfig:
    """What is measured, and on how many requests."""

    criteria: tuple[str, ...] = ()
    """By name; none are those of one forward and one backward pass."""
    loss: Loss = "listwise"
    requests: int = 128
    removal_requests: int = 128
    """At most so many for leaving layers out, and for the exact true Fisher a quarter of it."""
    greedy_requests: int = 24
    null: bool = False
    """Measure a random-initialised twin of the same architecture too."""
    null_requests: int = 128

    def count(self, measure: str) -> int:
        """Return on how many requests a measure is done.

        >>> ImportanceConfig(requests=512).count("one-pass"), ImportanceConfig().count("greedy")
        (512, 24)
        """
        most = {
            REMOVAL: self.removal_requests,
            "fisher-true": self.removal_requests // 4,
            "fisher-true-sampled": self.removal_requests,
            "fisher-true-rademacher": self.removal_requests,
            "taylor": self.removal_requests,
            "hessian-trace": self.removal_requests // 2,
            GREEDY: self.greedy_requests,
        }
        return max(1, min(self.requests, most.get(measure, self.requests)))

    def null_count(self, measure: str) -> int:
        """Return the same for the random twin."""
        return min(self.count(measure), self.null_requests)


@dataclass(frozen=True, slots=True, eq=False)
class LayersMeasured(Event):
    """What came of it, for one category."""

    category: Category
    card: ModelCard
    loss: Loss
    temperature: float
    pass_seconds: float
    """One request forward, median of a few; on this machine, as busy as it was."""
    tokens: float
    """Mean length of a request."""
    found: Mapping[str, Importance]
    """By criterion."""
    null: Mapping[str, Importance]
    """The same of the random twin, where it was measured."""
    groups: Mapping[str, tuple[str, ...]]
    """Which third each request is in: by its 'history', and by its person's activity."""
    profiles: tuple[LayerProfile, ...]
    """As they were stored, the twin's behind."""


def profile_layers(
    store: Store,
    config: DistilConfig,
    wanted: ImportanceConfig,
    settings: Settings,
    *,
    encoder: TextEncoder | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Generator[Event, None, None]:
    """Measure the layers; the last event is `LayersMeasured`. Killed, it goes on.

    Raises:
        UnknownName, Offline: the model is not here.
        BadSetting: it has no weights that could be measured, or a criterion does not fit.
        BadData: the data has no fitting question.
    """
    check(config)
    require_fitting(chosen(wanted.criteria, wanted.loss), wanted.loss)
    if wanted.loss == "letters" and config.teacher.candidates > len(ascii_uppercase):
        raise BadSetting(
            f"{config.teacher.candidates} candidates cannot be lettered from A to Z",
            next_step=f"--candidates {len(ascii_uppercase)}",
        )
    if settings.threads:
        torch.set_num_threads(settings.threads)
    ground = yield from prepare(store, config, encoder or embedded_encoder(settings.models))
    weights = yield from opened_weights(store, config, settings)
    yield Notice(describe(weights.describe()))
    yield (yield from measure_layers(store, ground, config, wanted, weights, clock=clock))


def measure_layers(
    store: Store,
    ground: Ground,
    config: DistilConfig,
    wanted: ImportanceConfig,
    weights: EmbeddedBackend,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> Generator[Event, None, LayersMeasured]:
    """Measure the layers of a model that is open, on data that is prepared."""
    criteria = chosen(wanted.criteria, wanted.loss)
    temperature = yield from _temperature(store, ground, config, wanted, weights)
    questions = known_questions(ground, config, wanted.requests)
    if len(questions) < wanted.requests:
        yield Notice(
            f"{ground.category.name} has {len(questions)} fitting questions, not {wanted.requests}"
        )
    laid = [lay_out(weights, _request(ground, q), wanted.loss) for q in questions]
    card = weights.describe()
    spared = needs_checkpointing(weights.model, laid)
    if spared:
        yield Notice("a request does not fit into memory at once: each layer is run twice")
    asked = Asked(weights.model, card.key, laid, wanted.loss, temperature, config.seed, spared)
    yield from _say_context(weights, laid)
    pass_seconds = _pass_seconds(weights, laid[:4], clock)
    measures = tuple(dict.fromkeys(one.measure for one in criteria))
    yield from _say_costs(store, asked, wanted, measures, pass_seconds)
    found = yield from _measure(store, asked, criteria, wanted.count, config.seed)
    null: dict[str, Importance] = {}
    twin = asked
    if wanted.null:
        made = random_twin(weights.model, config.seed)
        name = f"{card.key}{RANDOM_TWIN}{config.seed}"
        twin = replace(asked, model=made, weights=name)
        passed = [one for one in criteria if one.measure == ONE_PASS]
        null = yield from _measure(store, twin, passed, wanted.null_count, config.seed)
    profiles = [
        *_stored(store, ground, asked, found, wanted.count),
        *_stored(store, ground, twin, null, wanted.null_count),
    ]
    return LayersMeasured(
        category=ground.category,
        card=card,
        loss=wanted.loss,
        temperature=temperature,
        pass_seconds=pass_seconds,
        tokens=float(np.mean([request.tokens for request in laid])),
        found=found,
        null=null,
        groups=groups_of(ground, questions),
        profiles=tuple(profiles),
    )


def opened_weights(
    store: Store, config: DistilConfig, settings: Settings
) -> Generator[Event, None, EmbeddedBackend]:
    """Open the weights that are measured: those named, else the teacher's own.

    Raises:
        BadSetting: there are none.
    """
    backend = open_teacher(store, config, settings)
    try:
        weights = yield from open_weights(store, config, settings, backend)
    finally:
        if not isinstance(backend, EmbeddedBackend):
            backend.close()
    if weights is None:
        raise BadSetting(
            f"{config.teacher.spec!r} has no weights that could be measured",
            next_step="recsys importance --weights MODEL, a Hugging Face directory or GGUF file",
        )
    return weights


def known_questions(ground: Ground, config: DistilConfig, count: int) -> list[Question]:
    """Return training questions with a known answer, each person's first before anyone's second.

    Raises:
        BadData: there is none with as many candidates as are asked for.
    """
    questions = training_questions(
        ground.split, sampler(ground, config), seed=config.seed, open_share=0.0
    )
    first: list[Question] = []
    later: list[Question] = []
    people: set[int] = set()
    for question in islice(questions, LOOKED_AT):
        if len(question.candidates) != config.teacher.candidates:
            continue
        if question.user not in people:
            people.add(question.user)
            first.append(question)
        elif len(later) < count:
            later.append(question)
        if len(first) == count:
            break
    found = [*first, *later][:count]
    if not found:
        raise BadData(
            f"{ground.category.name!r} has no training request with {config.teacher.candidates} "
            f"candidates: its {ground.category.items} items are too few",
            next_step="ask with fewer: --candidates 5",
        )
    return found


def groups_of(ground: Ground, questions: Sequence[Question]) -> dict[str, tuple[str, ...]]:
    """Put the requests into thirds by length of history, and by their person's activity."""
    lengths = np.array([len(q.history) for q in questions], dtype=np.float64)
    events = np.bincount(ground.split.log.user)
    activity = np.array([events[q.user] for q in questions], dtype=np.float64)
    return {
        name: tuple(names[n] for n in thirds(by))
        for (name, names), by in zip(THIRDS.items(), (lengths, activity), strict=True)
    }


def thirds(values: np.ndarray) -> list[int]:
    """Say which third each value is in; equal values are in one.

    >>> thirds(np.array([5.0, 1.0, 1.0, 9.0, 7.0, 2.0]))
    [1, 0, 0, 2, 2, 1]
    """
    borders = np.quantile(values, [1 / 3, 2 / 3])
    return [int(n) for n in np.searchsorted(borders, values, side="left")]


def _request(ground: Ground, question: Question) -> FisherRequest:
    prompt = ground.texts.prompt(question)
    return FisherRequest(prompt, prompt.candidates, question.target)


def _temperature(
    store: Store,
    ground: Ground,
    config: DistilConfig,
    wanted: ImportanceConfig,
    weights: EmbeddedBackend,
) -> Generator[Event, None, float]:
    if wanted.loss == "next-token":
        return 1.0
    sizes = slice_sizes(config.teacher, people_in(ground.split))
    questions, _ = validation_questions(
        ground.split, sizes, sampler(ground, config), seed=config.seed
    )
    listener = listener_of(store, ground, config.with_teacher(orders=1), weights)
    method = "likelihood" if wanted.loss == "listwise" else "letters"
    temperature = yield from fit_title_temperature(listener, questions, method)
    yield Notice(
        f"temperature {temperature:.2f}, fitted on {len(questions)} validation requests; "
        f"the loss is {wanted.loss}"
    )
    return temperature


def _say_context(
    weights: EmbeddedBackend, laid: Sequence[PackedRequest]
) -> Generator[Event, None, None]:
    """Warn where positions go beyond those the model was made for: its answers mean little."""
    known = getattr(weights.model.config, "max_position_embeddings", None)
    longest = max(int(one.positions.max()) + 1 for request in laid for one in request.packs)
    if known is not None and longest > known:
        yield Notice(
            f"requests reach position {longest}, and the model was made for {known}: "
            "--history-length shows it less"
        )


def _pass_seconds(
    weights: EmbeddedBackend, some: Sequence[PackedRequest], clock: Callable[[], float]
) -> float:
    seconds = []
    for request in some:
        begun = clock()
        with torch.inference_mode():
            scores_of(weights.model, request)
        seconds.append(clock() - begun)
    return float(np.median(seconds))


def _say_costs(
    store: Store,
    asked: Asked,
    wanted: ImportanceConfig,
    measures: Sequence[str],
    pass_seconds: float,
) -> Generator[Event, None, None]:
    """Say what each measure costs before it is begun."""
    for name in measures:
        few = asked.first(wanted.count(name))
        left = missing(store, few, name)
        if not left:
            continue
        choices = asked.requests[0].choices
        if name == GREEDY:
            layers, head = len(asked.model.model.layers), head_share(asked.model)
            passes = greedy_cost(layers, head=head)
        else:
            passes = 1.0 if name == PROBE else MEASURES[name].passes(asked.model, choices)
        minutes = left * passes * pass_seconds / 60
        yield Notice(
            f"{stage_of(name, asked)}: {left} requests × {passes:.1f} passes of "
            f"{pass_seconds:.2f} s, about {minutes:.1f} minutes"
        )


def _measure(
    store: Store,
    asked: Asked,
    criteria: Sequence[Criterion],
    count: Callable[[str], int],
    seed: int,
) -> Generator[Event, None, dict[str, Importance]]:
    kept: dict[str, list[Arrays]] = {}
    for name in dict.fromkeys(one.measure for one in criteria):
        kept[name] = yield from measure_steps(store, asked.first(count(name)), name)
    return {one.name: importance(one, kept[one.measure], seed=seed) for one in criteria}


def _stored(
    store: Store,
    ground: Ground,
    asked: Asked,
    found: Mapping[str, Importance],
    count: Callable[[str], int],
) -> list[LayerProfile]:
    made = []
    for name, one in found.items():
        few = asked.first(count(one.criterion.measure))
        record = layer_profile(
            one.values,
            category_id=ground.category.id,
            weights=asked.weights,
            criterion=f"{name}-{asked.loss}",
            artifact=set_key(few, one.criterion.measure),
            details={
                "temperature": asked.temperature,
                "loss": asked.loss,
                "requests": len(few.requests),
                "seed": asked.seed,
            },
            seed=asked.seed,
        )
        store.runs.add_profile(record)
        made.append(record)
    return made
