"""Popularity and item-kNN: what a teacher and a student have to beat.

Both are fitted on train rows only, know nothing but item numbers, and score a whole
catalogue of 370,000 items within bounded memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from scipy import sparse

from recommender.ranking import Ranking, rank_from_scores
from storage.records import FloatArray, IntArray

BLOCK_ENTRIES = 10_000_000
"""Co-occurrences held at once while item-kNN is fitted: 120 MB."""


class Popularity:
    """Scores an item by how many train rows it has; the same for everybody.

    >>> popularity = Popularity.fit(np.array([2, 2, 0]), items=4)
    >>> popularity.rank(np.array([2]), n=2).items
    (0, 1)
    """

    name = "popularity"

    def __init__(self, counts: IntArray) -> None:
        """`counts` holds train rows per item, shape (items,)."""
        self.counts = counts
        self._scores = counts.astype(np.float32)

    @classmethod
    def fit(cls, train_items: IntArray, items: int) -> Popularity:
        """Count the items of the train rows, repeats included."""
        return cls(np.bincount(train_items, minlength=items))

    @property
    def items(self) -> int:
        """Return the size of the catalogue."""
        return len(self.counts)

    def score(self, histories: Sequence[IntArray]) -> FloatArray:
        """Return the counts once per history, as a read-only view of one row."""
        return np.broadcast_to(self._scores, (len(histories), self.items))

    def rank(
        self, history: IntArray, *, candidates: IntArray | None = None, n: int = 10
    ) -> Ranking:
        """Return the `n` items with the most train rows."""
        return rank_from_scores(self._scores, history, name=self.name, candidates=candidates, n=n)


class ItemKNN:
    """Scores an item by its similarity to the items of the history.

        sim(i, j) = |U_i ∩ U_j| / (√(|U_i| |U_j|) + shrinkage),    score(j) = Σ_i w_i sim(i, j)

    U_i are the people with item i among their train rows; only the `k` most similar j of
    each i are kept; sim(i, i) = 0. w_i = 1, or `recency` ** (steps before the last) where a
    recency below 1 is asked for. Source: Sarwar et al. 2001, shrinkage from Bell and
    Koren 2007.

    >>> knn = ItemKNN.fit(np.array([0, 1, 0, 1, 2]), np.array([0, 2, 4, 5]), items=3)
    >>> knn.rank(np.array([0]), n=1).items
    (1,)
    """

    name = "item-knn"

    def __init__(self, similarity: sparse.csr_array, recency: float = 1.0) -> None:
        """`similarity` is (items, items), row i holding the neighbours of item i."""
        self.similarity = similarity
        self.recency = recency

    @classmethod
    def fit(
        cls,
        train_items: IntArray,
        offsets: IntArray,
        items: int,
        *,
        k: int = 200,
        shrinkage: float = 10.0,
        recency: float = 1.0,
    ) -> ItemKNN:
        """Fit on flat train sequences, `offsets` of shape (people + 1,).

        Memory: the train rows twice, `k` neighbours an item, and a block of at most
        `BLOCK_ENTRIES` co-occurrences (or one item's, where those are more).
        """
        people = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        ones = np.ones(len(train_items), dtype=np.float32)
        shape = (items, len(offsets) - 1)
        by_item = sparse.csr_array((ones, (train_items, people)), shape=shape)
        by_item.sum_duplicates()
        by_item.data[:] = 1.0  # a person counts once, however often they came back
        by_person = by_item.T.tocsr()
        degree = np.diff(by_item.indptr).astype(np.float64)
        parts = [
            _nearest(by_item[start:stop] @ by_person, start, degree, k, shrinkage)
            for start, stop in _blocks(by_item, by_person)
        ]
        return cls(sparse.csr_array(sparse.vstack(parts, format="csr")), recency)

    @property
    def items(self) -> int:
        """Return the size of the catalogue."""
        return int(self.similarity.shape[0])

    def score(self, histories: Sequence[IntArray]) -> FloatArray:
        """Return summed similarities, shape (histories, items); an item twice counts twice."""
        lengths = np.array([len(history) for history in histories], dtype=np.int64)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        flat = np.concatenate([*histories, np.empty(0, dtype=np.int64)]).astype(np.int64)
        age = np.repeat(offsets[1:], lengths) - 1 - np.arange(len(flat))
        weights = np.power(self.recency, age).astype(np.float32)
        chosen = sparse.csr_array((weights, flat, offsets), shape=(len(histories), self.items))
        return np.asarray((chosen @ self.similarity).toarray(), dtype=np.float32)

    def rank(
        self, history: IntArray, *, candidates: IntArray | None = None, n: int = 10
    ) -> Ranking:
        """Return the `n` items nearest to the history."""
        return rank_from_scores(
            self.score([history])[0], history, name=self.name, candidates=candidates, n=n
        )

    def neighbours(self, item: int) -> tuple[IntArray, FloatArray]:
        """Return the kept neighbours of one item, most similar first, and the similarities."""
        start, stop = self.similarity.indptr[item : item + 2]
        columns = self.similarity.indices[start:stop].astype(np.int64)
        values = self.similarity.data[start:stop]
        order = np.lexsort((columns, -values))
        return columns[order], values[order]


def _blocks(by_item: sparse.csr_array, by_person: sparse.csr_array) -> Iterator[tuple[int, int]]:
    """Yield ranges of items whose co-occurrences, at most, fill one block."""
    per_person = np.diff(by_person.indptr).astype(np.float64)
    bound = np.minimum(by_item @ per_person, by_item.shape[0])
    blocks = (np.cumsum(bound) // BLOCK_ENTRIES).astype(np.int64)
    edges = np.flatnonzero(np.diff(blocks)) + 1
    yield from zip([0, *edges.tolist()], [*edges.tolist(), by_item.shape[0]], strict=True)


def _nearest(
    together: sparse.csr_array,
    first: int,
    degree: npt.NDArray[np.float64],
    k: int,
    shrinkage: float,
) -> sparse.csr_array:
    """Turn co-occurrences of items first, first + 1 … into their k highest similarities."""
    rows = np.repeat(np.arange(together.shape[0]), np.diff(together.indptr))
    columns = together.indices
    other = columns != rows + first
    rows, columns, counts = rows[other], columns[other], together.data[other]
    similarity = counts / (np.sqrt(degree[rows + first] * degree[columns]) + shrinkage)
    order = np.lexsort((columns, -similarity, rows))  # ties by item number: same data, same model
    rows, columns, similarity = rows[order], columns[order], similarity[order]
    starts = np.searchsorted(rows, np.arange(together.shape[0]))
    keep = np.arange(len(rows)) - starts[rows] < k
    return sparse.csr_array(
        (similarity[keep].astype(np.float32), (rows[keep], columns[keep])), shape=together.shape
    )
