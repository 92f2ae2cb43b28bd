"""Which ranker to put beside the others: everything that `--by` takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from tui.shown import shown


class AddColumn(ModalScreen[str | None]):
    """Ends with a name for `--by`."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Back")]
    DEFAULT_CSS = """
    AddColumn OptionList { width: 66; max-width: 100%; height: auto; max-height: 12;
        text-wrap: nowrap; text-overflow: ellipsis; background: transparent; }
    AddColumn Static { margin-top: 1; color: $text-muted; }
    AddColumn Input { width: 66; max-width: 100%; padding: 0 1; background: $boost; }
    """

    def __init__(self, names: Sequence[tuple[str, str]]) -> None:
        """`names` are offered, each with what it is."""
        super().__init__()
        self.names = tuple(names)

    def compose(self) -> ComposeResult:
        """Make the list, and a line for what is not in it."""
        with Vertical():
            rows = [Option(_line(by, about)) for by, about in self.names]
            yield OptionList(*rows, markup=False, compact=True)
            yield Static("or by name, e.g. teacher:llama3.1:8b or student:RUN", markup=False)
            yield Input(id="by", compact=True)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """End with the name."""
        self.dismiss(self.names[event.option_index][0])

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """End with what was typed."""
        if event.value.strip():
            self.dismiss(event.value.strip())


def _line(by: str, about: str) -> Content:
    return Content.assemble(shown(by, 40, "bold"), "  ", shown(about, 66))
