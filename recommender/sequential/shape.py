"""The shape of a student, and how histories become the rows of numbers it reads.

Apart, and without torch, because settings, training and serving all need it, and must lay
histories out in exactly the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from storage.errors import BadSetting
from storage.records import IntArray


@dataclass(frozen=True, slots=True)
class SASRecConfig:
    """The shape of a SASRec. What it is trained with is in `distill.train.TrainConfig`.

    >>> SASRecConfig().width
    64
    """

    width: int = 64
    blocks: int = 2
    heads: int = 2
    inner: int = 4
    """Width of the feed-forward part, as a multiple of `width`."""
    dropout: float = 0.3
    max_len: int = 50
    """How many of the latest items it looks at."""
    init_std: float = 0.02
    """Spread of every matrix, and of the item table, before training."""

    def __post_init__(self) -> None:
        """Check what can be checked before anything expensive happens."""
        if min(self.width, self.blocks, self.heads, self.inner, self.max_len) < 1:
            raise BadSetting(f"every size of a student must be at least 1: {self!r}")
        if self.width % self.heads:
            raise BadSetting(f"width {self.width!r} is not a multiple of {self.heads!r} heads")
        if not 0 <= self.dropout < 1:
            raise BadSetting(f"dropout {self.dropout!r} is not in [0, 1)")


def pad(histories: Sequence[IntArray], max_len: int, *, length: int | None = None) -> IntArray:
    """Lay histories out as ids: the latest `max_len` items, + 1, padded with 0 on the left.

    Args:
        histories: item numbers, oldest first; an empty one becomes a row of padding.
        max_len: how many of the latest items count.
        length: columns of the result, at least the longest row; None for exactly that.

    Returns:
        (len(histories), length) int64.

    >>> pad([np.array([4, 5, 6]), np.array([9])], 2).tolist()
    [[6, 7], [0, 10]]
    """
    latest = [history[-max_len:] for history in histories]
    columns = length or max((len(row) for row in latest), default=1) or 1
    ids = np.zeros((len(latest), columns), dtype=np.int64)
    for row, history in zip(ids, latest, strict=True):
        if len(history):
            row[columns - len(history) :] = history + 1
    return ids
