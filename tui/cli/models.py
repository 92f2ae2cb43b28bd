"""`recsys models`: the teachers and students this machine knows, and where they come from."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from tui.cli import options
from tui.cli.progress import follow
from tui.cli.pulling import pull_models
from tui.cli.render import Cell, columns, note, say, show_json, show_table

if TYPE_CHECKING:
    from recommender.config import Settings
    from storage.records import Run

app = typer.Typer(
    help="Teachers, students and text encoders.", no_args_is_help=True, rich_markup_mode=None
)

ABILITIES = {
    "teacher": "likelihood, letters, text, states, gradients",
    "encoder": "text vectors, similarity",
}


@app.command("list")
def list_(host: options.Hosts = None, db: options.Db = None, json: options.Json = False) -> None:
    """List the known teachers, text encoders and trained students."""
    # Imported here: `recsys --help` needs no models.
    from recommender.backends.ollama.address import address_of
    from recommender.backends.ollama.models import held_by
    from recommender.models import known_models

    found = options.settings(db=db, hosts=tuple(host) if host else None)
    names, students = _students(found)
    known = known_models(found.models)
    held = list(held_by(found.hosts))
    answered = {address for address, _ in held}
    for one in found.hosts:
        if address_of(one) not in answered:
            note(f"{address_of(one)} lists no models; next: recsys doctor")
    if json:
        servers = [{"address": address, **asdict(facts)} for address, facts in held]
        show_json(
            {
                "models": [asdict(m) for m in known],
                "servers": servers,
                "students": [asdict(s) for s in students],
            }
        )
        return
    rows: list[list[Cell]] = [
        [m.name, m.kind, _where(m.present), ABILITIES[m.kind], m.spec, m.about] for m in known
    ]
    rows += [
        [
            facts.name,
            "on a server",
            "yes",
            "see `recsys doctor --teacher`",
            address,
            f"{facts.family} {facts.parameters} {facts.quantisation}".strip(),
        ]
        for address, facts in held
    ]
    rows += [
        [f"student:{s.id}", "student", s.status, "milliseconds", names[s.category_id], s.name]
        for s in students
    ]
    show_table(columns("name", "kind", "there", "can", "where", "about"), rows)


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="A model of the Ollama library, e.g. llama3.1:8b.")],
    host: options.Hosts = None,
) -> None:
    """Pull a model onto the Ollama server."""
    pull_models(options.settings(hosts=tuple(host) if host else None), [f"ollama:{name}"])
    note(f"next: recsys doctor --teacher {name}")


@app.command()
def add(
    spec: Annotated[str, typer.Argument(help="A Hugging Face directory, a GGUF file or a hub id.")],
    name: Annotated[str, typer.Option(help="The name that --teacher will take.")],
) -> None:
    """Register a model under a name."""
    # Imported here: `recsys --help` needs no models.
    from recommender.models import register

    known = register(options.settings().models, name, spec)
    say(f"{known.name}: {known.spec}")
    note(f"next: recsys recommend --teacher {known.name} --by teacher --user …")


@app.command()
def fetch() -> None:
    """Fetch the embedded models, each only where it is missing."""
    # Imported here: `recsys --help` needs no models.
    from recommender import models

    done = follow(models.fetch(options.settings().models), models.ModelsFetched)
    for name, path in done.paths.items():
        say(f"{name}: {path}")


def _students(found: Settings) -> tuple[dict[int, str], list[Run]]:
    """Return what categories are called, and the students that were trained on them."""
    with options.opened_if_any(found) as store:
        if store is None:
            return {}, []
        names = {one.id: options.labelled(one) for one in store.catalogue.categories()}
        return names, [run for run in store.runs.list() if run.kind == "student"]


def _where(present: bool | None) -> str:
    return {True: "yes", False: "missing", None: "on the hub"}[present]
