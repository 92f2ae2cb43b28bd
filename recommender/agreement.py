"""How alike two short lists of items are: what two rankers say to the same person.

Apart from metrics, which hold a ranking against what really came next, because here neither
list is the truth.
"""

from __future__ import annotations

from collections.abc import Sequence


def overlap(first: Sequence[int], other: Sequence[int], n: int) -> float:
    """Return the share of the first n places that both lists fill with the same items.

    Formula: |A_n ∩ B_n| / max(|A_n|, |B_n|), A_n and B_n the first n of each; 1 if both are
    empty.

    >>> overlap([1, 2, 3], [3, 2, 9], 3)
    0.6666666666666666
    """
    a, b = set(first[:n]), set(other[:n])
    longest = max(len(a), len(b))
    return len(a & b) / longest if longest else 1.0


def kendall_tau(first: Sequence[int], other: Sequence[int], n: int) -> float:
    """Return how far two top-n lists agree in order, from -1 to 1.

    Formula: 1 - 2 K / P over the P pairs of items in either list, K the sum of penalties: 1
    where the lists order a pair differently, an item in one list only standing below the
    other list's end; 1/2 where nothing can be known, because both items are in the same one
    list only. It is the rank correlation without ties where both lists hold the same items.

    Source: Fagin, Kumar, Sivakumar 2003, "Comparing top k lists", K^(p) with p = 1/2.

    Args:
        first: items, best first, each once.
        other: the same.
        n: how many places count.

    >>> kendall_tau([1, 2, 3], [1, 2, 3], 3), kendall_tau([1, 2, 3], [3, 2, 1], 3)
    (1.0, -1.0)
    >>> kendall_tau([1, 2], [3, 4], 2)
    -0.6666666666666667
    """
    a = {item: place for place, item in enumerate(first[:n])}
    b = {item: place for place, item in enumerate(other[:n])}
    items = sorted(a.keys() | b.keys())
    pairs = [(i, j) for at, i in enumerate(items) for j in items[at + 1 :]]
    if not pairs:
        return 1.0
    return 1 - 2 * sum(_penalty(a, b, i, j) for i, j in pairs) / len(pairs)


def movement(first: Sequence[int], other: Sequence[int]) -> list[int | None]:
    """Return for each item of a list how many places higher it stands than in the first.

    None where the first list does not have it.

    >>> movement([5, 6, 7], [7, 5, 9])
    [2, -1, None]
    """
    places = {item: place for place, item in enumerate(first)}
    return [places[i] - at if i in places else None for at, i in enumerate(other)]


def _penalty(a: dict[int, int], b: dict[int, int], i: int, j: int) -> float:
    order_a, order_b = _order(a, i, j), _order(b, i, j)
    if order_a == 0 or order_b == 0:
        return 0.5
    return float(order_a != order_b)


def _order(places: dict[int, int], i: int, j: int) -> int:
    """Return -1 if i stands above j, 1 if below, 0 if the list has neither."""
    if i in places and j in places:
        return -1 if places[i] < places[j] else 1
    if i in places:
        return -1
    return 1 if j in places else 0
