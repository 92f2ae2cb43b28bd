"""A state, not a crash: what is not there, in a sentence, and what can be done about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Button, Static

from storage.errors import RecsysError
from tui.shown import shown


@dataclass(frozen=True, slots=True)
class Offer:
    """Something a button does."""

    action: str
    """What `Missing.Chosen` carries."""
    label: str


class Missing(Vertical):
    """A sentence, a further line, and a button an offer."""

    DEFAULT_CSS = """
    Missing { align: center middle; width: 1fr; height: 1fr; padding: 1 2; }
    Missing > Static { width: auto; max-width: 76; text-align: center; margin-bottom: 1; }
    Missing > .further { color: $text-muted; }
    Missing > Button { min-width: 30; margin-bottom: 1; }
    """

    class Chosen(Message):
        """An offer was taken."""

        def __init__(self, action: str) -> None:
            """`action` is the offer's."""
            super().__init__()
            self.action = action

    def __init__(self, says: str, offers: Sequence[Offer] = (), *, further: str = "") -> None:
        """Show a sentence with what can be done; `further` is a smaller line below."""
        super().__init__()
        self.says, self.further, self.offers = says, further, tuple(offers)

    @classmethod
    def of(cls, error: RecsysError, offers: Sequence[Offer] = ()) -> Missing:
        """Show what an error says, with its next command."""
        return cls(error.what, offers, further=error.next_step and f"next: {error.next_step}")

    def compose(self) -> ComposeResult:
        """Make the lines and the buttons."""
        yield Static(shown(self.says), classes="says")
        if self.further:
            yield Static(shown(self.further), classes="further")
        for place, offer in enumerate(self.offers):
            button = Button(shown(offer.label), name=offer.action)
            button.variant = "primary" if place == 0 else "default"
            yield button

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Say which offer was taken."""
        event.stop()
        self.post_message(self.Chosen(event.button.name or ""))
