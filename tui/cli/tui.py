"""`recsys tui`: teacher and student live, side by side."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from storage.errors import BadSetting
from tui.cli import options
from tui.cli.render import say

if TYPE_CHECKING:
    from recommender.config import Settings


def tui(
    category: Annotated[
        str | None,
        typer.Option("--category", "-c", metavar="NAME", help="To begin with, see `data list`."),
    ] = None,
    teacher: options.Teacher = None,
    teacher_mode: options.TeacherMode = None,
    host: options.Hosts = None,
    num_ctx: options.NumCtx = None,
    device: options.Device = None,
    db: options.Db = None,
) -> None:
    """Show teacher and student live, side by side; distil, measure and look at layers."""
    # The app draws on stderr, so that is looked at too.
    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        raise BadSetting(
            "recsys tui needs a terminal", next_step="recsys recommend --compare --user …"
        )
    found = options.settings(
        teacher=teacher,
        teacher_mode=teacher_mode,
        hosts=tuple(host) if host else None,
        num_ctx=num_ctx,
        device=device,
        db=db,
    )
    require_place(found)
    if category is not None:
        options.require_category(found, category)
    # Imported here: `recsys --help` must load no Textual.
    from tui.app import RecsysApp

    app = RecsysApp(found, category=category)
    app.run()
    if app.return_code:  # a fault of ours, whose traceback is on the screen
        raise typer.Exit(app.return_code)
    for line in app.last_words:
        say(line)


def require_place(found: Settings) -> None:
    """Refuse a database that could not be made where it is said to be: a mistyped name.

    Raises:
        BadSetting: its folder is not there, or no database has such a URL.
    """
    if found.has_usual_db:
        return
    # Imported here: where nothing is said, the window is painted before a database is loaded.
    from storage.database import file_of_url

    file = file_of_url(found.db)
    if file is not None and not file.parent.is_dir():
        raise BadSetting(
            f"there is no folder {str(file.parent)!r} for the database {found.db!r}",
            next_step="mend --db or RECSYS_DB, or make the folder",
        )
