"""What a job is asked to do, and how it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Kind = Literal["distil", "label", "pull", "sample", "movielens-100k", "fetch"]
KINDS: tuple[Kind, ...] = ("distil", "label", "pull", "sample", "movielens-100k", "fetch")

Ended = Literal["done", "stopped", "failed"]
State = Literal["running", "stopping", "done", "stopped", "failed", "lost", "damaged"]
"""'lost' was killed before it could say so; 'damaged' has files that cannot be read."""
GOING: tuple[State, ...] = ("running", "stopping")


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What is to be done.

    >>> JobSpec("sample").named
    'sample'
    >>> JobSpec("pull", arguments={"name": "qwen3:8b"}, title="pull qwen3:8b").named
    'pull qwen3:8b'
    """

    kind: Kind
    category: str = ""
    title: str = ""
    """What lists show; it may hold foreign text."""
    arguments: Mapping[str, object] = field(default_factory=dict)
    """Plain values: of 'distil' and 'label' the fields of a `DistilConfig`, of 'pull' `name` and
    `host`."""

    @property
    def named(self) -> str:
        """The title, or what there is instead."""
        return self.title or f"{self.kind} {self.category}".strip()


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it stands."""

    id: str
    spec: JobSpec
    state: State
    folder: Path
    started_at: str = ""
    """ISO 8601, UTC: of the last sitting."""
    ended_at: str = ""
    pid: int = 0
    summary: tuple[str, ...] = ()
    """What came of it, line by line."""
    run: str = ""
    """The run that was made, of a distillation."""
    error: str = ""
    next_step: str = ""

    @property
    def going(self) -> bool:
        """Whether a process works on it."""
        return self.state in GOING
