"""What comes of an adaptation, without torch: what a command line needs to show it."""

from __future__ import annotations

from dataclasses import dataclass

from recommender.events import Event
from storage.records import Category, Measurement, Run


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One measurement on validation while the adapter was learning."""

    step: int
    """0 is the teacher before anything was learned."""
    mrr: float
    """By short letters on the choosing questions."""
    loss: float
    """Mean over the steps since the point before; NaN at step 0."""


@dataclass(frozen=True, eq=False, slots=True)
class Adapted(Event):
    """The last event of an adaptation."""

    category: Category
    run: Run
    folder: str
    """The merged model's directory, or the adapter's."""
    teacher: str
    """What `--teacher` takes; empty where only an adapter was kept."""
    curve: tuple[CurvePoint, ...]
    best_step: int
    """The step whose weights were kept."""
    rows: tuple[Measurement, ...]
    """Every figure of the run."""
    summary: tuple[str, ...]
    """What to say about it, line by line."""
