"""Which model is to be pulled, and onto which server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, OptionList, Static
from textual.widgets.option_list import Option

from distill.jobs.records import JobSpec
from storage.errors import BadSetting
from tui.shown import shown
from tui.teacher_data import pull_job

ASKS = "pull which model? A name of the Ollama library, e.g. llama3.1:8b"


class PullModel(ModalScreen[JobSpec | None]):
    """Ends with the job that pulls."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Back")]
    DEFAULT_CSS = """
    PullModel Input { width: 66; max-width: 100%; }
    PullModel OptionList { width: 66; max-width: 100%; height: auto; max-height: 6; margin-top: 1; }
    PullModel #why-not { color: $text-error; }
    PullModel Button { width: 100%; margin-top: 1; }
    """

    def __init__(self, hosts: Sequence[tuple[str, str]]) -> None:
        """`hosts` are (as the settings write it, address); the first is chosen."""
        super().__init__()
        self.hosts = tuple(hosts)

    def compose(self) -> ComposeResult:
        """Make the line, the servers where there are several, and the button."""
        with Vertical():
            yield Static(ASKS, markup=False)
            yield Input(placeholder="llama3.1:8b", id="name")
            if len(self.hosts) > 1:
                yield OptionList(*(Option(shown(f"onto {address}")) for _, address in self.hosts))
            yield Static("", id="why-not", markup=False)
            yield Button("Pull", name="pull", variant="primary")

    def on_mount(self) -> None:
        """Choose the first server."""
        for options in self.query(OptionList):
            options.highlighted = 0

    def on_input_submitted(self) -> None:
        """Take the name as it was typed."""
        self._end()

    def on_button_pressed(self) -> None:
        """Take the name as it was typed."""
        self._end()

    def on_option_list_option_selected(self) -> None:
        """Take the name as it was typed, onto that server."""
        self._end()

    def _end(self) -> None:
        place = next((one.highlighted or 0 for one in self.query(OptionList)), 0)
        host = self.hosts[place][0] if self.hosts else ""
        try:
            self.dismiss(pull_job(self.query_one("#name", Input).value, host))
        except BadSetting as error:
            self.query_one("#why-not", Static).update(shown(str(error)))
