"""The keys of a screen and what it is for, out of the screen's own bindings."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from tui.shown import shown


class Help(ModalScreen[None]):
    """Shows every key that works on a screen now."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "Back"),
        Binding("question_mark", "dismiss", "Back", show=False),
        Binding("q", "dismiss", "Back", show=False),
    ]
    DEFAULT_CSS = "Help VerticalScroll { width: 72; max-width: 100%; height: auto; }"

    def __init__(self, about: Screen[Any]) -> None:
        """`about` is the screen that is explained."""
        super().__init__()
        self.says = [str(getattr(about, "ABOUT", "")), *keys_of(about)]

    def compose(self) -> ComposeResult:
        """Make the lines."""
        with Vertical(), VerticalScroll():
            for line in self.says:
                yield Static(shown_line(line), markup=False)


def keys_of(screen: Screen[Any]) -> list[str]:
    """Return a line a key that works on a screen, the screen's own first."""
    lines: dict[str, str] = {}
    for node, binding, _enabled, _tip in screen.active_bindings.values():
        own = 0 if node is screen else 1
        display = screen.app.get_key_display(binding)
        if binding.description:
            lines.setdefault(f"{display:>8}  {binding.description}", str(own))
    return sorted(lines, key=lambda line: lines[line])


def shown_line(line: str) -> str:
    """Return a line without what could disturb the screen, its indent kept."""
    return " " * (len(line) - len(line.lstrip(" "))) + shown(line).plain
