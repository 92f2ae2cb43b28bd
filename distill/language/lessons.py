"""Texts to learn from: a person's history and what came next, in the words a teacher is asked in.

A lesson is one history with its next title, laid out token by token as the backend lays out a
request that is scored by likelihood, so that what is learned is what is asked. Lessons of
training come from train rows alone; those that are selected by, from validation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from recommender.asking.answering import Texts
from recommender.backends import Prompt
from recommender.backends.embedded import EmbeddedBackend
from recommender.splits import Split
from storage.errors import BadData, BadSetting
from storage.records import IntArray

_ORDER = 17
"""Stream of chance of the lessons' own."""


@dataclass(frozen=True, eq=False, slots=True)
class Lesson:
    """One text."""

    ids: IntArray
    """(n,) tokens."""
    told: np.ndarray
    """(n,) bool: tokens of titles, which are to be predicted; not headings or marks."""
    begins: int
    """Tokens at the beginning whose states are not compared: begin-of-text, or where a model
    has none, the first word: whatever stands first gets a state of another size."""


@dataclass(frozen=True, eq=False, slots=True)
class LessonBatch:
    """Lessons side by side, padded on the right."""

    ids: Tensor
    """(B, T) int64."""
    mask: Tensor
    """(B, T) bool: no padding."""
    real: Tensor
    """(B, T) bool: neither padding nor begin-of-text: where states are compared."""
    told: Tensor
    """(B, T) bool: tokens to be predicted, each by the state before it."""


def lessons(
    split: Split,
    texts: Texts,
    backend: EmbeddedBackend,
    *,
    part: Literal["train", "valid"] = "train",
    max_tokens: int,
    most_tokens: int = 0,
    most: int = 0,
    seed: int = 0,
) -> list[Lesson]:
    """Lay out lessons, in an order fixed by the seed.

    Args:
        split: of the log; its test rows are not looked at.
        texts: titles, and how many of a history are shown.
        backend: whose tokens.
        part: of the next title.
        max_tokens: longest lesson; the oldest titles go first.
        most_tokens: stop when so many tokens are laid out; 0 is no limit.
        most: lessons at most; 0 is no limit.
        seed: of the order.

    Raises:
        BadData: there is none.
    """
    events = np.random.default_rng([seed, _ORDER]).permutation(split.events(part))
    made: list[Lesson] = []
    tokens = 0
    for event in events[: most or None]:
        shown = split.history(int(event))[-texts.history_length :]
        titles = [texts.titles[item] for item in (*shown, int(split.log.item[event]))]
        lesson = lesson_of(backend, titles, noun=texts.noun, max_tokens=max_tokens)
        made.append(lesson)
        tokens += len(lesson.ids)
        if most_tokens and tokens >= most_tokens:
            break
    if not made:
        raise BadData(f"nobody has a history to read in the {part} part")
    return made


def lesson_of(
    backend: EmbeddedBackend, titles: Sequence[str], *, noun: str, max_tokens: int
) -> Lesson:
    """Lay out titles, oldest first, the last one being what came next.

    The same tokens as `backend.prefix_tokens` of a prompt and `title_tokens` of the next title.

    Raises:
        BadSetting: not one token of a title has room behind the heading.
    """
    heading, _ = backend.prefix_tokens(Prompt((), noun=noun), bullet=False)
    marked, _ = backend.prefix_tokens(Prompt((), noun=noun))
    mark = marked[len(heading) :]
    lines = [backend.title_tokens(title) for title in titles]
    room = max_tokens - len(heading)
    kept: list[list[int]] = []
    for line in reversed(lines):
        room -= len(mark) + len(line)
        if room < 0 and kept:
            break
        kept.insert(0, line)
    ids, told = list(heading), [False] * len(heading)
    for line in kept:
        ids += [*mark, *line]
        told += [False] * len(mark) + [True] * len(line)
    if not any(told[:max_tokens]):
        raise BadSetting(
            f"a lesson of {max_tokens} tokens has no room for a title behind its heading of "
            f"{len(heading)}",
            next_step=f"language: {{max_tokens: {len(heading) + 100}}}",
        )
    return Lesson(
        np.array(ids[:max_tokens], dtype=np.int64),
        np.array(told[:max_tokens], dtype=np.bool_),
        max(1, backend.begin_tokens),
    )


def batch_of(some: Sequence[Lesson], device: torch.device | str = "cpu") -> LessonBatch:
    """Lay lessons side by side.

    >>> one = Lesson(np.array([5, 6, 7]), np.array([False, True, True]), 1)
    >>> made = batch_of([one, Lesson(np.array([5, 6]), np.array([False, True]), 1)])
    >>> made.ids.tolist(), made.real.int().tolist()
    ([[5, 6, 7], [5, 6, 0]], [[0, 1, 1], [0, 1, 0]])
    """
    longest = max(len(one.ids) for one in some)
    ids = np.zeros((len(some), longest), dtype=np.int64)
    mask, real, told = (np.zeros(ids.shape, dtype=np.bool_) for _ in range(3))
    for row, one in enumerate(some):
        length = len(one.ids)
        ids[row, :length], told[row, :length], mask[row, :length] = one.ids, one.told, True
        real[row, one.begins : length] = True
    made = (torch.from_numpy(array).to(device) for array in (ids, mask, real, told))
    return LessonBatch(*made)


def digest_of(some: Sequence[Lesson]) -> str:
    """Return the hash of all that lessons say."""
    whole = hashlib.sha256()
    for one in some:
        whole.update(one.ids.tobytes() + one.told.tobytes() + bytes([one.begins]))
    return whole.hexdigest()
