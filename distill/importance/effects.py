r"""What happens for real: sets of layers left out, the greedy order, what a probe reads.

For a set R of layers and request x, with ℓ the loss and NDCG the ranking,

    rise_x(R) = ℓ_x(without R) − ℓ_x,    fall_x(R) = NDCG_x − NDCG_x(without R),

and per removed layer the same over |R|. Intervals resample requests.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from distill.importance.statistics.agreement import spearman_depth
from distill.importance.statistics.ratios import RESAMPLES, Estimate, Matrix, resampled_means

Arrays = Mapping[str, npt.NDArray[Any]]
Sets = Mapping[str, frozenset[int]]

NO_RANKING = "with one choice there is no ranking"
NO_HARM = "leaving the lower layers out does not harm in every resample"
OUTER = ("0-30%", "70-100%")
QUARTERS = ("first quarter", "last quarter")


@dataclass(frozen=True, slots=True)
class Removed:
    """A set of layers left out together."""

    name: str
    layers: tuple[int, ...]
    """0-based."""
    loss: Estimate
    """Rise of the loss, in nats."""
    ndcg: Estimate
    """Fall of NDCG@10 over the candidates."""
    loss_each: Estimate
    """The same per removed layer."""
    ndcg_each: Estimate


@dataclass(frozen=True, slots=True)
class Removals:
    """All sets that were left out, and what the whole model does."""

    requests: int
    base_loss: Estimate
    base_ndcg: Estimate
    sets: tuple[Removed, ...]
    ratios: Mapping[str, Estimate]
    """Harm of the upper over harm of the lower layers: 'bands loss', 'bands ndcg' (70–100 %
    over 0–30 %), 'quarters loss', 'quarters ndcg'. Both sides are equally many layers."""


@dataclass(frozen=True, slots=True)
class Greedy:
    """The order in which layers went when the least harmful went first."""

    order: tuple[int, ...]
    losses: tuple[float, ...]
    """Mean loss without each layer and those before it, in nats."""


@dataclass(frozen=True, slots=True)
class ProbeStates:
    """What a linear probe reads off every state about the choice, in nats."""

    requests: int
    states: tuple[Estimate, ...]
    """σ of the embedding first, then of what each layer gives."""
    depth: Estimate
    """Spearman's ρ of σ with depth."""
    best: int
    """The state that says most, by all requests."""
    fall: Estimate
    """How much less the last state says than the best; the best is chosen on one half of the
    requests and the fall is measured on the other, so that choosing does not make it."""
    monotone: Literal["yes", "no", "undecided"]
    """'no' where the whole interval of that fall is above zero; 'yes' where no state says less
    than the one before it."""


def removals(
    arrays: Sequence[Arrays], sets: Sets, *, resamples: int = RESAMPLES, seed: int = 0
) -> Removals:
    """Summarise what leaving sets of layers out did.

    Args:
        arrays: of each request: `base_loss`, `base_ndcg`, and `set_loss`, `set_ndcg` (sets,).
        sets: name -> layers, in the order of the arrays.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        ValueError: there is no request, or the arrays hold another number of sets.

    >>> one = {"base_loss": np.array(1.0), "base_ndcg": np.array(0.5),
    ...     "set_loss": np.array([3.0, 1.5]), "set_ndcg": np.array([0.25, 0.5])}
    >>> found = removals([one, one], {"0-30%": frozenset({0}), "70-100%": frozenset({5})})
    >>> [(r.name, r.loss.value, r.ndcg.value) for r in found.sets]
    [('0-30%', 2.0, 0.25), ('70-100%', 0.5, 0.0)]
    >>> found.ratios["bands loss"].value
    0.25
    """
    base_loss, base_ndcg = (
        np.array([[float(one[name])] for one in arrays]) for name in ("base_loss", "base_ndcg")
    )
    loss = np.stack([one["set_loss"] for one in arrays]) - base_loss
    ndcg = base_ndcg - np.stack([one["set_ndcg"] for one in arrays])
    if loss.shape[1] != len(sets):
        raise ValueError(f"{loss.shape[1]} sets were left out, and {len(sets)} are named")
    drawing = _Drawing(resamples, seed)
    rises, falls = drawing.columns(loss), drawing.columns(ndcg)
    rows = [
        Removed(name, tuple(sorted(layers)), rise, fall, _share(rise, layers), _share(fall, layers))
        for (name, layers), rise, fall in zip(sets.items(), rises, falls, strict=True)
    ]
    places = {name: place for place, name in enumerate(sets)}
    ratios = {
        f"{which} {what}": drawing.ratio(values, places[upper], places[lower])
        for which, (lower, upper) in (("bands", OUTER), ("quarters", QUARTERS))
        for what, values in (("loss", loss), ("ndcg", ndcg))
        if lower in places and upper in places
    }
    [whole_loss], [whole_ndcg] = drawing.columns(base_loss), drawing.columns(base_ndcg)
    return Removals(len(arrays), whole_loss, whole_ndcg, tuple(rows), ratios)


