"""`recsys distill`: labels, gate, Fisher, training, evaluation; each stage only where needed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tui.cli import options
from tui.cli.distil_flags import Flags, asked_for
from tui.cli.measurements import show_measurements
from tui.cli.progress import follow
from tui.cli.pulling import pull_models
from tui.cli.recommend import teacher_line
from tui.cli.render import note, say, show_json

if TYPE_CHECKING:
    from distill.config import DistilConfig, SplitKind
    from distill.pipeline import Distilled
    from recommender.config import Settings


Method = Annotated[
    str | None,
    typer.Option(
        "--method",
        "-m",
        metavar="NAME",
        help="Way to distil: fisher-ld (the default), none, logits-only, uniform, pkd-skip …, a "
        "criterion, or your own module:preset; `recsys methods` lists all.",
    ),
]
StudentName = Annotated[
    str | None,
    typer.Option(
        "--student",
        "-s",
        metavar="NAME",
        help="Sequential: standard, small, deep, wide, gru4rec. One that reads text: micro, tiny, "
        "compact, or a cut of the teacher: cut-50, cut-62.5, cut-75, cut-87.5.",
    ),
]
ConfigFile = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="FILE.yaml",
        help="Settings from a file, or published ones by name (fisher-ld-as-published, pkd, "
        "slmrec …); flags count more.",
    ),
]
Layers = Annotated[int | None, typer.Option(min=1, help="Layers of the student.")]
Hidden = Annotated[int | None, typer.Option(min=1, help="Width of the student.")]
Heads = Annotated[int | None, typer.Option(min=1, help="Heads of attention of the student.")]
Keep = Annotated[
    str | None,
    typer.Option(
        metavar="RULE",
        help="What a cut keeps: first, last, uniform, top-bottom, random, a measured criterion, "
        "or numbers of layers, as in 0,1,28,29.",
    ),
]
Objective = Annotated[
    Literal["ce", "gbce", "dros", "bce"] | None,
    typer.Option(help="What a sequential student learns the log by."),
]
TensorBoard = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Write losses and validations there.")
]


def distill(
    category: options.CategoryName,
    method: Method = None,
    student: StudentName = None,
    config: ConfigFile = None,
    minutes: Annotated[
        float | None,
        typer.Option(min=0, help="Fit the training requests into this time; 0 is no limit."),
    ] = None,
    requests: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Training requests; 0 is as many as the time allows. Every other one asks what "
            "comes after the last training event, where the teacher's word is all there is.",
        ),
    ] = None,
    layers: Layers = None,
    hidden: Hidden = None,
    heads: Heads = None,
    keep: Keep = None,
    objective: Objective = None,
    tokens: Annotated[
        int | None,
        typer.Option(min=0, help="Tokens that a student of text reads; 0 leaves it as made."),
    ] = None,
    lora_rank: Annotated[
        int | None,
        typer.Option(
            min=0, max=512, metavar="R", help="Train a student of text by LoRA; 0 is whole."
        ),
    ] = None,
    max_users: options.MaxUsers = 0,
    seed: options.Seed = None,
    final: Annotated[bool, typer.Option("--final", help="Then retrain on everything.")] = False,
    min_rating: options.MinRating = None,
    split: Annotated[
        Literal["temporal", "leave-last-out"] | None,
        typer.Option("--split", help="One moment for everybody, or everybody's last row."),
    ] = None,
    ignore_gate: Annotated[
        bool, typer.Option("--ignore-gate", help="Learn from a teacher that is no use.")
    ] = False,
    teacher: options.Teachers = None,
    weights: options.Weights = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes of the student over the data, at most.")
    ] = None,
    candidates: options.Candidates = None,
    orders: options.Orders = None,
    concurrency: options.Concurrency = "auto",
    host: options.Hosts = None,
    teacher_mode: options.TeacherMode = None,
    item_fields: options.ItemFields = None,
    history_length: options.HistoryLength = None,
    num_ctx: options.NumCtx = None,
    pull: options.Pull = False,
    tensorboard: TensorBoard = None,
    device: options.Device = None,
    db: options.Db = None,
    json: options.Json = False,
) -> None:
    """Train a student on a teacher's judgements and layers."""
    found = options.resolved(
        teacher=teacher[0] if teacher else None,
        weights=weights,
        candidates=candidates,
        orders=orders,
        in_flight=options.in_flight(concurrency),
        hosts=tuple(host) if host else None,
        teacher_mode=teacher_mode,
        item_fields=item_fields,
        history_length=history_length,
        num_ctx=num_ctx,
        device=device,
        seed=seed,
        db=db,
    )
    flags = Flags(
        method=method,
        student=student,
        config=config,
        shape=(layers, hidden, heads),
        language={"keep": keep, "tokens": tokens, "lora_rank": lora_rank},
        sequential={"objective": objective, "epochs": epochs},
        teacher={"requests": requests, "ignore_gate": ignore_gate or None},
        rest={
            "minutes": minutes,
            "split": split,
            "min_rating": min_rating,
            "max_users": max_users or None,
            "final": final or None,
        },
    )
    # Before the data is looked at: what is mistyped should not wait for anything.
    base = configured(category, found.settings, minutes=0, requests=0, epochs=None)
    asked = asked_for(base, found, flags)
    options.require_category(found.settings, category)
    specs = options.several(teacher, found.settings)
    asked = asked.with_teacher(others=specs[1:]) if len(specs) > 1 else asked
    if pull:
        pull_models(found.settings, specs)
    # Imported here: torch takes longer to load than help, or a mistyped name, may take.
    from distill.pipeline import Distilled, distil

    note(teacher_line(found))
    steps = distil(asked, settings=found.settings, tensorboard=tensorboard)
    done = follow(steps, Distilled)
    if json:
        show_json(asdict(done))
    else:
        show_distilled(done)


def configured(
    category: str, found: Settings, *, minutes: float, requests: int, epochs: int | None
) -> DistilConfig:
    """Return what the settings and the most used flags ask for."""
    # Imported here: `recsys --help` distils nothing.
    from distill.config import DistilConfig

    config = DistilConfig(category, seed=found.seed, minutes=minutes).with_teacher(
        spec=found.teacher,
        weights="" if found.weights == "auto" else found.weights,
        device=found.device,
        precision=found.precision,
        history_length=found.history_length,
        candidates=found.candidates,
        requests=requests,
        mode=found.teacher_mode,
        orders=found.orders,
        in_flight=found.in_flight,
        item_fields=found.item_fields,
    )
    return config if epochs is None else config.with_student(epochs=epochs)


def with_protocol(
    config: DistilConfig, *, split: SplitKind, min_rating: float | None, max_users: int, final: bool
) -> DistilConfig:
    """Return the same with what decides how it is measured."""
    # Imported here: `recsys --help` distils nothing.
    from dataclasses import replace

    return replace(config, split=split, min_rating=min_rating, max_users=max_users, final=final)


def show_distilled(done: Distilled) -> None:
    """Print every ranker with its intervals, the layer weights, and what came of it."""
    among = "full catalogue" if done.scope == "test/full" else "the teacher's candidates"
    title = f"{options.labelled(done.category)}, test, {among}"
    show_measurements(done.rows, scope=done.scope, title=title)
    if done.layer_weights:
        shown = ", ".join(f"{weight:.3f}" for weight in done.layer_weights)
        say(f"layer weights, first block first: {shown}")
    for line in done.summary:
        say(line)
    by = f" --by teacher:{done.teacher}" if done.teacher else ""
    note(f"next: recsys recommend --category {done.category.name} --user …{by}")
