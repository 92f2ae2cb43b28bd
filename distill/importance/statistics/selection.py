r"""Which layers a cut keeps, and how often over criteria and resamples.

A cut of k of L keeps the k layers of largest s_l. How far that choice is the criterion's and
how far the sample's is seen by making it anew for every bootstrap resample of the requests:
the share of resamples that keep layer l is its selection rate; by chance alone it is k/L.

Source: algorithms.md §2.1 (keep-set of S003), §8 claim 39.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from distill.importance.statistics.ratios import (
    RESAMPLES,
    Matrix,
    Seed,
    mean_profile,
    resampled_means,
)
from storage.errors import BadData, BadSetting

ALWAYS = 0.95


def kept_layers(profile: Matrix, keep: int, *, protected: Sequence[int] = ()) -> tuple[int, ...]:
    """Give the layers that a cut keeps, in their order; of equal layers the lower one first.

    Args:
        profile: (layers,), or (requests, layers), which is averaged.
        keep: k, between 1 and L.
        protected: Layers (0-based) that are kept whatever their value; they count in k.

    Raises:
        BadSetting: k is out of range, or less than the protected layers, or one of these is
            not there.
        ValueError: A value is not finite.

    >>> kept_layers(np.array([5.0, 1.0, 4.0, 4.0]), 2)
    (0, 2)
    >>> kept_layers(np.array([5.0, 1.0, 4.0, 4.0]), 2, protected=[3])
    (0, 3)
    """
    kept = kept_rows(mean_profile(profile)[None], keep, protected=protected)[0]
    return tuple(int(layer) for layer in np.flatnonzero(kept))


def kept_rows(
    profiles: Matrix, keep: int, *, protected: Sequence[int] = ()
) -> npt.NDArray[np.bool_]:
    """Make the cut of `kept_layers` by every row of (rows, layers); True where a layer is kept.

    >>> kept_rows(np.array([[1.0, 2.0], [2.0, 1.0]]), 1).tolist()
    [[False, True], [True, False]]
    """
    layers = profiles.shape[1]
    if not 1 <= keep <= layers:
        raise BadSetting(f"{keep} layers cannot be kept of {layers}")
    missing = [layer for layer in protected if not 0 <= layer < layers]
    if missing:
        raise BadSetting(f"layer {missing[0]} cannot be protected: there are 0 to {layers - 1}")
    if len(set(protected)) > keep:
        raise BadSetting(f"{len(set(protected))} layers are protected, and only {keep} kept")
    scores = np.array(profiles, dtype=np.float64)
    scores[:, list(protected)] = np.inf
    best = np.argsort(-scores, axis=1, kind="stable")[:, :keep]  # stable: the lower layer first
    kept = np.zeros(scores.shape, dtype=np.bool_)
    np.put_along_axis(kept, best, True, axis=1)
    return kept


@dataclass(frozen=True, slots=True, eq=False)
class SelectionRates:
    """How often each layer is kept."""

    overall: Matrix
    """(layers,) mean over criteria, each of equal weight."""
    by_criterion: Mapping[str, Matrix]
    """Criterion -> (layers,) share of its resamples; 0 or 1 where there is one profile only."""
    expected: float
    """k/L: the rate of every layer if layers were drawn by lot."""

    def always(self, *, least: float = ALWAYS) -> tuple[int, ...]:
        """Give the layers kept at a rate of `least` or more over all criteria.

        Source: algorithms.md §8 claim 39.

        >>> selection_rates({"a": np.array([1.0, 2.0])}, 1).always()
        (1,)
        """
        # A rate is a mean of whole counts: half a part in a billion is rounding, not a layer.
        return tuple(int(layer) for layer in np.flatnonzero(self.overall >= least - 1e-9))


def selection_rates(
    profiles_values: Mapping[str, Matrix],
    keep: int,
    *,
    protected: Sequence[int] = (),
    resamples: int = RESAMPLES,
    seed: Seed = 0,
) -> SelectionRates:
    """Make the cut for every criterion and every bootstrap resample of its requests.

    Args:
        profiles_values: Criterion -> (requests, layers), or (layers,), which is one cut.
        keep: k.
        protected: See `kept_layers`.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        BadData: There is no criterion, or they have not the same number of layers.
        BadSetting: As in `kept_layers`.

    >>> rates = selection_rates({"a": np.array([3.0, 2, 1]), "b": np.array([3.0, 1, 2])}, 2)
    >>> rates.overall.tolist(), round(rates.expected, 3)
    ([1.0, 0.5, 0.5], 0.667)
    """
    lengths = {len(mean_profile(values)) for values in profiles_values.values()}
    if len(lengths) != 1:
        raise BadData(f"criteria of one number of layers are needed, not of {sorted(lengths)}")
    rates = {}
    for name, values in profiles_values.items():
        drawn = resampled_means(values, resamples=resamples, seed=seed)
        rows = drawn if len(drawn) else mean_profile(values)[None]
        rates[name] = kept_rows(rows, keep, protected=protected).mean(axis=0)
    overall = np.mean(list(rates.values()), axis=0)
    return SelectionRates(overall, rates, keep / lengths.pop())
