"""One stage of a job: how far it is, over all the sittings that worked at it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

StageState = Literal["running", "stopped", "done", "skipped"]


@dataclass(slots=True)
class Stage:
    """One stage of a job."""

    name: str
    state: StageState = "running"
    done: int = 0
    total: int = 0
    """0 where it is not known."""
    unit: str = ""
    note: str = ""
    """A short figure while it runs, then what came of it, or why it was skipped."""
    before: int = 0
    """Of `done`, what an earlier sitting did and this one does not count."""

    @property
    def unfinished(self) -> bool:
        """Whether it was begun, and nobody said that it ended."""
        return self.state in ("running", "stopped")

    @property
    def share(self) -> float | None:
        """How much of it is done; None where its length is not known.

        >>> Stage("labels", done=1, total=4).share, Stage("labels", done=1).share
        (0.25, None)
        """
        return min(1.0, self.done / self.total) if self.total > 0 else None

    def begin(self, total: int, unit: str) -> None:
        """Begin it, or go on with it where an earlier sitting left it.

        Some stages count what is left, others all there is: whichever it is, as much is done as
        was before, until the stage itself says how far it is.

        >>> labels = Stage("labels", "stopped", done=5, total=8)
        >>> labels.begin(3, "requests")
        >>> labels.heard(1, 3, "")
        >>> labels.done, labels.total
        (6, 8)
        """
        if self.unfinished and total <= self.total:
            self.before = self.total - total if total else 0
            self.done = max(self.done, self.before)
        else:
            self.before = self.done = 0
            self.total = total
        self.state, self.unit, self.note = "running", unit, ""

    def heard(self, done: int, total: int, note: str) -> None:
        """Take note how far it is, as it counts itself."""
        self.state, self.note = "running", note
        if total or done:  # else it only says what it is about to do
            self.done = self.before + done
        self.total = self.before + total if total else self.total
