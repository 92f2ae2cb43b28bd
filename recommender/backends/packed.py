"""A whole request as one sequence: what the network is fed so that titles share a prefix.

Pure functions on whole numbers, apart from the network, because every score of a teacher
hangs on them. The tokens are the prefix, then each candidate's tokens but its last, one
after another. Positions restart at len(prefix) for every candidate, and a token sees the
earlier tokens of the prefix and of its own candidate only. So the network computes for each
candidate exactly what it would compute for prefix + candidate alone, the prefix is computed
once, and the request stays a single sample for gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from storage.records import IntArray

PACK_TOKENS = 2048
"""Longest sequence the network is fed. More candidates make more packs."""


@dataclass(frozen=True, slots=True)
class Pack:
    """One sequence of T tokens that scores C candidates with S tokens in all."""

    ids: IntArray
    """(T,) token numbers."""
    positions: IntArray
    """(T,) position of each token in the text it belongs to."""
    segments: IntArray
    """(T,) 0 for the prefix, c + 1 for candidate c of this pack."""
    prefix: int
    """Tokens of the prefix; its last row predicts every candidate's first token."""
    rows: IntArray
    """(S,) the row that predicts scored token s."""
    targets: IntArray
    """(S,) the token number predicted there."""
    owners: IntArray
    """(S,) which candidate of this pack scored token s belongs to."""
    first: int = 0
    """Number of this pack's first candidate in the whole request."""

    def __len__(self) -> int:
        """Return T."""
        return len(self.ids)

    @property
    def candidates(self) -> int:
        """Return C."""
        return int(self.owners[-1]) + 1


def pack(prefix: Sequence[int], candidates: Sequence[Sequence[int]], *, first: int = 0) -> Pack:
    """Lay the prefix and all candidates into one sequence.

    Raises:
        ValueError: The prefix, the list of candidates or one of them is empty.

    >>> one = pack([7, 8], [[1, 2, 3], [4]])
    >>> one.ids.tolist(), one.positions.tolist(), one.segments.tolist()
    ([7, 8, 1, 2], [0, 1, 2, 3], [0, 0, 1, 1])
    >>> one.rows.tolist(), one.targets.tolist(), one.owners.tolist()
    ([1, 2, 3, 1], [1, 2, 3, 4], [0, 0, 0, 1])
    """
    if not len(prefix) or not len(candidates) or not all(len(c) for c in candidates):
        raise ValueError("prefix and candidates must each have at least one token")
    start = len(prefix)
    ids, positions, segments = list(prefix), list(range(start)), [0] * start
    rows: list[int] = []
    targets: list[int] = []
    owners: list[int] = []
    for number, tokens in enumerate(candidates):
        begin = len(ids)
        fed = len(tokens) - 1
        ids.extend(tokens[:fed])
        positions.extend(range(start, start + fed))
        segments.extend([number + 1] * fed)
        rows.append(start - 1)
        rows.extend(range(begin, begin + fed))
        targets.extend(tokens)
        owners.extend([number] * len(tokens))
    return Pack(
        ids=np.asarray(ids, dtype=np.int64),
        positions=np.asarray(positions, dtype=np.int64),
        segments=np.asarray(segments, dtype=np.int64),
        prefix=start,
        rows=np.asarray(rows, dtype=np.int64),
        targets=np.asarray(targets, dtype=np.int64),
        owners=np.asarray(owners, dtype=np.int64),
        first=first,
    )


def packs(
    prefix: Sequence[int], candidates: Sequence[Sequence[int]], *, limit: int = PACK_TOKENS
) -> list[Pack]:
    """Lay candidates into as many packs as it takes to keep each within `limit` tokens.

    Every pack repeats the prefix, so a score does not depend on how candidates fell into
    packs. A candidate that is too long by itself still gets a pack of its own.

    >>> [(p.first, len(p)) for p in packs([7, 8], [[1, 2, 3], [4, 5], [6]], limit=4)]
    [(0, 4), (1, 3)]
    """
    made: list[Pack] = []
    waiting: list[Sequence[int]] = []
    size = len(prefix)
    for number, tokens in enumerate(candidates):
        if waiting and size + len(tokens) - 1 > limit:
            made.append(pack(prefix, waiting, first=number - len(waiting)))
            waiting, size = [], len(prefix)
        waiting.append(tokens)
        size += len(tokens) - 1
    made.append(pack(prefix, waiting, first=len(candidates) - len(waiting)))
    return made


def sees(one: Pack) -> npt.NDArray[np.bool_]:
    """Say which token may look at which: (T, T), row t looking at column s.

    >>> sees(pack([7], [[1, 2], [3, 4]])).astype(int).tolist()
    [[1, 0, 0], [1, 1, 0], [1, 0, 1]]
    """
    seg = one.segments
    kin = (seg[None, :] == 0) | (seg[None, :] == seg[:, None])
    return np.tril(kin)
