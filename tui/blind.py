"""Comparing without knowing who is who: columns shuffled and unnamed, preferences counted.

Apart from the comparison, which it only hides: nothing of what is asked or answered changes.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from math import comb
from string import ascii_uppercase

ENOUGH = 5
"""Preferences below which even one that always wins could do so by chance."""


class Blind:
    """One blind sitting.

    >>> blind = Blind(["student", "teacher"], seed=1)
    >>> blind.prefer(blind.order[0])
    >>> blind.count, sum(blind.tally.values())
    (1, 1)
    """

    def __init__(self, by: Sequence[str], *, seed: int) -> None:
        """Hide these rankers; everything random follows from the seed."""
        self._random = random.Random(seed)
        self.tally: Counter[str] = Counter(dict.fromkeys(by, 0))
        self.count = 0
        """Preferences that were told."""
        self.order: list[str] = list(by)
        self.shuffle(by)

    def shuffle(self, by: Sequence[str]) -> None:
        """Hide who is who again: for another person."""
        self.order = list(by)
        self._random.shuffle(self.order)
        for one in by:
            self.tally.setdefault(one, 0)

    def name(self, by: str) -> str:
        """Return the letter a ranker is shown under: A to Z, then A2 and so on.

        >>> many = Blind([str(number) for number in range(28)], seed=0)
        >>> [many.name(by) for by in many.order[-3:]]
        ['Z', 'A2', 'B2']
        """
        again, letter = divmod(self.order.index(by), len(ascii_uppercase))
        return ascii_uppercase[letter] + (str(again + 1) if again else "")

    def prefer(self, by: str) -> None:
        """Count a preference."""
        self.tally[by] += 1
        self.count += 1

    def words(self) -> list[str]:
        """Return the tally in words, the preferred first; nothing where nothing was told."""
        if not self.count:
            return []
        told = sorted(self.tally.items(), key=lambda pair: (-pair[1], pair[0]))
        shares = ", ".join(f"{by} {n} of {self.count}" for by, n in told)
        if self.count < ENOUGH:
            return [f"blind: {shares}; too few to tell: {ENOUGH} are the least"]
        chance = chance_of_as_many(told[0][1], self.count, len(told))
        return [
            f"blind: {shares}; {told[0][0]} would be preferred this often by chance with "
            f"probability {chance:.3f}"
        ]


def chance_of_as_many(preferred: int, count: int, columns: int) -> float:
    """Return how likely some column is preferred at least as often if nobody sees a difference.

    Formula: min(1, k Σ_{i ≥ x} C(n, i) (1/k)^i (1 - 1/k)^(n-i)): the binomial tail for one of k
    columns, times k because it was not named before (Bonferroni; exact for k = 2 and x > n/2).

    Args:
        preferred: x, how often the most preferred was.
        count: n preferences.
        columns: k, at least 1.

    >>> chance_of_as_many(5, 5, 2)
    0.0625
    >>> chance_of_as_many(3, 5, 2)
    1.0
    """
    share = 1 / columns
    tail = sum(
        comb(count, i) * share**i * (1 - share) ** (count - i) for i in range(preferred, count + 1)
    )
    return min(1.0, columns * tail)
