"""`recsys evaluate`: how good each ranker is on held-out requests, with intervals."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

import typer

from tui.cli import options
from tui.cli.measurements import show_measurements
from tui.cli.progress import follow
from tui.cli.render import note, show_json


def evaluate(
    category: options.CategoryName,
    by: Annotated[
        list[str] | None,
        typer.Option(metavar="RANKER", help="May be repeated; see `recsys recommend --help`."),
    ] = None,
    part: Annotated[
        Literal["valid", "test"], typer.Option(help="What to choose by, or what to report.")
    ] = "test",
    split: options.SplitName = "temporal",
    min_rating: Annotated[
        float | None, typer.Option(help="Lower ratings are no positives; on the source's scale.")
    ] = None,
    max_users: Annotated[int, typer.Option(min=0, help="People to evaluate on; 0 is all.")] = 0,
    seed: options.Seed = None,
    db: options.Db = None,
    json: options.Json = False,
) -> None:
    """Evaluate rankers over the full catalogue."""
    # Imported here: numpy and the database take longer to load than help may.
    from recommender.api import Evaluated, evaluate_rankers

    found = options.settings(seed=seed, db=db)
    job = evaluate_rankers(
        category,
        by or ["student", "popularity", "item-knn"],
        settings=found,
        part=part,
        split=split,
        min_rating=min_rating,
        max_users=max_users,
    )
    done = follow(job, Evaluated)
    if json:
        show_json({name: [asdict(m) for m in measured] for name, measured in done.rows})
        return
    title = f"{options.labelled(done.category)}, {split} split, {part}"
    show_measurements(done.rows, scope=f"{part}/full", title=title)
    if done.category.synthetic:
        note("this category is a synthetic sample: its figures are no results")
