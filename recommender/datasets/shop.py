"""A synthetic shop of any size, streamed: to see that the real size fits in memory and time.

By default it is as large as Amazon's Electronics of 2023: 370,000 products, 1.6 million
people, about 15 million purchases. It is made in chunks that never hold more than a slice of
the people, so it can be larger than memory. Its structure is simple, but not none: products
come in groups, people shop mostly in three groups of theirs, and within a group the wanted
are wanted by a power law. Nothing measured on it but bytes and seconds is worth a thought.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from storage.records import IntArray, InteractionChunk, ItemRow

START = 1_546_300_800_000
"""2019-01-01 UTC, in milliseconds."""
SPAN = 5 * 365 * 86_400_000
GROUP = 200
"""Products in a group."""
OWN_GROUPS = 3

_MAKES = ("Norvik", "Halcyon", "Brava", "Tessel", "Auron", "Sonarco", "Vistara", "Linkara")
_LOOKS = ("Compact", "Wireless", "Portable", "Slim", "Rugged", "Foldable", "Smart", "Classic")
_THINGS = ("Speaker", "Charger", "Keyboard", "Camera", "Cable", "Headset", "Router", "Stand")


@dataclass(frozen=True, slots=True)
class Shop:
    """Sizes and seed decide everything.

    >>> shop = Shop(people=100, items=50, seed=1)
    >>> next(shop.item_rows()).title
    'Norvik Compact Speaker 0'
    >>> chunk = next(shop.chunks())
    >>> len(set(chunk.users))
    100
    """

    people: int = 1_600_000
    items: int = 370_000
    mean: float = 9.7
    """Purchases per person, at least 5."""
    seed: int = 0

    def item_rows(self) -> Iterator[ItemRow]:
        """Yield the catalogue in order of number."""
        for number in range(self.items):
            group = number // GROUP
            make = _MAKES[number % len(_MAKES)]
            look = _LOOKS[(number // 8) % len(_LOOKS)]
            thing = _THINGS[group % len(_THINGS)]
            yield ItemRow(f"B{number:07d}", f"{make} {look} {thing} {number}", brand=make)

    def chunks(self, people_at_once: int = 20_000) -> Iterator[InteractionChunk]:
        """Yield everybody's purchases, some people at a time, in order of person and time.

        The same people at once, the same seed: the same chunks.
        """
        for first in range(0, self.people, people_at_once):
            rng = np.random.default_rng([self.seed, first])
            count = min(people_at_once, self.people - first)
            lengths = 4 + rng.geometric(1 / max(self.mean - 4, 1.0), size=count)
            owner = np.repeat(np.arange(count), lengths)
            item = self._items(owner, count, rng)
            time = START + rng.integers(SPAN, size=len(owner))
            order = np.lexsort((time, owner))
            names = [f"A{number:08d}" for number in range(first, first + count)]
            yield InteractionChunk(
                users=[names[number] for number in owner[order].tolist()],
                items=[f"B{number:07d}" for number in item[order].tolist()],
                time=time[order],
                rating=_ratings(len(owner), rng),
            )

    def _items(self, owner: IntArray, people: int, rng: np.random.Generator) -> IntArray:
        groups = -(-self.items // GROUP)
        own = _power(groups, (people, OWN_GROUPS), rng)
        group: IntArray = own[owner, rng.integers(OWN_GROUPS, size=len(owner))]
        anywhere = rng.random(len(owner)) < 0.2
        group[anywhere] = _power(groups, (int(anywhere.sum()),), rng)
        item = group * GROUP + _power(GROUP, owner.shape, rng)
        return np.asarray(np.minimum(item, self.items - 1), dtype=np.int64)


def _power(size: int, shape: tuple[int, ...], rng: np.random.Generator) -> IntArray:
    """Draw numbers below `size`, of which the low ones are the more likely: u² · size."""
    return np.asarray(size * np.square(rng.random(shape)), dtype=np.int64)


def _ratings(size: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    return rng.choice(
        np.arange(1, 6, dtype=np.float32), size=size, p=[0.08, 0.05, 0.08, 0.16, 0.63]
    )
