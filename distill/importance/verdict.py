r"""Do the upper layers matter more: the answer in words, by a rule that is stated.

For one criterion, with R the mean of the last quarter of layers over that of the first, and
over all data sets:

    true        the whole 95 % interval of R is above 1 on every data set
    false       the whole interval is below 1 on every one
    undecided   anything else, also where R has no meaning on one of them

For all of them together, what leaving layers out says (the truth): one at a time by loss and by
NDCG, and the last quarter as a whole against the first by loss, where all of these say the
same. Where nothing was left out, what all criteria say, if they agree.

Source: algorithms.md §1.2 (I7), §8 claim 1.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from distill.importance.statistics.ratios import RESAMPLES, Estimate, Matrix
from distill.importance.statistics.stability import across_categories
from distill.importance.summary import TRUTHS, Summary

Answer = Literal["true", "false", "undecided"]
QUARTERS = "quarters loss"
NOTHING = Estimate.none("the twin was not measured")
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
    together: Answer | None
    """By the loss without the last quarter over that without the first; None where no layers
    were left out."""
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
    quarters = [one.removals.ratios[QUARTERS] for one in summaries if one.removals is not None]
    together = answer(quarters) if len(quarters) == len(summaries) else None
    truths = [said[name] for name in TRUTHS if name in said]
    truths += [] if together is None or not truths else [together]
    whole = _whole(truths or list(said.values()))
    sentences = [
        _headline(whole, bool(truths), set(said.values()), model, summaries),
        _truth(said, summaries),
        *([_quarters(together, quarters)] if together is not None and truths else []),
        *_bands(summaries),
        *_criteria({name: one for name, one in said.items() if name not in TRUTHS}),
        *_twins(said, twin, summaries),
    ]
    return Verdict(whole, said, together, twin, " ".join(sentences))


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


def _whole(said: Sequence[Answer]) -> Answer:
    return said[0] if len(set(said)) == 1 else "undecided"


def _headline(
    whole: Answer,
    left_out: bool,
    answers: Collection[Answer],
    model: str,
    summaries: Sequence[Summary],
) -> str:
    where = " and ".join(dict.fromkeys(one.category for one in summaries)) or "these requests"
    by = "leaving layers out" if left_out else "its criteria"
    claim = f"'Upper layers matter more' is {whole} for {model} on {where}"
    if whole == "false":
        return f"{claim}, going by {by}: the lower ones matter more."
    if whole == "undecided" and not left_out and len(answers) > 1:
        return f"{claim}: its criteria do not agree."
    return f"{claim}, going by {by}."


def _truth(said: Mapping[str, Answer], summaries: Sequence[Summary]) -> str:
    measured = [name for name in TRUTHS if name in said]
    if not measured:
        return (
            "Nothing was left out for real (--criterion loo-loss), so this is what criteria say "
            "and not what the model needs."
        )
    parts = []
    for name in measured:
        figures = [_figure(one.criteria[name].ratio) for one in summaries]
        parts.append(f"{name} says {said[name]} ({'; '.join(figures)})")
    return f"Leaving one layer out at a time: {', '.join(parts)}."


def _quarters(said: Answer, ratios: Sequence[Estimate]) -> str:
    """Say what a whole quarter does: layers that stand in for each other go together."""
    figures = "; ".join(_figure(one) for one in ratios)
    return (
        f"Leaving out the last quarter as a whole, beside the first: {said} by the rise of the "
        f"loss ({figures})."
    )


def _bands(summaries: Sequence[Summary]) -> list[str]:
    """Say the same of the bands of 30 %, by the ranking too."""
    figures = [
        f"{_figure(one.removals.ratios['bands loss'])} times the rise of the loss, "
        f"{_figure(one.removals.ratios['bands ndcg'])} times the fall of NDCG@10"
        for one in summaries
        if one.removals is not None
        and all(
            ratio.defined
            for name in ("bands loss", "bands ndcg")
            if (ratio := one.removals.ratios.get(name, NOTHING))
        )
    ]
    if not figures:
        return []
    return [
        "Leaving the last 30 % of layers out together costs, beside leaving the first 30 % out: "
        f"{'; '.join(figures)}."
    ]


def _figure(ratio: Estimate) -> str:
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
            f"that shape comes from the architecture{_beyond(same, said, summaries)}."
        )
    if other:
        found.append(
            f"The twin does not clearly say the same by {_with_figures(other, summaries)}: "
            "there training has a part in it."
        )
    return found


def _beyond(names: Sequence[str], said: Mapping[str, Answer], summaries: Sequence[Summary]) -> str:
    """Say what training did to a shape that the twin has too, where it did the same to all."""
    against = set()
    for name in names:
        moved = answer([one.criteria[name].to_null or NOTHING for one in summaries])
        against.add("none" if moved == "undecided" else "more" if moved == said[name] else "less")
    if against == {"less"}:
        return ", and training made it milder, not stronger"
    if against == {"more"}:
        return ", and training made it stronger"
    return ", not from learning" if against == {"none"} else ""


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
