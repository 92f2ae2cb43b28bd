"""What the Teachers screen knows: servers and models as rows, and labelling as a job.

Apart from the screen, because here a row is a function of what was found, and because what is
heavy, the HTTP client above all, is loaded in a thread when it is first asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from distill.jobs.records import JobSpec
from recommender.backends.ollama.names import model_name
from storage.errors import BadSetting
from tui.text import duration

if TYPE_CHECKING:
    from recommender.backends.ollama.survey import HeldModel, HostState, Survey
    from recommender.config import Settings
    from recommender.models import KnownModel
    from recommender.protocol import Protocol
    from storage.label_records import LabelStatistics, NoiseFloor

HERE = "this machine"
CANDIDATES = (2, 100)
ABILITIES = {"teacher": ("likelihood", "letters"), "encoder": ("embeddings",)}
STATES = {True: "✓ here", False: "✗ missing", None: "? on the hub"}


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One model, on a server or here."""

    name: str
    where: str
    """Its server's address, or this machine."""
    spec: str
    """What `--teacher` takes."""
    state: str
    """With a sign in front."""
    about: str
    """Size in parameters, quantisation, or what it is."""
    host: str | None = None
    """As the settings write it; None for what is on this machine."""
    key: str = ""
    """`ModelCard.key`; empty where it is known only once it is opened."""
    size: int = 0
    context: int = 0
    abilities: tuple[str, ...] = ()
    quantisation: str = ""
    missing: bool = False
    """It must be fetched first."""
    file: str = ""
    """What it is called on this machine's disk."""

    @property
    def id(self) -> str:
        """What tells it from the other rows."""
        return f"{self.where} {self.name}"


class ModelWatch:
    """Looks at the servers and at this machine, each in a thread."""

    def __init__(self, settings: Settings) -> None:
        """`settings` name the servers and where models are."""
        self.settings = settings
        self._survey: Survey | None = None
        self._opening = Lock()

    @property
    def hosts(self) -> tuple[str, ...]:
        """The servers, the usual one where none is named."""
        return self.settings.hosts or ("",)

    async def look(self, host: str) -> HostState:
        """Return how a server stands."""
        return await asyncio.to_thread(self._look, host)

    async def here(self) -> list[ModelRow]:
        """Return the models of this machine.

        Raises:
            BadSetting: the list of registered models cannot be read.
        """
        return await asyncio.to_thread(models_here, self.settings)

    def _look(self, host: str) -> HostState:
        with self._opening:
            if self._survey is None:
                # Imported here: the HTTP client takes longer to load than a frame.
                from recommender.backends.ollama.survey import Survey

                self._survey = Survey()
        return self._survey.look(host)


def models_here(settings: Settings) -> list[ModelRow]:
    """Return the embedded and the registered models.

    >>> from recommender.config import Settings
    >>> [(row.name, row.state) for row in models_here(Settings(data_dir=Path("nowhere")))]
    [('embedded', '✗ missing'), ('minilm', '✗ missing')]
    """
    from recommender.models import known_models

    return [_known(model) for model in known_models(settings.models)]


def _known(model: KnownModel) -> ModelRow:
    return ModelRow(
        name=model.name,
        where=HERE,
        spec=model.name,
        state=STATES[model.present],
        about=model.about,
        size=_size(Path(model.spec)) if model.present else 0,
        abilities=ABILITIES[model.kind],
        missing=model.present is False,
        file=Path(model.spec).name,
    )


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return sum(one.stat().st_size for one in files)


def models_held(state: HostState) -> list[ModelRow]:
    """Return the models of a server."""
    return [_held(state, model) for model in state.models]


def _held(state: HostState, model: HeldModel) -> ModelRow:
    loaded = "○ pulled"
    if model.loaded is not None:
        loaded = f"● loaded, {model.loaded:,}" if model.loaded else "● loaded"
    return ModelRow(
        name=model.name,
        where=state.address.removeprefix("http://"),
        spec=f"ollama:{model.name}",
        state=loaded,
        about=f"{model.parameters} {model.quantisation}".strip(),
        host=state.host,
        key=model.key,
        size=model.size,
        context=model.context,
        abilities=model.abilities or ("?",),
        quantisation=model.quantisation,
    )


def host_line(state: HostState) -> str:
    """Return a server as a line, its sign in front.

    >>> from recommender.backends.ollama.survey import HostState
    >>> host_line(HostState("box", "http://box:11434", "0.24.0"))
    '● http://box:11434: Ollama 0.24.0, no models yet: p pulls one'
    >>> host_line(HostState("box", "http://box:11434", problem="nobody", next_step="ollama serve"))
    '✗ http://box:11434: nobody; next: ollama serve'
    """
    if not state.up:
        further = f"; next: {state.next_step}" if state.next_step else ""
        return f"✗ {state.address}: {state.problem}{further}"
    loaded = sum(model.loaded is not None for model in state.models)
    many = "model" if len(state.models) == 1 else "models"
    count = f"{len(state.models)} {many}, {loaded} in memory"
    holds = count if state.models else "no models yet: p pulls one"
    return f"● {state.address}: Ollama {state.version}, {holds}"


