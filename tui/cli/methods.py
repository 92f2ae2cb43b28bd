"""`recsys methods`: the ways to distil, and the students there are."""

from __future__ import annotations

from typing import Annotated

import typer

from tui.cli import options
from tui.cli.render import Cell, columns, note, show_json, show_table


def methods(
    students: Annotated[bool, typer.Option("--students", help="List students instead.")] = False,
    json: options.Json = False,
) -> None:
    """List the ways to distil, and which students can learn by them."""
    # Imported here: `recsys --help` lists none.
    from distill.methods import METHODS, RANKED_METHODS, TOKEN_METHODS
    from distill.students import described

    rows: list[list[Cell]]
    if students:
        rows = [list(one) for one in described()]
        heads = columns("student", "reads", "size")
    else:
        every = [*METHODS.values(), *RANKED_METHODS.values(), *TOKEN_METHODS.values()]
        rows = [[one.name, one.learned_by, one.about] for one in every]
        heads = columns("method", "student", "what is learned")
    if json:
        names = ("student", "reads", "size") if students else ("method", "student", "about")
        show_json([dict(zip(names, row, strict=True)) for row in rows])
        return
    show_table(heads, rows)
    if not students:
        note("also: any criterion of `recsys importance --help`, or your own module:preset")
