"""What students of these tests read and hear: a small Llama, lessons of different lengths."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from distill.config import LossConfig
from distill.data import MovingWeights
from distill.language.fresh import fresh
from distill.language.learner import LlamaLearner, Taught
from distill.language.lessons import Lesson, lesson_of
from distill.language.loop import Fitted, LoopConfig, Place, fit
from distill.matches import Match
from distill.training import StepDone
from recommender.backends.embedded import EmbeddedBackend
from recommender.datasets.sample_shoppers import sample_items
from recommender.events import Event

EVERY_FEATURE = (
    Match(0, 0, loss="mse"),
    Match(2, 1),
    Match((1, 2, 3), 2, prior=(1.0, 2.0, 3.0)),
    Match(3, 2, loss="cosine", weight=0.5),
    Match(3, 1, "attention", "attention-kl", projection="none", weight=2.0),
    Match(2, 2, "attention-scores", "scores-mse", projection="none", weight=0.3),
    Match(3, 2, "queries", "relation-kl", projection="none"),
    Match(3, 2, "keys", "relation-kl", projection="none"),
    Match(3, 2, "values", "relation-kl", projection="none"),
    Match(0, 1, "supervision", "task", weight=0.5),
)
"""For a teacher of three layers and a student of two."""


def texts(backend: EmbeddedBackend, number: int = 16, *, first: int = 0) -> list[Lesson]:
    """Lessons of one to four titles, so that side by side they have to be padded."""
    titles = [row.title for row in sample_items()]
    made = []
    for n in range(first, first + number):
        some = titles[3 * n : 3 * n + 2 + n % 4]
        made.append(lesson_of(backend, some, noun="products", max_tokens=120))
    return made


def small_student(teacher: Any, *, seed: int = 0) -> Any:
    """Two layers, two heads: neither as wide as the teacher nor with as many heads."""
    return fresh(teacher, 2, 24, 2, seed=seed)


def learner(
    backend: EmbeddedBackend,
    matches: Sequence[Match] | None = EVERY_FEATURE,
    *,
    student: Any = None,
    training: Sequence[Lesson] = (),
    validation: Sequence[Lesson] = (),
    layerdrop: float = 0.0,
    moving: MovingWeights | None = None,
    seed: int = 0,
    **loss: Any,
) -> LlamaLearner:
    """A small student before its lessons; `matches` None is one that nobody teaches."""
    options = LossConfig(**{"layer_fade": 0.0, **loss})
    taught = None
    if matches is not None:
        taught = Taught(backend.model, "the small Llama", tuple(matches), options, moving)
    return LlamaLearner(
        small_student(backend.model, seed=seed) if student is None else student,
        training or texts(backend),
        validation or texts(backend, 8, first=16),
        taught,
        name="a test's",
        seed=seed,
        layerdrop=layerdrop,
    )


def gradients(
    one: LlamaLearner, pieces: Iterable[Sequence[int]], *, step: int = 0, steps: int = 10
) -> dict[str, Tensor]:
    """Gradients of one step that is computed in these pieces, of everything that is learned."""
    pieces = [tuple(piece) for piece in pieces]
    place = Place(step, steps, 0, tuple(number for piece in pieces for number in piece))
    one.module.zero_grad(set_to_none=True)
    for piece in pieces:
        torch.stack(list(one.losses(piece, place).values())).sum().backward()
    named = one.module.named_parameters()
    return {name: weight.grad.clone() for name, weight in named if weight.grad is not None}


def fitted(one: LlamaLearner, config: LoopConfig, **where: Any) -> tuple[Fitted, list[Event]]:
    """Train to the end; return the result and everything that was said."""
    said = list(fit(one, config, **where))
    assert isinstance(said[-1], Fitted)
    return said[-1], said


def losses_of(said: Sequence[Event], part: str = "") -> list[float]:
    """The losses of the steps, or one part of them."""
    steps = [event for event in said if isinstance(event, StepDone)]
    return [step.parts[part] if part else step.loss for step in steps]


def weights_of(module: torch.nn.Module) -> dict[str, Tensor]:
    """A copy of every weight by name."""
    return {name: weight.detach().clone() for name, weight in module.named_parameters()}


def same(ones: dict[str, Tensor], others: dict[str, Tensor]) -> bool:
    """Whether two sets of tensors are equal, bit by bit."""
    return ones.keys() == others.keys() and all(
        torch.equal(one, others[name]) for name, one in ones.items()
    )
