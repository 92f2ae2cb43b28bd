"""Letters read out of a model's alternatives for one token, and what to make of a missing one.

A server names at most 20 alternatives, of which some are letters, with a space before them or
without, and some are anything else. What is not named has at most the probability of the
last one named.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from recommender.backends import LEAST

TOP = 20
"""As many alternatives as a server names."""

MOST = 20
"""More letters than this are never offered: no more can come back."""

COMFORTABLE = 12
"""Beyond this many letters, some are missing from the 20: of 20 offered, 13 or 14 came back
(recorded from SmolLM2-135M on two servers)."""

ROUNDING = 1e-5
"""What twenty float32 probabilities may miss 1 by."""

DECLINED_OUTSIDE = 0.5
"""With more than this probability outside the letters, the model has not answered."""


@dataclass(frozen=True, slots=True)
class Read:
    """What the alternatives say of each label."""

    logprobs: tuple[float, ...]
    """Natural log-probabilities over the whole vocabulary, in the order of the labels."""
    missing: tuple[bool, ...]
    """Which of them were not named, and hold a bound instead."""
    outside: float
    """The probability of everything that is none of the labels."""

    @property
    def coverage(self) -> float:
        """The share of labels that were named."""
        return 1.0 - sum(self.missing) / len(self.missing)


def read_letters(top: Sequence[tuple[str, float]], labels: Sequence[str]) -> Read:
    """Read labels out of the alternatives for one token.

    Formula: log p(label) = log Σ_t exp(logprob_t) over the tokens t that are the label once
    white space is taken off. A label with no token gets
    min(p_last, max(1 − Σ_t p_t, ROUNDING) / number missing), p_last the least of those named.

    Args:
        top: (token, log-probability), as a server names them, any order.
        labels: what was offered.

    >>> read = read_letters([(" A", math.log(0.5)), ("A", math.log(0.1)), (" x", math.log(0.2))],
    ...                     "AB")
    >>> [round(math.exp(p), 3) for p in read.logprobs], read.missing, round(read.outside, 3)
    ([0.6, 0.1], (False, True), 0.4)
    """
    named: dict[str, list[float]] = {}
    for token, logprob in top:
        named.setdefault(token.strip(), []).append(max(logprob, LEAST))
    probabilities = [math.exp(max(logprob, LEAST)) for _, logprob in top]
    rest = max(0.0, 1.0 - math.fsum(probabilities))
    absent = [label not in named for label in labels]
    bound = math.exp(LEAST)
    if top and any(absent):
        # Servers count in float32: a rest within its rounding says nothing of what is missing.
        bound = max(bound, min(min(probabilities), max(rest, ROUNDING) / sum(absent)))
    logprobs = tuple(
        math.log(bound) if gone else _log_sum(named[label])
        for label, gone in zip(labels, absent, strict=True)
    )
    # What was not named counts as outside: its bound is from above.
    held = math.fsum(math.exp(p) for p, gone in zip(logprobs, absent, strict=True) if not gone)
    return Read(logprobs, tuple(absent), min(1.0, max(0.0, 1.0 - held)))


def nothing_read(labels: Sequence[str]) -> Read:
    """Return what an answer without alternatives says: the model ended instead of answering.

    >>> nothing_read("AB").outside
    1.0
    """
    return Read((LEAST,) * len(labels), (True,) * len(labels), 1.0)


def _log_sum(values: Sequence[float]) -> float:
    highest = max(values)
    return highest + math.log(math.fsum(math.exp(value - highest) for value in values))
