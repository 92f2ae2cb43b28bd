"""What a live ranker and its asker say to each other: frozen records, one line of JSON each.

Apart from both ends so that neither loads what the other needs. A question carries a number,
which every reply to it repeats; a reply to nothing in particular carries none.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from storage.errors import BadData


@dataclass(frozen=True, slots=True)
class Message:
    """Anything one end says to the other."""


@dataclass(frozen=True, slots=True)
class Ask(Message):
    """Rank for this history."""

    number: int
    history: tuple[int, ...]
    """Item numbers, oldest first."""
    n: int = 10


@dataclass(frozen=True, slots=True)
class Explain(Message):
    """Say why an item might suit the person: `Piece`s, then `Ended`."""

    number: int
    history: tuple[int, ...]
    item: int


@dataclass(frozen=True, slots=True)
class Cancel(Message):
    """Stop what this number asked for; `Ended` with `cancelled` follows, unless it was done."""

    number: int


@dataclass(frozen=True, slots=True)
class Opening(Message):
    """The ranker is being made ready: what is done just now."""

    note: str


@dataclass(frozen=True, slots=True)
class Opened(Message):
    """The ranker is ready."""

    by: str
    about: str
    """Which run or model it is, e.g. 'run 3fa9, distilled' or 'smollm2-135m-instruct.q4_1'."""
    seconds: float
    """What opening took."""
    sees_all: bool = False
    """It was trained on everything, so that nothing is held out from it."""
    explains: bool = False
    """It can give reasons."""
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Thinking(Message):
    """The ranker is at work on a question. `total` is 0 where nobody knows."""

    number: int
    done: int
    total: int
    tokens: int
    """Read and written for this question so far; 0 where nobody counts."""
    seconds: float


@dataclass(frozen=True, slots=True)
class LiveItem:
    """One item of an answer."""

    item: int
    """Its number."""
    id: str
    title: str
    score: float
    tied: bool = False
    """Not told apart from the item above, by the teacher's own noise."""


@dataclass(frozen=True, slots=True)
class Answered(Message):
    """The ranking of a question."""

    number: int
    ranker: str
    """Who answered, which can be another than was asked: 'student (by popularity: …)'."""
    items: tuple[LiveItem, ...]
    seconds: float
    """The answer alone, measured where it was made, without loading and without the way here."""
    tokens: int = 0
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Piece(Message):
    """Some more of a reason, raw: whoever shows it makes it safe to show."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Ended(Message):
    """A reason is complete, or what was asked for is cancelled."""

    number: int
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Refused(Message):
    """It cannot be done, and what the user can do about it. `number` is -1 if it is the ranker
    that cannot be opened; the process ends then."""

    number: int
    what: str
    next_step: str = ""
    kind: str = ""
    """Name of the error's class: which offer a screen makes depends on it."""


SAID: dict[str, type[Message]] = {
    one.__name__: one
    for one in (
        Ask,
        Explain,
        Cancel,
        Opening,
        Opened,
        Thinking,
        Answered,
        Piece,
        Ended,
        Refused,
    )
}


def to_line(message: Message) -> str:
    """Return a message as one line, its end included.

    >>> to_line(Cancel(3))
    '{"says":"Cancel","number":3}\\n'
    """
    fields = {"says": type(message).__name__, **asdict(message)}
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=True) + "\n"


def from_line(line: str | bytes) -> Message:
    """Read a message back.

    Raises:
        BadData: a line that is none.

    >>> from_line(to_line(Ask(1, (4, 2))))
    Ask(number=1, history=(4, 2), n=10)
    >>> from_line("hello")
    Traceback (most recent call last):
    ...
    storage.errors.BadData: no message of a live ranker: 'hello'
    """
    try:
        fields: dict[str, Any] = json.loads(line)
        made = SAID[fields.pop("says")]
        return made(**{name: _frozen(name, value) for name, value in fields.items()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        shown = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
        raise BadData(f"no message of a live ranker: {shown[:80]!r}") from error


def _frozen(name: str, value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return tuple(LiveItem(**one) for one in value) if name == "items" else tuple(value)
