"""`recsys recommend`: what one person should see next, by whichever ranker was named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from tui.cli import options
from tui.cli.render import Cell, columns, note, show_json, show_table
from tui.text import duration, plain

if TYPE_CHECKING:
    from recommender.api import Recommendation
    from recommender.config import ResolvedSettings

COMPARED = ("teacher", "student", "popularity")


def recommend(
    user: Annotated[
        str | None, typer.Option("--user", "-u", metavar="ID", help="A person in the data.")
    ] = None,
    category: options.OptionalCategory = None,
    by: Annotated[
        str,
        typer.Option(
            metavar="RANKER",
            help="student, student:RUN, teacher, teacher:MODEL, popularity or item-knn.",
        ),
    ] = "student",
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="How many items.")] = 10,
    compare: Annotated[
        bool, typer.Option("--compare", help="Teacher, student and popularity side by side.")
    ] = False,
    history: Annotated[
        str | None,
        typer.Option(
            metavar="'TITLE OR ID; …'", help="What a person who is not in the data chose so far."
        ),
    ] = None,
    teacher: options.Teacher = None,
    device: options.Device = None,
    db: options.Db = None,
    json: options.Json = False,
) -> None:
    """Recommend items to a person."""
    if (user is None) == (history is None):
        raise typer.BadParameter("give one of the two", param_hint="--user or --history")
    # Imported here: numpy and the database take longer to load than help may.
    from recommender.api import Recommender

    chosen = by.partition(":")[2] if by.startswith("teacher:") else teacher
    found = options.resolved(teacher=chosen, device=device, db=db)
    with options.opened(found.settings) as store:
        name = options.category_of(store, category, user).name
    if compare or by.startswith("teacher"):
        note(teacher_line(found))
    titles = None if history is None else [p.strip() for p in history.split(";") if p.strip()]
    with Recommender.open(name, settings=found.settings) as recommender:
        rankers = COMPARED if compare else (by,)
        answers = recommender.compare(user, top_k, by=rankers, history=titles)
    show_answers(answers, json=json)


def teacher_line(found: ResolvedSettings) -> str:
    """Return which teacher answers, and who decided that."""
    return f"teacher: {found.settings.teacher} ({found.origins['teacher']})"


def show_answers(answers: Sequence[Recommendation], *, json: bool) -> None:
    """Print one answer as a list, several side by side."""
    for text in dict.fromkeys(text for answer in answers for text in answer.notices):
        note(text)
    if json:
        show_json([asdict(answer) for answer in answers])
    elif len(answers) == 1:
        _show_one(answers[0])
    else:
        _show_side_by_side(answers)


def _show_one(answer: Recommendation) -> None:
    rows: list[list[Cell]] = [[i.rank, i.title or i.id, i.id, i.score] for i in answer.items]
    who = f"{answer.ranker} ({plain(answer.run)})" if answer.run else answer.ranker
    title = f"{who}, in {duration(answer.seconds)}"
    show_table(columns(">rank", "title", "id", ">score"), rows, title=title)


def _show_side_by_side(answers: Sequence[Recommendation]) -> None:
    heads = columns(">rank", *(f"{a.ranker} ({duration(a.seconds)})" for a in answers))
    rows: list[list[Cell]] = []
    for place in range(max(len(answer.items) for answer in answers)):
        titles = [
            a.items[place].title or a.items[place].id if place < len(a.items) else ""
            for a in answers
        ]
        rows.append([place + 1, *(plain(title, 36) for title in titles)])
    show_table(heads, rows)
