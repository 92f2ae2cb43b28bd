"""`recsys doctor`: is everything there and whole, and where does each setting come from.

With a teacher named it measures that one instead: how far its answers move by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from tui.cli import options
from tui.cli.progress import follow
from tui.cli.render import Cell, columns, note, say, show_json, show_table

if TYPE_CHECKING:
    from recommender.check import Check
    from recommender.config import ResolvedSettings, Settings
    from recommender.noise.measuring import NoiseMeasured


def doctor(
    settings: Annotated[
        bool, typer.Option("--settings", help="Show each setting and where it comes from.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Remove damaged artifacts; they are made again.")
    ] = False,
    teacher: Annotated[
        str | None,
        typer.Option(
            "--teacher", metavar="MODEL", help="Measure how noisy this teacher's answers are."
        ),
    ] = None,
    category: Annotated[
        str | None,
        typer.Option(
            "--category",
            "-c",
            metavar="NAME",
            help="Whose items it is asked about; else the first category, else built-in titles.",
        ),
    ] = None,
    host: options.Hosts = None,
    num_ctx: options.NumCtx = None,
    device: options.Device = None,
    db: options.Db = None,
    json: options.Json = False,
) -> None:
    """Check that everything works, and say what to do."""
    if category is not None and teacher is None:
        raise typer.BadParameter("goes with --teacher", param_hint="--category")
    hosts = tuple(host) if host else None
    found = options.resolved(teacher=teacher, hosts=hosts, num_ctx=num_ctx, device=device, db=db)
    if settings:
        _show_settings(found, json=json)
        return
    if teacher is not None:
        _measure(found.settings, category, json=json)
        return
    looked_at = list(_all_checks(found.settings, repair=repair))
    if json:
        show_json([asdict(check) for check in looked_at])
    else:
        rows: list[list[Cell]] = [[c.name, c.state, c.says] for c in looked_at]
        show_table(columns("checked", "state", "found"), rows)
    for check in looked_at:
        if check.next_step:
            note(f"{check.name}: {check.state}; next: {check.next_step}")
    if any(check.state == "bad" for check in looked_at):
        raise typer.Exit(1)


def _all_checks(found: Settings, *, repair: bool) -> Iterator[Check]:
    # Imported here: `recsys --help` checks nothing.
    from recommender import health

    yield from health.checks(found)
    yield from health.check_store(found, repair=repair)


def _measure(found: Settings, category: str | None, *, json: bool) -> None:
    # Imported here: whoever looks at a machine asks no model.
    from recommender.noise.measuring import NoiseMeasured
    from recommender.noise.questions import measure_teacher

    # The floor is kept also before there is data, but not wherever a mistyped name leads.
    with options.opened(found, create=found.has_usual_db) as store:
        measured = follow(measure_teacher(store, found, category=category), NoiseMeasured)
    if json:
        show_json(asdict(measured))
    else:
        show_noise(measured, found.teacher)


def show_noise(measured: NoiseMeasured, teacher: str) -> None:
    """Print how far answers moved under each condition, what places get, and what it means."""
    report, details = measured.report, measured.floor.details
    rows: list[list[Cell]] = [
        [m.condition, m.largest, m.median, f"{m.flips} of {report.questions}", m.comparisons]
        for m in report.conditions
    ]
    heads = columns("condition", ">largest move", ">median", ">best letter changed", ">pairs")
    where = measured.floor.server or "in this process"
    show_table(
        heads,
        rows,
        title=f"{teacher}, {where}: {report.questions} questions about {details['about']}, "
        f"{details['candidates']} candidates each; log-probabilities in nats",
    )
    say()
    places: list[list[Cell]] = [[chr(65 + a.place), f"{a.preference:.3f}"] for a in report.places]
    even = 1 / len(report.places)
    title = f"what a place gets whoever stands there (an even share is {even:.3f})"
    show_table(columns("place", ">share"), places, title=title)
    named = ", ".join(f"{share:.0%} of {n}" for n, share in report.coverage.items())
    say(f"letters named: {named}; {1 - report.outside:.0%} of the probability is on letters")
    floor = measured.floor.floor
    if floor:
        say(f"no difference under {floor:.3f} nats is shown as a preference")
    else:
        say("the same question always got the same answer: any difference counts")


def _show_settings(found: ResolvedSettings, *, json: bool) -> None:
    values = found.settings.model_dump(mode="json")
    if json:
        origins = found.origins
        show_json({name: {"value": v, "origin": origins[name]} for name, v in values.items()})
        return
    rows: list[list[Cell]] = []
    for name, value in values.items():
        shown = ", ".join(value) if isinstance(value, list) else str(value)
        rows.append([name, shown, found.origins[name]])
    show_table(columns("setting", "value", "from"), rows)
    for variable in found.ignored:
        note(f"{variable} is set in the environment, but names no setting")
