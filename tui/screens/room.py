"""What every screen of the app shares: head, foot, and what is shown in too small a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from textual import events, messages
from textual.app import ComposeResult
from textual.containers import Container
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Footer, Static

from tui.shown import shown

if TYPE_CHECKING:
    from storage.records import Category
    from tui.app import RecsysApp

SMALLEST = (60, 18)
"""Columns and lines below which nothing useful can be laid out."""


class Room(Screen[None]):
    """A screen with the app's head and foot around a body of its own.

    A room gives `TITLE`, `KEYS` for the help, and `body`. It is told of the category by
    `category_changed`, and of the news of jobs by `job_news` if it subscribes to them.
    """

    DEFAULT_CSS = """
    Room { layout: vertical; }
    Room #head { height: 1; width: 1fr; background: $panel; color: $text; padding: 0 1; }
    Room #body { height: 1fr; width: 1fr; }
    Room #too-small { display: none; width: 1fr; height: 1fr; content-align: center middle; }
    Room.-small #too-small { display: block; }
    Room.-small #body, Room.-small #head, Room.-small Footer { display: none; }
    """

    ABOUT: ClassVar[str] = ""
    """Two or three sentences for the help."""

    _left: Widget | None = None
    """What had the keys before the terminal was too small."""

    @property
    def recsys(self) -> RecsysApp:
        """The app, by its own type."""
        return cast("RecsysApp", self.app)

    def compose(self) -> ComposeResult:
        """Lay head, body and foot out."""
        yield Static("", id="head", markup=False)
        with Container(id="body"):
            yield from self.body()
        yield Static("", id="too-small", markup=False)
        yield Footer(show_command_palette=False)

    def body(self) -> ComposeResult:
        """Make what is between head and foot."""
        raise NotImplementedError

    def on_mount(self) -> None:
        """Hear of the category from now on."""
        self.recsys.category_signal.subscribe(self, self._told)
        self._told(self.recsys.category)

    async def on_prune(self, event: messages.Prune) -> None:
        """Let no worker go on while the widgets it would write into are taken away."""
        self.workers.cancel_node(self)

    def category_changed(self, category: Category | None) -> None:
        """Show another category; None while there is none."""

    def on_resize(self, event: events.Resize) -> None:
        """Say so where there is no room to show anything."""
        width, height = event.size
        small = width < SMALLEST[0] or height < SMALLEST[1]
        was = self.has_class("-small")
        if small and not was:
            # Nobody sees where keys would be typed, so nothing has them.
            self._left = self.focused
            self.set_focus(None)
        self.set_class(small, "-small")
        if was and not small:
            self.call_after_refresh(self._take_up)
        if small:
            least = f"at least {SMALLEST[0]}×{SMALLEST[1]} are needed, 80×24 are better"
            says = f"{width}×{height} is too small: {least}"
            self.query_one("#too-small", Static).update(says)

    def refocus(self) -> None:
        """Bring the keys to where they begin."""
        selector = self.AUTO_FOCUS or "*"
        first = next((one for one in self.query(selector) if one in self.focus_chain), None)
        self.set_focus(first)

    def _take_up(self) -> None:
        """Give the keys back to what had them before there was too little room."""
        left, self._left = self._left, None
        if left is not None and left in self.focus_chain:
            self.set_focus(left)
        else:
            self.refocus()

    def _told(self, category: Category | None) -> None:
        self.query_one("#head", Static).update(shown(self._head(category)))
        self.category_changed(category)

    def _head(self, category: Category | None) -> str:
        if category is None:
            return f"recsys · {self.TITLE}"
        name = f"{category.name} (synthetic sample)" if category.synthetic else category.name
        size = f"{category.people:,} people, {category.items:,} items"
        return f"recsys · {self.TITLE} · {name} · {size}"
