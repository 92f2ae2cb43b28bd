"""`recsys study`: arms × data × seeds from one file, to a table with paired intervals."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from storage.errors import BadSetting
from tui.cli import options
from tui.cli.progress import follow
from tui.cli.recommend import teacher_line
from tui.cli.render import Column, note, say, show_json, show_table

if TYPE_CHECKING:
    from distill.studies.files import Study
    from distill.studies.running import Studied

File = Annotated[
    str | None,
    typer.Argument(metavar="FILE", help="A study file, or the name of one that comes with us."),
]


def study(
    file: File = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="As small as the file says: to see that it runs.")
    ] = False,
    every: Annotated[
        bool, typer.Option("--all", help="With the arms that the file keeps for patient people.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE.md", help="Write the tables there too.")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option("--category", "-c", metavar="NAME", help="Other data than the file's."),
    ] = None,
    teacher: options.Teacher = None,
    weights: options.Weights = None,
    host: options.Hosts = None,
    device: options.Device = None,
    db: options.Db = None,
    json: options.Json = False,
) -> None:
    """Compare ways to distil; without a file, list the studies there are.

    Everything that was finished is kept: a study that was stopped goes on.
    """
    # Imported here: reading a study needs YAML, which `recsys --help` does not.
    from distill.studies.files import read_study, studies

    if file is None:
        for name in studies():
            say(f"{name}: {read_study(name).question}")
        return
    if output is not None and output.suffix != ".md":
        raise BadSetting(f"--output {str(output)!r} is no .md file")
    if output is not None and not output.parent.is_dir():
        raise BadSetting(
            f"there is no folder {str(output.parent)!r} to write {output.name!r} into",
            next_step=f"mkdir -p {shlex.quote(str(output.parent))}",
        )
    found = options.resolved(
        teacher=teacher, weights=weights, hosts=tuple(host) if host else None, device=device, db=db
    )
    asked = read_study(file, quick=quick, every=every, settings=found.settings)
    asked = asked.on(tuple(data)) if data else asked
    for category in asked.data:
        options.require_category(found.settings, category)
    # Imported here: torch takes longer to load than a mistyped name may.
    from distill.studies.running import Studied, run_study
    from distill.studies.tables import markdown

    note(teacher_line(found))
    with options.opened(found.settings) as store:
        done = follow(run_study(store, asked, found.settings), Studied)
    if output is not None:
        written(output, asked, markdown(done))
    if json:
        show_json(plain_figures(done))
    else:
        show_studied(done)


def show_studied(done: Studied) -> None:
    """Print a study's question, its tables, and what is said of them."""
    # Imported here: it loads what computes intervals.
    from distill.studies.tables import Table, blocks_of

    say(done.study.question)
    for block in blocks_of(done):
        say()
        if isinstance(block, Table):
            show_table([Column(head, n > 0) for n, head in enumerate(block.heads)], block.rows)
        else:
            say(block)


def written(output: Path, asked: Study, tables: str) -> None:
    """Write the tables of a study to a Markdown file.

    Raises:
        BadSetting: it cannot be written.
    """
    try:
        output.write_text(f"# {asked.name}: {asked.question}\n\n{tables}\n", encoding="utf-8")
    except OSError as error:
        raise BadSetting(f"{str(output)!r} cannot be written: {error}") from error
    note(f"written: {output}")


def plain_figures(done: Studied) -> list[dict[str, object]]:
    """Return rows and differences as plain values."""
    # Imported here: it loads what computes intervals.
    from distill.studies.tables import differences_of, rows_of

    metric = done.study.metric
    return [
        {
            "data": ran.category.name,
            "seeds": list(done.study.seeds),
            "metric": metric,
            "rows": [asdict(row) for row in rows_of(ran, [metric])],
            "differences": [asdict(d) for d in differences_of(ran, done.study.against, metric)],
        }
        for ran in done.ran
    ]
