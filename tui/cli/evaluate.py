"""`recsys evaluate`: how good each ranker is on held-out requests, with intervals."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

import typer

from tui.cli import options
from tui.cli.measurements import show_measurements
from tui.cli.progress import follow
from tui.cli.render import show_json


def evaluate(
    category: options.CategoryName,
    by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RANKER",
            help="student, student:RUN, popularity, item-knn or one of your own; repeat.",
        ),
    ] = None,
    part: Annotated[
        Literal["valid", "test"], typer.Option(help="What to choose by, or what to report.")
    ] = "test",
    split: options.SplitName = "temporal",
    min_rating: options.MinRating = None,
    max_users: options.MaxUsers = 0,
    seed: options.Seed = None,
    db: options.Db = None,
    json: options.Json = False,
) -> None:
    """Measure rankers over the full catalogue."""
    # Imported here: numpy and the database take longer to load than help may.
    from recommender.leaderboard import Measured, Protocol, measure_rankers

    found = options.settings(seed=seed, db=db)
    protocol = Protocol(part, split, min_rating, max_users, found.seed)
    with options.opened(found) as store:
        names = by or ["student", "popularity", "item-knn"]
        done = follow(measure_rankers(store, category, names, protocol, found), Measured)
    if json:
        show_json({name: [asdict(m) for m in measured] for name, measured in done.rows})
        return
    title = f"{options.labelled(done.category)}, {split} split, {part}, full catalogue"
    show_measurements(done.rows, scope=f"{part}/full", title=title)
