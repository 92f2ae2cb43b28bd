"""`recsys runs`: what was trained and measured, and what differs between two runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated

import typer

from tui.cli import options
from tui.cli.measurements import with_interval
from tui.cli.render import Cell, columns, note, say, show_json, show_table

app = typer.Typer(
    help="Trained students and what was measured.", no_args_is_help=True, rich_markup_mode=None
)

RunId = Annotated[str, typer.Argument(metavar="RUN", help="A run, see `recsys runs list`.")]


@app.command("list")
def list_(
    category: Annotated[
        str | None, typer.Option("--category", "-c", help="Only the runs of this one.")
    ] = None,
    db: options.Db = None,
    json: options.Json = False,
) -> None:
    """List the runs, the latest first."""
    with options.opened(options.settings(db=db)) as store:
        names = {c.id: options.labelled(c) for c in store.catalogue.categories()}
        chosen = store.catalogue.category(category).id if category else None
        found = sorted(store.runs.list(chosen), key=lambda run: run.created_at, reverse=True)
    if json:
        show_json([asdict(run) for run in found])
    elif not found:
        note("there are no runs yet; next: recsys distill --category NAME")
    else:
        heads = columns(
            "run", "category", "kind", "name", ">seed", "status", ">valid ndcg@10", "made"
        )
        rows: list[list[Cell]] = [
            [
                r.id,
                names[r.category_id],
                r.kind,
                r.name,
                r.seed,
                r.status,
                _selection(r.selection),
                r.created_at,
            ]
            for r in found
        ]
        show_table(heads, rows)


@app.command()
def show(run: RunId, db: options.Db = None, json: options.Json = False) -> None:
    """Show one run: its figures and the settings it was made with."""
    with options.opened(options.settings(db=db)) as store:
        found = store.runs.get(run)
        measured = store.runs.measurements(found.id)
    if json:
        show_json({"run": asdict(found), "measurements": [asdict(m) for m in measured]})
        return
    say(f"{found.id}: {found.kind} {found.name!r}, {found.status}, made {found.created_at}")
    figures: list[list[Cell]] = [
        [m.scope, m.metric, with_interval(m), m.n, m.people] for m in measured
    ]
    show_table(columns("scope", "metric", ">value [95 %]", ">requests", ">people"), figures)
    say()
    show_table(columns("setting", "value"), _flat(found.config))


@app.command()
def compare(
    a: RunId,
    b: RunId,
    scope: Annotated[str, typer.Option(help="Where both were measured.")] = "test/full",
    db: options.Db = None,
    json: options.Json = False,
) -> None:
    """Compare two runs on the same requests, with paired intervals."""
    # Imported here: numpy takes longer to load than help may.
    from recommender.comparison import compare_runs

    with options.opened(options.settings(db=db)) as store:
        first, second = store.runs.get(a), store.runs.get(b)
        found = compare_runs(store, first, second, scope=scope)
    if json:
        show_json([asdict(difference) for difference in found])
        return
    heads = columns("metric", f">{first.name}", f">{second.name}", ">difference [95 %]", "clear")
    rows: list[list[Cell]] = []
    for d in found:
        i = d.difference
        shown = f"{i.value:+.4f} [{i.low:+.4f}, {i.high:+.4f}]"
        rows.append([d.metric, f"{d.a:.4f}", f"{d.b:.4f}", shown, i.excludes_zero])
    show_table(heads, rows, title=f"{first.id} against {second.id}, {scope}")


def _selection(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _flat(config: Mapping[str, object], prefix: str = "") -> list[list[Cell]]:
    """Return nested settings as dotted names with their values."""
    rows: list[list[Cell]] = []
    for name, value in config.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{name}.")
        else:
            rows.append([f"{prefix}{name}", str(value)])
    return rows
