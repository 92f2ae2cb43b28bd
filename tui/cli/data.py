"""`recsys data`: bring interactions and titles in, and look at what is there."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tui.cli import options
from tui.cli.progress import follow
from tui.cli.render import Cell, columns, note, say, show_json, show_table

if TYPE_CHECKING:
    from recommender.datasets import ImportCounts
    from recommender.statistics import Statistics
    from storage.records import Category

app = typer.Typer(
    help="Import, fetch and describe data.", no_args_is_help=True, rich_markup_mode=None
)


@app.command("import")
def import_(
    path: Annotated[Path, typer.Argument(help="A file, or a folder of files.")],
    category: Annotated[str, typer.Option("--category", "-c", help="The name to import it as.")],
    format: Annotated[
        str | None, typer.Option(help="The format, where it cannot be told from the file.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(metavar="OURS=THEIRS,…", help="Columns of a CSV or Parquet file."),
    ] = None,
    items: Annotated[
        Path | None, typer.Option(help="A file of items that does not lie beside the log.")
    ] = None,
    k_core: Annotated[
        int, typer.Option(help="Keep people and items with at least this many interactions.")
    ] = 0,
    with_reviews: Annotated[bool, typer.Option(help="Keep the text of reviews.")] = False,
    strict: Annotated[bool, typer.Option(help="Stop at the first bad row.")] = False,
    db: options.Db = None,
    json: options.Json = False,
) -> None:
    """Import interactions and titles into a category."""
    mapping = _mapping(columns) if columns else None
    # Imported here: pandas and pyarrow take longer to load than help may.
    from recommender.datasets import ImportFinished, import_data

    with options.opened(options.settings(db=db), create=True) as store:
        job = import_data(
            store,
            path.expanduser(),
            category=category,
            format=format,
            columns=mapping,
            items=items.expanduser() if items else None,
            k_core=k_core,
            with_reviews=with_reviews,
            strict=strict,
        )
        done = follow(job, ImportFinished)
    if json:
        show_json(asdict(done))
    else:
        _show_category(done.category)
        _show_counts(done.counts)


@app.command("list")
def list_(db: options.Db = None, json: options.Json = False) -> None:
    """List the imported categories."""
    with options.opened_if_any(options.settings(db=db)) as store:
        found = [] if store is None else store.catalogue.categories()
    if json:
        show_json([asdict(category) for category in found])
    elif not found:
        note(options.WAYS_TO_GET_DATA)
    else:
        heads = columns("category", ">people", ">items", ">interactions", "source", "imported")
        show_table(
            heads,
            [
                [options.labelled(c), c.people, c.items, c.interactions, c.source, c.imported_at]
                for c in found
            ],
        )


@app.command()
def stats(
    category: Annotated[str, typer.Argument(help="A category, see `recsys data list`.")],
    db: options.Db = None,
    json: options.Json = False,
) -> None:
    """Describe a category in figures."""
    # Imported here: numpy takes longer to load than help may.
    from recommender.statistics import statistics_of

    with options.opened(options.settings(db=db)) as store:
        chosen = store.catalogue.category(category)
        log = store.catalogue.log(chosen.id)
        found = statistics_of(chosen, log, store.catalogue.items(chosen.id))
    if json:
        show_json(asdict(found))
    else:
        show_table(columns("figure", "value"), _figures(found), title=options.labelled(chosen))
        say()
        show_table(
            columns("split", "part", ">rows", ">people", ">requests", ">repeats"), _parts(found)
        )


@app.command()
def pull(
    name: Annotated[
        str,
        typer.Argument(help="movielens-100k, -1m, -32m, or an Amazon Reviews 2023 category."),
    ],
    to: Annotated[
        Path | None, typer.Option(help="Folder to keep the files in; the data folder if left out.")
    ] = None,
    kind: Annotated[
        Literal["ratings", "split", "reviews"],
        typer.Option(help="Which files of an Amazon category."),
    ] = "ratings",
    base_url: Annotated[str | None, typer.Option(help="A mirror to fetch from.")] = None,
) -> None:
    """Fetch a public data set: resumed after a cut, and verified."""
    # Imported here: the network client takes longer to load than help may.
    from recommender.datasets import sources

    target = to.expanduser() if to else options.settings().downloads
    job = sources.pull(name, target, kind=kind, base_url=base_url)
    done = follow(job, sources.PullFinished)
    for path in done.paths:
        say(str(path))
    note(f"next: recsys data import {done.paths[0]} --category {done.name}")


@app.command()
def sample(db: options.Db = None) -> None:
    """Make a small synthetic Electronics shop, to try everything offline."""
    # Imported here: numpy takes longer to load than help may.
    from recommender.datasets.sample import SampleImported, import_sample

    with options.opened(options.settings(db=db), create=True) as store:
        done = follow(import_sample(store), SampleImported)
    _show_category(done.category)
    note(f"next: recsys distill --category {done.category.name}")


def _mapping(text: str) -> dict[str, str]:
    """Read 'user=uid,item=asin'."""
    pairs = [pair.partition("=") for pair in text.split(",")]
    if any(not (ours.strip() and theirs.strip()) for ours, _, theirs in pairs):
        raise typer.BadParameter(
            f"{text!r} is not of the form user=uid,item=asin", param_hint="--columns"
        )
    return {ours.strip(): theirs.strip() for ours, _, theirs in pairs}


def _show_category(category: Category) -> None:
    say(
        f"{options.labelled(category)}: {category.people:,} people, {category.items:,} items, "
        f"{category.interactions:,} interactions"
    )
    if category.note:
        say(category.note)


def _show_counts(counts: ImportCounts) -> None:
    rows: list[list[Cell]] = []
    for name, value in asdict(counts).items():
        if isinstance(value, int) and value:
            rows.append([name.replace("_", " "), value])
    show_table(columns("what", ">count"), rows)
    for line in counts.first_bad:
        note(f"skipped: {line}")


def _figures(found: Statistics) -> list[list[Cell]]:
    category = found.category
    scale = (
        "none"
        if found.rating_mean is None
        else f"mean {found.rating_mean:.3f}, spread {found.rating_spread:.3f}, "
        f"scale {category.rating_low:g} to {category.rating_high:g}, "
        f"in {100 * found.rated:.1f} % of the rows"
    )
    tied = "no times" if found.tied_times is None else f"{100 * found.tied_times:.1f} %"
    rows: list[list[Cell]] = [
        ["source", category.source],
        ["people", category.people],
        ["items", category.items],
        ["items with interactions", found.items_with_interactions],
        ["interactions", category.interactions],
        ["density", f"{100 * found.density:.4f} %"],
        [
            "history of a person",
            f"median {found.median_history:g}, longest {found.longest_history}",
        ],
        ["ratings", scale],
        ["time", _span(found)],
        ["share of tied timestamps", tied],
    ]
    rows += [
        [f"items with {name}", f"{100 * share:.1f} %"]
        for name, share in found.text_coverage.items()
    ]
    if category.note:
        rows.append(["note", category.note])
    return rows


def _span(found: Statistics) -> str:
    if found.first_time is None or found.last_time is None:
        return "no times"
    first, last = (
        datetime.fromtimestamp(t / 1000, UTC) for t in (found.first_time, found.last_time)
    )
    return f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"


def _parts(found: Statistics) -> list[list[Cell]]:
    rows: list[list[Cell]] = []
    for split, sizes in found.splits.items():
        if isinstance(sizes, str):
            rows.append([split, f"not possible: {sizes}", None, None, None, None])
            continue
        for part, size in sizes.items():
            rows.append([split, part, size.rows, size.people, size.requests, size.repeats])
    return rows
