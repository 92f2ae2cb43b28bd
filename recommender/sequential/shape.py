"""The shape of a student, and how histories become the rows of numbers it reads.

Apart, and without torch, because settings, training and serving all need it, and must lay
histories out in exactly the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from storage.errors import BadSetting
from storage.records import IntArray

FEWEST_ITEMS = 3
"""Of a history that a student can look at: the file it is served from is traced with three."""


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """The shape of a network. How it is trained is in `distill.training.TrainConfig`.

    >>> NetworkConfig().width
    64
    """

    architecture: Literal["sasrec", "gru4rec"] = "sasrec"
    width: int = 64
    blocks: int = 2
    """Layers: of attention, or of recurrence."""
    heads: int = 2
    """Of attention; a GRU4Rec has none and does not read it."""
    inner: int = 1
    """Width of the feed-forward part, as a multiple of `width`; nothing to a GRU4Rec."""
    dropout: float = 0.3
    max_len: int = 50
    """How many of the latest items it looks at."""
    init_std: float = 0.02
    """Spread of every matrix, and of an item table from chance, before training."""
    text_std: float = 0.1
    """Spread of an item table from text. Larger: what is random about a table from chance is
    in the way of items that few people chose, what is said about them is not."""

    def __post_init__(self) -> None:
        """Check what can be checked before anything expensive happens."""
        if min(self.width, self.blocks, self.heads, self.inner, self.max_len) < 1:
            raise BadSetting(f"every size of a student must be at least 1: {self!r}")
        if self.max_len < FEWEST_ITEMS:
            raise BadSetting(
                f"max_len {self.max_len!r} is out of its range: at least {FEWEST_ITEMS}"
            )
        if min(self.init_std, self.text_std) <= 0:
            raise BadSetting(f"a spread of 0 or less leaves nothing to train from: {self!r}")
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
