"""The few items a teacher is asked about, out of many.

A language model cannot read a catalogue, so something cheap offers it a short list. To
answer a person, several sources are asked in turn and their best items joined. To label,
the list must also teach what is *not* wanted: the true item if there is one, items a
person might well be offered, and items nobody would.

A source is any `CatalogueRanker`: popularity, item-kNN, and the text neighbours below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from recommender.ranking import CatalogueRanker, Ranking, rank_from_scores
from storage.records import FloatArray, IntArray

Mix = Literal["mixed", "retrieved", "uniform"]
POOL = 100
"""How many retrieved items the negatives of one request are drawn from."""


class TextNeighbours:
    """Scores an item by the cosine of its text with that of the recent history.

        score(j) = v_j · c,    c = Σ v_i over the last `recent` items, divided by its length

    An empty history, or one without text, scores 0 everywhere.

    >>> vectors = np.array([[1, 0], [0.8, 0.6], [0, 1]], dtype=np.float32)
    >>> TextNeighbours(vectors).rank(np.array([0]), n=1).items
    (1,)
    """

    name = "text"

    def __init__(self, vectors: FloatArray, *, recent: int = 10) -> None:
        """`vectors` holds one vector of length 1 an item, shape (items, d)."""
        self.vectors = vectors
        self.recent = recent

    @property
    def items(self) -> int:
        """Return how many items have a vector."""
        return len(self.vectors)

    def score(self, histories: Sequence[IntArray]) -> FloatArray:
        """Return cosines, shape (histories, items)."""
        centres = np.zeros((len(histories), self.vectors.shape[1]), dtype=np.float32)
        for row, history in enumerate(histories):
            centre = self.vectors[history[-self.recent :]].sum(axis=0)
            length = float(np.linalg.norm(centre))
            centres[row] = centre / length if length > 0 else centre
        return np.asarray(centres @ self.vectors.T, dtype=np.float32)

    def rank(
        self, history: IntArray, *, candidates: IntArray | None = None, n: int = 10
    ) -> Ranking:
        """Return the `n` items whose text is nearest to the recent history."""
        return rank_from_scores(
            self.score([history])[0], history, name=self.name, candidates=candidates, n=n
        )


def retrieve(sources: Sequence[CatalogueRanker], history: IntArray, n: int) -> IntArray:
    """Return up to `n` items, the best of every source by turns, none of the history.

    A source only offers what it scores above 0: item-kNN has no opinion on an item that was
    never bought together with the history. So fewer than `n` may come back.

    >>> from recommender.baselines import Popularity
    >>> text = TextNeighbours(np.eye(4, dtype=np.float32)[[0, 1, 0, 3]])
    >>> retrieve([Popularity.fit(np.array([1, 1, 3]), 4), text], np.array([0]), 3).tolist()
    [1, 2, 3]
    """
    lists = []
    for source in sources:
        ranking = source.rank(history, n=n)
        lists.append([i for i, s in zip(ranking.items, ranking.scores, strict=True) if s > 0])
    joined: dict[int, None] = {}
    for turn in range(n):
        for offered in lists:
            if turn < len(offered):
                joined.setdefault(offered[turn])
    return np.array(list(joined)[:n], dtype=np.int64)


def sample_candidates(
    target: int | None,
    history: IntArray,
    n: int,
    *,
    items: int,
    retrieved: IntArray,
    rng: np.random.Generator,
    mix: Mix = "mixed",
) -> IntArray:
    """Draw the candidates of one label request, in random order, without duplicates.

    The target, where there is one, and negatives that are not in the history. 'mixed' takes
    half of the negatives from `retrieved`, the r-th of it with weight 1 / r, and the rest
    uniformly from the catalogue; 'retrieved' and 'uniform' take all from one. Where too few
    were retrieved the uniform draw fills up; where the catalogue itself has fewer than `n`
    items outside the history, the list is shorter.

    Args:
        target: What the person chose, or None; its place in the result is uniform.
        history: Items never offered.
        n: Length of the list, target included.
        items: Size of the catalogue.
        retrieved: Best first, as `retrieve` returns them.
        rng: The same state gives the same list.
        mix: Where negatives come from.

    Raises:
        ValueError: `n` is below 2, or the target is in the history.

    >>> rng = np.random.default_rng(0)
    >>> none = np.array([], dtype=np.int64)
    >>> sorted(sample_candidates(2, np.array([0]), 9, items=4, retrieved=none, rng=rng).tolist())
    [1, 2, 3]
    """
    if n < 2:
        raise ValueError(f"a request needs at least 2 candidates, not {n}")
    if target is not None and target in history:
        raise ValueError(f"the target {target} is in its own history")
    free = np.ones(items, dtype=np.bool_)
    free[history] = False
    chosen = np.array([] if target is None else [target], dtype=np.int64)
    free[chosen] = False
    wanted = n - len(chosen)
    share = {"mixed": wanted // 2, "retrieved": wanted, "uniform": 0}[mix]
    pool = retrieved[free[retrieved]]
    near = _weighted_to_top(pool, min(share, len(pool)), rng)
    free[near] = False
    rest = np.flatnonzero(free)
    far = rng.choice(rest, size=min(wanted - len(near), len(rest)), replace=False)
    return rng.permutation(np.concatenate([chosen, near, far]))


def _weighted_to_top(pool: IntArray, size: int, rng: np.random.Generator) -> IntArray:
    if not size:
        return pool[:0]
    weights = 1 / np.arange(1, len(pool) + 1)
    return rng.choice(pool, size=size, replace=False, p=weights / weights.sum())


@dataclass(frozen=True, slots=True)
class CandidateSampler:
    """Draws candidates for label requests: history, target or None, generator -> items.

    >>> from recommender.baselines import Popularity
    >>> sampler = CandidateSampler([Popularity.fit(np.arange(9), 9)], items=9, n=4)
    >>> drawn = sampler(np.array([0, 1]), 5, np.random.default_rng(0))
    >>> len(drawn), 5 in drawn, 0 in drawn
    (4, True, False)
    """

    sources: Sequence[CatalogueRanker]
    items: int
    n: int = 20
    mix: Mix = "mixed"

    def __call__(self, history: IntArray, target: int | None, rng: np.random.Generator) -> IntArray:
        """Return up to `n` candidates; see `sample_candidates`."""
        retrieved = np.empty(0, dtype=np.int64)
        if self.mix != "uniform":
            retrieved = retrieve(self.sources, history, POOL)
        return sample_candidates(
            target,
            history,
            self.n,
            items=self.items,
            retrieved=retrieved,
            rng=rng,
            mix=self.mix,
        )
