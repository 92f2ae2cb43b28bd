"""`recsys export`: a student or an adapted teacher in the form another program opens."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

import typer

from storage.errors import BadSetting
from tui.cli import options
from tui.cli.progress import follow
from tui.cli.render import note, say, show_json


def export(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A run, see `recsys runs list`; or a Hugging Face directory, a GGUF file, a "
            "registered name.",
        ),
    ],
    target: Annotated[
        str,
        typer.Argument(metavar="TARGET", help="The directory, the file, or the name on a server."),
    ],
    to: Annotated[
        Literal["hf", "gguf", "ollama", "onnx"],
        typer.Option(
            "--to",
            help="hf: a Hugging Face directory; gguf: a file for llama.cpp; ollama: a model on the "
            "server; onnx: a sequential student.",
        ),
    ],
    format: Annotated[
        Literal["f16", "q8_0"] | None,
        typer.Option("--format", help="Of the matrices of a GGUF file; q8_0 if not said."),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            "--teacher",
            metavar="MODEL",
            help="Whose tokenizer, template and stop words are kept; by default the run's.",
        ),
    ] = None,
    int8: Annotated[
        bool,
        typer.Option("--int8", help="ONNX: 8-bit weights, and what they cost on the test part."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
    host: options.Hosts = None,
    seed: options.Seed = None,
    db: options.Db = None,
    json: options.Json = False,
) -> None:
    """Write a model in the form another program opens, and see that it answers alike.

    `recsys export RUN --to ollama my-student` puts a truncated or adapted Llama back on the
    server, so that `recsys recommend --teacher my-student` asks it. A GGUF file gets its
    teacher's tokenizer; what was written is asked a few prompts beside what it was made of, and
    is kept only if both count the same tokens and answer alike.
    """
    # Imported here: torch takes longer to load than help may.
    from distill.exporting.events import Exported
    from distill.exporting.export import Wish, export

    found = options.settings(db=db, hosts=tuple(host) if host else None, seed=seed)
    if format and to not in ("gguf", "ollama"):
        raise BadSetting(
            f"--format is of a GGUF file, and --to {to} writes none", next_step="no --format"
        )
    wish = Wish(run, to, target, format or "q8_0", teacher or "", int8, force)
    with options.opened_if_any(found) as store:
        done = follow(export(wish, found, store), Exported)
    if json:
        show_json(asdict(done))
        return
    size = f", {done.size / 1e6:,.1f} MB" if done.size else ""
    say(f"{done.target}{size}")
    for line in done.summary:
        say(line)
    note(f"next: {done.next_step}")
