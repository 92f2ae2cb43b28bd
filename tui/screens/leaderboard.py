"""Everybody who was measured, with intervals; one run in detail, and two against each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.widgets import DataTable, Static, Tab, Tabs

from storage.errors import RecsysError
from tui.fitting import left_out
from tui.job_watch import JobNews
from tui.screens.room import Room
from tui.shown import shown
from tui.standings import Standing, compare, read_detail, read_standings, scope_name
from tui.text import plain
from tui.widgets.figure_table import FigureTable
from tui.widgets.missing import Missing, Offer
from tui.widgets.no_data import NoData
from tui.widgets.run_detail import RunDetail
from tui.widgets.versus import Versus

if TYPE_CHECKING:
    from storage.records import Category

AGAIN = Offer("again", "try again")
MORE = "widen the window, or enter opens the row"
DISTIL = Offer("distil", "distil a student (2)")


class Leaderboard(Room):
    """All runs of a category."""

    TITLE = "Leaderboard"
    AUTO_FOCUS = "FigureTable"
    ABOUT = (
        "Every run of the category with its figures and 95 % intervals over people. Teachers are "
        "measured on candidate lists at the gate, which is another thing than the full catalogue: "
        "g goes to their table. Mark two rows with space to see the paired difference."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "mark", "Mark"),
        Binding("m", "compare", "Compare marked"),
        Binding("o", "order", "Order"),
        Binding("O", "turn_round", "Other way round", show=False),
        Binding("g", "scope", "Scope"),
        Binding("u", "unmark", "Unmark all", show=False),
        Binding("r", "again", "Read again", show=False),
    ]
    DEFAULT_CSS = """
    Leaderboard #board { height: 1fr; }
    Leaderboard #order, Leaderboard #more { height: auto; max-height: 2; color: $text-muted;
        padding: 0 1; }
    Leaderboard #nothing, Leaderboard NoData { display: none; height: 1fr; }
    Leaderboard.-missing #nothing { display: block; }
    Leaderboard.-no-data NoData { display: block; }
    Leaderboard.-missing #board, Leaderboard.-no-data #board { display: none; }
    """

    def __init__(self) -> None:
        """Show nothing yet."""
        super().__init__()
        self.category: Category | None = None
        self.boards: dict[str, list[Standing]] = {}
        """Scope -> rows."""

    def body(self) -> ComposeResult:
        """Make the scopes, the table, and what is said of two rows."""
        with Vertical(id="board"):
            yield Tabs(id="scopes")
            yield FigureTable()
            yield Static("", id="order", markup=False)
            yield Static("", id="more", markup=False)
            yield Versus()
        yield Container(id="nothing")
        yield NoData()

    def on_mount(self) -> None:
        """Hear of distillations that end."""
        self.recsys.job_signal.subscribe(self, self._job_news)

    def on_screen_resume(self) -> None:
        """Look again: a run may have been added elsewhere."""
        self.load()

    def category_changed(self, category: Category | None) -> None:
        """Show the runs of another category."""
        if category is None or self.category is None or category.id != self.category.id:
            self.table.marked = []
            self.query_one(Versus).say([])
        self.category = category
        self.load()

    @property
    def table(self) -> FigureTable:
        """The rows."""
        return self.query_one(FigureTable)

    @work(exclusive=True, group="load")
    async def load(self) -> None:
        """Read the runs and show them, or say what is not there."""
        category = self.category
        if category is None:
            if self.recsys.loaded:
                self._show_only("-no-data")
                self.query_one(NoData).look()
            return
        try:
            self.boards = await self.recsys.ask_store(lambda store: read_standings(store, category))
        except RecsysError as error:
            await self._miss(Missing.of(error, [AGAIN]))
            return
        if not self.boards:
            says = f"Nothing was trained or measured on {category.name} yet."
            further = f"or: recsys distill --category {category.name!r}"
            await self._miss(Missing(says, [DISTIL, AGAIN], further=further))
            return
        self._show_only("")
        await self._put_tabs()
        self._put_rows()

    async def _put_tabs(self) -> None:
        tabs = self.query_one(Tabs)
        labels = [
            f"{plain(scope_name(one), 40)} ({len(rows)})" for one, rows in self.boards.items()
        ]
        if [tab.label_text for tab in tabs.query(Tab)] == [shown(one).plain for one in labels]:
            return
        place = self._place()
        with self.prevent(Tabs.TabActivated, Tabs.Cleared):
            await tabs.clear()
            for n, label in enumerate(labels):
                await tabs.add_tab(Tab(shown(label), id=f"scope-{n}"))
            tabs.active = f"scope-{min(place, len(labels) - 1)}"

    def _put_rows(self) -> None:
        scopes = list(self.boards)
        if not scopes:
            return
        scope = scopes[min(self._place(), len(scopes) - 1)]
        self.table.put(scope, self.boards[scope])
        self._say_order()
        if self.recsys.screen is self and self.focused is None:
            self.table.focus()

    def _place(self) -> int:
        """Return which scope is shown, from 0."""
        active = self.query_one(Tabs).active
        return int(active.rpartition("-")[2]) if active else 0

    def on_tabs_tab_activated(self, event: Tabs.TabActivated) -> None:
        """Show the rows of another scope; marks of this one mean nothing there."""
        event.stop()
        scopes = list(self.boards)
        if self._place() < len(scopes) and scopes[self._place()] != self.table.scope:
            self.action_unmark()
            self._put_rows()
            self.table.focus()

    def action_scope(self) -> None:
        """Go to the next scope."""
        self.query_one(Tabs).action_next_tab()

    def action_order(self) -> None:
        """Order by the next column."""
        self.table.order()

    def action_turn_round(self) -> None:
        """Order the other way round."""
        self.table.turn_round()

    def on_figure_table_sorted(self) -> None:
        """Say how the rows stand."""
        self._say_order()

    def action_mark(self) -> None:
        """Mark the highlighted row; two that are marked are compared."""
        self.table.mark()
        if len(self.table.marked) == 2:
            self.compare_marked()
        else:
            self.workers.cancel_group(self, "compare")
            some = ["mark another row with space to compare it with A"] if self.table.marked else []
            self.query_one(Versus).say(some)

    def action_unmark(self) -> None:
        """Take all marks off."""
        self.workers.cancel_group(self, "compare")
        self.table.marked = []
        self.table.paint()
        self.query_one(Versus).say([])

    def action_compare(self) -> None:
        """Compare the two marked rows again."""
        if len(self.table.marked) == 2:
            self.compare_marked()
        else:
            self.recsys.tell("mark two rows with space to compare them")

    @work(exclusive=True, group="compare")
    async def compare_marked(self) -> None:
        """Say how the two marked rows differ on the requests they share."""
        versus = self.query_one(Versus)
        a, b = self.table.marked_rows()
        versus.say(["comparing request by request …"])
        try:
            found = await self.recsys.ask_store(lambda store: compare(store, a, b))
        except RecsysError as error:
            versus.refuse(error)
            return
        versus.show(a, b, found)

    @work(exclusive=True, group="detail")
    async def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Show a run in detail."""
        event.stop()
        row = self.table.current
        if row is None:
            return
        try:
            detail = await self.recsys.ask_store(lambda store: read_detail(store, row.run))
        except RecsysError as error:
            self.recsys.say(error)
            return
        self.recsys.push_screen(RunDetail(detail))

    def action_again(self) -> None:
        """Read the runs again."""
        if self.category is None:
            self.recsys.load_category()
        else:
            self.load()

    def on_missing_chosen(self, event: Missing.Chosen) -> None:
        """Take an offer up."""
        if event.action == "distil":
            self.recsys.switch_mode("distil")
        else:
            self.action_again()

    def _job_news(self, news: JobNews) -> None:
        self.query_one(NoData).news(news)
        if news.job.spec.kind == "distil" and not news.job.going and not news.first:
            self.load()

    def _say_order(self) -> None:
        table = self.table
        direction = "falling" if table.falling else "rising"
        says = f"by {table.by}, {direction} · 95 % intervals over people"
        if self.category is not None and self.category.synthetic:
            says = f"a synthetic sample: no results · {says}"
        more = left_out(table.hidden, MORE)
        self.query_one("#order", Static).update(says)
        line = self.query_one("#more", Static)
        line.display = bool(more)
        line.update(more)

    async def _miss(self, missing: Missing) -> None:
        self._show_only("-missing")
        place = self.query_one("#nothing", Container)
        await place.remove_children()
        await place.mount(missing)

    def _show_only(self, state: str) -> None:
        for one in ("-missing", "-no-data"):
            self.set_class(one == state, one)
