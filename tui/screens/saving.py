"""Where a comparison is written to, and as what."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

ENDINGS = (".md", ".json")


class SaveComparison(ModalScreen[Path | None]):
    """Ends with a path; its ending decides between Markdown and JSON."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Back")]
    DEFAULT_CSS = """
    SaveComparison Input { width: 66; max-width: 100%; padding: 0 1; background: $boost; }
    SaveComparison #why-not { color: $text-error; }
    SaveComparison Button { margin-top: 1; width: 66; max-width: 100%; }
    """

    def __init__(self, proposed: Path) -> None:
        """Propose a path without an ending."""
        super().__init__()
        self.proposed = proposed

    def compose(self) -> ComposeResult:
        """Make the line and the two buttons."""
        with Vertical():
            yield Static("save the comparison as (.md or .json)", markup=False)
            yield Input(f"{self.proposed}.md", id="path", compact=True)
            yield Static("", id="why-not", markup=False)
            yield Button("Markdown", name=".md", id="markdown", compact=True)
            yield Button("JSON", name=".json", id="json", compact=True)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """End with the path, under the ending of the button."""
        typed = self.query_one("#path", Input).value.strip()
        for one in ENDINGS:
            typed = typed.removesuffix(one)
        if Path(typed).name:
            self.dismiss(Path(f"{typed}{event.button.name}").expanduser())

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """End with the path as it was typed."""
        path = Path(event.value.strip()).expanduser()
        if path.suffix not in ENDINGS:
            self.query_one("#why-not", Static).update("the name must end in .md or .json")
            return
        self.dismiss(path)
