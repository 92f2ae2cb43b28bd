"""All that a run found: every category by every loss, and what they say together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from distill.importance.statistics.agreement import tau_matrix
from distill.importance.statistics.ratios import RESAMPLES, Estimate, Matrix
from distill.importance.summary import Summary, summarise, values_of
from distill.importance.verdict import Verdict, stability, verdict

if TYPE_CHECKING:
    from distill.profiling import LayersMeasured


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """One category by one loss."""

    measured: LayersMeasured
    summary: Summary

    @property
    def title(self) -> str:
        """Its category as it is shown: synthetic data is never shown as real."""
        category = self.measured.category
        return f"{category.name} (synthetic sample)" if category.synthetic else category.name

    @property
    def drawn(self) -> Summary:
        """Its summary under that title, for pictures."""
        return replace(self.summary, category=self.title)

    @property
    def requests(self) -> int:
        """Of the criterion that had most."""
        return max(one.requests for one in self.summary.criteria.values())


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """Everything of one run, in the order it was measured."""

    each: tuple[Finding, ...]
    verdicts: Mapping[str, Verdict]
    """By loss."""
    stability: Mapping[str, Mapping[str, Estimate]]
    """Loss -> criterion -> mean τ between categories; empty for one category."""
    losses_agree: Mapping[str, Mapping[str, Mapping[str, Estimate]]]
    """Category -> criterion -> 'one loss and another' -> τ; empty for one loss."""

    @property
    def losses(self) -> tuple[str, ...]:
        """Each once."""
        return tuple(self.verdicts)

    @property
    def categories(self) -> tuple[str, ...]:
        """By name, each once."""
        return tuple(dict.fromkeys(one.measured.category.name for one in self.each))

    def of(self, loss: str) -> list[Finding]:
        """Return what was found by a loss."""
        return [one for one in self.each if one.measured.loss == loss]


def findings(
    done: Sequence[LayersMeasured], *, resamples: int = RESAMPLES, seed: int = 0
) -> Findings:
    """Summarise a run.

    Args:
        done: of one model, each category at most once for each loss.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        ValueError: nothing was measured, or a category twice by one loss, or several models.
    """
    kinds = [(one.category.name, one.loss) for one in done]
    if not done or len(set(kinds)) != len(kinds) or len({one.card.key for one in done}) != 1:
        raise ValueError("one model, each category and loss once")
    each = tuple(
        Finding(
            one,
            summarise(
                one.found,
                one.null,
                one.groups,
                category=one.category.name,
                loss=one.loss,
                resamples=resamples,
                seed=seed,
            ),
        )
        for one in done
    )
    losses: dict[str, None] = dict.fromkeys(one.loss for one in done)
    verdicts, stable = {}, {}
    for loss in losses:
        some = [one for one in each if one.measured.loss == loss]
        verdicts[loss] = verdict([one.summary for one in some], model=done[0].card.name)
        stable[loss] = stability(
            {
                one.measured.category.name: {n: values_of(i) for n, i in one.measured.found.items()}
                for one in some
            },
            resamples=resamples,
            seed=seed,
        )
    return Findings(each, verdicts, stable, _losses(done, resamples, seed))


def _losses(
    done: Sequence[LayersMeasured], resamples: int, seed: int
) -> dict[str, dict[str, dict[str, Estimate]]]:
    """Compare losses, criterion by criterion: the requests are the same people's, in one order."""
    found: dict[str, dict[str, dict[str, Estimate]]] = {}
    for name in dict.fromkeys(one.category.name for one in done):
        some = [one for one in done if one.category.name == name]
        if len(some) < 2:
            continue
        shared = [c for c in some[0].found if all(c in one.found for one in some[1:])]
        found[name] = {}
        for criterion in shared:
            values: dict[str, Matrix] = {one.loss: values_of(one.found[criterion]) for one in some}
            counts = [len(v) for v in values.values() if v.ndim == 2]
            common = min(counts, default=0)
            cut = {k: v[:common] if v.ndim == 2 else v for k, v in values.items()}
            taus = tau_matrix(cut, same_requests=True, resamples=resamples, seed=seed)
            found[name][criterion] = {
                f"{taus.names[i]} and {taus.names[j]}": Estimate(
                    float(taus.value[i, j]), float(taus.low[i, j]), float(taus.high[i, j])
                )
                for i in range(len(some))
                for j in range(i + 1, len(some))
            }
    return found
