"""How far two sides' next tokens are apart: token counts and log-probabilities in, nats out.

Apart from `parity`, because it knows neither a server nor weights: numbers only.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

COMPARED = 10
"""Tokens of a prompt that are compared: beyond the likeliest, noise grows."""

HALF = "�"
"""What stands in a text for a part of a character."""


@dataclass(frozen=True, slots=True)
class PromptParity:
    """What one prompt showed."""

    counted: int
    """Tokens of the prompt by the server's count; 0 where it does not say."""
    here: int
    """By this side's count."""
    compared: int
    """Next tokens that were compared; 0 where the server named none."""
    largest: float
    """The largest difference of their log-probabilities, in nats."""
    middle: float
    """The median difference."""
    behind: float
    """How much likelier this side's best token is here than the server's best; 0 where they
    are the same."""

    @property
    def same_count(self) -> bool:
        """Whether both split the prompt into as many tokens."""
        return not self.counted or self.counted == self.here


@dataclass(frozen=True, slots=True)
class Parity:
    """How far a server and the weights here are apart."""

    prompts: tuple[PromptParity, ...]

    @property
    def compared(self) -> int:
        """Next tokens compared, over all prompts."""
        return sum(one.compared for one in self.prompts)

    @property
    def typical(self) -> float:
        """The mean of the prompts' median differences, in nats."""
        return fmean([one.middle for one in self.prompts if one.compared] or [0.0])

    @property
    def largest(self) -> float:
        """The largest difference of all, or the furthest that a best token is behind."""
        return max((max(one.largest, one.behind) for one in self.prompts), default=0.0)

    def in_words(self) -> str:
        """Say it in a few words.

        >>> Parity((PromptParity(5, 5, 10, 0.28, 0.06, 0.0),)).in_words()
        '1 prompt, 10 next tokens, 0.06 nats apart as a rule and 0.28 at most'
        """
        prompts = f"{len(self.prompts)} prompt{'s' if len(self.prompts) != 1 else ''}"
        return (
            f"{prompts}, {self.compared} next tokens, {self.typical:.2f} nats apart as a rule "
            f"and {self.largest:.2f} at most"
        )


def compare(
    counts_server: Sequence[int],
    counts_here: Sequence[int],
    top_server: Sequence[Sequence[tuple[str, float]]],
    logprobs_here: Sequence[Mapping[str, float]],
) -> Parity:
    """Compare what two sides said of the same prompts, one entry a prompt.

    Left out is a token whose text does not name it: no text (a special token on new servers),
    half a character, a text that the server names twice or that several tokens have here.

    Args:
        counts_server: tokens of the prompt; 0 where the server does not say.
        counts_here: the same, by the tokenizer here.
        top_server: (token, log-probability) of the likeliest next tokens, the best first.
        logprobs_here: token → log-probability of the likeliest here; NaN where several tokens
            have that text. A token that is missing counts as the least likely of these.

    >>> one = compare([3], [3], [[("a", -0.5), ("b", -2.0)]], [{"a": -0.75, "b": -2.5}])
    >>> one.largest, one.typical
    (0.5, 0.375)
    """
    found = []
    for counted, here, top, logprobs in zip(
        counts_server, counts_here, top_server, logprobs_here, strict=True
    ):
        apart, behind = _apart(top, logprobs)
        middle, largest = (median(apart), max(apart)) if apart else (0.0, 0.0)
        found.append(PromptParity(counted, here, len(apart), largest, middle, behind))
    return Parity(tuple(found))


def _apart(
    top: Sequence[tuple[str, float]], logprobs: Mapping[str, float]
) -> tuple[list[float], float]:
    """Return the differences, and how far the server's best token is behind the best here."""
    known = [value for value in logprobs.values() if not math.isnan(value)]
    times = Counter(token for token, _ in top)
    apart, behind = [], 0.0
    for place, (token, logprob) in enumerate(top):
        mine = logprobs.get(token, min(known, default=math.nan))
        if not token or HALF in token or times[token] > 1 or math.isnan(mine):
            continue
        if place == 0:
            behind = max(known) - mine
        apart.append(abs(logprob - mine))
    return apart[:COMPARED], behind
