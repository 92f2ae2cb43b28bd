"""The Leaderboard screen."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Static

from tui.screens.room import Room


class Leaderboard(Room):
    """To be written."""

    TITLE = "Leaderboard"

    def body(self) -> ComposeResult:
        """Make what is between head and foot."""
        yield Static("", markup=False)
