"""How much a teacher is to be asked."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from storage.errors import BadSetting
from tui.shown import shown
from tui.teacher_data import LabelsAsked

DEFAULT_REQUESTS = 500
FURTHER = (
    "Questions of validation come besides. Killed at any moment it goes on where it was, and "
    "what was answered is not asked again."
)


class AskLabels(ModalScreen[LabelsAsked | None]):
    """Ends with what is to be asked."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Back")]
    DEFAULT_CSS = """
    AskLabels Static, AskLabels Input { width: 64; max-width: 100%; }
    AskLabels .name { margin-top: 1; }
    AskLabels #further { color: $text-muted; margin-top: 1; }
    AskLabels #why-not { color: $text-error; }
    AskLabels Button { width: 100%; margin-top: 1; }
    """

    def __init__(self, teacher: str, category: str, how: str, candidates: int) -> None:
        """Ask for numbers; `how` says what questions are made of."""
        super().__init__()
        self.says = f"label {category} by {teacher} ({how})"
        self.candidates = candidates

    def compose(self) -> ComposeResult:
        """Make the form."""
        with Vertical():
            yield Static(shown(self.says), classes="says")
            yield Static("training questions", classes="name", markup=False)
            yield Input(str(DEFAULT_REQUESTS), id="requests", compact=True)
            yield Static("candidates a question", classes="name", markup=False)
            yield Input(str(self.candidates), id="candidates", compact=True)
            yield Static(FURTHER, id="further", markup=False)
            yield Static("", id="why-not", markup=False)
            yield Button("Start", name="start", variant="primary")

    def on_input_submitted(self) -> None:
        """Start."""
        self._end()

    def on_button_pressed(self) -> None:
        """Start."""
        self._end()

    def _end(self) -> None:
        typed = (self.query_one(f"#{one}", Input).value for one in ("requests", "candidates"))
        try:
            self.dismiss(LabelsAsked.read(*typed))
        except BadSetting as error:
            self.query_one("#why-not", Static).update(shown(error.what))
