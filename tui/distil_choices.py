"""What can be chosen for a distillation, and the configuration that the choices make.

Apart from the form that asks for them, so that it is known without a screen what a form full
of words comes to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from distill.config import DistilConfig, check
from distill.methods import FIRST, check_method, method, size, with_method
from recommender.events import amount
from recommender.models import known_models
from storage.errors import BadSetting

if TYPE_CHECKING:
    from recommender.config import Settings

OWN, NONE = "", "none"
"""Weights: those of the teacher itself, or labels alone."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Something that can be chosen."""

    value: str
    says: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a form says, numbers as they were typed; an empty one is the default."""

    category: str
    teacher: str
    weights: str = OWN
    size: str = "standard"
    start: str = "text"
    method: str = FIRST
    minutes: str = ""
    requests: str = ""
    epochs: str = ""
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


def teachers_here(settings: Settings) -> list[Choice]:
    """Return the teacher of the settings, then what this machine knows by name.

    Raises:
        BadSetting: the list of registered models cannot be read.

    >>> from pathlib import Path
    >>> from recommender.config import Settings
    >>> [one.value for one in teachers_here(Settings(data_dir=Path("nowhere"), teacher="a:1b"))]
    ['a:1b', 'embedded', 'minilm']
    """
    found = {
        one.name: f"{one.name} · {'not here yet · ' if one.present is False else ''}{one.about}"
        for one in known_models(settings.models)
    }
    found |= {name: f"{name} · your own" for name in settings.backends}
    first = found.pop(settings.teacher, f"{settings.teacher} · of the settings")
    return [Choice(settings.teacher, first), *(Choice(*one) for one in found.items())]


def teachers_on_servers(settings: Settings) -> list[Choice]:
    """Return the models of the Ollama servers that answer; may take seconds."""
    # Deferred: called in a thread, and it takes longer to load than a frame may.
    from recommender.backends.ollama.models import held_by

    return [
        Choice(facts.name, f"{facts.name} · {facts.parameters} {facts.quantisation} · {address}")
        for address, facts in held_by(settings.hosts)
    ]


def said_of_servers(held: Sequence[Choice]) -> str:
    """Say in a line what is offered, and whether servers have added to it.

    >>> said_of_servers([Choice("a:1b", "")])
    'those of this machine, and 1 model of Ollama servers'
    >>> said_of_servers([])
    'those of this machine; an Ollama server would add its models'
    """
    if not held:
        return "those of this machine; an Ollama server would add its models"
    return f"those of this machine, and {amount(len(held), 'models')} of Ollama servers"


def compared(columns: Sequence[str], current: str, settings: Settings) -> str | None:
    """Return the teacher a comparison is about: of the current column, else of the last one.

    None where no column is a teacher's.

    Args:
        columns: names of rankers, from left to right.
        current: the one the keys go to.
        settings: whose teacher is called 'teacher' there.

    >>> from pathlib import Path
    >>> from recommender.config import Settings
    >>> here = Settings(data_dir=Path("nowhere"), teacher="a:1b")
    >>> compared(["student", "teacher", "popularity"], "student", here)
    'a:1b'
    >>> compared(["teacher:embedded", "teacher:qwen3:8b", "teacher"], "teacher:qwen3:8b", here)
    'qwen3:8b'
    >>> compared(["student"], "student", here)
    """
    teachers = [by for by in columns if by.partition(":")[0] == "teacher"]
    if not teachers:
        return None
    chosen = current if current in teachers else teachers[-1]
    return chosen.partition(":")[2] or settings.teacher


def require_answer(spec: str, settings: Settings) -> None:
    """See that the server of a teacher answers, where it is a server's; may take seconds.

    Raises:
        ServerDown: it does not.
        UnknownName: nothing is called so.

    >>> from pathlib import Path
    >>> from recommender.config import Settings
    >>> here = Settings(data_dir=Path("nowhere"), hosts=("127.0.0.1:9",))
    >>> require_answer("embedded", here)
    >>> require_answer("qwen3:8b", here)
    Traceback (most recent call last):
    ...
    recommender.backends.errors.ServerDown: nothing was started: no Ollama server answers at ...
    """
    # Deferred: called in a thread, and it takes longer to load than a frame may.
    from recommender.backends.errors import ServerDown
    from recommender.backends.opening import require_servers

    try:
        require_servers([spec], settings)
    except ServerDown as error:
        raise ServerDown(
            f"nothing was started: {error.what}, and {spec!r} is asked there",
            next_step="ollama serve, or another teacher: embedded needs no server",
        ) from error


def weights_here(settings: Settings) -> list[Choice]:
    """Return whose layers can be measured: the teacher's own, those of a model here, or none.

    Raises:
        BadSetting: the list of registered models cannot be read.

    >>> from pathlib import Path
    >>> from recommender.config import Settings
    >>> [one.value for one in weights_here(Settings(data_dir=Path("nowhere")))]
    ['', 'none', 'embedded']
    """
    found = [
        Choice(OWN, "the teacher's own"),
        Choice(NONE, "none: labels alone"),
        *(
            Choice(one.name, f"{one.name} · {one.about}")
            for one in known_models(settings.models)
            if one.kind == "teacher"
        ),
    ]
    named = settings.weights
    if named != "auto" and named not in {one.value for one in found}:
        found.insert(0, Choice(named, f"{named} · of the settings"))
    return found


def joined(some: Sequence[Choice], others: Sequence[Choice]) -> list[Choice]:
    """Return all choices, each value once, as it was said first.

    >>> joined([Choice("a", "x")], [Choice("a", "y"), Choice("b", "z")])
    [Choice(value='a', says='x'), Choice(value='b', says='z')]
    """
    found = {one.value: one for one in reversed([*some, *others])}
    order = dict.fromkeys(one.value for one in [*some, *others])
    return [found[value] for value in order]


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
    ).with_student(network=size(wanted.size), start=_start(wanted.start))
    config = replace(config, seed=whole("seed", wanted.seed, settings.seed), final=wanted.final)
    config = with_method(config, wanted.method, folder=settings.folder)
    check(config)
    check_method(config, folder=settings.folder)
    return config


def title_of(config: DistilConfig) -> str:
    """Return how lists name a distillation.

    >>> title_of(DistilConfig("Books").with_teacher(requests=2))
    'Books: embedded, fisher-ld, 2 requests'
    >>> title_of(DistilConfig("Books", method="none"))
    'Books: no teacher, 30 epochs'
    """
    if not method(config.method).hears:
        return f"{config.category}: no teacher, {amount(config.student.epochs, 'epochs')}"
    spec = config.teacher.spec.rstrip("/").rsplit("/", 1)[-1]
    requests = config.teacher.requests or (0 if config.minutes else 500)
    much = amount(requests, "requests") if requests else f"{config.minutes:g} min"
    return f"{config.category}: {spec}, {config.method}, {much}"


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
