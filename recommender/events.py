"""What a long job says while it runs. The command line draws it, the TUI posts it.

A job is a generator of these. Closing the generator stops the job at a point from which
it can go on. Its result comes last, as an event of the job's own.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """Anything a job reports."""


@dataclass(frozen=True, slots=True)
class StageStarted(Event):
    """A stage begins. `total` is 0 where its length is not known."""

    stage: str
    total: int = 0
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Progress(Event):
    """`done` of the stage's total; `note` is a short figure to show beside the bar."""

    stage: str
    done: int
    total: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class StageDone(Event):
    """A stage ended. `summary` is one line for people."""

    stage: str
    seconds: float
    summary: str = ""


@dataclass(frozen=True, slots=True)
class StageSkipped(Event):
    """A stage was not run, and why: its result is there already, or something is absent."""

    stage: str
    reason: str


@dataclass(frozen=True, slots=True)
class Notice(Event):
    """Something the user should know, in one sentence."""

    text: str


def amount(count: int, unit: str) -> str:
    """Return a count with its unit, which stages name in the plural.

    >>> amount(1, "requests"), amount(1_200, "requests"), amount(1, "MB"), amount(3, "")
    ('1 request', '1,200 requests', '1 MB', '3')
    """
    return f"{count:,} {unit.removesuffix('s') if count == 1 else unit}".rstrip()
