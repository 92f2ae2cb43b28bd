"""`recsys export` from beginning to end: what, in which form, whose tokenizer, where to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from distill.exporting.sources import find_source, require_llama, require_student
from recommender.config import Settings
from recommender.events import Event
from storage.artifacts import Artifacts
from storage.errors import BadSetting
from storage.store import Store

Form = Literal["hf", "gguf", "ollama", "onnx"]
TITLES = {
    "hf": "a Hugging Face directory",
    "gguf": "a GGUF file",
    "ollama": "a model of an Ollama server",
}


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asked for."""

    source: str
    """A run, a directory, a GGUF file or a registered name."""
    form: Form
    target: str
    """A directory, a file, or a model's name."""
    format: Literal["f16", "q8_0"] = "q8_0"
    """Of the matrices of a GGUF file."""
    teacher: str = ""
    """Whose tokenizer, template and stop words are kept; empty finds it by the run."""
    int8: bool = False
    force: bool = False


def export(wish: Wish, settings: Settings, store: Store | None) -> Iterator[Event]:
    """Write a model in the form another program opens; the last event is `Exported`.

    Args:
        wish: what was asked for.
        settings: hosts, seeds, where models and artifacts are.
        store: with the runs; None where there is none.

    Raises:
        UnknownName: there is no such run, directory or file.
        BadSetting: it has no such form, or the target is taken.
        BadData: it cannot be written so that it could be read back.
        NotTheSame: what was written answers otherwise than its source.
    """
    _refuse_mixed(wish)
    found = find_source(wish.source, settings, store)
    if wish.form == "onnx":
        # Each form is imported where it is wanted: of the others none is needed.
        from distill.exporting.to_onnx import export_onnx

        student = require_student(found)
        assert store is not None, "a run was found in it"
        target = Path(wish.target).expanduser()
        yield from export_onnx(
            store, student, target, int8=wish.int8, force=wish.force, seed=settings.seed
        )
        return
    model = require_llama(found, TITLES[wish.form])
    artifacts = Artifacts(settings.artifacts)
    if wish.form == "hf":
        from distill.exporting.to_directory import export_directory

        target = Path(wish.target).expanduser()
        yield from export_directory(model, target, artifacts, force=wish.force)
        return
    from distill.exporting.teachers import find_teacher

    if wish.form == "gguf":
        from distill.exporting.to_gguf import export_gguf, refuse_gguf

        refuse_gguf(model)
        teacher = yield from find_teacher(model, settings, wish.teacher)
        yield from export_gguf(
            model,
            teacher,
            Path(wish.target).expanduser(),
            format=wish.format,
            force=wish.force,
            artifacts=artifacts,
        )
        return
    from distill.exporting.to_ollama import Order, export_ollama

    teacher = yield from find_teacher(model, settings, wish.teacher)
    order = Order(wish.target, wish.format, wish.force, Path.cwd())
    yield from export_ollama(model, teacher, order, settings)


def _refuse_mixed(wish: Wish) -> None:
    if wish.int8 and wish.form != "onnx":
        raise BadSetting("--int8 is of ONNX files alone", next_step="--to onnx, or --format q8_0")
    if wish.teacher and wish.form in ("hf", "onnx"):
        raise BadSetting(
            f"--teacher says whose tokenizer a GGUF file gets, and --to {wish.form} copies its own"
        )
