"""All that the values of one model, one category and one loss say, with intervals.

Per criterion its shape, its steadiness, its agreement with leaving layers out; over all
criteria which layers a cut would keep; and what happened when layers were left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from distill.importance.comparison import against_hybrids, against_nulls, agreement
from distill.importance.criteria import GREEDY, PROBE, REMOVAL, Criterion
from distill.importance.effects import (
    Greedy,
    ProbeStates,
    Removals,
    greedy,
    probe_states,
    removals,
)
from distill.importance.layers import Importance
from distill.importance.measures import removal_sets
from distill.importance.profile import Profile
from distill.importance.statistics.agreement import TauMatrix, spearman_depth
from distill.importance.statistics.nulls import ratio_to_null
from distill.importance.statistics.ratios import (
    RESAMPLES,
    Estimate,
    Matrix,
    all_ratios,
    band_ratio,
)
from distill.importance.statistics.sample_size import requests_needed
from distill.importance.statistics.selection import SelectionRates, selection_rates
from distill.importance.statistics.stability import HalfSplit, half_split

TRUTHS = ("loo-loss", "loo-ndcg")
"""What leaving one layer out costs: what the other criteria are held against."""
SHARES = (0.5, 0.25)
"""Of the layers, that a cut keeps."""
ONE_PROFILE = "one profile of all requests: there is nothing to resample"
FEW = "fewer than two requests"


@dataclass(frozen=True, slots=True, eq=False)
class CriterionSummary:
    """What one criterion says."""

    name: str
    meaning: str
    source: str
    signed: bool
    requests: int
    """0 where it has one profile of all requests."""
    profile: Profile
    """Its intervals are NaN where there is one profile."""
    ratios: Mapping[str, Estimate]
    """Upper over lower layers, by bands and by means; see `ratios.all_ratios`."""
    depth: Estimate
    """Spearman's ρ with depth."""
    against: Mapping[str, Estimate]
    """Truth -> Kendall's τ, on the requests that both have."""
    halves: tuple[HalfSplit, ...]
    """τ between the profiles of two halves of the requests."""
    needed: int | None
    """Requests that put each layer's interval within ±10 %; None where no number does."""
    groups: Mapping[str, Mapping[str, Estimate]]
    """'history' and 'people' -> third -> the ratio of quartiles."""
    null: Profile | None
    """The random twin's."""
    null_ratio: Estimate | None
    to_null: Estimate | None
    """Ratio of the model over ratio of the twin, on the same requests."""

    @property
    def ratio(self) -> Estimate:
        """The last quarter of layers over the first."""
        return self.ratios["quartiles"]


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """Which layers a cut keeps, over criteria and resamples."""

    share: float
    keep: int
    rates: SelectionRates
    always: tuple[int, ...]
    """Kept in 95 % of all cuts or more."""


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """One model, one category, one loss."""

    category: str
    loss: str
    layers: int
    criteria: Mapping[str, CriterionSummary]
    taus: TauMatrix
    """Of every criterion with every other."""
    baselines: Mapping[str, Mapping[str, Estimate]]
    """Nulls and hybrids -> truth -> τ."""
    kept: tuple[Kept, ...]
    removals: Removals | None
    greedy: Greedy | None
    probe: ProbeStates | None

    @property
    def truths(self) -> tuple[str, ...]:
        """Those of `TRUTHS` that were measured."""
        return tuple(name for name in TRUTHS if name in self.criteria)


