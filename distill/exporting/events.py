"""What comes of an export, without torch: what a command line needs to show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from recommender.events import Event


@dataclass(frozen=True, eq=False, slots=True)
class Exported(Event):
    """The last event of an export."""

    form: str
    """'hf', 'gguf', 'ollama' or 'onnx'."""
    target: str
    """The directory or file, or the model's name on a server."""
    size: int
    """Bytes; 0 where nothing of it is here."""
    summary: tuple[str, ...]
    """What to say about it, line by line."""
    next_step: str
    """The command that uses it."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """What was measured, by name."""
