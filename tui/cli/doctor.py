"""`recsys doctor`: is everything there and whole, and where does each setting come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from tui.cli import options
from tui.cli.render import Cell, columns, note, show_json, show_table

if TYPE_CHECKING:
    from recommender.config import ResolvedSettings, Settings
    from recommender.health import Check


def doctor(
    settings: Annotated[
        bool, typer.Option("--settings", help="Show each setting and where it comes from.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Remove damaged artifacts; they are made again.")
    ] = False,
    db: options.Db = None,
    json: options.Json = False,
) -> None:
    """Check that everything works, and say what to do."""
    found = options.resolved(db=db)
    if settings:
        _show_settings(found, json=json)
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
