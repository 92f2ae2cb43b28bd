"""What a ranking is, who can make one, and how scores become ranks.

Apart from metrics and baselines because everything that orders items meets here: teacher,
student, popularity, item-kNN. A ranker works on item numbers; titles are looked up later.

The rules, once for all. Items of the request's own history are never recommended and
never counted. An item that scores −inf is one the ranker cannot judge: it is left out of
answers and counted, and stands below everything in an evaluation. The *rank* of an item is
1 + the number of other unmasked items scored at least as high, so a tie never helps. In a
list that is shown, equal scores are ordered by item number. NaN is an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from storage.records import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Ranking:
    """Items, best first, with their scores.

    >>> Ranking(items=(4, 2), scores=(0.9, 0.1), name="popularity").items
    (4, 2)
    """

    items: tuple[int, ...]
    scores: tuple[float, ...]
    name: str
    """Who ranked."""
    left_out: int = 0
    """Items the ranker could not judge, e.g. newer than the student's training."""
    notices: tuple[str, ...] = ()
    """What should be said with the answer: how the candidates were asked about."""
    resolution: float = 0.0
    """A difference of scores below this is noise; 0 where scores are exact."""


class Ranker(Protocol):
    """Anything that orders items for a person."""

    @property
    def name(self) -> str:
        """What tables show."""
        ...

    def rank(
        self, history: IntArray, *, candidates: IntArray | None = None, n: int = 10
    ) -> Ranking:
        """Return the best `n`, of `candidates` where given, never one of the history."""
        ...


class CatalogueRanker(Ranker, Protocol):
    """A ranker fast enough to score every item for many people at once."""

    @property
    def items(self) -> int:
        """How many items it knows: it scores the numbers below this."""
        ...

    def score(self, histories: Sequence[IntArray]) -> FloatArray:
        """Return scores of shape (histories, items); callers do not write into them."""
        ...


def rank_from_scores(
    scores: npt.NDArray[np.floating],
    history: IntArray,
    *,
    name: str,
    candidates: IntArray | None = None,
    n: int = 10,
    left_out: int = 0,
) -> Ranking:
    """Turn one row of catalogue scores into the list a person sees.

    Args:
        scores: One score an item, shape (items,); −inf for an item that cannot be judged.
        history: The person's items, left out of the answer.
        name: Who ranked.
        candidates: Only these may be answered; None is the whole catalogue.
        n: Length of the list; shorter where fewer items are left.
        left_out: Items already known to be beyond the ranker, added to the count.

    Raises:
        ValueError: A score is NaN, or `n` is below 1.

    >>> rank_from_scores(np.array([3.0, 9.0, 3.0, 1.0]), np.array([1]), name="demo", n=2).items
    (0, 2)
    """
    if n < 1:
        raise ValueError(f"a ranking needs n of at least 1, not {n}")
    _refuse_nan(scores)
    if candidates is None:
        pool = np.arange(len(scores), dtype=np.int64)
    else:
        pool = np.unique(np.asarray(candidates, dtype=np.int64))
        left_out += int(np.count_nonzero(pool >= len(scores)))
        pool = pool[pool < len(scores)]
    pool = pool[~np.isin(pool, history)]
    judged = scores[pool] != -np.inf
    left_out += int(np.count_nonzero(~judged))
    pool = pool[judged]
    best = pool[top_indices(scores[pool], n)]
    return Ranking(
        tuple(best.tolist()), tuple(float(value) for value in scores[best]), name, left_out
    )


def top_indices(scores: npt.NDArray[np.floating], n: int) -> IntArray:
    """Return the indices of the `n` highest scores, best first, ties by lower index.

    Takes O(items) and no full sort: the n-th highest value is found by selection, then
    what lies above it is taken, and of what equals it the lowest indices.

    >>> top_indices(np.array([1.0, 5.0, 5.0, 7.0, 5.0]), 3).tolist()
    [3, 1, 2]
    """
    if n < len(scores):
        threshold = np.partition(scores, len(scores) - n)[len(scores) - n]
        above = np.flatnonzero(scores > threshold)
        equal = np.flatnonzero(scores == threshold)[: n - len(above)]
        chosen = np.concatenate([above, equal])
    else:
        chosen = np.arange(len(scores))
    order = np.lexsort((chosen, -scores[chosen]))
    return np.asarray(chosen[order], dtype=np.int64)


def target_ranks(
    scores: npt.NDArray[np.floating], targets: IntArray, histories: Sequence[IntArray]
) -> IntArray:
    """Return the rank of each request's target: 1 + others scored at least as high.

    Args:
        scores: Shape (requests, items); not written to.
        targets: The item each person really chose, shape (requests,).
        histories: Each request's own items, which do not count; repeats allowed.

    Raises:
        ValueError: A score is NaN, or a target is in its own history.

    >>> scores = np.array([[0.5, 0.9, 0.5, 0.7]])
    >>> target_ranks(scores, np.array([0]), [np.array([1])]).tolist()  # ties with 2, below 3
    [3]
    """
    _refuse_nan(scores)
    rows = np.arange(len(targets))
    own = scores[rows, targets]
    at_least = np.count_nonzero(scores >= own[:, None], axis=1)
    ranks: IntArray = np.asarray(at_least, dtype=np.int64)
    for row, history in enumerate(histories):
        seen = np.unique(history)
        if targets[row] in seen:
            raise ValueError(f"the target {targets[row]} is in its own history")
        ranks[row] -= np.count_nonzero(scores[row, seen] >= own[row])
    return ranks


def candidate_rank(scores: npt.NDArray[np.floating], target: int) -> int:
    """Return the rank of candidate `target` within one list of candidate scores.

    >>> candidate_rank(np.array([0.2, 0.2, 0.1]), 0)
    2
    """
    _refuse_nan(scores)
    return int(np.count_nonzero(scores >= scores[target]))


def _refuse_nan(scores: npt.NDArray[np.floating]) -> None:
    # The minimum is NaN if any score is, and needs no array of the scores' size.
    if scores.size and np.isnan(scores.min()):
        raise ValueError("a score is NaN: a ranker must score every item it is asked about")
