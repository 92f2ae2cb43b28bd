"""Which teachers and weights are offered for a distillation, and whether a teacher answers.

Apart from what is wanted of one, because this looks around: on this machine, and on servers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recommender.events import amount
from recommender.models import known_models

if TYPE_CHECKING:
    from recommender.config import Settings

OWN, NONE = "", "none"
"""Weights: those of the teacher itself, or labels alone."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Something that can be chosen."""

    value: str
    says: str


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
    'what is here, and 1 model of Ollama servers'
    >>> said_of_servers([])
    'what is here; an Ollama server would add its models'
    """
    if not held:
        return "what is here; an Ollama server would add its models"
    return f"what is here, and {amount(len(held), 'models')} of Ollama servers"


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
