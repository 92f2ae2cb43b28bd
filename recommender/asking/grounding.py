"""What a model names freely, found in the catalogue: generate, then ground.

Apart from the other ways of asking, because here nothing is offered: the model writes a title
out of its own head, its vector is laid beside the titles of all items, and how near the nearest
one lies says how sure the answer is. The distance is DLLM2Rec's (arXiv 2405.00338, after
BIGRec): d_si = ‖v(text) − v(i)‖², between vectors of one encoder.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recommender.backends import LEAST, Backend, Prompt, Scores
from recommender.backends.embedding import Remembering
from recommender.chat_prompts import GUESS_TOKENS, guess_turn
from recommender.embeddings import TextEncoder
from recommender.prompts import clean_title
from storage.errors import BadData
from storage.records import FloatArray

BLOCK = 16_384
"""Items that are compared at once: what bounds the memory beside the vectors themselves."""
SAME = 1e-6
"""Distances nearer to each other than this are equal: float32 tells no more."""
READ = 4000
"""Characters of an answer that are looked at."""
KEPT_BYTES = 2**24
"""Vectors of guesses that are remembered: models like to name the same few titles."""
UNTITLED = clean_title("")

_BULLET = re.compile(r"(?:[-*+•‣▪–—]+|#{1,6}|>+|\(?\d{1,3}[.)])(?=\s|$)\s*")
_NAMED = re.compile(
    r"[*_]{0,2}(?:(?:[a-z]+ ){0,3}title|(?:my |final )?answer)(?: is)?[*_]{0,2} ?[:：][*_]{0,2} ?",
    re.IGNORECASE,
)
_PAIRS = (
    *(("**", "**"), ("__", "__"), ("*", "*"), ("_", "_"), ("`", "`")),
    *(('"', '"'), ("'", "'"), ("“", "”"), ("„", "“"), ("‘", "’"), ("«", "»"), ("「", "」")),
)
"""Marks before and after a title; one that stands inside it too is part of it."""


@dataclass(frozen=True, slots=True)
class Grounded:
    """The item nearest to what a model wrote."""

    item: int
    """Its number; of equally near ones, the first."""
    title: str
    distance: float
    """0 for the very title, 2 for one that has nothing to do with it, 4 at most."""
    text: str
    """What was compared: the answer, cleaned."""


class Grounder:
    """A catalogue to find texts in. Any number of threads may use one.

    >>> from types import SimpleNamespace
    >>> known = {"Heat": 0, "heat": 0, "Alien": 1}
    >>> encoder = SimpleNamespace(
    ...     encode=lambda texts: np.eye(2, dtype=np.float32)[[known[text] for text in texts]])
    >>> grounder = Grounder(["Heat", "Alien"], encoder.encode(["Heat", "Alien"]), encoder)
    >>> grounder.ground('- "heat"')
    Grounded(item=0, title='Heat', distance=0.0, text='heat')
    >>> grounder.scores("heat", [1, 0]).tolist()
    [-2.0, 0.0]
    """

    def __init__(self, titles: Sequence[str], vectors: FloatArray, encoder: TextEncoder) -> None:
        """Lay a catalogue out.

        Args:
            titles: one an item number, at least one.
            vectors: (items, width), rows of unit length, made by `encoder`.
            encoder: for what models write.

        Raises:
            ValueError: titles and vectors do not belong together, or are not of unit length.
        """
        if not len(titles) or vectors.shape[:1] != (len(titles),):
            raise ValueError(f"{len(titles)} titles with vectors of shape {vectors.shape}")
        for at in range(0, len(vectors), BLOCK):
            block = vectors[at : at + BLOCK]
            squares = np.einsum("iw,iw->i", block, block, dtype=np.float32)
            # Written so that what is no number fails too.
            if not np.all(np.abs(squares - 1) < 1e-2):
                raise ValueError("a title's vector is not of unit length")
        self.titles = titles
        self.vectors = vectors
        self._encoder = Remembering(encoder, kept_bytes=KEPT_BYTES)

    @property
    def encoder_name(self) -> str:
        """Name and digest of what makes the vectors of guesses."""
        return self._encoder.name

    def ground(self, text: str) -> Grounded | None:
        """Return the item nearest to what a model wrote; None where it named nothing."""
        guess = clean_guess(text)
        if not guess:
            return None
        distances = squared_distances(self._vector(guess), self.vectors)
        nearest = float(distances.min())
        item = int(np.argmax(distances <= nearest + SAME))
        return Grounded(item, self.titles[item], nearest, guess)

    def scores(self, text: str, candidates: Sequence[int]) -> FloatArray:
        """Return −d for each candidate; `LEAST` for each where nothing was named."""
        guess = clean_guess(text)
        if not guess or not len(candidates):
            return np.full(len(candidates), LEAST, dtype=np.float32)
        distances = squared_distances(self._vector(guess), self.vectors[list(candidates)])
        return 0.0 - distances  # and no minus zero

    def _vector(self, guess: str) -> FloatArray:
        found: FloatArray = self._encoder.encode([guess])[0]
        if not np.isfinite(found).all():
            raise BadData(f"the encoder makes no vector of {guess!r}")
        if found.shape != self.vectors.shape[1:]:
            raise BadData(
                f"the encoder makes vectors of {found.shape[0]} numbers and the titles' have "
                f"{self.vectors.shape[1]}: they are of two encoders"
            )
        return found


def generate(
    backend: Backend, prompt: Prompt, candidates: Sequence[int], grounder: Grounder
) -> Scores:
    """Let a model name what comes next, and score candidates by how near they are to it.

    A title of the history is kept, though it cannot be right, and marked `repeats_history`.

    Args:
        backend: that can write text.
        prompt: its history and noun are used.
        candidates: items, numbered as the grounder's.
        grounder: the catalogue.

    Raises:
        BadSetting: the backend writes no text.
        BackendError: it did not answer.
    """
    made = backend.complete(guess_turn(prompt), limit=GUESS_TOKENS)
    started = time.perf_counter()
    found = grounder.ground(made.text)
    scores = grounder.scores(made.text, candidates)
    details: dict[str, object] = {
        **made.details,
        "text": found.text if found else "",
        "tokens": made.tokens,
        "prompt_tokens": made.prompt_tokens,
    }
    if found:
        shown = {clean_title(title) for title in prompt.history}
        details |= {
            "item": found.item,
            "distance": found.distance,
            "repeats_history": clean_title(found.title) in shown,
        }
    return Scores(
        logprobs=tuple(scores.tolist()),
        tokens=(1,) * len(candidates),
        seconds=made.seconds + time.perf_counter() - started,
        history_shown=len(prompt.history),
        status="" if found else "wrong_format",
        details=details,
    )


def squared_distances(vector: FloatArray, vectors: FloatArray) -> FloatArray:
    """Squared Euclidean distance from one vector to many, all of unit length.

    Formula: ‖v − v_i‖² = 2 − 2 v·v_i, in float32, and 0 where rounding falls under it.

    Args:
        vector: (width,).
        vectors: (items, width); taken `BLOCK` rows at a time.

    >>> squared_distances(np.float32([1, 0]), np.float32([[1, 0], [0, 1], [-1, 0]])).tolist()
    [0.0, 2.0, 4.0]
    """
    found = np.empty(len(vectors), dtype=np.float32)
    for at in range(0, len(vectors), BLOCK):
        block = np.asarray(vectors[at : at + BLOCK], dtype=np.float32)
        found[at : at + BLOCK] = 2 - 2 * (block @ vector)
    return np.maximum(found, 0, out=found)


def clean_guess(text: str) -> str:
    r"""Return the title in what a model wrote: one line of at most 200 characters, or nothing.

    It is the first line on which a letter or digit is left when thoughts, terminal escapes,
    control characters, list bullets, 'Title:' and surrounding quotes are gone.

    >>> clean_guess('\n1. **Title:** "Blade Runner (1982)"\nBecause it is dark.')
    'Blade Runner (1982)'
    >>> clean_guess("<think>Alien?</think> \x1b[1m- ...\x1b[0m")
    ''
    """
    said = text[:READ].rpartition("</think>")[2].partition("<think>")[0]
    for line in said.splitlines():
        bare = _bared(clean_title(line))
        if bare != UNTITLED and any(sign.isalnum() for sign in bare):
            return bare
    return ""


def _bared(line: str) -> str:
    """Take bullets, prefixes and pairs of quotes off a line until none is left."""
    before = None
    while line != before:
        before = line
        for pattern in (_BULLET, _NAMED):
            found = pattern.match(line)
            line = line[found.end() :] if found else line
        line = _unquoted(line.strip())
    return line


def _unquoted(line: str) -> str:
    for left, right in _PAIRS:
        inner = line[len(left) : -len(right)]
        if line == f"{left}{inner}{right}" and left not in inner and right not in inner:
            return inner.strip()
    return line
