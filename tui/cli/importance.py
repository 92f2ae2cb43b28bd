"""`recsys importance`: how much each layer of a model matters, by every criterion there is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tui.cli import options
from tui.cli.progress import follow

if TYPE_CHECKING:
    pass

ALL = "all"

Categories = Annotated[
    list[str],
    typer.Option(
        "--category", "-c", metavar="NAME", help="Whose requests; repeat it for several, or 'all'."
    ),
]
CriterionNames = Annotated[
    list[str] | None,
    typer.Option(
        "--criterion",
        metavar="NAME",
        help="By name, repeated for several; 'default' are those of one forward and one backward "
        "pass, 'all' is every one that fits the model's size.",
    ),
]


def importance(
    category: Categories,
    teacher: options.Teacher = None,
    weights: options.Weights = None,
    criterion: CriterionNames = None,
    requests: Annotated[
        int, typer.Option(min=2, help="Training questions; dear criteria take fewer of them.")
    ] = 128,
    loss: Annotated[
        Literal["listwise", "letters", "next-token"],
        typer.Option("--loss", help="Whose gradient: titles to choose from, letters, or text."),
    ] = "listwise",
    null: Annotated[
        bool, typer.Option("--null", help="Measure a twin of random weights beside it.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw it: a .png or .svg file.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="Write a Markdown report, plots beside it."),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what it would take of memory and time, and stop.")
    ] = False,
    candidates: options.Candidates = None,
    history_length: options.HistoryLength = None,
    min_rating: options.MinRating = None,
    split: options.SplitName = "temporal",
    seed: options.Seed = None,
    device: options.Device = None,
    db: options.Db = None,
    json: options.Json = False,
) -> None:
    """Measure how much each layer of the teacher matters; killed, it goes on where it was."""
    found = options.resolved(
        teacher=teacher,
        weights=weights,
        candidates=candidates,
        history_length=history_length,
        seed=seed,
        device=device,
        db=db,
    )
    # Imported here: torch takes longer to load than help, or a mistyped name, may take.
    from distill.profiling import ImportanceConfig, LayersMeasured, profile_layers
    from tui.cli.distill import configured, with_protocol

    wanted = ImportanceConfig(tuple(criterion or ()), loss, requests=requests, null=null)
    done = []
    with options.opened(found.settings) as store:
        for name in named(store, category):
            config = configured(name, found.settings, minutes=0, requests=0, epochs=None)
            config = with_protocol(
                config, split=split, min_rating=min_rating, max_users=0, final=False
            )
            steps = profile_layers(store, config, wanted, found.settings)
            done.append(follow(steps, LayersMeasured))
