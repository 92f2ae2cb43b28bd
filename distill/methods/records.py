"""What a way to distil is: changes to a configuration, and a list of matches of layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distill.matches import Match, matched_layers
from storage.errors import BadSetting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distill.config import DistilConfig, LossConfig

Change = Callable[["DistilConfig"], "DistilConfig"]
Matches = Callable[["Setting"], tuple[Match, ...]]


@dataclass(frozen=True, eq=False, slots=True)
class Setting:
    """What a list of matches is made for: two depths, a map between them, and what matters.

    >>> from distill.config import LossConfig
    >>> Setting.of(30, 4, LossConfig()).ends
    (8, 15, 23, 30)
    """

    teacher_layers: int
    """L."""
    ends: tuple[int, ...]
    """g(1) … g(M): the teacher's output each layer of the student stands for."""
    options: LossConfig
    importance: tuple[float, ...] | None = None
    """s_1 … s_L by the criterion of the options; None: nobody measured it."""

    @classmethod
    def of(
        cls,
        teacher_layers: int,
        student_layers: int,
        options: LossConfig,
        importance: Sequence[float] | None = None,
    ) -> Setting:
        """Return the setting of a student that stands for the whole teacher, evenly.

        Raises:
            BadSetting: the student is the deeper one.
        """
        ends = matched_layers(teacher_layers, student_layers)
        given = None if importance is None else tuple(float(one) for one in importance)
        return cls(teacher_layers, ends, options, given)

    @property
    def student_layers(self) -> int:
        """M."""
        return len(self.ends)

    @property
    def measured(self) -> np.ndarray:
        """The importance of the teacher's layers, (L,) float64, nothing below zero.

        A layer that the teacher is better without is not worth less than nothing.

        Raises:
            BadSetting: nobody measured it, or all of it is zero.
        """
        if self.importance is None:
            raise BadSetting(
                f"this method weighs layers by {self.options.criterion!r}, which was not measured",
                next_step=f"recsys importance --criterion {self.options.criterion}",
            )
        found = np.maximum(np.array(self.importance, dtype=np.float64), 0.0)
        if len(found) != self.teacher_layers or not np.isfinite(found).all() or not found.any():
            raise BadSetting("layer importance must be finite, of every layer, and not all zero")
        return found

    @property
    def emphasis(self) -> tuple[float, ...]:
        """What depth makes the layers of the student count for: (1 + β g(m)/L)^δ."""
        depths = (end / self.teacher_layers for end in self.ends)
        beta, delta = self.options.depth_beta, self.options.depth_delta
        return tuple((1 + beta * depth) ** delta for depth in depths)

    @property
    def segments(self) -> tuple[range, ...]:
        """The teacher's layers that each layer of the student answers for: (g(m − 1), g(m)]."""
        begins = (0, *self.ends[:-1])
        return tuple(range(b + 1, e + 1) for b, e in zip(begins, self.ends, strict=True))


@dataclass(frozen=True, slots=True)
class Method:
    """A way to distil."""

    name: str
    about: str
    """What it does, in one line."""
    change: Change
    """From a configuration to the same one, distilled in this way."""
    matches: Matches = lambda _: ()
    """Which layers are compared, and how much each comparison counts."""
    weighs: bool = False
    """Whether its matches are weighed by a measured importance of layers."""
    tokens: bool = False
    """Whether it compares token by token: for students that read the teacher's text."""
    items: bool = False
    """Whether it is about what is said of items: for sequential students."""

    own: bool = False
    """Whether it is the user's: then it may look at what was measured, and need not."""
    hears: bool = True
    """Whether a teacher is listened to at all."""

    @property
    def learned_by(self) -> str:
        """Which students can learn by it: 'any', 'text' or 'items'."""
        return "text" if self.tokens else "items" if self.items else "any"
