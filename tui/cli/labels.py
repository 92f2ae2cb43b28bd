"""`recsys labels`: what teachers said so far, counted, written out, and read back in."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from tui.cli import options
from tui.cli.lines import print_lines, reading_lines, write_lines
from tui.cli.render import Cell, columns, note, say, show_json, show_table
from tui.text import duration

app = typer.Typer(
    help="Count, export and import teachers' labels.", no_args_is_help=True, rich_markup_mode=None
)

OneTeacher = Annotated[
    str, typer.Option("--teacher", metavar="KEY", help="Only of this teacher, as stats shows it.")
]
Method = Annotated[str, typer.Option(help="Only of this method: letters, likelihood …")]


@app.command()
def stats(
    category: options.CategoryName, db: options.Db = None, json: options.Json = False
) -> None:
    """Count answers by teacher, method, purpose and status."""
    with options.opened(options.settings(db=db)) as store:
        chosen = options.category_of(store, category, None)
        found = store.labels.statistics(chosen.id)
        # Imported here: `recsys --help` counts nothing.
        from recommender.asking.label_statistics import without_opinion

        silent = without_opinion(store, chosen.id)
    if json:
        show_json({"answers": [asdict(one) for one in found], "no_opinion": silent})
        return
    if not found:
        note(f"no label yet; next: recsys label --category {category} --teacher MODEL")
        return
    rows: list[list[Cell]] = [
        [
            one.teacher,
            one.method,
            one.purpose,
            one.status or "not asked yet",
            one.requests,
            one.answers,
            duration(one.median) if one.answers else "",
            duration(one.p95) if one.answers else "",
            one.failures,
        ]
        for one in found
    ]
    heads = columns(
        "teacher", "method", "purpose", "status", ">requests", ">answers", ">p50", ">p95", ">failed"
    )
    show_table(heads, rows, title=options.labelled(chosen))
    for teacher, count in silent.items():
        say(
            f"{teacher}: {count:,} questions whose answers only repeat the order offered: no labels"
        )


@app.command()
def export(
    category: options.CategoryName,
    to: Annotated[
        Path | None, typer.Option(help="File to write; standard output if left out.")
    ] = None,
    teacher: OneTeacher = "",
    method: Method = "",
    db: options.Db = None,
) -> None:
    """Write labels as JSON Lines, people and items by their own ids."""
    # Imported here: `recsys --help` writes nothing.
    from storage.label_exchange import export_labels

    with options.opened(options.settings(db=db)) as store:
        chosen = options.category_of(store, category, None)
        lines = export_labels(store, chosen.id, teacher=teacher, method=method)
        if to is None:
            print_lines(lines)
            return
        count = write_lines(to.expanduser(), lines) - 1
    say(f"{to}: {count:,} labels")


@app.command("import")
def import_(
    path: Annotated[Path, typer.Argument(help="A file that `recsys labels export` wrote.")],
    category: options.CategoryName,
    db: options.Db = None,
    json: options.Json = False,
) -> None:
    """Read labels; those that are there already are left as they are."""
    # Imported here: `recsys --help` reads nothing.
    from storage.label_exchange import import_labels

    with options.opened(options.settings(db=db)) as store:
        chosen = options.category_of(store, category, None)
        with reading_lines(path.expanduser()) as lines:
            done = import_labels(store, chosen.id, lines)
    if json:
        show_json(asdict(done))
        return
    rows: list[list[Cell]] = [
        [name.replace("_", " "), value]
        for name, value in asdict(done).items()
        if isinstance(value, int) and value
    ]
    show_table(columns("what", ">count"), rows)
    for line in done.first_bad:
        note(f"skipped: {line}")
    if done.bad and not done.added and not done.known:
        raise typer.Exit(1)
