"""`recsys recommend`: what one person should see next, by whichever ranker was named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from tui.cli import options
from tui.cli.render import Cell, columns, note, show_json, show_table
from tui.text import duration, plain, safe_pieces

if TYPE_CHECKING:
    from recommender.api import Recommendation, Recommended
    from recommender.config import ResolvedSettings

COMPARED = ("teacher", "student", "popularity")

WIDEST = 160
"""Characters of a title before its reason."""

Reasons = Iterable[tuple["Recommended", Iterator[str]]]


def recommend(
    user: Annotated[
        str | None, typer.Option("--user", "-u", metavar="ID", help="A person in the data.")
    ] = None,
    category: options.OptionalCategory = None,
    by: Annotated[
        str,
        typer.Option(
            metavar="RANKER",
            help="student, student:RUN, teacher, teacher:MODEL, popularity, item-knn or one of "
            "your own.",
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
    explain: Annotated[
        bool, typer.Option("--explain", help="Let the teacher say why, item by item.")
    ] = False,
    teacher: options.Teacher = None,
    teacher_mode: options.TeacherMode = None,
    host: options.Hosts = None,
    num_ctx: options.NumCtx = None,
    device: options.Device = None,
    db: options.Db = None,
    json: options.Json = False,
) -> None:
    """Recommend items to a person."""
    if (user is None) == (history is None):
        raise typer.BadParameter("give one of the two", param_hint="--user or --history")
    named = by.startswith("teacher:")
    if by == "teacher:":
        raise typer.BadParameter("a model's name comes after 'teacher:'", param_hint="--by")
    # Imported here: numpy and the database take longer to load than help may.
    from recommender.api import Recommender

    found = options.resolved(
        teacher=by.partition(":")[2] if named else teacher,
        teacher_mode=teacher_mode,
        hosts=tuple(host) if host else None,
        num_ctx=num_ctx,
        device=device,
        db=db,
    )
    rankers = COMPARED if compare else (by,)
    if explain:
        _require_teacher(rankers[0])
    with options.opened(found.settings) as store:
        name = options.category_of(store, category, user).name
    if compare or by.startswith("teacher"):
        note(teacher_line(found, by_flag="--by" if named else "--teacher"))
    past = None if history is None else [p.strip() for p in history.split(";") if p.strip()]
    with Recommender.open(name, settings=found.settings) as recommender:
        answers = recommender.compare(user, top_k, by=rankers, history=past)
        reasons: Reasons = ()
        if explain:
            reasons = recommender.reasons(answers[0], user=user, history=past, by=rankers[0])
        show_answers(answers, reasons, json=json)


def teacher_line(found: ResolvedSettings, *, by_flag: str = "--teacher") -> str:
    """Return which teacher answers, and who decided that."""
    origin = found.origins["teacher"].replace("--teacher", by_flag)
    return f"teacher: {found.settings.teacher} ({origin})"


def _require_teacher(by: str) -> None:
    """Refuse reasons before anything is ranked, where the ranker's name says it has none."""
    # Imported here: only reasons need it.
    from recommender.asking.explaining import writer

    if by.partition(":")[0] != "teacher":
        writer(by, None)


def show_answers(answers: Sequence[Recommendation], reasons: Reasons = (), *, json: bool) -> None:
    """Print one answer as a list, several side by side; then the first one's reasons, if any."""
    for text in dict.fromkeys(text for answer in answers for text in answer.notices):
        note(text)
    if json:
        _show_json(answers, reasons)
        return
    if len(answers) == 1:
        _show_one(answers[0])
    else:
        _show_side_by_side(answers)
    for item, pieces in reasons:
        show_reason(f"{item.rank}. {plain(item.title or item.id, WIDEST)}: ", pieces)


def show_reason(opening: str, pieces: Iterator[str]) -> None:
    """Print a reason as it comes. Where it breaks off, what was printed stays, as a line."""
    print(opening, end="", flush=True)
    try:
        written = False
        for piece in safe_pieces(pieces):
            print(piece, end="", flush=True)
            written = True
        if not written:
            print("(nothing was written)", end="")
    finally:
        print(flush=True)


def _show_json(answers: Sequence[Recommendation], reasons: Reasons) -> None:
    shown = [asdict(answer) for answer in answers]
    for place, (_, pieces) in enumerate(reasons):
        shown[0]["items"][place]["reason"] = "".join(safe_pieces(pieces))
    show_json(shown)


def _show_one(answer: Recommendation) -> None:
    rows: list[list[Cell]] = [[i.rank, _title(i), i.id, i.score] for i in answer.items]
    who = f"{answer.ranker} ({plain(answer.run)})" if answer.run else answer.ranker
    title = f"{who}, in {duration(answer.seconds)}"
    show_table(columns(">rank", "title", "id", ">score"), rows, title=title)


def _show_side_by_side(answers: Sequence[Recommendation]) -> None:
    heads = columns(">rank", *(f"{a.ranker} ({duration(a.seconds)})" for a in answers))
    rows: list[list[Cell]] = []
    for place in range(max(len(answer.items) for answer in answers)):
        titles = [_title(a.items[place]) if place < len(a.items) else "" for a in answers]
        rows.append([place + 1, *(plain(title, 36) for title in titles)])
    show_table(heads, rows)


def _title(item: Recommended) -> str:
    """Return what to call an item, marked where it is not told apart from the one above."""
    return f"{'~ ' if item.tied else ''}{item.title or item.id}"
