"""`recsys importance`: how much each layer of a model matters, by every criterion there is."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from storage.errors import BadSetting, UnknownName
from tui.cli import options
from tui.cli.progress import follow
from tui.cli.render import note, say, show_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distill.config import DistilConfig
    from distill.importance.requests import Loss
    from distill.profiling import ImportanceConfig, LayersMeasured
    from recommender.config import ResolvedSettings
    from storage.store import Store

ALL = "all"
PICTURES = (".png", ".svg")
FEWEST_FOR_PROBE = 20
DEFAULT_REQUESTS = 128

LOSSES = ("listwise", "letters", "next-token")
DEFAULT_LOSS = "listwise"

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
Losses = Annotated[
    list[str] | None,
    typer.Option(
        "--loss",
        metavar="NAME",
        help="Whose gradient: titles to choose from (listwise, the default), letters, or text "
        "(next-token); repeat it for several.",
    ),
]


def importance(
    category: Categories,
    teacher: options.Teacher = None,
    weights: options.Weights = None,
    criterion: CriterionNames = None,
    requests: Annotated[
        int, typer.Option(min=2, help="Training questions; dear criteria take fewer of them.")
    ] = DEFAULT_REQUESTS,
    loss: Losses = None,
    null: Annotated[
        bool, typer.Option("--null", help="Measure a twin of random weights beside it.")
    ] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what memory and work it takes; measure nothing.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw it: a .png or .svg file.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="Write it up as Markdown, plots beside it."),
    ] = None,
    candidates: options.Candidates = None,
    history_length: options.HistoryLength = None,
    min_rating: options.MinRating = None,
    split: options.SplitName = "temporal",
    seed: options.Seed = None,
    device: options.Device = None,
    db: options.Db = None,
    json: options.Json = False,
) -> None:
    """Measure how much each layer of a model matters; killed, it goes on where it was."""
    require_file(plot, PICTURES, "--plot")
    require_file(report, (".md",), "--report")
    losses = known_losses(loss or (DEFAULT_LOSS,))
    found = options.resolved(
        teacher=teacher,
        weights=weights,
        candidates=candidates,
        history_length=history_length,
        seed=seed,
        device=device,
        db=db,
    )
    with options.opened(found.settings) as store:
        names = named(store, category)
        # Imported here: torch takes longer to load than help, or a mistyped name, may take.
        from distill.profiling import ImportanceConfig

        wanted = [
            ImportanceConfig(tuple(criterion or ()), one, requests=requests, null=null)
            for one in losses
        ]
        for each in wanted:
            require_possible(each)
        configs = [
            configured(found, name, split=split, min_rating=min_rating, alone=teacher is None)
            for name in names
        ]
        if plan:
            # Imported here: only this needs it.
            from tui.cli.memory_plan import show_plan

            show_plan(configs[0], found.settings, json=json)
            return
        note(f"model: {configs[0].teacher.spec}")
        done = measured(store, found, configs, wanted)
    asked = typed(
        found, names, criterion, losses, requests=requests, null=null, split=split, rated=min_rating
    )
    finish(done, asked, plot=plot, report=report, json=json)


def require_file(file: Path | None, endings: Sequence[str], flag: str) -> None:
    """Check, before anything is measured, that a file can be written.

    Raises:
        BadSetting: its ending is unknown, or its folder is not there.

    >>> require_file(None, (".md",), "--report")
    """
    if file is None:
        return
    if file.suffix.lower() not in endings:
        known = " or ".join(endings)
        raise BadSetting(
            f"{flag} {str(file)!r} does not end in {known}",
            next_step=f"{flag} {file.with_suffix(endings[0])}",
        )
    if not file.parent.is_dir():
        raise BadSetting(
            f"there is no folder {str(file.parent)!r} to write {file.name!r} to",
            next_step=f"mkdir -p {file.parent}",
        )
    if file.is_dir():
        raise BadSetting(f"{flag} {str(file)!r} is a folder")
    try:
        # Tried and not asked for: root may, says the system, and then a file system refuses.
        with tempfile.TemporaryFile(dir=file.parent):
            pass
    except OSError as error:
        raise BadSetting(
            f"nothing can be written into {str(file.parent)!r}: {error.strerror}",
            next_step=f"{flag} {file.name}",
        ) from error


def known_losses(names: Sequence[str]) -> tuple[Loss, ...]:
    """Return the losses that are named, each once.

    Raises:
        BadSetting: there is no such loss, with those there are.

    >>> known_losses(["letters", "listwise", "letters"])
    ('letters', 'listwise')
    """
    for name in names:
        if name not in LOSSES:
            raise BadSetting(
                f"no loss {name!r}: one of {', '.join(LOSSES)}",
                next_step=f"--loss {DEFAULT_LOSS}",
            )
    return cast("tuple[Loss, ...]", tuple(dict.fromkeys(names)))


def named(store: Store, names: Sequence[str]) -> list[str]:
    """Return the categories that are meant, each once.

    Raises:
        UnknownName: one is not there, or there is none at all.
    """
    everything = [one.name for one in store.catalogue.categories()]
    if not everything:
        raise UnknownName(options.WAYS_TO_GET_DATA)
    found: dict[str, None] = {}
    for name in names:
        if name == ALL and ALL not in everything:
            found |= dict.fromkeys(everything)
        else:
            found[store.catalogue.category(name).name] = None
    return list(found)


def require_possible(wanted: ImportanceConfig) -> None:
    """Check that the criteria are known, fit the loss, and have requests enough.

    Raises:
        BadSetting: they do not.
    """
    from distill.importance.criteria import PROBE, chosen
    from distill.importance.layers import require_fitting

    criteria = chosen(wanted.criteria, wanted.loss)
    require_fitting(criteria, wanted.loss)
    probes = [one.name for one in criteria if one.measure == PROBE]
    if probes and wanted.requests < FEWEST_FOR_PROBE:
        raise BadSetting(
            f"{probes[0]!r} fits a probe and needs {FEWEST_FOR_PROBE} requests, "
            f"not {wanted.requests}",
            next_step=f"--requests {FEWEST_FOR_PROBE}",
        )


def configured(
    found: ResolvedSettings,
    name: str,
    *,
    split: Literal["temporal", "leave-last-out"],
    min_rating: float | None,
    alone: bool,
) -> DistilConfig:
    """Return what is asked; weights that are named without a teacher are measured themselves.

    Args:
        found: the settings.
        name: of the category.
        split: of the log.
        min_rating: lower ratings are no positives.
        alone: no teacher was named on the command line.
    """
    from tui.cli import distill

    config = distill.configured(name, found.settings, minutes=0, requests=0, epochs=None)
    config = distill.with_protocol(
        config, split=split, min_rating=min_rating, max_users=0, final=False
    )
    weights = config.teacher.weights
    if weights == "none":
        raise BadSetting(
            "--weights none leaves nothing to measure",
            next_step="--weights MODEL, a directory, a GGUF file or a hub id",
        )
    if weights and alone and found.origins["weights"].startswith("flag"):
        config = config.with_teacher(spec=weights, weights="")
    return config


def measured(
    store: Store,
    found: ResolvedSettings,
    configs: Sequence[DistilConfig],
    wanted: Sequence[ImportanceConfig],
) -> list[LayersMeasured]:
    """Measure every category by every loss."""
    from distill.profiling import LayersMeasured, profile_layers

    return [
        follow(profile_layers(store, config, each, found.settings), LayersMeasured)
        for each in wanted
        for config in configs
    ]


def typed(
    found: ResolvedSettings,
    names: Sequence[str],
    criterion: Sequence[str] | None,
    losses: Sequence[str],
    *,
    requests: int,
    null: bool,
    split: str,
    rated: float | None,
) -> str:
    """Return the command that measures the same again, without what is the default."""
    words = ["recsys importance", *(f"--category {quoted(name)}" for name in names)]
    words += [f"--criterion {name}" for name in criterion or ()]
    words += [f"--loss {name}" for name in losses if tuple(losses) != (DEFAULT_LOSS,)]
    words += [f"--requests {requests}"] if requests != DEFAULT_REQUESTS else []
    words += ["--null"] if null else []
    words += [f"--split {split}"] if split != "temporal" else []
    words += [] if rated is None else [f"--min-rating {rated:g}"]
    return " ".join(words) + options.given(found)


def quoted(name: str) -> str:
    """Return a name as a shell reads it.

    >>> quoted("Books"), quoted("Tiny shop")
    ('Books', "'Tiny shop'")
    """
    import shlex

    return shlex.quote(name)


def finish(
    done: Sequence[LayersMeasured],
    command: str,
    *,
    plot: Path | None,
    report: Path | None,
    json: bool,
) -> None:
    """Print what was measured, draw it, and write it up."""
    from distill.importance.findings import findings
    from tui.cli import layers

    found = findings(done)
    if plot is not None:
        from distill.importance.pictures import draw_profiles, write_picture

        write_picture(draw_profiles([one.drawn for one in found.each]), plot)
        note(f"drawn: {plot}")
    if report is not None:
        from distill.report import write_report

        written = write_report(report, found, date=_today(), command=f"{command} --report {report}")
        note(f"written: {', '.join(str(file) for file in written)}")
    if json:
        show_json(layers.as_json(found))
    else:
        layers.show(found)
        say()
        note(f"next: {layers.next_step(found, command)}")


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
