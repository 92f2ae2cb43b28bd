"""More candidates than can be lettered at once: groups, and the better half goes on.

A model is shown at most some ten letters at a time, since beyond that some of them do not come
back. Within a group its scores decide; between groups the round that was reached does. Of two
that left in the same round the one placed higher in its group stands higher.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Judge = Callable[[Sequence[int]], npt.ArrayLike]
"""Entrants by number -> one score each."""


def tournament(entrants: int, judge: Judge, *, size: int) -> Array:
    """Return one score an entrant, (entrants,): the last round reached, plus its place in it.

    Entrants are dealt to groups in turn, so that those who come first in the order given, the
    better ones where it is a retrieval's, do not all meet in the first round. A tie in a group
    keeps the order given. With no more than `size` entrants there is one group, and the scores
    are the judge's own.

    Args:
        entrants: how many, at least 1.
        judge: scores at most `size` of them at a time.
        size: 2 or more.

    Raises:
        ValueError: a size below 2.

    >>> tournament(4, lambda group: [float(e) for e in group], size=2).argsort()[::-1].tolist()
    [3, 2, 1, 0]
    """
    groups = meetings(entrants, size=size)
    group = next(groups)
    while True:
        try:
            group = groups.send(np.asarray(judge(group), dtype=np.float64))
        except StopIteration as stop:
            scores: Array = stop.value
            return scores


def meetings(entrants: int, *, size: int) -> Generator[Sequence[int], Array, Array]:
    """Yield the groups of a tournament one by one; each wants its scores sent back.

    What it returns is what `tournament` does, for whoever must do something between groups.

    Raises:
        ValueError: a size below 2.

    >>> groups = meetings(2, size=2)
    >>> list(next(groups))
    [0, 1]
    """
    if size < 2:
        raise ValueError(f"groups of {size} decide nothing")
    if entrants <= size:
        return (yield range(entrants))
    scores = np.zeros(entrants)
    alive, reached = list(range(entrants)), 0
    while True:
        groups = -(-len(alive) // size)
        on = []
        for first in range(groups):
            group = alive[first::groups]
            order = np.argsort(-(yield group), kind="stable")
            for place, entrant in enumerate(order):
                scores[group[entrant]] = reached + 1 - (place + 1) / (len(group) + 1)
            on += [group[entrant] for entrant in order[: -(-len(group) // 2)]]
        if groups == 1:
            return scores
        alive, reached = sorted(on), reached + 1


def times_asked(entrants: int, *, size: int) -> int:
    """Return how many groups a tournament has, all rounds together.

    >>> times_asked(10, size=10), times_asked(20, size=10)
    (1, 3)
    """
    if entrants <= size:
        return 1
    groups = -(-entrants // size)
    on = sum(-(-len(range(first, entrants, groups)) // 2) for first in range(groups))
    return groups + times_asked(on, size=size)
