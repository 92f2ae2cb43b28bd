"""A training question as one sequence: the history once, the lettered question, the next title.

Both losses of one question come out of one pass. The history is the shared beginning; behind
it stand, side by side and unseen by each other (`recommender.backends.packed`), the lettered
question and the title that came next. So the titles' loss costs the few tokens of one title,
and the model learns to be asked in both of the ways it is asked.

A question is kept to a number of tokens: the oldest titles of the history go first, whole
lines at a time, then the candidates' titles are cut, the longest first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase

import numpy as np

from recommender.backends import Prompt
from recommender.backends.embedded import EmbeddedBackend
from recommender.backends.packed import Pack, pack
from recommender.prompts import BULLET, TITLE_TOKENS, letters_question
from storage.records import IntArray

HISTORY_SHARE = 0.35
"""Of a question's tokens that the history may take where candidates want them too; one title
is always shown."""

LETTER_TOKENS = 8
"""What a candidate's line may have beside its title, as `EmbeddedBackend` lays it out."""


@dataclass(frozen=True, eq=False, slots=True)
class Lettered:
    """A question by letters as tokens."""

    history: list[int]
    """Heading and titles, up to the end of the last line."""
    question: list[int]
    """What follows, up to 'Answer:'."""
    variants: list[list[int]]
    """Tokens that spell each candidate's letter."""
    titles: list[slice]
    """Where the titles of the history stand in it: the tokens whose loss counts."""

    def __len__(self) -> int:
        """Return the tokens up to the answer."""
        return len(self.history) + len(self.question)


@dataclass(frozen=True, eq=False, slots=True)
class Example:
    """One training question, ready to be run."""

    pack: Pack
    answer: int
    """The row whose logits say the letter."""
    variants: list[list[int]]
    target: int
    """Index of the letter that is right."""
    rows: IntArray
    """(S,) rows that predict title tokens."""
    tokens: IntArray
    """(S,) the tokens predicted there."""


def lettered(backend: EmbeddedBackend, prompt: Prompt, *, most: int = 0) -> Lettered:
    """Lay a question out as tokens, at most `most` of them; 0 cuts nothing.

    Uncut, it is what `EmbeddedBackend.letters_tokens` gives. Where even one title and the
    shortest candidates do not fit, it is longer than `most`.
    """
    whole, variants = backend.letters_tokens(prompt)
    history, shown = backend.prefix_tokens(prompt, bullet=False)
    lines = _question_lines(backend, prompt)
    if most and len(whole) > most:
        fixed = sum(len(line) for line in (lines[0], lines[1], lines[-1]))
        room = most - fixed
        wanted = sum(map(len, lines[2:-1]))
        history, shown = _shorter_history(
            backend, prompt, shown, max(room - wanted, int(HISTORY_SHARE * room))
        )
        limit = water_level([len(line) for line in lines[2:-1]], room - len(history))
        lines = _question_lines(backend, prompt, limit)
    return Lettered(
        history=history,
        question=[token for line in lines for token in line],
        variants=variants,
        titles=_title_places(backend, prompt, shown, len(history)),
    )


def example(
    backend: EmbeddedBackend, prompt: Prompt, target: int, *, most: int, with_titles: bool = True
) -> Example:
    """Lay a training question out with its answer and the title that came next.

    Args:
        backend: whose tokenizer and wording it is.
        prompt: the question.
        target: which candidate came next.
        most: tokens of the question, see `lettered`.
        with_titles: False leaves the next title away, where its loss does not count.
    """
    laid = lettered(backend, prompt, most=most)
    mark = backend.line_tokens(BULLET)
    branches = [[*laid.question, laid.variants[target][0]]]
    if with_titles:
        branches.append([*mark, *backend.title_tokens(prompt.candidates[target])])
    one = pack(laid.history, branches)
    # The first title follows from nothing that is this person's.
    rows = [r - 1 for place in laid.titles[1:] for r in range(place.start, place.stop)]
    tokens = [laid.history[r + 1] for r in rows]
    answer = int(one.rows[len(branches[0]) - 1])
    if with_titles:
        first = len(branches[0]) + len(mark)  # a bullet always stands there: nothing to learn
        rows += one.rows[first:].tolist()
        tokens += one.targets[first:].tolist()
    return Example(
        pack=one,
        answer=answer,
        variants=laid.variants,
        target=target,
        rows=np.array(rows, dtype=np.int64),
        tokens=np.array(tokens, dtype=np.int64),
    )


def water_level(lengths: Sequence[int], room: int, *, least: int = 6) -> int:
    """Return the length to cut to, so that together they fit; the short ones keep theirs.

    >>> water_level([3, 10, 20], 21), water_level([3, 4], 100), water_level([9, 9], 0)
    (9, 6, 6)
    """
    for limit in range(max(lengths), least, -1):
        if sum(min(length, limit) for length in lengths) <= room:
            return limit
    return least


def _question_lines(backend: EmbeddedBackend, prompt: Prompt, limit: int = 0) -> list[list[int]]:
    labels = ascii_uppercase[: len(prompt.candidates)]
    usual = TITLE_TOKENS + LETTER_TOKENS
    lines = letters_question(prompt, labels).splitlines(keepends=True)
    # The wording itself is never cut: candidates stand third to last but one.
    limits = [usual, usual, *[limit or usual] * len(labels), usual]
    return [backend.line_tokens(line, limit=most) for line, most in zip(lines, limits, strict=True)]


def _shorter_history(
    backend: EmbeddedBackend, prompt: Prompt, shown: int, room: int
) -> tuple[list[int], int]:
    """Drop the oldest titles until the rest fits, or one is left."""
    for kept in range(shown, 0, -1):
        fewer = replace(prompt, history=prompt.history[-kept:])
        tokens, _ = backend.prefix_tokens(fewer, bullet=False)
        if len(tokens) <= room or kept == 1:
            return tokens, kept
    return backend.prefix_tokens(replace(prompt, history=()), bullet=False)


def _title_places(backend: EmbeddedBackend, prompt: Prompt, shown: int, length: int) -> list[slice]:
    """Return where the shown titles stand at the end of the history's tokens."""
    mark = len(backend.line_tokens(BULLET))
    places: list[slice] = []
    end = length
    for title in reversed(prompt.history[len(prompt.history) - shown :]):
        begin = end - len(backend.title_tokens(title))
        places.append(slice(begin, end))
        end = begin - mark
    return places[::-1]
