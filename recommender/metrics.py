"""How good a ranking is, from the rank of the one item the person chose.

Conventions, for every number this project prints. A request has one relevant item, so
|relevant| = 1. The rank is pessimistic: 1 + the number of other items scored at least as
high (`recommender.ranking`). Precision divides by n, even where fewer than n items could be
listed; recall divides by |relevant|. With one relevant item HR@n equals Recall@n and MAP@n
equals MRR@n; both names are printed because papers use both. A figure is the mean over
requests; its interval resamples people (`recommender.significance`).

Coverage, diversity and novelty look at the lists, not at the target. A list is a row of
item numbers, padded with −1 where fewer items could be listed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from storage.records import FloatArray, IntArray

Float64Array = npt.NDArray[np.float64]
Lists = npt.NDArray[np.int32]


def hit(ranks: IntArray, n: int) -> Float64Array:
    """HR@n: 1 where the target is among the first n, else 0. Shape (requests,).

    >>> hit(np.array([1, 10, 11]), 10).tolist()
    [1.0, 1.0, 0.0]
    """
    return (ranks <= n).astype(np.float64)


def recall(ranks: IntArray, n: int) -> Float64Array:
    """Recall@n: relevant items among the first n, divided by |relevant| = 1.

    >>> recall(np.array([2, 3]), 2).tolist()
    [1.0, 0.0]
    """
    return hit(ranks, n)


def precision(ranks: IntArray, n: int) -> Float64Array:
    """Precision@n: relevant items among the first n, divided by n.

    >>> precision(np.array([2, 9]), 5).tolist()
    [0.2, 0.0]
    """
    return hit(ranks, n) / n


def f1(ranks: IntArray, n: int) -> Float64Array:
    """F1@n: 2PR / (P + R), and 0 where both are 0. For one relevant item: 2·hit / (n + 1).

    >>> f1(np.array([1, 9]), 3).tolist()
    [0.5, 0.0]
    """
    return 2 * hit(ranks, n) / (n + 1)


def ndcg(ranks: IntArray, n: int) -> Float64Array:
    """NDCG@n: [rank <= n] / log2(rank + 1); the ideal gain of one relevant item is 1.

    Source: Järvelin and Kekäläinen 2002, binary gains.

    >>> ndcg(np.array([1, 3, 11]), 10).tolist()
    [1.0, 0.5, 0.0]
    """
    return np.asarray(hit(ranks, n) / np.log2(ranks + 1.0), dtype=np.float64)


def mrr(ranks: IntArray, n: int) -> Float64Array:
    """MRR@n: [rank <= n] / rank.

    >>> mrr(np.array([2, 4]), 3).tolist()
    [0.5, 0.0]
    """
    return hit(ranks, n) / ranks


def average_precision(ranks: IntArray, n: int) -> Float64Array:
    """MAP@n: precision at each relevant rank within n, summed, divided by |relevant| = 1.

    >>> average_precision(np.array([4, 5]), 4).tolist()
    [0.25, 0.0]
    """
    return mrr(ranks, n)


RANK_METRICS: dict[str, Callable[[IntArray, int], Float64Array]] = {
    "hr": hit,
    "recall": recall,
    "precision": precision,
    "f1": f1,
    "ndcg": ndcg,
    "mrr": mrr,
    "map": average_precision,
}
"""Metric name before the '@' -> function of (ranks, n)."""


def by_name(name: str, ranks: IntArray) -> Float64Array:
    """Return one metric per request; `name` is like 'ndcg@10', or 'mrr' without a cut.

    Raises:
        ValueError: No such metric.

    >>> by_name("ndcg@10", np.array([3])).tolist()
    [0.5]
    """
    kind, _, cut = name.partition("@")
    if kind == "mrr" and not cut:
        return 1.0 / ranks
    if kind not in RANK_METRICS or not cut.isdecimal() or int(cut) < 1:
        known = ", ".join(f"{metric}@n" for metric in RANK_METRICS)
        raise ValueError(f"no metric {name!r}: there are {known}")
    return RANK_METRICS[kind](ranks, int(cut))


def chance(name: str, candidates: IntArray) -> float:
    """Return what a uniformly random order scores on average on lists of these lengths.

    Σ_r metric(r) / C over ranks r = 1 … C, averaged over the lists; no sampling.

    >>> round(chance("ndcg@10", np.array([20])), 4)
    0.2272
    """
    lengths, counts = np.unique(candidates, return_counts=True)
    means = [by_name(name, np.arange(1, length + 1)).mean() for length in lengths]
    return float(np.average(means, weights=counts))


def coverage(lists: Lists, items: int) -> float:
    """Return the share of the catalogue that appears in at least one list.

    >>> coverage(np.array([[0, 1], [1, -1]], dtype=np.int32), 4)
    0.5
    """
    return len(np.unique(lists[lists >= 0])) / items


def diversity(lists: Lists, vectors: FloatArray) -> Float64Array:
    """Intra-list diversity: 1 − mean cosine over the pairs of a list. Shape (requests,).

    `vectors` holds one vector of length 1 (or 0) an item, shape (items, d). The sum over
    pairs is (‖Σv‖² − Σ‖v‖²) / 2, in float64. A list with fewer than two items scores 0.

    >>> diversity(np.array([[0, 1]], dtype=np.int32), np.eye(2, dtype=np.float32)).tolist()
    [1.0]
    """
    values = np.zeros(len(lists))
    for row, listed in enumerate(lists):
        own = vectors[listed[listed >= 0]].astype(np.float64)
        if len(own) > 1:
            pairs = len(own) * (len(own) - 1)
            values[row] = 1 - (np.square(own.sum(axis=0)).sum() - np.square(own).sum()) / pairs
    return values


def novelty(lists: Lists, counts: IntArray) -> Float64Array:
    """Novelty: mean −log2(popularity share) of a list, in bits. Shape (requests,).

    The share of item i is (count_i + 1) / (Σ counts + items), counts from train rows; the
    added one keeps items that were never chosen finite. An empty list scores 0.

    >>> novelty(np.array([[0]], dtype=np.int32), np.array([0, 2])).tolist()
    [2.0]
    """
    bits = -np.log2((counts + 1.0) / (counts.sum() + len(counts)))
    listed = lists >= 0
    total = np.where(listed, bits[np.where(listed, lists, 0)], 0.0).sum(axis=1)
    return np.asarray(total / np.maximum(listed.sum(axis=1), 1), dtype=np.float64)
