"""The keys of a screen and what it is for, out of the screen's own bindings."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from tui.shown import shown

EVERYWHERE = ("app.focus_next", "app.focus_previous", "screen.copy_text")
"""What needs no word: it is so in every program."""


class Help(ModalScreen[None]):
    """Shows every key that works on a screen now."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "Back"),
        Binding("question_mark", "dismiss", "Back", show=False),
        Binding("q", "dismiss", "Back", show=False),
    ]
    AUTO_FOCUS = "VerticalScroll"
    DEFAULT_CSS = """
    Help VerticalScroll { width: 72; max-width: 100%; height: auto; max-height: 70vh; }
    Help VerticalScroll Static { height: auto; }
    """

    def __init__(self, about: Screen[Any]) -> None:
        """`about` is the screen that is explained."""
        super().__init__()
        self.about = str(getattr(about, "ABOUT", ""))
        self.keys = keys_of(about)

    def compose(self) -> ComposeResult:
        """Make the lines."""
        with Vertical(), VerticalScroll():
            yield Static(shown(self.about))
            yield Static("")
            for key, says in self.keys:
                yield Static(Content.assemble((f"{key:>9}  ", "bold $accent"), shown(says)))


def keys_of(screen: Screen[Any]) -> list[tuple[str, str]]:
    """Return the keys that work on a screen with what they do, the screen's own first.

    Keys that do the same share a line.
    """
    own: dict[tuple[str, str], list[str]] = {}
    shared: dict[tuple[str, str], list[str]] = {}
    for node, binding, _enabled, _tip in screen.active_bindings.values():
        ours = node is screen and type(node).__module__.startswith("tui.")
        known = binding.system or binding.action in EVERYWHERE
        if binding.description and (ours or isinstance(node, App)) and not known:
            kept = own if ours else shared
            what = (binding.action, binding.description)
            kept[what] = [*kept.pop(what, []), screen.app.get_key_display(binding)]
    lines = [*own.items(), *shared.items()]
    return [(", ".join(sorted(keys, key=len)), says) for (_, says), keys in lines]
