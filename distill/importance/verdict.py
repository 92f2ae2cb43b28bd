r"""Do the upper layers matter more: the answer in words, by a rule that is stated.

For one criterion, with R the mean of the last quarter of layers over that of the first, and
over all data sets:

    true        the whole 95 % interval of R is above 1 on every data set
    false       the whole interval is below 1 on every one
    undecided   anything else, also where R has no meaning on one of them

For all criteria together, what leaving one layer out says (the truth), where both of its
figures say the same; where nothing was left out, what all criteria say, if they agree.

Source: algorithms.md §1.2 (I7), §8 claim 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from distill.importance.statistics.ratios import RESAMPLES, Estimate, Matrix
from distill.importance.statistics.stability import across_categories
from distill.importance.summary import TRUTHS, CriterionSummary, Summary

Answer = Literal["true", "false", "undecided"]
RULE = (
    "For a criterion the answer is 'true' where the whole 95 % interval of (last quarter of "
    "layers / first quarter) is above 1 on every data set, 'false' where it is below 1 on every "
    "one, and 'undecided' otherwise."
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer, by criterion and for the model."""

    answer: Answer
    by_criterion: Mapping[str, Answer]
    twin: Mapping[str, Answer]
    """What the random twin says, by criterion; empty where it was not measured."""
    text: str


def answer(ratios: Sequence[Estimate]) -> Answer:
    """Apply the rule to the ratios of one criterion, one a data set.

    >>> answer([Estimate(2.0, 1.5, 2.5), Estimate(1.4, 1.1, 1.8)])
    'true'
    >>> answer([Estimate(0.5, 0.4, 0.6), Estimate(1.0, 0.9, 1.1)]), answer([Estimate.none("no")])
    ('undecided', 'undecided')
    """
    if ratios and all(one.low > 1 for one in ratios):
        return "true"
    if ratios and all(one.high < 1 for one in ratios):
        return "false"
    return "undecided"


def verdict(
    summaries: Sequence[Summary], criteria: Sequence[str] = (), *, model: str = "this model"
) -> Verdict:
    """Say whether the upper layers matter more.

    Args:
        summaries: one a data set, of one loss.
        criteria: whose say counts; by default all that were measured on every data set.
        model: what it is called.

    Raises:
        ValueError: there is no summary.

    >>> import numpy as np
    >>> from distill.importance.criteria import CRITERIA
    >>> from distill.importance.layers import importance
    >>> from distill.importance.summary import summarise
    >>> kept = [{"layers": np.array([4.0, 2.0, 1.0, 1.0])}] * 3
    >>> one = importance(CRITERIA["taylor"], kept, resamples=50)
    >>> found = verdict([summarise({"taylor": one}, category="Books", resamples=50)])
    >>> found.answer, found.by_criterion
    ('false', {'taylor': 'false'})
    """
    if not summaries:
        raise ValueError("no data set, no verdict")
    names = [
        name
        for name in (criteria or summaries[0].criteria)
        if all(name in one.criteria for one in summaries)
    ]
    said = {name: answer([one.criteria[name].ratio for one in summaries]) for name in names}
    twin = {
        name: answer([ratio for one in summaries if (ratio := one.criteria[name].null_ratio)])
        for name in names
        if all(one.criteria[name].null_ratio is not None for one in summaries)
    }
    whole = _whole(said)
    sentences = [
        _headline(whole, said, model, summaries),
        _truth(said, summaries),
        *_criteria({name: one for name, one in said.items() if name not in TRUTHS}),
        *_twins(said, twin, summaries),
    ]
    return Verdict(whole, said, twin, " ".join(sentences))


