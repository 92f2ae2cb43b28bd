"""A run written up: one Markdown page with its pictures beside it.

Everything on the page comes from the findings, the date and the command, so the same run gives
the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import quote

from matplotlib.figure import Figure

from distill import report_tables as tables
from distill.importance.findings import Finding, Findings
from distill.importance.pictures import (
    draw_heat,
    draw_probe,
    draw_profiles,
    draw_removals,
    draw_taus,
    write_picture,
)
from distill.importance.statistics.ratios import RESAMPLES
from distill.importance.summary import Kept
from distill.importance.verdict import RULE
from distill.markdown import code, escaped, figure, number, table

GLOSSES = {
    "layer": "one block of the model: attention and an MLP. The first is 0.",
    "request": "a person's history, some candidates, and the one that was really chosen.",
    "loss": "how surprised the model is at that choice, in nats. Less is better.",
    "NDCG@10": "1 where the chosen candidate is ranked first, less where it is lower.",
    "last / first quarter": "mean value of the last quarter of layers over that of the first. "
    "Above 1 the upper layers matter more.",
    "geometric": "the same by mean logarithms, so that one huge layer does not decide.",
    "ρ with depth": "Spearman's rank correlation with depth: 1 where each layer matters more "
    "than the one below it, −1 the reverse.",
    "τ": "Kendall's rank correlation of two orders of layers: 1 the same, 0 unrelated, "
    "−1 the reverse.",
    "[a, b]": f"a 95 % interval: what {RESAMPLES:,} other samples of as many requests would "
    "have given (bootstrap). A τ between two criteria resamples both together.",
    "random twin": "the same architecture with random weights. It has learnt nothing, so what "
    "it shows is not learning.",
    "depth alone": "a made-up criterion that only counts layers upwards.",
    "dealt by lot": "the truth's own values in a random order. Its interval holds 95 % of deals.",
    "hybrid": "the mean of all criteria that leave nothing out, by rank or by scaled value.",
    "requests for ±10 %": "how many would put every layer's interval within a tenth of its value.",
}
LIMITS = (
    "One model was measured, as it is on disk; another model, or another precision of this one, "
    "may differ.",
    "Leaving a layer out says what the model loses as it stands. Trained again without it, it "
    "might lose less.",
    "A criterion that agrees with leaving layers out agrees on these requests and this loss.",
    "Intervals say what other requests of the same kind would give. They know nothing of other "
    "data, other prompts or other ways to ask.",
    "Intervals are not widened for there being many criteria: of twenty, one may miss by chance.",
    "Nothing here says that a student distilled with these weights is better.",
)
SENTENCES = re.compile(r"(?<=\.) (?=[A-Z])")
"""Where a sentence of a verdict ends."""
PAPER_LAYERS, PAPER_KEPT = 32, (0, 28, 29, 30, 31)
"""What a published cut of a model of 32 layers is said to keep always."""


def write_report(path: Path, findings: Findings, *, date: str, command: str) -> list[Path]:
    """Write a run up.

    Args:
        path: of the page; pictures are written beside it, as '<stem>-profiles.svg' and so on.
        findings: what was found.
        date: as it is to be shown.
        command: that measures it again.

    Returns:
        What was written, the page first.

    Source: algorithms.md §1.2 and §8, for what is asked.
    """
    pictures = _pictures(findings)
    files = []
    for name, (_, draw) in pictures.items():
        file = path.with_name(f"{path.stem}-{name}.svg")
        write_picture(draw(), file)
        files.append(file)
    alts = {file.name: alt for file, (alt, _) in zip(files, pictures.values(), strict=True)}
    path.write_text(page(findings, alts, date=date, command=command), encoding="utf-8")
    return [path, *files]


def page(findings: Findings, pictures: dict[str, str], *, date: str, command: str) -> str:
    """Return the page.

    Args:
        findings: what was found.
        pictures: name of a file beside the page -> what it shows.
        date: as it is to be shown.
        command: that measures it again.
    """
    card = findings.each[0].measured.card
    parts = [
        f"# Do the upper layers matter more? {escaped(card.name)}",
        f"Measured {escaped(date)}.",
        *_answer(findings),
        *_measured(findings),
        "## The criteria",
        "In all of them a larger value means that the layer matters more.",
        tables.criteria_table(findings),
        *(part for one in findings.each for part in _ratios(one)),
        *_where(findings),
        *(part for one in findings.each for part in _left_out(one)),
        *_probe(findings),
        *(part for one in findings.each for part in _kept(one)),
        *_steadiness(findings),
        *_between(findings),
        "## Pictures",
        *(f"![{escaped(alt)}]({quote(name)})\n\n{escaped(alt)}." for name, alt in pictures.items()),
        "## What this does not show",
        "\n".join(f"- {one}" for one in LIMITS),
        "## How to make it again",
        "What is measured already is found again, request by request.",
        code(" ".join(command.splitlines()), "bash"),
    ]
    return "\n\n".join(parts) + "\n"


def _answer(findings: Findings) -> list[str]:
    parts = ["## Answer"]
    for loss, one in findings.verdicts.items():
        whose = f"By the loss {loss}: " if len(findings.verdicts) > 1 else ""
        headline, *reasons = SENTENCES.split(one.text)
        parts.append(f"{whose}**{escaped(headline)}**")
        parts.append("\n".join(f"- {escaped(reason)}" for reason in reasons))
    if any(one.measured.category.synthetic for one in findings.each):
        parts.append("**These are figures of a synthetic sample, and no results.**")
    return [*parts, f"The rule: {RULE}"]


def _measured(findings: Findings) -> list[str]:
    card = findings.each[0].measured.card
    model = [
        ["model", escaped(card.name)],
        ["architecture", escaped(card.family)],
        ["layers", str(card.layers)],
        ["width", str(card.hidden_size)],
        ["parameters", f"{card.parameters:,}"],
        ["precision", escaped(card.precision)],
        ["digest of the weights", escaped(card.digest)],
    ]
    heads = ["data", "source", ">people", ">items", ">events", "loss", ">temperature"]
    heads += [">requests", ">tokens, mean", ">seed", "digest of the data"]
    rows = []
    for one in findings.each:
        measured, category = one.measured, one.measured.category
        seeds = {str(profile.details.get("seed", "")) for profile in measured.profiles}
        rows.append(
            [
                escaped(one.title),
                escaped(category.source),
                *(f"{n:,}" for n in (category.people, category.items, category.interactions)),
                measured.loss,
                number(measured.temperature),
                str(one.requests),
                f"{measured.tokens:.0f}",
                ", ".join(sorted(seeds)),
                f"`{escaped(category.digest[:12])}`",
            ]
        )
    return [
        "## What was measured",
        table(["", ""], model),
        "Requests are training questions with a known answer, each person's first before "
        "anyone's second. Validation chose the temperature only; test was not looked at. A dear "
        "criterion was measured on the first of the same requests.",
        table(heads, rows),
        "In what follows:",
        "\n".join(f"- **{term}**: {gloss}" for term, gloss in GLOSSES.items()),
    ]


def _ratios(one: Finding) -> list[str]:
    summary = one.summary
    parts = [f"## Shape and truth: {tables.requests_of(one)}", tables.ratio_table(summary)]
    if summary.baselines:
        parts.append("What the truth is held against besides:")
        parts.append(tables.baseline_table(summary))
    for grouping, what in (("history", "length of the history"), ("people", "a person's activity")):
        if any(c.groups.get(grouping) for c in summary.criteria.values()):
            parts.append(f"Last / first quarter by thirds of the requests, by {what}:")
            parts.append(tables.thirds_table(summary, grouping))
    return parts


def _where(findings: Findings) -> list[str]:
    parts = []
    for one in findings.each:
        kinds = tables.kinds_table(one)
        if kinds:
            parts += [
                f"### {tables.requests_of(one)}",
                kinds,
                "Outside the blocks, beside them:",
                tables.outside_table(one),
            ]
    if not parts:
        return []
    return [
        "## Fisher information by kind of weight",
        "Where in a block the squared gradient of the loss lies, mean over requests. A tied "
        "matrix is embedding and head at once; the square of its whole gradient is more or less "
        "than both parts by a cross term.",
        *parts,
    ]


def _left_out(one: Finding) -> list[str]:
    summary = one.summary
    parts = []
    if summary.removals is not None:
        gone = summary.removals
        parts += [
            f"## Layers left out together: {tables.requests_of(one)}",
            f"On {gone.requests} requests. The whole model has a loss of "
            f"{figure(gone.base_loss)} nats and an NDCG@10 of {figure(gone.base_ndcg, 3)}.",
            tables.removal_table(summary),
            "Harm of the upper layers over harm of as many lower ones (bands: 70–100 % over "
            "0–30 %; quarters: last over first):",
            tables.harm_table(summary),
        ]
    if summary.greedy is not None:
        parts += [
            f"## Layers taken away one after another: {tables.requests_of(one)}",
            "At each step the layer goes without which the loss is least.",
            tables.greedy_table(summary),
        ]
    return parts


def _probe(findings: Findings) -> list[str]:
    shown = tables.probe_table(findings.each)
    if not shown:
        return []
    said = []
    for one in findings.each:
        probe = one.summary.probe
        if probe is not None:
            fall = figure(probe.fall, 3) if probe.fall.defined else f"none, {probe.fall.reason}"
            said.append(
                f"- {tables.requests_of(one)}, {probe.requests} requests: the best state is "
                f"{probe.best}; rising all the way: {probe.monotone}; "
                f"ρ with depth {figure(probe.depth)}; fall from the best to the last: {fall}."
            )
    return [
        "## What a probe reads off each state",
        "A linear probe is fitted to the state at the end of the history and asked for the "
        "choice, on requests it was not fitted to. The figure is how many nats it is better "
        "than chance.",
        shown,
        "\n".join(said),
    ]


def _kept(one: Finding) -> list[str]:
    summary = one.summary
    return [
        f"## Which layers a cut keeps: {tables.requests_of(one)}",
        "A cut keeps the layers of largest value. It is made by every criterion and for every "
        "resample of the requests.",
        "\n".join(f"- {_always(kept, summary.layers)}" for kept in summary.kept),
        f"A published cut of a model of {PAPER_LAYERS} layers is said to keep "
        f"{_listed(PAPER_KEPT)} always: the first layer and the last four.",
        tables.kept_table(summary.kept),
    ]


def _always(kept: Kept, layers: int) -> str:
    wanted = {0, *range(max(0, layers - 4), layers)}
    both = sorted(wanted & set(kept.always))
    here = f"; of the first and the last four ({_listed(sorted(wanted))}): {_listed(both)}"
    return f"Cuts to {kept.keep} of {layers}: kept in 95 % or more: {_listed(kept.always)}{here}."


def _listed(layers: Sequence[int]) -> str:
    return ", ".join(map(str, layers)) or "none"


def _steadiness(findings: Findings) -> list[str]:
    parts = [
        "## Do two halves of the requests agree",
        "τ between the profiles of two halves that share no request, mean and 95 % of 100 "
        "splits. A column says how many requests both halves have together.",
    ]
    shown = False
    for one in findings.each:
        if any(c.halves for c in one.summary.criteria.values()):
            shown = True
            parts += [f"### {tables.requests_of(one)}", tables.halves_table(one.summary)]
    return parts if shown else []


def _between(findings: Findings) -> list[str]:
    parts: list[str] = []
    for loss, taus in findings.stability.items():
        if taus:
            parts += [
                f"## Between data sets ({loss})",
                "Mean τ over all pairs of data sets.",
                tables.between_table(taus, "τ between data sets"),
            ]
    for category, criteria in findings.losses_agree.items():
        parts += [
            f"## Between losses: {escaped(category)}",
            "τ between the profiles of two losses, on the same people's requests.",
            tables.losses_table(criteria),
        ]
    return parts


def _pictures(findings: Findings) -> dict[str, tuple[str, Callable[[], Figure]]]:
    """Name the pictures, say what they show, and how they are drawn."""
    summaries = [one.drawn for one in findings.each]
    drawn: dict[str, tuple[str, Callable[[], Figure]]] = {
        "profiles": (
            "Every criterion over depth, its mean set to 1; shaded the 95 % interval, dashed "
            "the random twin",
            partial(draw_profiles, summaries),
        ),
        "heat": ("Rank of every layer by every criterion", partial(draw_heat, summaries)),
    }
    for n, one in enumerate(findings.each):
        name = "taus" if len(findings.each) == 1 else f"taus-{n + 1}"
        drawn[name] = (
            f"Kendall's τ of every criterion with every other, {one.title}, {one.measured.loss}",
            partial(draw_taus, summaries[n]),
        )
    if any(one.removals is not None for one in summaries):
        drawn["removals"] = (
            "What leaving layers out does to the loss and to NDCG@10",
            partial(draw_removals, summaries),
        )
    if any(one.probe is not None for one in summaries):
        drawn["probe"] = (
            "What a linear probe reads off each state",
            partial(draw_probe, summaries),
        )
    return drawn
