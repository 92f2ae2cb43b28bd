"""The `recsys` command: one file a command group, and the one error boundary.

Nothing heavy is loaded here: `recsys --help` must answer at once, so each command imports
what it alone needs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

from storage.errors import RecsysError
from tui.cli import (
    adapt,
    data,
    demo,
    distill,
    doctor,
    evaluate,
    export,
    importance,
    label,
    labels,
    methods,
    models,
    recommend,
    runs,
    study,
    truncate,
    tui,
)
from tui.text import plain

STOPPED = "stopped: finished stages are kept, an unfinished import is not; the same command goes on"
INTERRUPTED = 130
"""The exit code a shell expects after Ctrl-C."""

app = typer.Typer(
    name="recsys",
    help="Turn a local LLM into a recommender that answers in milliseconds.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
app.add_typer(data.app, name="data")
app.add_typer(models.app, name="models")
app.command("label")(label.label)
app.add_typer(labels.app, name="labels")
app.command("distill")(distill.distill)
app.command("methods")(methods.methods)
app.command("adapt")(adapt.adapt)
app.command("export")(export.export)
app.command("truncate")(truncate.truncate)
app.command("importance")(importance.importance)
app.command("study")(study.study)
app.command("recommend")(recommend.recommend)
app.command("evaluate")(evaluate.evaluate)
app.add_typer(runs.app, name="runs")
app.command("doctor")(doctor.doctor)
app.command("tui")(tui.tui)
app.command("demo")(demo.demo)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; end the process with 0, 1 for the user's error, or 2 for its usage."""
    try:
        try:
            app(args=None if arguments is None else list(arguments), prog_name="recsys")
        finally:
            if sys.stdout is not None:  # somebody closed it
                sys.stdout.flush()
    except RecsysError as error:
        print(f"error: {plain(str(error))}", file=sys.stderr)
        raise SystemExit(1) from None
    except BrokenPipeError:
        # Whoever read our output has gone, as `head` does. Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            print(STOPPED, file=sys.stderr)
        raise
