"""How rankers are measured: the part, the split, who counts.

Apart from the leaderboard, which measures, because whoever only looks needs no ranker loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SplitKind = Literal["temporal", "leave-last-out"]


@dataclass(frozen=True, slots=True)
class Protocol:
    """How rankers are measured.

    >>> Protocol().part, Protocol().split
    ('test', 'temporal')
    """

    part: Literal["valid", "test"] = "test"
    split: SplitKind = "temporal"
    min_rating: float | None = None
    """Interactions rated lower are no positives; None keeps all."""
    max_people: int = 0
    """0 means all."""
    seed: int = 0
