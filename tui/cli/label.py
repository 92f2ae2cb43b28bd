"""`recsys label`: teachers asked in bulk, every answer kept, and compared side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from tui.cli import options
from tui.cli.progress import follow
from tui.cli.pulling import pull_models
from tui.cli.render import Cell, columns, note, say, show_json, show_table
from tui.text import duration

if TYPE_CHECKING:
    from distill.labels import CategoryLabelled, TeacherRow


DEFAULT_REQUESTS = 500


def label(
    category: options.CategoryName,
    teacher: options.Teachers = None,
    requests: Annotated[
        int, typer.Option(min=1, help="Training questions; those of validation come besides.")
    ] = DEFAULT_REQUESTS,
    candidates: options.Candidates = None,
    orders: options.Orders = None,
    concurrency: options.Concurrency = "auto",
    host: options.Hosts = None,
    teacher_mode: options.TeacherMode = None,
    item_fields: options.ItemFields = None,
    history_length: options.HistoryLength = None,
    num_ctx: options.NumCtx = None,
    pull: options.Pull = False,
    min_rating: options.MinRating = None,
    split: options.SplitName = "temporal",
    seed: options.Seed = None,
    device: options.Device = None,
    db: options.Db = None,
    json: options.Json = False,
) -> None:
    """Ask a teacher in bulk; killed at any moment, it goes on where it was."""
    found = options.resolved(
        teacher=teacher[0] if teacher else None,
        candidates=candidates,
        orders=orders,
        in_flight=options.in_flight(concurrency),
        hosts=tuple(host) if host else None,
        teacher_mode=teacher_mode,
        item_fields=item_fields,
        history_length=history_length,
        num_ctx=num_ctx,
        seed=seed,
        device=device,
        db=db,
    )
    settings = found.settings
    options.require_category(settings, category)
    specs = options.several(teacher, settings)
    if pull:
        pull_models(settings, specs)
    # Imported here: torch takes longer to load than help, or a mistyped name, may take.
    from distill.labels import CategoryLabelled, crowded, label_category
    from tui.cli.distill import configured, with_protocol

    config = configured(category, settings, minutes=0, requests=requests, epochs=None)
    config = config.with_teacher(others=specs[1:])
    config = with_protocol(config, split=split, min_rating=min_rating, max_users=0, final=False)
    if crowded(config):
        note(crowded(config))
    note(f"teacher: {', '.join(specs)} ({found.origins['teacher']})")
    with options.opened(settings) as store:
        done = follow(label_category(store, config, settings), CategoryLabelled)
    if json:
        show_json(asdict(done))
    else:
        show_teachers(done)
        named = " ".join(f"--teacher {spec}" for spec in specs)
        again = options.given(found, besides=("teacher",))
        count = "" if requests == DEFAULT_REQUESTS else f" --requests {requests}"
        how = "" if split == "temporal" else f" --split {split}"
        how += "" if min_rating is None else f" --min-rating {min_rating:g}"
        note(f"next: recsys distill --category {category} {named}{again}{count}{how}")


def show_teachers(done: CategoryLabelled) -> None:
    """Print the teachers side by side, with what they must beat."""
    _show_quality(done)
    say()
    _show_cost(done.teachers)
    for row in done.teachers:
        if row.places:
            say()
            _show_places(row)
    if done.fusion is not None:
        say()
        shares = ", ".join(
            f"{row.name} {share:.2f} (alone {loss:.3f})"
            for row, share, loss in zip(
                done.teachers, done.fusion.shares, done.fusion.alone, strict=True
            )
        )
        say(f"fused by validation likelihood: {shares}; the mixture {done.fusion.loss:.3f} nats")


def _show_quality(done: CategoryLabelled) -> None:
    rows: list[list[Cell]] = []
    for row in done.teachers:
        figures = f"{row.mrr.value:.3f} [{row.mrr.low:.3f}, {row.mrr.high:.3f}]"
        floor = "not measured" if row.floor is None else f"{row.floor:.3f} nats"
        fit = "yes" if row.passed else "no"
        rows.append([row.name, row.way, figures, fit, row.calibration_error, floor])
    for name, interval in done.beside:
        figures = f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
        rows.append([name, "", figures, "", None, ""])
    rows.append(["chance", "", f"{done.chance:.3f}", "", None, ""])
    first = done.teachers[0].mrr
    heads = columns("ranker", "way", "mrr [95 %]", "above chance", ">calibration error", "noise")
    title = (
        f"{options.labelled(done.category)}: {first.n} validation requests of {first.people} people"
    )
    show_table(heads, rows, title=title)


def _show_cost(teachers: Sequence[TeacherRow]) -> None:
    rows: list[list[Cell]] = []
    for row in teachers:
        other = ", ".join(f"{n} {status}" for status, n in row.statuses if status != "ok")
        speed = "" if row.tokens_per_second is None else f"{row.tokens_per_second:,.0f}"
        rows.append(
            [
                row.name,
                f"{row.labels:,} of {row.questions:,}",
                row.orders,
                f"{row.declined:.1%}" + (f" ({other})" if other else ""),
                "" if row.coverage is None else f"{row.coverage:.0%}",
                duration(row.p50),
                duration(row.p95),
                speed,
            ]
        )
    heads = columns(
        "teacher",
        ">labels",
        ">orders",
        "no answer",
        ">letters named",
        ">p50",
        ">p95",
        ">tokens/s",
    )
    show_table(heads, rows)
    for row in teachers:
        if len(row.servers) > 1:
            note(f"{row.name}: answers of several servers are mixed: {', '.join(row.servers)}")


def _show_places(row: TeacherRow) -> None:
    """Print what a place is worth, whoever stands there, and how often it is right."""
    shown: list[list[Cell]] = [
        [
            chr(ord("A") + audit.place),
            f"{audit.preference:.3f}",
            audit.true,
            f"{audit.hits / audit.true:.2f}" if audit.true else "",
        ]
        for audit in row.places
    ]
    heads = columns("place", ">share", ">true item here", ">found when here")
    show_table(heads, shown, title=f"{row.name}: position bias, before it is taken off")
