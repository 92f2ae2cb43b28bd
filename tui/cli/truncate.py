"""`recsys truncate`: layers taken out of a GGUF file, without opening the model."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from storage.errors import BadSetting
from tui.cli import options
from tui.cli.progress import follow
from tui.cli.render import note, say, show_json

if TYPE_CHECKING:
    from distill.exporting.truncating import Truncated
    from recommender.config import Settings

SHARE = 0.5


def truncate(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A GGUF file, a name from `recsys models list`, or a model that the Ollama server "
            "of this machine holds ('ollama:llama3.1:8b').",
        ),
    ],
    target: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE", help="What to write; by default MODEL-KEPTofLAYERS.gguf, here."
        ),
    ] = None,
    keep: Annotated[
        str,
        typer.Option(
            "--keep",
            metavar="LAYERS",
            help="first, last, uniform, top-bottom, random, the layers themselves (0,1,28,29), or, "
            "with --category, a criterion that `recsys importance` measured there.",
        ),
    ] = "uniform",
    cut: Annotated[
        float | None,
        typer.Option(help=f"Share of the layers that a rule takes away; {SHARE} if not said."),
    ] = None,
    layers: Annotated[
        int | None, typer.Option(min=1, help="How many a rule keeps, instead of --cut.")
    ] = None,
    category: Annotated[
        str | None,
        typer.Option("--category", "-c", metavar="NAME", help="Where a criterion was measured."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    host: options.Hosts = None,
    seed: options.Seed = None,
    db: options.Db = None,
    json: options.Json = False,
) -> None:
    """Take layers out of a GGUF file; the others are copied bit by bit, quantised as they are.

    Nothing is trained: what comes out is where a student may begin, and most cuts answer much
    worse than their teacher until they have learned.
    """
    # Imported here: numpy takes longer to load than help may.
    from distill.exporting.truncating import Truncated, open_head, source_of
    from distill.exporting.truncating import truncate as truncating
    from distill.language.keeping import keep_of, keep_set

    found = options.settings(hosts=tuple(host) if host else None, seed=seed, db=db)
    listed = all(part.strip().isdecimal() for part in keep.split(","))
    _refuse_mixed(listed, cut, layers)
    head = open_head(source_of(model, found))
    number = layers or keep_of(SHARE if cut is None else cut, head.layers)
    profile = _profile(keep, category, head.path, found)
    rule = keep if profile is None else "profile"
    kept = keep_set(rule, head.layers, number, profile=profile, seed=found.seed)
    name = f"{head.path.stem}-{len(kept)}of{head.layers}.gguf"
    done = follow(truncating(head, target or Path(name), kept, force=force), Truncated)
    if json:
        show_json(asdict(done))
    else:
        _show(done, found)


def _profile(
    keep: str, category: str | None, model: Path, found: Settings
) -> tuple[float, ...] | None:
    """Return what was measured of this file's layers; None where --keep names no criterion."""
    # Imported here, as above.
    from distill.importance.criteria import CRITERIA
    from distill.language.profiles import largest
    from recommender.backends.weights import find_weights, weights_digest

    if keep not in CRITERIA:
        if category is not None:
            raise BadSetting(
                f"--category says where a criterion was measured, and {keep!r} is none"
            )
        return None
    if category is None:
        raise BadSetting(
            f"{keep!r} was measured on some category", next_step=f"--keep {keep} --category NAME"
        )
    key = f"@{weights_digest(find_weights(model))}/"
    with options.opened(found) as store:
        profiles = store.runs.profiles(store.catalogue.category(category).id)
    measured = largest(profiles, keep, lambda weights: key in weights)
    if measured is None:
        raise BadSetting(
            f"{keep!r} was not measured on {category!r} with {model.name}",
            next_step=f"recsys importance --category {shlex.quote(category)} --criterion {keep} "
            f"--weights {shlex.quote(str(model))}",
        )
    return measured.layers


def _refuse_mixed(listed: bool, cut: float | None, layers: int | None) -> None:
    if listed and (cut is not None or layers is not None):
        raise BadSetting("--keep names the layers: --cut and --layers are for its rules")
    if cut is not None and layers is not None:
        raise BadSetting("--cut is a share and --layers a number of the same: one of them")


def _show(done: Truncated, found: Settings) -> None:
    say(f"{done.path}: layers {', '.join(map(str, done.kept))} of {done.layers}")
    say(
        f"{done.size / 1e6:,.1f} MB of {done.source_size / 1e6:,.1f} MB, "
        f"{done.parameters / 1e6:,.1f} M parameters of {done.source_parameters / 1e6:,.1f} M"
    )
    note(f"next: recsys export {done.path} --to ollama my-student")
