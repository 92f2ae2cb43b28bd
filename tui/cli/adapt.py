"""`recsys adapt`: a language model adapted to one shop, measured, and kept as a teacher."""

from __future__ import annotations

import shlex
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tui.cli import options
from tui.cli.progress import follow
from tui.cli.recommend import teacher_line
from tui.cli.render import Cell, columns, note, say, show_json, show_table

if TYPE_CHECKING:
    from distill.adapting.config import AdaptConfig
    from distill.adapting.events import Adapted
    from distill.config import SplitKind
    from recommender.config import Settings


def adapt(
    category: options.CategoryName,
    teacher: options.Teacher = None,
    minutes: Annotated[
        float, typer.Option(min=0, help="Fit everything into this time; 0 is no limit.")
    ] = 60,
    requests: Annotated[
        int, typer.Option(min=0, help="Training requests to learn from; 0 is all there are.")
    ] = 0,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over them, at most.")] = 3,
    rank: Annotated[int, typer.Option(min=1, max=512, help="Rank of the adapters (LoRA).")] = 8,
    candidates: options.Candidates = None,
    prompt_tokens: Annotated[
        int, typer.Option(min=64, max=2048, help="Longest question learned from, in tokens.")
    ] = 220,
    history_length: options.HistoryLength = None,
    letters_weight: Annotated[
        float, typer.Option(min=0, help="Weight of the listwise loss over the letters.")
    ] = 1.0,
    said_weight: Annotated[
        float,
        typer.Option(
            min=0,
            help="Weight of the loss of saying anything but a letter; where more than half of the "
            "probability is no letter, an answer is declined.",
        ),
    ] = 0.5,
    lm_weight: Annotated[
        float, typer.Option(min=0, help="Weight of the language-model loss on titles.")
    ] = 0.3,
    shown: Annotated[
        float,
        typer.Option(
            min=0,
            max=0.99,
            help="Share of the steps in which the answer may stand in the history, so that letters "
            "are learned first; 0 is never.",
        ),
    ] = 0.6,
    learning_rate: Annotated[float, typer.Option(min=0, help="At its highest.")] = 1e-3,
    batch: Annotated[int, typer.Option(min=1, max=1024, help="Questions a step.")] = 8,
    patience: Annotated[
        int,
        typer.Option(
            min=1,
            help="Validations, of 8, without a better one before it stops; counted once answers "
            "are no longer shown.",
        ),
    ] = 2,
    test_requests: Annotated[
        int, typer.Option(min=1, help="Test requests it is judged on, one a person.")
    ] = 500,
    whole_requests: Annotated[
        int,
        typer.Option(
            min=1,
            help="Of these, how many are asked whole prompts, too, by letters and by likelihood, "
            "as a teacher is, and how many validation requests calibrate its letters; that takes "
            "many times as long.",
        ),
    ] = 100,
    merge: Annotated[
        bool,
        typer.Option(
            help="Keep whole weights, a teacher under the run's id; or the adapter alone, as "
            "`peft` keeps one.",
        ),
    ] = True,
    min_rating: options.MinRating = None,
    split: options.SplitName = "temporal",
    seed: options.Seed = None,
    tensorboard: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write losses and validations for TensorBoard there."),
    ] = None,
    device: options.Device = None,
    db: options.Db = None,
    json: options.Json = False,
) -> None:
    """Adapt a teacher to a category: LoRA on its training sequences, judged on test.

    It learns to name the letter of the item that came next, and the titles of what people
    chose. Validation stops it; test is read once, at the end, beside the unadapted teacher.
    The result is a Hugging Face directory that `--teacher RUN` takes at once, RUN being the
    run's id, e.g. `recsys distill --teacher adapted-1a2b3c4d`. Stopped, the same command goes
    on. A GGUF file is adapted as its de-quantised weights.
    """
    found = options.resolved(
        teacher=teacher,
        candidates=candidates,
        history_length=history_length,
        device=device,
        seed=seed,
        db=db,
    )
    options.require_category(found.settings, category)
    # Imported here: torch takes longer to load than help, or a mistyped name, may take.
    from distill.adapting.adapt import adapt as adapting
    from distill.adapting.events import Adapted

    config = replace(
        configured(category, found.settings, split=split, min_rating=min_rating),
        minutes=minutes,
        requests=requests,
        epochs=epochs,
        rank=rank,
        prompt_tokens=prompt_tokens,
        letters_weight=letters_weight,
        said_weight=said_weight,
        lm_weight=lm_weight,
        shown=shown,
        learning_rate=learning_rate,
        batch=batch,
        patience=patience,
        test_requests=test_requests,
        whole_requests=whole_requests,
        merged=merge,
    )
    note(teacher_line(found))
    events = adapting(config, settings=found.settings, tensorboard=tensorboard)
    done = follow(events, Adapted)
    if json:
        show_json(asdict(done))
    else:
        show_adapted(done)


def configured(
    category: str, found: Settings, *, split: SplitKind, min_rating: float | None
) -> AdaptConfig:
    """Return what the settings say of an adaptation."""
    # Imported here: `recsys --help` adapts nothing.
    from distill.adapting.config import AdaptConfig

    return AdaptConfig(
        category,
        teacher=found.teacher,
        seed=found.seed,
        split=split,
        min_rating=min_rating,
        device=found.device,
        precision=found.precision,
        candidates=found.candidates,
        history_length=found.history_length,
    )


def show_adapted(done: Adapted) -> None:
    """Print the curve, the figures, and where the result is."""
    rows: list[list[Cell]] = [
        [
            point.step,
            f"{point.mrr:.4f}",
            "" if point.step == 0 else f"{point.loss:.4f}",
            "kept" if point.step == done.best_step else "",
        ]
        for point in done.curve
    ]
    title = f"{options.labelled(done.category)}, validation, by letters"
    show_table(columns(">step", ">mrr", ">loss", ""), rows, title=title)
    for line in done.summary:
        say(line)
    say(f"{done.run.id}: {done.folder}")
    if done.teacher:
        category = shlex.quote(done.category.name)
        note(f"next: recsys distill --category {category} --teacher {done.teacher}")
