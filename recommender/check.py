"""One thing that `recsys doctor` looked at, and what it found.

Apart from the checks, because those of this machine and those of a server both give it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["good", "absent", "bad"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. Only 'bad' makes `recsys doctor` fail."""

    name: str
    state: State
    """'absent' is something that is needed for a part of the work only."""
    says: str
    next_step: str = ""
