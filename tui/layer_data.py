"""What the Layers screen shows of the Store: profiles by weights and criterion, and plain sums.

Apart from the screen, because which profile counts, what a cut keeps and what a cell says is
known without a terminal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distill.importance.criteria import CRITERIA
from distill.importance.statistics.ratios import band_means
from distill.importance.statistics.selection import kept_layers

if TYPE_CHECKING:
    from storage.records import LayerProfile
    from storage.store import Store

CUTS = (0.5, 0.75)
"""Shares of the layers that are taken away: half is kept, then a quarter."""
LOSSES = ("listwise", "letters", "next-token")
_ORDER = {name: place for place, name in enumerate(CRITERIA)}


@dataclass(frozen=True, slots=True)
class Row:
    """A criterion's latest profile of some weights."""

    name: str
    """What the list shows."""
    meaning: str
    """'' of a criterion this version does not know."""
    loss: str
    profile: LayerProfile

    @property
    def shares(self) -> tuple[float, ...]:
        """Each layer against the largest: below zero where one is better without it."""
        return shares_of(self.profile.layers)

    @property
    def has_interval(self) -> bool:
        """Whether it was measured on more than one request."""
        bounds = zip(self.profile.low, self.profile.high, strict=True)
        return any(math.isfinite(low) and high > low for low, high in bounds)


def measured(store: Store, category_id: int) -> dict[str, tuple[Row, ...]]:
    """Return what was measured of a category: weights -> its criteria, each as measured last.

    Weights of which more criteria are known come first; random twins come last.
    """
    pairs = {(one.weights, one.criterion) for one in store.runs.profiles(category_id)}
    found: dict[str, list[LayerProfile]] = {}
    for weights, criterion in sorted(pairs):
        latest = store.runs.latest_profile(category_id, criterion, weights)
        if latest is not None and latest.layers:
            found.setdefault(weights, []).append(latest)
    ordered = sorted(found.items(), key=lambda one: ("random-init" in one[0], -len(one[1]), one[0]))
    return {weights: rows_of(profiles) for weights, profiles in ordered}


def rows_of(profiles: Sequence[LayerProfile]) -> tuple[Row, ...]:
    """Return profiles in the order criteria are listed, with the loss named where it differs."""
    parts = [(*criterion_and_loss(one.criterion), one) for one in profiles]
    several = len({loss for _, loss, _ in parts}) > 1
    rows = [
        Row(
            name=f"{name} ({loss})" if several and loss else name,
            meaning=CRITERIA[name].meaning if name in CRITERIA else "",
            loss=loss,
            profile=one,
        )
        for name, loss, one in parts
    ]
    names = {row.profile.criterion: name for row, (name, _, _) in zip(rows, parts, strict=True)}

    def place(row: Row) -> tuple[int, str]:
        return _ORDER.get(names[row.profile.criterion], len(_ORDER)), row.profile.criterion

    return tuple(sorted(rows, key=place))


def criterion_and_loss(stored: str) -> tuple[str, str]:
    """Take apart how a profile names its criterion.

    >>> criterion_and_loss("fisher-empirical-listwise"), criterion_and_loss("mine")
    (('fisher-empirical', 'listwise'), ('mine', ''))
    >>> criterion_and_loss("loo-loss-next-token")
    ('loo-loss', 'next-token')
    """
    for loss in LOSSES:
        if stored.endswith(f"-{loss}"):
            return stored.removesuffix(f"-{loss}"), loss
    return stored, ""


def shares_of(layers: Sequence[float]) -> tuple[float, ...]:
    """Return each value over the largest; all 0 where no value is above zero.

    >>> shares_of([1.0, 4.0, -2.0]), shares_of([0.0, -1.0])
    ((0.25, 1.0, -0.5), (0.0, 0.0))
    """
    largest = max((one for one in layers if math.isfinite(one)), default=0.0)
    if largest <= 0:
        return tuple(0.0 for _ in layers)
    return tuple(one / largest if math.isfinite(one) else 0.0 for one in layers)


def kept_by(layers: Sequence[float], cut: float) -> tuple[int, ...]:
    """Return the layers that remain when a cut takes a share of them: those of largest value.

    As `recsys importance` counts: ⌊L · (1 − cut)⌋ are kept, one at least; of equal layers the
    lower one.

    Source: algorithms.md §2.1, where the share is what goes: 75 % of 32 layers leave 8.

    >>> kept_by([5.0, 1.0, 4.0, 3.0], 0.5), kept_by([5.0, 1.0, 4.0, 3.0], 0.75)
    ((0, 2), (0,))
    """
    return kept_layers(np.array(layers), max(1, int(len(layers) * (1 - cut))))


def ratio_words(details: Mapping[str, object]) -> str:
    """Return the last quarter of layers over the first as it was stored, or why there is none.

    >>> ratio_words({"ratio": 0.394, "ratio_low": 0.31, "ratio_high": 0.5})
    'last quarter over first 0.39 [0.31, 0.50]'
    >>> ratio_words({"ratio": None, "ratio_reason": "the lower layers are not above zero"})
    'no ratio: the lower layers are not above zero'
    """
    value, low, high = (details.get(f"ratio{end}") for end in ("", "_low", "_high"))
    if not isinstance(value, int | float):
        reason = details.get("ratio_reason")
        return f"no ratio: {reason}" if reason else "no ratio was stored"
    said = f"last quarter over first {value:.2f}"
    if isinstance(low, int | float) and isinstance(high, int | float):
        said += f" [{low:.2f}, {high:.2f}]"
    return said


def band_words(layers: Sequence[float]) -> str:
    """Return the mean of each third of the depth.

    >>> band_words([4.0, 2.0, 2.0, 3.0, 1.0])
    'mean 0-30 %: 4  30-70 %: 2.33  70-100 %: 1'
    """
    means = band_means(np.array(layers))
    said = (
        f"{name} %: {band.mean.value:.3g}" if band.layers else f"{name} %: no layer"
        for name, band in means.items()
    )
    return "mean " + "  ".join(said)


def layer_words(profile: LayerProfile, layer: int) -> str:
    """Return a layer's value with its 95 % interval."""
    value, low, high = (part[layer] for part in (profile.layers, profile.low, profile.high))
    interval = f" [{low:.3g}, {high:.3g}]" if math.isfinite(low) and high > low else ""
    return f"layer {layer}: {value:.3g}{interval}"
