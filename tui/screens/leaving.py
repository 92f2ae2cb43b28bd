"""What becomes of work that runs when one leaves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from tui.shown import shown

if TYPE_CHECKING:
    from distill.jobs.records import Job


class Leaving(ModalScreen[str]):
    """Ends with 'stop', 'leave' or 'stay'."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "dismiss('stop')", "Stop"),
        Binding("l", "dismiss('leave')", "Leave it running"),
        Binding("escape", "dismiss('stay')", "Stay"),
    ]
    DEFAULT_CSS = "Leaving Button { width: 64; margin-top: 1; }"

    def __init__(self, jobs: Sequence[Job]) -> None:
        """`jobs` are those that run."""
        super().__init__()
        self.jobs = tuple(jobs)

    def compose(self) -> ComposeResult:
        """Make the question and its three answers."""
        with Vertical():
            for job in self.jobs:
                yield Static(shown(f"running: {job.spec.title}", 70))
            yield Button("Leave it running (l): the app finds it again", name="leave")
            yield Button("Stop it at its next checkpoint (s): it can be resumed", name="stop")
            yield Button("Stay (esc)", name="stay")

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """End with the answer."""
        self.dismiss(event.button.name or "stay")
