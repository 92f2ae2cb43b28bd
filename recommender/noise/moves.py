"""How far answers to one question differ: the pure part of measuring a teacher's noise.

Apart from `noise`, which asks. A *move* is the absolute difference of one letter's
log-probability between two answers to the same question in the same order. Only letters that
both answers name count: a letter that is missing holds a bound, not a measurement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from statistics import median

from recommender.backends import Scores

REPEATED = "repeated"
"""The condition that every other one is compared with."""

HOT = 1.5
"""The temperature that log-probabilities are tried at, beside 0."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one answer says of each letter, in nats; None where it does not name the letter.

    >>> Reading((-0.5, None, -2.0)).best
    0
    """

    logprobs: tuple[float | None, ...]

    @property
    def best(self) -> int | None:
        """The likeliest letter, the first of equals; None where none is named."""
        named = [(-p, place) for place, p in enumerate(self.logprobs) if p is not None]
        return min(named)[1] if named else None

    @property
    def named(self) -> int:
        """How many letters it names."""
        return sum(p is not None for p in self.logprobs)


@dataclass(frozen=True, slots=True)
class Moves:
    """How far the answers of one condition moved."""

    condition: str
    largest: float
    """Nats; 0 without comparisons."""
    median: float
    """Nats: over every letter of every pair of answers."""
    flips: int
    """Questions whose best letter changed."""
    comparisons: int
    """Pairs of answers to one question that name a letter in common."""


Heard = Sequence[Mapping[str, Sequence[Reading]]]
"""For each question, condition -> its answers."""
Pair = tuple[Reading, Reading]


def reading(scores: Scores) -> Reading:
    """Return what an answer names; a backend that does not say what is missing names all.

    >>> reading(Scores((-1.0, -9.0), (1, 1), details={"missing": [1]})).logprobs
    (-1.0, None)
    """
    found = scores.details.get("missing")
    missing = set(found) if isinstance(found, list) else set()
    return Reading(
        tuple(None if place in missing else p for place, p in enumerate(scores.logprobs))
    )


def moves_between(a: Reading, b: Reading) -> list[float]:
    """Return how far each letter that both name moved.

    >>> moves_between(Reading((-1.0, -2.0, None)), Reading((-1.5, None, -3.0)))
    [0.5]
    """
    pairs = zip(a.logprobs, b.logprobs, strict=True)
    return [abs(p - q) for p, q in pairs if p is not None and q is not None]


def largest_move(answers: Sequence[Reading]) -> float:
    """Return the largest move of any letter between any two answers to one question.

    Formula: max over letters of (max − min over the answers that name it); 0 where no letter is
    named twice.

    >>> largest_move([Reading((-1.0, -2.0)), Reading((-1.25, -2.0)), Reading((-0.75, None))])
    0.5
    """
    columns = zip(*(answer.logprobs for answer in answers), strict=True)
    named = ([p for p in column if p is not None] for column in columns)
    return max((max(column) - min(column) for column in named if column), default=0.0)


def moves_in(condition: str, heard: Heard) -> Moves:
    """Return how far the answers of a condition lie from the repeated ones.

    The repeated ones are compared with one another.

    >>> answers = {"repeated": [Reading((-1.0, -2.0))] * 3, "cold": [Reading((-1.5, -1.25))]}
    >>> moves_in("cold", [answers])
    Moves(condition='cold', largest=0.75, median=0.625, flips=1, comparisons=3)
    >>> moves_in("repeated", [answers])
    Moves(condition='repeated', largest=0.0, median=0.0, flips=0, comparisons=3)
    """
    if condition == REPEATED:
        pairs = [list(combinations(one.get(REPEATED, ()), 2)) for one in heard]
    else:
        pairs = [list(product(one.get(condition, ()), one.get(REPEATED, ()))) for one in heard]
    return _moves(condition, pairs)


def moves_at_all(heard: Heard) -> Moves:
    """Return how far any two answers to one question lie apart, whatever the conditions.

    >>> moves_at_all([{"cold": [Reading((-1.0,))], "company": [Reading((-3.0,))]}]).largest
    2.0
    """
    answers = [[answer for several in one.values() for answer in several] for one in heard]
    return _moves("any two", [list(combinations(several, 2)) for several in answers])


def follows_temperature(
    cold: Sequence[tuple[str, float]], hot: Sequence[tuple[str, float]]
) -> bool:
    """Say whether log-probabilities were divided by the temperature before they were given.

    Formula: with x the alternatives' log-probabilities at temperature 0 and y the same tokens'
    at `HOT`, both less their means, the slope is s = Σ x y / Σ x². It is 1 where temperature
    does nothing and 1 / HOT where it divides, whatever the noise of single values is; said to
    follow where |1 − s| is more than half of |1 − 1 / HOT|, or too few tokens are the same.

    Args:
        cold: (token, log-probability), as named at temperature 0.
        hot: as named at `HOT`.

    >>> cold = [(" A", -0.5), (" B", -1.5), (" C", -3.5)]
    >>> follows_temperature(cold, cold)
    False
    >>> follows_temperature(cold, [(token, p / 1.5) for token, p in cold])
    True
    """
    at_hot = dict(reversed(hot))
    both = [(p, at_hot[token]) for token, p in dict(reversed(cold)).items() if token in at_hot]
    if not both or 2 * len(both) < len(cold):
        return bool(cold)
    mean_x = sum(x for x, _ in both) / len(both)
    mean_y = sum(y for _, y in both) / len(both)
    spread = sum((x - mean_x) ** 2 for x, _ in both)
    if spread == 0:
        return False
    slope = sum((x - mean_x) * (y - mean_y) for x, y in both) / spread
    return abs(1 - slope) > abs(1 - 1 / HOT) / 2


def _moves(condition: str, pairs: Sequence[Sequence[Pair]]) -> Moves:
    several = [[(a, b, moves_between(a, b)) for a, b in one] for one in pairs]
    found = [move for one in several for *_, moved in one for move in moved]
    return Moves(
        condition,
        largest=max(found, default=0.0),
        median=median(found) if found else 0.0,
        flips=sum(any(a.best != b.best for a, b, moved in one if moved) for one in several),
        comparisons=sum(bool(moved) for one in several for *_, moved in one),
    )
