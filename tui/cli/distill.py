"""`recsys distill`: labels, gate, Fisher, training, evaluation; each stage only where needed."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from tui.cli import options
from tui.cli.measurements import show_measurements
from tui.cli.progress import follow
from tui.cli.pulling import pull_models
from tui.cli.recommend import teacher_line
from tui.cli.render import note, say, show_json

if TYPE_CHECKING:
    from distill.config import DistilConfig, SplitKind
    from distill.pipeline import Distilled
    from recommender.config import Settings


def distill(
    category: options.CategoryName,
    minutes: Annotated[
        float, typer.Option(min=0, help="Fit the training requests into this time; 0 is no limit.")
    ] = 0,
    requests: Annotated[
        int, typer.Option(min=0, help="Training requests; 0 is as many as the time allows.")
    ] = 0,
    max_users: options.MaxUsers = 0,
    seed: options.Seed = None,
    final: Annotated[bool, typer.Option("--final", help="Then retrain on everything.")] = False,
    min_rating: options.MinRating = None,
    split: options.SplitName = "temporal",
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
    options.require_category(found.settings, category)
    specs = options.several(teacher, found.settings)
    if pull:
        pull_models(found.settings, specs)
    # Imported here: torch takes longer to load than help, or a mistyped name, may take.
    from distill.pipeline import Distilled, distil

    config = configured(category, found.settings, minutes=minutes, requests=requests, epochs=epochs)
    config = config.with_teacher(ignore_gate=ignore_gate, others=specs[1:])
    config = with_protocol(
        config, split=split, min_rating=min_rating, max_users=max_users, final=final
    )
    note(teacher_line(found))
    done = follow(distil(config, settings=found.settings), Distilled)
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
    title = f"{options.labelled(done.category)}, test, full catalogue"
    show_measurements(done.rows, scope="test/full", title=title)
    if done.layer_weights:
        shown = ", ".join(f"{weight:.3f}" for weight in done.layer_weights)
        say(f"layer weights, first block first: {shown}")
    for line in done.summary:
        say(line)
    note(f"next: recsys recommend --category {done.category.name} --user …")