def greedy(arrays: Sequence[Arrays]) -> Greedy | None:
    """Read the greedy order off what its measure kept; None where it kept the steps only.

    >>> greedy([{"order": np.array([2, 0]), "losses": np.array([1.0, 1.5])}]).order
    (2, 0)
    """
    [one] = arrays
    if "order" not in one:
        return None
    return Greedy(tuple(map(int, one["order"])), tuple(map(float, one["losses"])))


def probe_states(
    arrays: Sequence[Arrays], *, resamples: int = RESAMPLES, seed: int = 0
) -> ProbeStates:
    """Summarise the probes: σ of every state, and whether it rises all the way.

    Args:
        arrays: of each request: `states` (layers + 1,) held-out loss of each state's probe,
            `information` (layers,) chance minus that, of the layers' outputs.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    >>> one = {"states": np.array([2.0, 1.0, 1.5]), "information": np.array([1.0, 0.5])}
    >>> found = probe_states([one] * 4)
    >>> [e.value for e in found.states], found.best, found.fall.value, found.monotone
    ([0.0, 1.0, 0.5], 1, 0.5, 'no')
    """
    states = np.stack([one["states"] for one in arrays])
    chance = np.array([float(one["information"][0] + one["states"][1]) for one in arrays])
    sigma = chance[:, None] - states
    drawing = _Drawing(resamples, seed)
    mean = sigma.mean(axis=0)
    best = int(np.argmax(sigma[::2].mean(axis=0)))
    other = sigma[1::2]
    if not len(other) or best == sigma.shape[1] - 1:
        fall = Estimate.none("the last state is the best")
    else:
        [fall] = drawing.columns((other[:, best] - other[:, -1])[:, None])
    monotone: Literal["yes", "no", "undecided"] = "undecided"
    if fall.low > 0:
        monotone = "no"
    elif (np.diff(mean) >= 0).all():
        monotone = "yes"
    return ProbeStates(
        requests=len(arrays),
        states=tuple(drawing.columns(sigma)),
        depth=spearman_depth(sigma, resamples=resamples, seed=seed),
        best=int(np.argmax(mean)),
        fall=fall,
        monotone=monotone,
    )


@dataclass(frozen=True, slots=True)
class _Drawing:
    """One way of resampling, for every figure of the same requests."""

    resamples: int
    seed: int

    def columns(self, values: Matrix) -> list[Estimate]:
        """Give the mean of every column with its interval."""
        if not np.isfinite(values).all():
            return [Estimate.none(NO_RANKING)] * values.shape[1]
        drawn = resampled_means(values, resamples=self.resamples, seed=self.seed)
        means = values.mean(axis=0)
        return [Estimate.of(means[n], drawn[:, n]) for n in range(values.shape[1])]

    def ratio(self, values: Matrix, upper: int, lower: int) -> Estimate:
        """Give the mean of one column over that of another, or why there is none."""
        if not np.isfinite(values).all():
            return Estimate.none(NO_RANKING)
        drawn = resampled_means(values, resamples=self.resamples, seed=self.seed)
        means = np.vstack([values.mean(axis=0), drawn])
        if means[:, lower].min() <= 0:
            return Estimate.none(NO_HARM)
        found = means[:, upper] / means[:, lower]
        return Estimate.of(found[0], found[1:])


def _share(whole: Estimate, layers: frozenset[int]) -> Estimate:
    if math.isnan(whole.value):
        return whole
    n = len(layers)
    return Estimate(whole.value / n, whole.low / n, whole.high / n, whole.reason)