def floor_of(row: ModelRow, floors: Mapping[str, NoiseFloor]) -> NoiseFloor | None:
    """Return the noise floor that was measured last of a model, None without one.

    The key of a model of this machine is not known until it is opened, only its name.

    >>> from storage.records import NoiseFloor
    >>> floor = NoiseFloor("smol@sha256:ab/q4", "", "", "2026-11-23", 0.1, 0.0, 0, 9)
    >>> row = ModelRow("embedded", HERE, "embedded", "✓ here", "", file="smol.gguf")
    >>> floor_of(row, {floor.teacher: floor}).floor
    0.1
    """
    if row.key or not row.file:
        return floors.get(row.key)
    names = {row.file, Path(row.file).stem, row.file.removesuffix(".gguf")}
    alike = [one for key, one in floors.items() if key.partition("@")[0] in names]
    return max(alike, key=lambda one: one.measured_at, default=None)


def bytes_shown(size: int) -> str:
    """Return a size as people read it.

    >>> bytes_shown(4_920_000_000), bytes_shown(91_700_000), bytes_shown(45_000), bytes_shown(0)
    ('4.9 GB', '92 MB', '45 KB', '')
    """
    if not size:
        return ""
    if size >= 1e9:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{size / 1e3:.0f} KB"


@dataclass(frozen=True, slots=True)
class LabelsAsked:
    """What is to be labelled, as a form gives it."""

    requests: int
    candidates: int

    @classmethod
    def read(cls, requests: str, candidates: str) -> LabelsAsked:
        """Read what was typed.

        Raises:
            BadSetting: a number is none, or out of range.

        >>> LabelsAsked.read("500", "10")
        LabelsAsked(requests=500, candidates=10)
        >>> LabelsAsked.read("many", "10")
        Traceback (most recent call last):
        ...
        storage.errors.BadSetting: 'many' is no number of questions: 1 or more
        """
        low, high = CANDIDATES
        if not requests.strip().isdecimal() or not int(requests):
            raise BadSetting(f"{requests!r} is no number of questions: 1 or more")
        if not candidates.strip().isdecimal() or not low <= int(candidates) <= high:
            raise BadSetting(f"{candidates!r} is no number of candidates: {low} to {high}")
        return cls(int(requests), int(candidates))


def label_job(
    category: str, row: ModelRow, asked: LabelsAsked, protocol: Protocol, settings: Settings
) -> JobSpec:
    """Return the job that asks a teacher in bulk, as `recsys label` would.

    It is the plain form of a `DistilConfig`, which loads more than a window may.
    """
    own = settings.teacher in (row.spec, row.name)
    teacher = {
        "spec": row.spec,
        "weights": "" if settings.weights == "auto" else settings.weights,
        "device": settings.device,
        "precision": settings.precision,
        "history_length": settings.history_length,
        "candidates": asked.candidates,
        "requests": asked.requests,
        # How the teacher of the settings is asked need not suit another.
        "mode": settings.teacher_mode if own else "auto",
        "orders": settings.orders,
        "in_flight": settings.in_flight,
        "item_fields": list(settings.item_fields),
    }
    config = {
        "category": category,
        "seed": settings.seed,
        "split": protocol.split,
        "min_rating": protocol.min_rating,
        "teacher": teacher,
    }
    return JobSpec("label", category, f"label {category} by {row.name}", config)


def pull_job(name: str, host: str) -> JobSpec:
    """Return the job that brings a model onto a server.

    Raises:
        BadSetting: no model can be called that.

    >>> pull_job(" qwen3:8b ", "box").title
    'pull qwen3:8b'
    >>> pull_job("two words", "")
    Traceback (most recent call last):
    ...
    storage.errors.BadSetting: 'two words' is no name of a model: it has letters, ...
    """
    name = model_name(name)
    return JobSpec("pull", title=f"pull {name}", arguments={"name": name, "host": host})


def with_hosts(settings: Settings, row: ModelRow, rows: Sequence[ModelRow]) -> Settings:
    """Return the settings with the servers that hold just this build of a model."""
    if row.host is None:
        return settings
    hosts = tuple(one.host for one in rows if one.key == row.key and one.host)
    return settings.model_copy(update={"hosts": hosts}) if hosts else settings


def label_rows(found: Sequence[LabelStatistics]) -> list[tuple[str, ...]]:
    """Return what was asked and answered as rows of texts, as `recsys labels stats` shows them."""
    return [
        (
            one.teacher,
            one.method,
            one.purpose,
            one.status or "not asked yet",
            f"{one.requests:,}",
            f"{one.answers:,}",
            duration(one.median) if one.answers else "",
            duration(one.p95) if one.answers else "",
            f"{one.failures:,}",
        )
        for one in found
    ]
