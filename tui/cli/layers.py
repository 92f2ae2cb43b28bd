"""What a person sees of measured layers: tables, bars, the verdict, and what to do next."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from tui.cli.bars import show_bars
from tui.cli.render import Cell, columns, say, show_table

if TYPE_CHECKING:
    from distill.importance.findings import Finding, Findings
    from distill.importance.statistics.ratios import Estimate
    from distill.importance.summary import CriterionSummary, Kept

NONE = "-"
"""Where there is no figure; why is said below the table."""


def show(found: Findings) -> None:
    """Print everything that was found, the verdict last."""
    for one in found.each:
        _show_criteria(one)
        say()
        _show_profiles(one)
        say()
        _show_more(one)
    for loss, stable in found.stability.items():
        if stable:
            shown = ", ".join(f"{name} {figure(tau)}" for name, tau in stable.items())
            say(f"between categories, by {loss} (mean tau of all pairs): {shown}")
    for category, criteria in found.losses_agree.items():
        for name, pairs in criteria.items():
            shown = ", ".join(f"{which} {figure(tau)}" for which, tau in pairs.items())
            say(f"between losses, {category}, {name}: tau {shown}")
    for loss, verdict in found.verdicts.items():
        whose = f"verdict ({loss})" if len(found.verdicts) > 1 else "verdict"
        say(f"{whose}: {verdict.text}")
    if any(one.measured.category.synthetic for one in found.each):
        say("these are figures of a synthetic sample, and no results")


def figure(one: Estimate | None) -> str:
    """Return a figure with its interval, or what stands for none.

    >>> from distill.importance.statistics.ratios import Estimate
    >>> figure(Estimate(0.5, 0.4, 0.6)), figure(Estimate(0.5)), figure(None)
    ('0.50 [0.40, 0.60]', '0.50', '-')
    """
    if one is None or not one.defined:
        return NONE
    if math.isnan(one.low):
        return _number(one.value)
    return f"{_number(one.value)} [{_number(one.low)}, {_number(one.high)}]"


def _number(value: float) -> str:
    """Return two decimals, or three digits where that would be many more."""
    return f"{value:.2f}" if abs(value) < 1000 else f"{value:.3g}"


def next_step(found: Findings, command: str) -> str:
    """Return the command that answers what is still open, and what that is as a comment."""
    measured = found.each[0].measured
    if not found.each[0].summary.truths:
        flags = "--criterion loo-loss"
        if "--criterion" not in command:
            flags = f"--criterion default {flags}"
        return f"{command} {flags}  # leave layers out for real"
    one_pass = any(one.criterion.measure == "one-pass" for one in measured.found.values())
    if one_pass and not measured.null:
        return f"{command} --null  # see what a model shows that learnt nothing"
    if len(found.categories) == 1:
        return f"{command} --category NAME  # see whether it is so elsewhere"
    return f"{command} --report layers.md  # all of it as a page"


def as_json(found: Findings) -> dict[str, object]:
    """Return everything as plain values."""
    return {
        "each": [
            {
                "category": asdict(one.measured.category),
                "model": asdict(one.measured.card),
                "loss": one.measured.loss,
                "temperature": one.measured.temperature,
                "pass_seconds": one.measured.pass_seconds,
                "tokens": one.measured.tokens,
                "profiles": [asdict(profile) for profile in one.measured.profiles],
                "summary": asdict(one.summary),
            }
            for one in found.each
        ],
        "verdicts": {loss: asdict(one) for loss, one in found.verdicts.items()},
        "stability": {
            loss: {name: asdict(tau) for name, tau in stable.items()}
            for loss, stable in found.stability.items()
        },
        "losses_agree": {
            category: {
                name: {which: asdict(tau) for which, tau in pairs.items()}
                for name, pairs in criteria.items()
            }
            for category, criteria in found.losses_agree.items()
        },
    }


def _show_criteria(one: Finding) -> None:
    summary, measured = one.summary, one.measured
    null = any(c.null_ratio is not None for c in summary.criteria.values())
    heads = ["criterion", ">requests", ">last/first quarter", ">last/first 30 %", ">rho with depth"]
    heads += [f">tau {truth}" for truth in summary.truths]
    heads += [">random twin"] if null else []
    rows: list[list[Cell]] = []
    for c in summary.criteria.values():
        row: list[Cell] = [
            c.name,
            c.requests or None,
            figure(c.ratio),
            figure(c.ratios["thirty-percent"]).split(" [")[0],
            figure(c.depth),
            *(
                ("is it" if c.name == truth else figure(c.against[truth]))
                for truth in summary.truths
            ),
        ]
        row += [figure(c.null_ratio)] if null else []
        rows.append([*row, _needed(c)])
    for name, taus in summary.baselines.items():
        blank: list[Cell] = [f"({name})", None, "", "", ""]
        rows.append(
            [*blank, *(figure(taus.get(truth)) for truth in summary.truths)] + [""] * (1 + null)
        )
    title = (
        f"{one.title}, {measured.card.name}, {summary.loss}: {one.requests} requests of "
        f"{measured.tokens:.0f} tokens, {summary.layers} layers"
    )
    show_table(columns(*heads, ">for 10 %"), rows, title=title)
    for reason, names in _reasons(summary.criteria).items():
        say(f"no ratio: {', '.join(names)}: {reason}")


def _needed(one: CriterionSummary) -> Cell:
    if not one.requests:
        return ""
    return NONE if one.needed is None else one.needed


def _reasons(criteria: Mapping[str, CriterionSummary]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in criteria.values():
        if not one.ratio.defined:
            found.setdefault(one.ratio.reason, []).append(one.name)
    return found


def _show_profiles(one: Finding) -> None:
    criteria = one.summary.criteria
    show_bars(
        {name: c.profile.mean.tolist() for name, c in criteria.items()},
        {name: bool((c.profile.mean < 0).any()) for name, c in criteria.items()},
        wide=shutil.get_terminal_size().columns,
    )


def _show_more(one: Finding) -> None:
    summary = one.summary
    if len(summary.criteria) > 1:
        for kept in summary.kept:
            say(_kept_line(kept, summary.layers))
    if summary.removals is not None:
        gone = summary.removals
        shown = ", ".join(
            f"{row.name} {figure(row.loss)}"
            for row in gone.sets
            if not row.name.startswith(("deepest", "shallowest"))
        )
        say(f"left out together, rise of the loss of {gone.base_loss.value:.2f} nats: {shown}")
    if summary.greedy is not None:
        say(f"first to go, one after another: {', '.join(map(str, summary.greedy.order))}")
    if summary.probe is not None:
        probe = summary.probe
        say(
            f"a linear probe reads most off state {probe.best} of {len(probe.states) - 1}, "
            f"{figure(probe.states[probe.best])} nats; rising all the way: {probe.monotone}"
        )


def _kept_line(kept: Kept, layers: int) -> str:
    always = ", ".join(map(str, kept.always)) or "none"
    return f"kept in 95 % of all cuts to {kept.keep} of {layers} layers: {always}"
