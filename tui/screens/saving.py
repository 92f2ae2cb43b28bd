"""Where a comparison is written to, and as what."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static


class SaveComparison(ModalScreen[Path | None]):
    """Ends with a path; its ending decides between Markdown and JSON."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Back")]
    DEFAULT_CSS = """
    SaveComparison > Vertical { width: 76; }
    SaveComparison Button { margin-top: 1; width: 100%; }
    """

    def __init__(self, proposed: Path) -> None:
        """Propose a path without an ending."""
        super().__init__()
        self.proposed = proposed

    def compose(self) -> ComposeResult:
        """Make the line and the two buttons."""
        with Vertical():
            yield Static("save the comparison as (.md or .json)", markup=False)
            yield Input(f"{self.proposed}.md", id="path")
            yield Static("", id="why-not", markup=False)
            yield Button("Markdown", name=".md")
            yield Button("JSON", name=".json")

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """End with the path, under the ending of the button."""
        path = Path(self.query_one("#path", Input).value).expanduser()
        if path.name:
            self.dismiss(path.with_suffix(event.button.name or ".md"))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """End with the path as it was typed."""
        path = Path(event.value.strip()).expanduser()
        if path.suffix not in (".md", ".json"):
            self.query_one("#why-not", Static).update("the name must end in .md or .json")
            return
        self.dismiss(path)
