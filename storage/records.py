"""What crosses the boundary of the Store: frozen records, and no database rows.

Numbers and ids. Inside a category people and items carry a dense *number*, 0-based, in
order of arrival and never reused, which indexes arrays. Outside they carry the *id* of
their source, a string. Times are milliseconds since 1970 in UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from storage.label_records import LabelFailure as LabelFailure
from storage.label_records import LabelRequest as LabelRequest
from storage.label_records import LabelStatistics as LabelStatistics
from storage.label_records import NoiseFloor as NoiseFloor
from storage.label_records import SoftLabel as SoftLabel

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]

Part = Literal["train", "valid", "test"]
PARTS: tuple[Part, ...] = ("train", "valid", "test")

NO_TIME = np.iinfo(np.int64).min
"""The value of `Log.time` and `InteractionChunk.time` for a row without a timestamp."""

NO_PART = -1
"""The value of `Log.part` for a row whose source has no part column."""


@dataclass(frozen=True, slots=True)
class Category:
    """One catalogue with its log: what `--category` names."""

    id: int
    name: str
    source: str
    """Format and origin, e.g. 'movielens-100k'."""
    synthetic: bool
    """True for the sample: shown everywhere, and never reported as a result."""
    rating_low: float | None
    """The lowest rating of the source's own scale; None where there are no ratings."""
    rating_high: float | None
    people: int
    items: int
    interactions: int
    imported_at: str
    """ISO 8601, UTC."""
    digest: str
    """Hash of catalogue and log: changes when and only when the data does."""
    note: str = ""
    """Licence or origin remark that is shown when the data is used."""
    k_core: int = 0
    """People and items with fewer interactions than this were left out; 0 for none."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that can be recommended. Empty strings mean the source does not say."""

    number: int
    id: str
    title: str
    brand: str = ""
    description: str = ""
    categories: str = ""
    """Genres or category path, separated by ' | '."""
    price: str = ""


@dataclass(frozen=True, slots=True)
class ItemRow:
    """An item as a loader read it, cleaned, before it has a number."""

    id: str
    title: str
    brand: str = ""
    description: str = ""
    categories: str = ""
    price: str = ""


@dataclass(frozen=True, slots=True)
class InteractionChunk:
    """Columns of equal length, as a loader read them, before people and items have numbers."""

    users: Sequence[str]
    items: Sequence[str]
    time: IntArray
    """Milliseconds, NO_TIME where unknown. Without times, `order` decides."""
    rating: FloatArray
    """The source's own scale; NaN where there is none."""
    order: IntArray | None = None
    """Position within the person, where the source gives one instead of times."""
    part: npt.NDArray[np.int8] | None = None
    """Index into PARTS, NO_PART where the source has none."""
    review_title: Sequence[str] | None = None
    review_text: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class Review:
    """What a person wrote about an item."""

    user: int
    item: int
    time: int
    """Milliseconds, NO_TIME where unknown."""
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Log:
    """The whole log of a category as columns, sorted by (user, time, tie-break).

    Equal times of one person are ordered by a hash, not by the file: some sources sort
    their files by item, and a stable sort would leak that order into the future.
    """

    user: IntArray
    item: IntArray
    time: IntArray
    rating: FloatArray
    part: npt.NDArray[np.int8]
    people: int
    """How many people the category has: user numbers are below it."""
    items: int

    def __len__(self) -> int:
        """Return the number of interactions."""
        return len(self.user)


@dataclass(frozen=True, slots=True)
class LayerProfile:
    """Importance of each layer of a model by one criterion, with what made it."""

    key: str
    category_id: int
    weights: str
    """`ModelCard.key` of the weights that were measured."""
    criterion: str
    """e.g. 'fisher-empirical-listwise'."""
    requests: int
    layers: tuple[float, ...]
    """Mean over requests, layer 0 first."""
    low: tuple[float, ...]
    """2.5 % of the bootstrap over requests."""
    high: tuple[float, ...]
    artifact: str
    """Key of the artifact that keeps the per-request values."""
    details: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, slots=True)
class LayerValues:
    """What one request gave when it was measured: a step on the way to a LayerProfile."""

    key: str
    """Hash of everything that decides the values: request, measure, weights, settings."""
    request: str
    """Key of the request."""
    measure: str
    """What was measured, e.g. 'fisher-empirical-listwise'."""
    arrays: Mapping[str, npt.NDArray[Any]]
    """By name; float64, float32 or int64 of any shape, a number (0-d) included."""
    seconds: float
    """What it took."""


@dataclass(frozen=True, slots=True)
class Run:
    """One trained student, or one thing measured beside it."""

    id: str
    category_id: int
    kind: str
    """'student' or 'baseline' or 'teacher'."""
    name: str
    """What tables show: 'distilled', 'undistilled (text)', 'popularity' …"""
    seed: int
    config: Mapping[str, object]
    """The resolved settings it was made with."""
    status: str
    """'running', 'done', 'failed'."""
    created_at: str
    artifact: str = ""
    """Key of the student's artifact; empty for what has none."""
    selection: float | None = None
    """NDCG@10 on validation: what `--by student` picks by."""
    final: bool = False
    """Retrained on everything for serving; it has no test figures of its own."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One figure with its interval. `scope` says over what it was measured."""

    run: str
    scope: str
    """'test/full', 'valid/full', 'gate/candidates' …"""
    metric: str
    """'ndcg@10' …"""
    value: float
    low: float
    high: float
    n: int
    """Requests."""
    people: int
    artifact: str = ""
    """Key of the artifact with the rows it was computed from."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A complete, verified directory in the artifact store."""

    key: str
    kind: str
    path: str
    meta: Mapping[str, object]
    size: int
    """Bytes on disk."""


@dataclass(frozen=True, eq=False, slots=True)
class ImportData:
    """A whole category, cleaned and in order, as `Catalogue.write` takes it.

    People and items that the Store has already come first, in their old order, so that
    their numbers stay what they are.
    """

    user_ids: Sequence[str]
    items: Sequence[ItemRow]
    user: IntArray
    """Index into `user_ids`, one a row; rows sorted by (user, time, tie-break)."""
    item: IntArray
    """Index into `items`."""
    time: IntArray
    rating: FloatArray
    part: npt.NDArray[np.int8]
    reviews: Iterable[tuple[int, str, str]] | None = None
    """(row, title, text); None where reviews were not asked for."""
