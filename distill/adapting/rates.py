"""How long things take on this machine, measured on the very things."""

from __future__ import annotations

import time
from collections.abc import Callable
from string import ascii_uppercase

import torch

from distill.adapting.learner import Lesson
from distill.adapting.measuring import short_letters
from distill.adapting.planning import Rates
from distill.adapting.questions import Easing

TIMED = 2
"""Steps that are timed, after one that warms up; and questions."""


def measure_rates(lesson: Lesson, *, clock: Callable[[], float] = time.perf_counter) -> Rates:
    """Time steps and questions. No weight moves: gradients are computed and let go."""
    spent = [_step(lesson, number, clock) for number in range(1 + TIMED)][1:]
    backend, config = lesson.backend, lesson.config
    prompts = [lesson.texts.prompt(q) for q in lesson.choosing[: 1 + TIMED]]
    labels = ascii_uppercase[: config.candidates]
    started = clock()
    for prompt in prompts:
        short_letters(backend, prompt, most=config.prompt_tokens)
    short = clock()
    for prompt in prompts:
        backend.score(prompt, labels[: len(prompt.candidates)])
    letters = clock()
    for prompt in prompts:
        backend.likelihood(prompt, prompt.candidates)
    ended = clock()
    return Rates(
        step=sum(spent) / len(spent),
        short=(short - started) / len(prompts),
        letters=(letters - short) / len(prompts),
        likelihood=(ended - letters) / len(prompts),
    )


def _step(lesson: Lesson, number: int, clock: Callable[[], float]) -> float:
    started = clock()
    size = min(lesson.config.batch, len(lesson.training))
    first = number * size % len(lesson.training)
    numbers = [(first + n) % len(lesson.training) for n in range(size)]
    easing = Easing(0.0, lesson.config.fewest)
    for at in range(0, size, lesson.at_once):
        piece = numbers[at : at + lesson.at_once]
        losses = lesson.losses([lesson.example(n, 0, easing) for n in piece])
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    for parameter in lesson.backend.model.parameters():
        parameter.grad = None
    return clock() - started
