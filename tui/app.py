"""The app: five screens over one Store, one category and the jobs of this machine.

Apart from the screens because it holds what they share and nothing of what they show: the
settings, the Store's threads, the category, the jobs, and how one leaves.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, ClassVar, TypeVar

from textual import work
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.reactive import reactive
from textual.screen import Screen
from textual.signal import Signal

from storage.errors import RecsysError, StoreMissing, StoreRemoved
from tui.job_watch import JobNews, JobWatch
from tui.reading import StoreReader
from tui.screens.choosing import ChooseCategory
from tui.screens.compare import Compare
from tui.screens.distil import Distil
from tui.screens.help import Help
from tui.screens.layers import Layers
from tui.screens.leaderboard import Leaderboard
from tui.screens.leaving import Leaving
from tui.screens.teachers import Teachers
from tui.shown import shown

if TYPE_CHECKING:
    from recommender.config import Settings
    from storage.records import Category
    from storage.store import Store

T = TypeVar("T")

DARK, LIGHT = "textual-dark", "textual-light"


class RecsysApp(App[None]):
    """`recsys tui`. Its exit prints what the screens left to say, such as a tally."""

    TITLE = "recsys"
    CSS_PATH = "app.tcss"
    MODES: ClassVar[dict[str, str | Callable[[], Screen[None]]]] = {
        "compare": Compare,
        "distil": Distil,
        "layers": Layers,
        "leaderboard": Leaderboard,
        "teachers": Teachers,
    }
    DEFAULT_MODE = "compare"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "switch_mode('compare')", "Compare"),
        Binding("2", "switch_mode('distil')", "Distil"),
        Binding("3", "switch_mode('layers')", "Layers"),
        Binding("4", "switch_mode('leaderboard')", "Leaderboard"),
        Binding("5", "switch_mode('teachers')", "Teachers"),
        Binding("c", "choose_category", "Category", show=False),
        Binding("ctrl+t", "toggle_theme", "Light/dark", show=False),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("q", "leave", "Quit"),
        Binding("ctrl+q", "leave", "Quit", show=False, priority=True),
    ]

    category: reactive[Category | None] = reactive(None)
    """Whose people and items are shown; None until one is found, or where there is no data."""

    def __init__(self, settings: Settings, *, category: str | None = None) -> None:
        """Show the Store that the settings name.

        Args:
            settings: resolved once, by whoever starts the app.
            category: to begin with; None is the one that was imported last.
        """
        super().__init__()
        self.settings = settings
        self.wanted = category
        self.store = StoreReader(settings)
        self.jobs = JobWatch(settings)
        self.category_signal: Signal[Category | None] = Signal(self, "category")
        self.job_signal: Signal[JobNews] = Signal(self, "job")
        self.loaded = False
        """Whether the Store was looked at: before that, no category is no news."""
        self.trouble: RecsysError | None = None
        """Why the Store cannot be read; the page of a screen says it."""
        self.last_words: list[str] = []
        """What is printed when the terminal is restored."""

    def on_mount(self) -> None:
        """Paint first; look into the Store and for jobs after that."""
        self.theme = DARK
        self.call_after_refresh(self.load_category)
        self.call_after_refresh(self._watch_jobs)

    async def on_unmount(self) -> None:
        """Close the Store behind the last question."""
        await asyncio.to_thread(self.store.close)

    async def ask_store(self, question: Callable[[Store], T]) -> T:
        """Return what a question finds in the Store, asked in a thread.

        Raises:
            RecsysError: the Store cannot be opened, or what the question raises.
        """
        try:
            return await self.store.ask(question)
        except StoreRemoved as error:
            self._lose(error)
            raise

    def _lose(self, error: RecsysError) -> None:
        """Show that there is nothing to be read any more."""
        if self.category is not None:
            self.category = None
            self._cannot_read(error)

    def _cannot_read(self, error: RecsysError) -> None:
        """Show why there is no category: every screen has a page for that."""
        self.loaded, self.trouble = True, error
        self.category_signal.publish(None)

    @work(exclusive=True, group="category")
    async def load_category(self, name: str | None = None) -> None:
        """Find the category to show: the one named, the one shown, or the newest."""
        wanted = name or (self.category.name if self.category else self.wanted)
        try:
            found = await self.ask_store(_categories)
        except StoreRemoved as error:
            self._cannot_read(error)
            return
        except StoreMissing:
            found = []  # as where nothing was imported: reading makes no database
        except RecsysError as error:
            self._cannot_read(error)
            return
        self.loaded, self.trouble = True, None
        # What is loaded by now stays: the collector need not walk through it again and again,
        # which would hold the window up for longer than a person overlooks.
        gc.freeze()
        newest = max(found, key=lambda one: one.imported_at, default=None)
        named = next((one for one in found if one.name == wanted), None)
        if wanted and named is None and found:
            self.notify(f"no category {wanted!r}", severity="warning", markup=False)
        self.category = named or newest
        self.category_signal.publish(self.category)

    def say(self, error: RecsysError) -> None:
        """Show what the user can mend, with the next command; what a page says, it says alone."""
        if isinstance(error, StoreRemoved):
            return
        further = f"\nnext: {error.next_step}" if error.next_step else ""
        text = shown(error.what).plain + shown(further).plain.replace("next:", "\nnext:", 1)
        self.notify(text, severity="error", markup=False, timeout=12)

    def tell(self, text: str) -> None:
        """Show a sentence for a moment; it may hold foreign text."""
        self.notify(shown(text).plain, markup=False)

    @work(exclusive=True, group="choosing")
    async def action_choose_category(self) -> None:
        """Let a category be chosen from those there are."""
        try:
            found = await self.ask_store(_categories)
        except RecsysError as error:
            self.say(error)
            return
        chosen = await self.push_screen_wait(ChooseCategory(found))
        if chosen:
            self.load_category(chosen)

    def action_toggle_theme(self) -> None:
        """Change between light and dark."""
        self.theme = LIGHT if self.theme == DARK else DARK

    def action_help(self) -> None:
        """Show the keys of the screen."""
        if not isinstance(self.screen, Help):
            self.push_screen(Help(self.screen))

    @work(exclusive=True, group="leaving")
    async def action_leave(self) -> None:
        """Leave; where a job runs, ask what is to become of it."""
        running = [job for job in await self.jobs.all() if job.state in ("running", "stopping")]
        if running:
            answer = await self.push_screen_wait(Leaving(running))
            if answer == "stay":
                return
            if answer == "stop":
                for job in running:
                    await self.jobs.stop(job.id)
        self.exit()

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Put the app's own actions into the command palette."""
        yield from super().get_system_commands(screen)
        for mode in self.MODES:
            says = f"Go to the {mode} screen"
            yield SystemCommand(mode.capitalize(), says, lambda m=mode: self.switch_mode(m))
        yield SystemCommand("Category", "Choose another category", self.action_choose_category)
        for title, says, action in actions_of(screen):
            yield SystemCommand(title, says, partial(self.run_action, action, screen))
        yield SystemCommand("Light or dark", "Change the theme", self.action_toggle_theme)

    @work(exclusive=True, group="jobs")
    async def _watch_jobs(self) -> None:
        async for news in self.jobs.news():
            self.job_signal.publish(news)


def _categories(store: Store) -> list[Category]:
    return store.catalogue.categories()


def actions_of(screen: Screen[object]) -> list[tuple[str, str, str]]:
    """Return what the keys of a screen do now: a title, the key, and the action."""
    found = {}
    for node, binding, enabled, _tip in screen.active_bindings.values():
        if node is screen and enabled and binding.description and not binding.system:
            key = screen.app.get_key_display(binding)
            found[binding.action] = (binding.description, f"key {key}", binding.action)
    return list(found.values())
