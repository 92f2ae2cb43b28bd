"""What a student hears of rankings and vectors: arrays, made once of what a teacher said.

Apart from the losses because here it is decided who is listed, who stands behind, and what counts
how much; and without torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from distill.ranked.settings import RankedConfig
from distill.ranked.weights import (
    confidence_weights,
    consistency_weights,
    mixed_weights,
    position_weights,
    teacher_lists,
)
from storage.errors import BadSetting
from storage.records import FloatArray, IntArray

if TYPE_CHECKING:
    from distill.asking import Asked
    from recommender.scoring import Evidence

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class RankedLesson:
    """The lists of R requests of C candidates each."""

    share: float
    """λ, times what so few lists count beside a whole log."""
    lists: IntArray
    """(R, K) places of the teacher's list among the candidates, best first."""
    behind: Mask
    """(R, C) what the teacher put behind, and the person did not choose."""
    given: FloatArray
    """(R, K) γ_p w^p + γ_c w^c: what does not depend on the student."""
    consistency: float
    """γ_o."""

    @property
    def settings(self) -> tuple[object, ...]:
        """What decides what is learned of it, but the arrays."""
        return ("ranked", self.share, self.consistency)

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """The arrays that decide it."""
        return (self.lists, self.behind, self.given)

    def weights(self, rows: IntArray, student: npt.ArrayLike) -> FloatArray:
        """Return how much the items of some lists count, (B, K); rows sum to 1.

        Args:
            rows: (B,) which lists.
            student: (B, C) its scores of the candidates now.
        """
        lists, parts = self.lists[rows], [(1.0, self.given[rows])]
        if self.consistency:
            agreed = consistency_weights(lists, student).astype(np.float32)
            parts.append((self.consistency, agreed))
        return mixed_weights(parts, lists.shape).astype(np.float32)


@dataclass(frozen=True, eq=False, slots=True)
class ProjectedItems:
    """What items are projected from."""

    vectors: FloatArray
    """(items, any width) z."""
    offset: bool = True
    """Whether an item has a free b_i beside."""

    @property
    def settings(self) -> tuple[object, ...]:
        """What decides what is learned of it, but the arrays."""
        return ("projected", self.offset)

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """The arrays that decide it."""
        return (self.vectors,)


@dataclass(frozen=True, eq=False, slots=True)
class Ranked:
    """What is learned of rankings and of item vectors; nothing, where nobody asks.

    >>> Ranked().settings, Ranked().arrays
    ((), ())
    """

    lists: RankedLesson | None = None
    items: ProjectedItems | None = None

    @property
    def settings(self) -> tuple[object, ...]:
        """Everything that decides what is learned of it, but the arrays."""
        return tuple(setting for part in self._parts for setting in part.settings)

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """The arrays that decide it."""
        return tuple(array for part in self._parts for array in part.arrays)

    @property
    def _parts(self) -> tuple[RankedLesson | ProjectedItems, ...]:
        return tuple(part for part in (self.lists, self.items) if part is not None)


def ranked_of(
    config: RankedConfig,
    asked: Asked,
    labels: npt.NDArray[np.float64],
    dealt: IntArray,
    vectors: FloatArray | None,
    *,
    counts: float,
) -> Ranked:
    """Return what a configuration makes of a teacher's answers, and of item vectors.

    Args:
        config: how.
        asked: the answers: whose targets and, of a teacher that names titles, whose distances.
        labels: (R, C) the teacher's distributions, in the order of the answers.
        dealt: (R,) whose answer each request gets: its own, unless labels are permuted.
        vectors: (items, wide), where items are projected.
        counts: what one list counts beside an event of the log.

    Raises:
        BadSetting: what is asked for is not there; see `ranked_lesson`.
    """
    targets = [asked.requests[one].target for one in dealt]
    named = named_distances(config, asked.evidence)
    far = None if named is None else named[dealt]
    lists = ranked_lesson(config, labels[dealt], targets, far, counts=counts)
    return Ranked(lists, projected_items(config, vectors))


def ranked_lesson(
    config: RankedConfig,
    labels: npt.ArrayLike,
    targets: Sequence[int],
    distances: npt.ArrayLike | None = None,
    *,
    counts: float = 1.0,
) -> RankedLesson | None:
    """Return the lists of a teacher's labels, weighed; None where nobody learns from them.

    Args:
        config: how.
        labels: (R, C) the teacher's distribution over the candidates.
        targets: of each request, the place of what the person really chose; -1 where nobody
            knows. It is no negative, wherever the teacher puts it.
        distances: (R, C) between what the teacher named and each candidate, where it named one.
        counts: what one such list counts beside an event of the log.

    Raises:
        BadSetting: the list is of all candidates, or distances are asked for and there are none.

    >>> lesson = ranked_lesson(RankedConfig(0.8, 1), [[0.2, 0.5, 0.3]], [2])
    >>> lesson.lists.tolist(), lesson.behind.tolist()
    ([[1]], [[True, False, False]])
    """
    if not config.share:
        return None
    q = np.asarray(labels, dtype=np.float64)
    if config.top >= q.shape[1]:
        raise BadSetting(
            f"a list of {config.top} is all of {q.shape[1]} candidates, and nothing is behind it",
            next_step="more candidates: recsys distill --candidates 20",
        )
    lists = teacher_lists(q, config.top)
    behind = np.ones(q.shape, dtype=np.bool_)
    np.put_along_axis(behind, lists, False, axis=1)
    known = np.flatnonzero(np.asarray(targets) >= 0)
    behind[known, np.asarray(targets)[known]] = False
    given = np.zeros(lists.shape)
    if config.position:
        given += config.position * position_weights(config.top, config.position_beta)
    if config.confidence:
        far = _distances(config, q, distances)
        listed = np.take_along_axis(far, lists, axis=1)
        given += config.confidence * confidence_weights(listed, config.confidence_beta)
    return RankedLesson(
        share=config.share * counts,
        lists=lists,
        behind=behind,
        given=given.astype(np.float32),
        consistency=config.consistency,
    )


def named_distances(
    config: RankedConfig, evidence: Sequence[Evidence]
) -> npt.NDArray[np.float64] | None:
    """Return how far each candidate is from what the teacher named, (R, C); None if not wanted.

    Raises:
        BadSetting: the teacher was not asked to name a title.
    """
    if not (config.share and config.confidence and config.confidence_by == "distance"):
        return None
    named = [one.generate for one in evidence]
    known = [one for one in named if one is not None]
    if not named or len(known) < len(named):
        raise BadSetting(
            "confidence by distance needs a teacher that names a title, and this one was not "
            "asked to",
            next_step="recsys distill --teacher-mode generate, or confidence_by: label",
        )
    return -np.stack(known).astype(np.float64)


def projected_items(config: RankedConfig, vectors: FloatArray | None) -> ProjectedItems | None:
    """Return what items are projected from; None where they are not.

    Raises:
        BadSetting: they should be, and there are no vectors.
    """
    if not config.embeddings:
        return None
    if vectors is None:
        raise BadSetting("items should be projected from vectors, and there are none")
    return ProjectedItems(vectors, config.offset)


def _distances(
    config: RankedConfig, q: npt.NDArray[np.float64], distances: npt.ArrayLike | None
) -> npt.NDArray[np.float64]:
    if config.confidence_by == "distance":
        if distances is None:
            raise BadSetting("confidence by distance, and no distances")
        return np.asarray(distances, dtype=np.float64)
    with np.errstate(divide="ignore"):  # what the teacher rules out is infinitely far
        surprise: npt.NDArray[np.float64] = -np.log(q)
    return surprise
