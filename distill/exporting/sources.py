"""What is exported: a run's model, or a directory or file that the user named.

Nothing is opened here but manifests; what cannot be exported is refused with the reason, before
anything is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from recommender.backends.weights import WeightsPlace, find_weights
from recommender.config import Settings
from recommender.models import known_models
from storage.errors import BadSetting, UnknownName, nearest
from storage.records import Artifact, Run
from storage.store import Store

SEQUENTIAL_STUDENT = "student"


@dataclass(frozen=True, slots=True)
class Llama:
    """A language model on disk: a Hugging Face directory, or a GGUF file."""

    place: WeightsPlace
    name: str
    base: str = ""
    """`ModelCard.key` of what it was made of; empty where nothing says."""
    teacher: str = ""
    """What its run calls its teacher; empty without a run."""


@dataclass(frozen=True, slots=True)
class Student:
    """A sequential student of a run."""

    run: Run
    artifact: Artifact


def find_source(what: str, settings: Settings, store: Store | None) -> Llama | Student:
    """Find what is to be exported.

    Args:
        what: a run's id or the beginning of it, a directory, a GGUF file, a registered name.
        settings: where models are.
        store: with the runs; None where there is none.

    Raises:
        UnknownName: there is no such thing, with the nearest names.
        BadSetting: it has no model, or one that is not whole.
        ArtifactDamaged: its artifact is not what it was.
    """
    path = Path(what).expanduser()
    if path.exists():
        return _on_disk(path, what)
    known = {one.name: one.spec for one in known_models(settings.models) if one.kind == "teacher"}
    if store is not None:
        try:
            return _of_run(store, store.runs.get(what))
        except UnknownName:
            if what not in known:
                raise
    if what in known:
        return Llama(find_weights(known[what]), what)
    raise UnknownName(
        f"no run, directory or GGUF file {what!r}{nearest(what, sorted(known))}",
        next_step="recsys runs list",
    )


def require_llama(found: Llama | Student, form: str) -> Llama:
    """Refuse to write a sequential student in a form for language models.

    Raises:
        BadSetting: it is one.
    """
    if isinstance(found, Llama):
        return found
    raise BadSetting(
        f"run {found.run.id!r} is a sequential student, which reads item numbers and no text: it "
        f"has no form as {form}",
        next_step=f"recsys export {found.run.id} --to onnx FILE",
    )


def require_student(found: Llama | Student) -> Student:
    """Refuse to write a language model in the form of sequential students.

    Raises:
        BadSetting: it is one.
    """
    if isinstance(found, Student):
        return found
    raise BadSetting(
        f"{found.name!r} is a language model: ONNX is the form of sequential students",
        next_step="the same with `--to hf`, `--to gguf` or `--to ollama`",
    )


def _of_run(store: Store, run: Run) -> Llama | Student:
    if not run.artifact:
        raise BadSetting(
            f"run {run.id!r} is of a {run.kind} that was only measured: it has no model of its own",
            next_step="recsys runs list",
        )
    # Imported here: they load torch, which takes longer than a mistyped name may.
    from distill.adapting.keeping import ADAPTER, MERGED
    from distill.language.training import KIND as LANGUAGE_STUDENT

    artifact = store.artifacts.open(run.artifact, verify="full")
    if artifact.kind == SEQUENTIAL_STUDENT:
        return Student(run, artifact)
    if artifact.kind == ADAPTER:
        raise _adapter(run.id)
    if artifact.kind not in (LANGUAGE_STUDENT, MERGED):
        raise BadSetting(f"run {run.id!r} has no model, but an artifact {artifact.kind!r}")
    teacher = run.config.get("teacher", "")
    spec = teacher.get("spec", "") if isinstance(teacher, dict) else teacher
    weights = teacher.get("weights", "") if isinstance(teacher, dict) else ""
    place = WeightsPlace("directory", Path(artifact.path), run.id, run.id)
    base = str(run.config.get("base_model", ""))
    return Llama(place, run.id, base, str(weights or spec or ""))


def _on_disk(path: Path, what: str) -> Llama:
    if (path / "adapter_config.json").is_file():
        raise _adapter(what)
    if (path / "student.onnx").is_file():
        raise BadSetting(
            f"{what!r} is the directory of a sequential student: name its run",
            next_step="recsys runs list",
        )
    place = find_weights(path)
    return Llama(place, place.name, _base_of(path))


def _base_of(path: Path) -> str:
    """Return the key of the teacher that a student's directory names; empty where none does."""
    try:
        about = json.loads((path / "about.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""  # any other directory
    return str(about.get("teacher", "")) if isinstance(about, dict) else ""


def _adapter(name: str) -> BadSetting:
    return BadSetting(
        f"{name!r} is an adapter alone, and other programs open whole weights: it has to be merged",
        next_step="recsys adapt --merge, with the settings of that run",
    )
