"""Events as lines of JSON: what a job writes down, and what somebody who looks reads back.

Apart from both, so that reading loads nothing that works. What a line does not know, or does
not hold whole, is left out: an event is news, the results are in the Store.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from distill.training import Evaluated, LayersWeighed, StepDone
from recommender.events import Event, Notice, Progress, StageDone, StageSkipped, StageStarted


@dataclass(frozen=True, slots=True)
class JobResult(Event):
    """What came of a job, for people."""

    summary: tuple[str, ...]
    run: str = ""
    """The run that was made, of a distillation."""


@dataclass(frozen=True, slots=True)
class Resumed(Event):
    """A process goes on with a job that another one began: what comes before is of earlier ones."""


KNOWN: dict[str, type[Event]] = {
    one.__name__: one
    for one in (
        StageStarted,
        Progress,
        StageDone,
        StageSkipped,
        Notice,
        StepDone,
        Evaluated,
        LayersWeighed,
        JobResult,
        Resumed,
    )
}


def to_line(event: Event, at: float) -> str | None:
    """Return an event as a line with the second it was said at; None if it is not written down.

    >>> to_line(Notice("hello"), 2.5)
    '{"event":"Notice","at":2.5,"text":"hello"}\\n'
    """
    name = type(event).__name__
    if KNOWN.get(name) is not type(event):
        return None
    fields = {key: _plain(value) for key, value in asdict(event).items()}
    said = {"event": name, "at": round(at, 3), **fields}
    return json.dumps(said, separators=(",", ":"), allow_nan=False) + "\n"


def from_line(line: str | bytes) -> tuple[Event, float] | None:
    """Read an event and its second back; None where it is none, or of a kind not known here.

    >>> from_line(to_line(Progress("labels", 3, 9), 1.0))
    (Progress(stage='labels', done=3, total=9, note=''), 1.0)
    >>> from_line('{"event":"Pro')
    """
    try:
        fields: dict[str, Any] = json.loads(line)
        reader = _reader(fields.pop("event"))
        at = float(fields.pop("at"))
        figures = {key: _figures(fields[key]) for key in FIGURES & fields.keys()}
        return reader.validate_python({**fields, **figures}), at
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


FIGURES = frozenset({"loss", "score", "best", "parts", "weights"})
"""Fields of numbers. JSON knows no number that is none, as where there is no validation."""


@cache
def _reader(name: str) -> TypeAdapter[Event]:
    return TypeAdapter(KNOWN[name])


def _figures(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _figures(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_figures(one) for one in value]
    return math.nan if value is None else value


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return value
