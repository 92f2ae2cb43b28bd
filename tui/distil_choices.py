"""What is wanted of a distillation, and the configuration that it makes.

Apart from the form that asks for them, so that it is known without a screen what a form full
of words comes to.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from distill.config import DistilConfig, check
from distill.config_files import overridden
from distill.jobs.records import Job, JobSpec
from distill.methods import FIRST, check_method, method, with_method
from distill.students import values_of
from recommender.events import amount
from storage.errors import BadSetting
from tui.distil_offers import NONE, OWN

if TYPE_CHECKING:
    from recommender.config import Settings


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a form says, numbers as they were typed; an empty one is the default."""

    category: str
    teacher: str
    weights: str = OWN
    student: str = "standard"
    start: str = "text"
    method: str = FIRST
    minutes: str = ""
    requests: str = ""
    epochs: str = ""
    tokens: str = ""
    """That a student which reads text is trained with; the other kind learns by epochs."""
    seed: str = ""
    ignore_gate: bool = False
    final: bool = False


@dataclass(frozen=True, slots=True)
class Needs:
    """What a method cannot do without."""

    teacher: bool
    weights: bool
    """Of the teacher, to look into."""


def needs_of(name: str) -> Needs:
    """Return what a method needs.

    Raises:
        BadSetting: there is none of that name.

    >>> needs_of("fisher-ld"), needs_of("logits-only")
    (Needs(teacher=True, weights=True), Needs(teacher=True, weights=False))
    >>> needs_of("none")
    Needs(teacher=False, weights=False)
    """
    hears = method(name).hears
    return Needs(hears, hears and with_method(DistilConfig(""), name).teacher.weights != NONE)


def configured(wanted: Wanted, settings: Settings) -> DistilConfig:
    """Return the configuration that is wanted.

    Raises:
        BadSetting: a number is none, or nothing can work like this.

    >>> from pathlib import Path
    >>> from recommender.config import Settings
    >>> made = configured(Wanted("Books", "embedded", minutes="5"), Settings(data_dir=Path("x")))
    >>> made.minutes, made.teacher.spec, made.student.epochs
    (5.0, 'embedded', 30)
    """
    # Deferred: the command line has it, and loads its own things with it.
    from tui.cli import distill

    config = distill.configured(
        wanted.category,
        settings,
        minutes=number("minutes", wanted.minutes, 0.0),
        requests=whole("requests", wanted.requests, 0),
        epochs=whole("epochs", wanted.epochs, 0, least=1) if wanted.epochs.strip() else None,
    )
    config = config.with_teacher(
        spec=wanted.teacher, weights=wanted.weights, ignore_gate=wanted.ignore_gate
    ).with_student(start=_start(wanted.start))
    config = overridden(config, values_of(wanted.student))
    if config.language is not None:
        config = _reading_text(config, wanted)
    config = replace(config, seed=whole("seed", wanted.seed, settings.seed), final=wanted.final)
    config = with_method(config, wanted.method, folder=settings.folder)
    check(config)
    check_method(config, folder=settings.folder)
    return config


def _reading_text(config: DistilConfig, wanted: Wanted) -> DistilConfig:
    """Return the same with what is wanted of a student that reads text."""
    if wanted.weights == NONE:
        raise BadSetting(
            "a student that reads text is made and taught by weights: choose whose, not 'none'"
        )
    tokens = whole("tokens", wanted.tokens, config.language.tokens if config.language else 0)
    return config.with_language(tokens=tokens)


def title_of(config: DistilConfig) -> str:
    """Return how lists name a distillation.

    >>> title_of(DistilConfig("Books").with_teacher(requests=2))
    'Books: embedded, fisher-ld, 2 requests'
    >>> title_of(DistilConfig("Books", method="none"))
    'Books: no teacher, 30 epochs'
    >>> title_of(DistilConfig("Books", method="minilm").with_language(tokens=9000))
    'Books: Llama of embedded, minilm, 9,000 tokens'
    """
    spec = config.teacher.spec.rstrip("/").rsplit("/", 1)[-1]
    if config.language is not None:
        much = amount(config.language.tokens, "tokens")
        return f"{config.category}: Llama of {spec}, {config.method}, {much}"
    if not method(config.method).hears:
        return f"{config.category}: no teacher, {amount(config.student.epochs, 'epochs')}"
    requests = config.teacher.requests or (0 if config.minutes else 500)
    much = amount(requests, "requests") if requests else f"{config.minutes:g} min"
    return f"{config.category}: {spec}, {config.method}, {much}"


def spec_of(wanted: Wanted, settings: Settings) -> JobSpec:
    """Return the job that is wanted.

    Raises:
        BadSetting: a number is none, or nothing can work like this.
    """
    config = configured(wanted, settings)
    return JobSpec("distil", config.category, title_of(config), config.as_dict())


def require_other(spec: JobSpec, jobs: Iterable[Job]) -> None:
    """Refuse to start what runs already: two of one kind would write the same files.

    Raises:
        BadSetting: a job that does the very same is under way.

    >>> require_other(JobSpec("sample"), [])
    """
    for job in jobs:
        same = (job.spec.kind, job.spec.category) == (spec.kind, spec.category)
        if job.going and same and dict(job.spec.arguments) == dict(spec.arguments):
            raise BadSetting(f"that runs already: {job.spec.named}")


def number(name: str, text: str, default: float) -> float:
    """Read a number that is not negative.

    Raises:
        BadSetting: it is none.

    >>> number("minutes", " 2.5 ", 0.0), number("minutes", "", 1.0)
    (2.5, 1.0)
    """
    if not text.strip():
        return default
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found) or found < 0:
        raise BadSetting(f"{name}: {text.strip()!r} is no number of 0 or more")
    return found


def whole(name: str, text: str, default: int, *, least: int = 0) -> int:
    """Read a whole number of at least so much.

    Raises:
        BadSetting: it is none.

    >>> whole("seed", "3", 0), whole("seed", " ", 7)
    (3, 7)
    """
    if not text.strip():
        return default
    try:
        found = int(text)
    except ValueError:
        found = least - 1
    if found < least:
        raise BadSetting(f"{name}: {text.strip()!r} is no whole number of {least} or more")
    return found


def _start(name: str) -> str:
    if name not in ("text", "free"):
        raise BadSetting(f"a student starts from 'text' or 'free', not from {name!r}")
    return name
