"""Which items stand for the catalogue when all of it would not fit in memory."""

from __future__ import annotations

from typing import Literal

import numpy as np

from storage.records import FloatArray, IntArray


class NegativeSampler:
    """Draws items with replacement, by a law whose probabilities are known.

    'uniform': 1 / items. 'log-uniform': over items from the most to the least popular,
    the k-th (from 0) with probability log((k + 2) / (k + 1)) / log(items + 1), which is
    close to how popularity falls in most shops and needs no table.

    >>> sampler = NegativeSampler(np.array([1, 9, 3]), "log-uniform")
    >>> [round(float(p), 3) for p in np.exp(sampler.log_probability(np.arange(3)))]
    [0.208, 0.5, 0.292]
    """

    def __init__(self, popularity: IntArray, law: Literal["log-uniform", "uniform"]) -> None:
        """`popularity`: how often each item was chosen, (items,); ties by item number."""
        self.items = len(popularity)
        self.law = law
        self._by_place = np.argsort(-popularity, kind="stable")
        self._place = np.empty(self.items, dtype=np.int64)
        self._place[self._by_place] = np.arange(self.items)

    def draw(self, n: int, seed: int) -> IntArray:
        """Return `n` items, the same for the same seed."""
        chance = np.random.default_rng(seed).random(n)
        if self.law == "uniform":
            return (chance * self.items).astype(np.int64)
        # The inverse of the cumulative probability log(k + 1) / log(items + 1).
        places = np.exp(chance * np.log(self.items + 1)).astype(np.int64) - 1
        drawn: IntArray = self._by_place[np.clip(places, 0, self.items - 1)]
        return drawn

    def log_probability(self, items: IntArray) -> FloatArray:
        """Return the logarithm of each item's probability in one draw, float32."""
        if self.law == "uniform":
            return np.full(len(items), -np.log(self.items), dtype=np.float32)
        place = self._place[items]
        share = np.log1p(1 / (place + 1)) / np.log(self.items + 1)
        logs: FloatArray = np.log(share).astype(np.float32)
        return logs
