"""`recsys demo`: the whole road on real data, from nothing to a student, with one command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tui.cli import options
from tui.cli.distill import configured, show_distilled
from tui.cli.progress import follow
from tui.cli.recommend import COMPARED, show_answers, teacher_line
from tui.cli.render import note, say

if TYPE_CHECKING:
    from recommender.config import Settings

DATA = "movielens-100k"


def demo(
    minutes: Annotated[
        float, typer.Option(min=0, help="About how long the whole of it may take.")
    ] = 10,
    user: Annotated[
        str | None, typer.Option(help="Whom to recommend to; the first person if left out.")
    ] = None,
    db: options.Db = None,
) -> None:
    """Go the whole road on MovieLens-100K, from nothing."""
    # Imported here: torch and numpy take longer to load than help may.
    from distill.pipeline import Distilled, distil
    from recommender.api import Recommender

    found = options.resolved(db=db)
    first = _prepare(found.settings)
    person = user or first
    config = configured(DATA, found.settings, minutes=minutes, requests=0, epochs=None)
    note(teacher_line(found))
    done = follow(distil(config, settings=found.settings), Distilled)
    with Recommender.open(DATA, settings=found.settings) as recommender:
        answers = recommender.compare(person, 10, by=COMPARED)
    say(f"recommended to user {person!r} of {DATA}:")
    show_answers(answers, json=False)
    say()
    show_distilled(done)


def _prepare(found: Settings) -> str:
    """Bring models and data where they are missing; return the id of the first person."""
    # Imported here: see `demo`.
    from recommender import datasets, models
    from recommender.datasets import sources

    follow(models.fetch(found.models), models.ModelsFetched)
    with options.opened(found, create=True) as store:
        if DATA not in {category.name for category in store.catalogue.categories()}:
            pulled = follow(sources.pull(DATA, found.downloads), sources.PullFinished)
            job = datasets.import_data(store, pulled.paths[0], category=DATA)
            follow(job, datasets.ImportFinished)
        category = store.catalogue.category(DATA)
        return store.catalogue.find_users(category.id, "", limit=1)[0]