def summarise(
    found: Mapping[str, Importance],
    null: Mapping[str, Importance] | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
    *,
    category: str = "",
    loss: str = "listwise",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Summary:
    """Summarise what was measured.

    Args:
        found: criterion -> its values; row x of all of them is of one request.
        null: the same of the random twin, on the first of those requests.
        groups: name of a grouping -> the group of every request.
        category: whose requests.
        loss: whose gradient.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        ValueError: nothing was measured.

    >>> from distill.importance.criteria import CRITERIA
    >>> from distill.importance.layers import importance
    >>> kept = [{"layers": np.array([4.0, 2.0, 1.0, 1.0])}] * 3
    >>> one = importance(CRITERIA["taylor"], kept, resamples=50)
    >>> summary = summarise({"taylor": one}, resamples=50)
    >>> summary.criteria["taylor"].ratio.value, summary.kept[0].always
    (0.25, (0, 1))
    """
    if not found:
        raise ValueError("nothing was measured")
    values = {name: values_of(one) for name, one in found.items()}
    taus = agreement(values, resamples=resamples, seed=seed)
    drawing = {"resamples": resamples, "seed": seed}
    truths = [name for name in TRUTHS if name in found]
    criteria = {
        name: _criterion(
            one.criterion,
            one.profile,
            values[name],
            against={t: _cell(taus, name, t) for t in truths if t != name},
            null=(null or {}).get(name),
            groups=groups or {},
            **drawing,
        )
        for name, one in found.items()
    }
    return Summary(
        category=category,
        loss=loss,
        layers=len(taus_profile(values)),
        criteria=criteria,
        taus=taus,
        baselines=_baselines(found, values, truths, **drawing),
        kept=tuple(_kept(values, share, **drawing) for share in SHARES),
        removals=_removals(found, **drawing),
        greedy=greedy(found[GREEDY].arrays) if GREEDY in found else None,
        probe=_probe(found, **drawing),
    )


def values_of(one: Importance) -> Matrix:
    """Give (requests, layers), or (layers,) where a criterion has one profile of all requests.

    >>> from distill.importance.criteria import CRITERIA
    >>> from distill.importance.layers import importance
    >>> values_of(importance(CRITERIA["greedy"], [{"importance": np.array([1.0, 0.0])}])).shape
    (2,)
    """
    return one.values[0] if len(one.values) == 1 else one.values


def taus_profile(values: Mapping[str, Matrix]) -> Matrix:
    """Give any profile of them: all have the same layers.

    >>> len(taus_profile({"a": np.ones((2, 3))}))
    3
    """
    profile: Matrix = np.atleast_2d(next(iter(values.values())))[0]
    return profile


def _criterion(
    criterion: Criterion,
    profile: Profile,
    values: Matrix,
    *,
    against: Mapping[str, Estimate],
    null: Importance | None,
    groups: Mapping[str, Sequence[str]],
    resamples: int,
    seed: int,
) -> CriterionSummary:
    single = values.ndim == 1
    if single:
        nothing = np.full(len(values), np.nan)
        profile = replace(profile, low=nothing, high=nothing, ratio_low=np.nan, ratio_high=np.nan)
    return CriterionSummary(
        name=criterion.name,
        meaning=criterion.meaning,
        source=criterion.source,
        signed=criterion.signed,
        requests=0 if single else len(values),
        profile=profile,
        ratios={
            name: _why(one, single)
            for name, one in all_ratios(values, resamples=resamples, seed=seed).items()
        },
        depth=_why(spearman_depth(values, resamples=resamples, seed=seed), single),
        against={truth: _why(one, single) for truth, one in against.items()},
        halves=() if single else tuple(half_split(values, seed=seed)),
        needed=None if single else requests_needed(values),
        groups={
            name: _by_group(values, labels, resamples, seed) for name, labels in groups.items()
        },
        null=None if null is None else null.profile,
        null_ratio=None
        if null is None
        else band_ratio(null.values, resamples=resamples, seed=seed),
        to_null=None if null is None else _to_null(values, null.values, resamples, seed),
    )


def _why(one: Estimate, single: bool) -> Estimate:
    """Say why a figure of a single profile has no interval."""
    return replace(one, reason=ONE_PROFILE) if single and one.defined else one


def _to_null(values: Matrix, null: Matrix, resamples: int, seed: int) -> Estimate:
    common = min(len(np.atleast_2d(values)), len(null))
    return ratio_to_null(
        np.atleast_2d(values)[:common],
        null[:common],
        same_requests=True,
        resamples=resamples,
        seed=seed,
    )


def _by_group(
    values: Matrix, labels: Sequence[str], resamples: int, seed: int
) -> dict[str, Estimate]:
    if values.ndim == 1:
        return {}
    inside = np.array(labels[: len(values)])
    return {
        group: band_ratio(values[inside == group], resamples=resamples, seed=seed)
        if np.count_nonzero(inside == group) > 1
        else Estimate.none(FEW)
        for group in dict.fromkeys(labels)
    }


def _cell(taus: TauMatrix, one: str, other: str) -> Estimate:
    i, j = taus.names.index(one), taus.names.index(other)
    return Estimate(float(taus.value[i, j]), float(taus.low[i, j]), float(taus.high[i, j]))


def _baselines(
    found: Mapping[str, Importance],
    values: Mapping[str, Matrix],
    truths: Sequence[str],
    *,
    resamples: int,
    seed: int,
) -> dict[str, dict[str, Estimate]]:
    """Compare nulls and hybrids with each truth. What leaves layers out is no part of a hybrid."""
    others = {
        name: values[name]
        for name, one in found.items()
        if one.criterion.measure not in (REMOVAL, GREEDY) and values[name].ndim == 2
    }
    positive = [name for name in others if not found[name].criterion.signed]
    rows: dict[str, dict[str, Estimate]] = {}
    for truth in truths:
        if values[truth].ndim == 1:
            continue
        made = against_nulls(values[truth], resamples=resamples, seed=seed)
        if others:
            made |= against_hybrids(values[truth], others, positive, resamples=resamples, seed=seed)
        for name, one in made.items():
            rows.setdefault(name, {})[truth] = one
    return rows


def _kept(values: Mapping[str, Matrix], share: float, *, resamples: int, seed: int) -> Kept:
    keep = max(1, int(len(taus_profile(values)) * share))
    rates = selection_rates(values, keep, resamples=resamples, seed=seed)
    return Kept(share, keep, rates, rates.always())


def _removals(found: Mapping[str, Importance], *, resamples: int, seed: int) -> Removals | None:
    for truth in TRUTHS:
        if truth in found:
            one = found[truth]
            _, others = removal_sets(one.values.shape[1])
            return removals(one.arrays, others, resamples=resamples, seed=seed)
    return None


def _probe(found: Mapping[str, Importance], *, resamples: int, seed: int) -> ProbeStates | None:
    for one in found.values():
        if one.criterion.measure == PROBE and one.arrays and "states" in one.arrays[0]:
            return probe_states(one.arrays, resamples=resamples, seed=seed)
    return None