def stability(
    values: Mapping[str, Mapping[str, Matrix]], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Estimate]:
    """Give the mean τ of each criterion between all pairs of categories.

    Args:
        values: category -> criterion -> (requests, layers) or (layers,).
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        Of the criteria that all categories have; nothing where there is one category.

    >>> import numpy as np
    >>> up = np.array([[1.0, 2.0, 3.0]] * 2)
    >>> stability({"Books": {"taylor": up}, "Toys": {"taylor": up}}, resamples=9)["taylor"].value
    1.0
    """
    if len(values) < 2:
        return {}
    first, *others = values.values()
    return {
        name: across_categories(
            {category: one[name] for category, one in values.items()},
            resamples=resamples,
            seed=seed,
        )
        for name in first
        if all(name in one for one in others)
    }


def _whole(said: Mapping[str, Answer]) -> Answer:
    deciding = [said[name] for name in TRUTHS if name in said] or list(said.values())
    return deciding[0] if len(set(deciding)) == 1 else "undecided"


def _headline(
    whole: Answer, said: Mapping[str, Answer], model: str, summaries: Sequence[Summary]
) -> str:
    where = " and ".join(dict.fromkeys(one.category for one in summaries)) or "these requests"
    by = "leaving layers out" if any(t in said for t in TRUTHS) else "its criteria"
    claim = "'Upper layers matter more'"
    if whole == "true":
        return f"{claim} is true for {model} on {where}, going by {by}."
    if whole == "false":
        return (
            f"{claim} is false for {model} on {where}, going by {by}: the lower ones matter more."
        )
    if any(t in said for t in TRUTHS):
        return f"{claim} is undecided for {model} on {where}, going by {by}."
    if len(set(said.values())) > 1:
        return f"{claim} is undecided for {model} on {where}: its criteria do not agree."
    return f"{claim} is undecided for {model} on {where}."


def _truth(said: Mapping[str, Answer], summaries: Sequence[Summary]) -> str:
    measured = [name for name in TRUTHS if name in said]
    if not measured:
        return (
            "Nothing was left out for real (--criterion loo-loss), so this is what criteria say "
            "and not what the model needs."
        )
    parts = []
    for name in measured:
        figures = [_figure(one.criteria[name]) for one in summaries]
        parts.append(f"{name} says {said[name]} ({'; '.join(figures)})")
    return f"Leaving one layer out at a time: {', '.join(parts)}."


def _figure(one: CriterionSummary) -> str:
    ratio = one.ratio
    if not ratio.defined:
        return f"no ratio: {ratio.reason}"
    if ratio.low != ratio.low:
        return f"{ratio.value:.2f}"
    return f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"


def _criteria(said: Mapping[str, Answer]) -> list[str]:
    order: tuple[Answer, ...] = ("true", "false", "undecided")
    parts = [
        f"{kind}: {', '.join(names)}"
        for kind in order
        if (names := [name for name, one in said.items() if one == kind])
    ]
    return [f"What the criteria say, by the same rule: {'; '.join(parts)}."] if parts else []


def _twins(
    said: Mapping[str, Answer], twin: Mapping[str, Answer], summaries: Sequence[Summary]
) -> list[str]:
    """Say which shapes a model of random weights has too."""
    decided = [name for name in twin if said[name] != "undecided"]
    same = [name for name in decided if twin[name] == said[name]]
    other = [name for name in decided if twin[name] != said[name]]
    found = []
    if same:
        found.append(
            f"A twin of random weights says the same by {_with_figures(same, summaries)}: "
            "that much of the shape is architecture, not learning."
        )
    if other:
        found.append(
            f"The twin does not clearly say the same by {_with_figures(other, summaries)}: "
            "there training has a part in it."
        )
    return found


def _with_figures(names: Sequence[str], summaries: Sequence[Summary]) -> str:
    shown = []
    for name in names:
        pairs = []
        for one in summaries:
            found = one.criteria[name]
            if found.null_ratio is not None:
                pairs.append(f"{found.null_ratio.value:.2f}, model {found.ratio.value:.2f}")
        shown.append(f"{name} (twin {'; '.join(pairs)})")
    return ", ".join(shown)
