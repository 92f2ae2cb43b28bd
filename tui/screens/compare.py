"""Teacher and student live, side by side: one person, one column a ranker, and how they agree."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, HorizontalScroll, Vertical

from recommender.live.messages import Ended, Message, Piece, Refused
from storage.errors import BadSetting, RecsysError
from tui import compare_data
from tui.blind import Blind
from tui.columns import LiveColumns
from tui.comparing import Comparison
from tui.job_watch import JobNews
from tui.saved import as_json, as_markdown
from tui.screens.adding import AddColumn
from tui.screens.finding import EditHistory
from tui.screens.room import Room
from tui.screens.saving import SaveComparison
from tui.text import plain
from tui.widgets.column import Look, RankerColumn
from tui.widgets.figures import FigureLines
from tui.widgets.missing import Missing, Offer
from tui.widgets.people import PeoplePanel

if TYPE_CHECKING:
    from recommender.people import Person
    from recommender.protocol import Protocol
    from storage.records import Category

COLUMNS = ("student", "teacher", "popularity")
NARROW = 110
"""Cells below which the people take less room."""
TICK = 0.25
"""Seconds between two looks at how long somebody thinks."""
NO_DATA = (
    Offer("movielens-100k", "MovieLens-100K: real, from a package, no download of its own"),
    Offer("sample", "A small synthetic shop, to look around"),
    Offer("again", "I imported some: look again"),
)
HOW_TO_IMPORT = "your own: recsys data import PATH --category NAME"


class Compare(Room):
    """The start screen."""

    TITLE = "Compare"
    ABOUT = (
        "One person, one column a ranker. Movement is against the first column. The last event of "
        "the person is held out where no student was trained on it; ✓ marks it in a list. In "
        "blind mode (b) columns are shuffled and unnamed, and enter counts the one you prefer."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "walk(1)", "Next person"),
        Binding("p", "walk(-1)", "Previous person", show=False),
        Binding("slash", "search", "Search", key_display="/"),
        Binding("h", "edit", "History"),
        Binding("plus", "opinion(1)", "Like", show=False, key_display="+"),
        Binding("minus", "opinion(-1)", "Dislike", show=False, key_display="-"),
        Binding("e", "explain", "Why"),
        Binding("x", "cancel", "Stop", show=False),
        Binding("b", "blind", "Blind"),
        Binding("a", "add", "Add column"),
        Binding("d", "remove", "Drop column", show=False),
        Binding("i", "notices", "Notices", show=False),
        Binding("o", "offer", "Take the offer of a column", show=False),
        Binding("r", "again", "Ask again", show=False),
        Binding("y", "copy", "Copy the list", show=False),
        Binding("s", "save", "Save"),
        Binding("f", "fold", "Fold the people", show=False),
        Binding("left", "turn(-1)", "Column to the left", show=False),
        Binding("right", "turn(1)", "Column to the right", show=False),
    ]
    DEFAULT_CSS = """
    Compare #sides { height: 1fr; }
    Compare #columns { height: 1fr; width: 1fr; }
    Compare.-narrow PeoplePanel { width: 25; }
    Compare.-folded PeoplePanel { display: none; }
    Compare #nothing { display: none; height: 1fr; }
    Compare.-missing #nothing { display: block; }
    Compare.-missing #comparison { display: none; }
    """

    def __init__(self) -> None:
        """Compare nothing yet."""
        super().__init__()
        self.category: Category | None = None
        self.comparison = Comparison(COLUMNS)
        self.live: LiveColumns | None = None
        self.blind: Blind | None = None
        self.opinions: dict[int, int] = {}
        self._protocol: Protocol | None = None
        self._started: str = ""
        """The job that was started from here, to bring data."""

    def body(self) -> ComposeResult:
        """Make the people, the columns and the figures."""
        with Vertical(id="comparison"):
            with Horizontal(id="sides"):
                yield PeoplePanel()
                yield HorizontalScroll(id="columns", can_focus=False)
            yield FigureLines()
        yield Container(id="nothing")

    def on_mount(self) -> None:
        """Look now and then how long somebody thinks."""
        super().on_mount()
        self.recsys.job_signal.subscribe(self, self._job_news)
        self.set_interval(TICK, self._tick)

    async def on_unmount(self) -> None:
        """Leave no process behind, and say what the blind comparison came to."""
        if self.blind is not None:
            self.recsys.last_words += self.blind.words()
        if self.live is not None:
            await self.live.close()

    def on_resize(self, event: object) -> None:
        """Give the columns room."""
        self.set_class(self.size.width < NARROW, "-narrow")

    # The category and the person.

    def category_changed(self, category: Category | None) -> None:
        """Compare for another category."""
        if category is None:
            if self.recsys.loaded:
                self.show_missing()
            return
        if self.category is not None and category == self.category:
            return
        self.category, self._protocol = category, None
        self.begin()

    @work(exclusive=True, group="missing")
    async def show_missing(self) -> None:
        """Say what is not there: no data, or no Store."""
        try:
            await self.recsys.ask_store(lambda store: store.catalogue.categories())
            found = Missing("There is no data yet.", NO_DATA, further=HOW_TO_IMPORT)
        except RecsysError as error:
            found = Missing.of(error, [Offer("again", "Try again")])
        await self._put_missing(found)

    async def _put_missing(self, found: Missing) -> None:
        nothing = self.query_one("#nothing", Container)
        await nothing.remove_children()
        await nothing.mount(found)
        self.add_class("-missing")
        if found.offers:
            found.query("Button").first().focus()

    @work(exclusive=True, group="begin")
    async def begin(self) -> None:
        """Start the columns of a category, and show its first person."""
        category = self.category
        assert category is not None
        self.remove_class("-missing")
        self._end_blind()
        names = [column.by for column in self.comparison.columns]
        old, self.comparison = self.live, Comparison(names)
        self.live = LiveColumns(self.comparison, category.name, self.recsys.settings)
        if old is not None:
            await old.close()
        columns = self.query_one("#columns", HorizontalScroll)
        await columns.remove_children()
        for name in names:
            await self._start(name)
        panel = self.query_one(PeoplePanel)
        panel.show_category(category)
        panel.say("looking what is held out …")
        self._paint()
        self.show_number(0)

    async def _start(self, by: str) -> None:
        column = RankerColumn(by)
        await self.query_one("#columns", HorizontalScroll).mount(column)
        self._paint_column(column)
        self.listen(by)

    @work(group="listening")
    async def listen(self, by: str) -> None:
        """Take in what a column says, until it ends."""
        live = self.live
        if live is None:
            return
        async for message in live.listen(by):
            if live is not self.live:
                return
            self._heard(by, message)

    def _heard(self, by: str, message: Message) -> None:
        column = self._widget(by)
        if column is None or self.live is None:
            return
        if isinstance(message, Piece | Ended | Refused):
            self._reason(column, message)
        if self.comparison.hear(by, message):
            self._paint()

    def show_number(self, number: int) -> None:
        """Show the person of a number."""
        category = self.category
        if category is not None and category.people:
            self.show_person(lambda store: store.browsing.user_at(category.id, number))

    @work(exclusive=True, group="person")
    async def show_person(self, who: str | compare_data.Who) -> None:
        """Show a person by id, or whom the Store names, and ask every column."""
        category = self.category
        if category is None:
            return
        look = compare_data.looking(category, who, self._protocol)
        try:
            found = await self.recsys.ask_store(look)
        except RecsysError as error:
            self.recsys.say(error)
            self.query_one(PeoplePanel).say(error.what)
            return
        self._protocol, self.opinions = found.protocol, found.opinions
        self._turn_to(found.person)

    def _turn_to(self, person: Person) -> None:
        self._stop_all()
        self.comparison.show(person)
        if self.blind is not None:
            self.blind.shuffle([one.by for one in self.comparison.columns])
        self._ask()

    def _ask(self) -> None:
        """Ask all columns about what is shown now."""
        person = self.comparison.person
        if person is not None:
            self.query_one(PeoplePanel).show_person(person, self.comparison.edited)
        if self.live is not None:
            self.live.ask_all()
        self._paint()

    def _stop_all(self) -> None:
        for column in self.comparison.columns:
            if self.live is not None:
                self.live.stop(column.by)

    def on_people_panel_picked(self, event: PeoplePanel.Picked) -> None:
        """Show whom was picked."""
        self.show_person(event.user)
        self._focus_column(0)

    # What is painted.

    def _paint(self) -> None:
        for column in self.query(RankerColumn):
            self._paint_column(column)
        says = "" if self.blind is None else f"blind: {self.blind.count} told (b ends it)"
        self.query_one(FigureLines).paint(self.comparison.figures(), self.comparison.n, says)
        if self.blind is not None:
            self._arrange(self.blind.order)

    def _paint_column(self, widget: RankerColumn) -> None:
        now = self.comparison.column(widget.by)
        first = now is self.comparison.columns[0]
        moving = () if first or now.answer is None else self.comparison.movement(now.by)
        hidden = self.blind is not None
        look = Look(
            name=self._shown_as(widget.by),
            first=first or not self.comparison.columns[0].items,
            movement=moving,
            hit=None if hidden else self.comparison.hit(now.by),
            feedback=self.opinions,
            hidden=hidden,
            waiting=hidden and self._is_waiting(),
        )
        widget.paint(now, look)
        widget.paint_head(self.comparison.clock() - now.asked_at if now.asked_at else 0.0)

    def _is_waiting(self) -> bool:
        done = ("answered", "refused", "cancelled")
        return any(one.state not in done for one in self.comparison.columns)

    def _shown_as(self, by: str) -> str:
        return by if self.blind is None else f"ranker {self.blind.name(by)}"

    def _arrange(self, order: list[str]) -> None:
        """Put the columns into an order."""
        container = self.query_one("#columns", HorizontalScroll)
        by = {one.by: place for place, one in enumerate(self.query(RankerColumn))}
        if list(by) != order:
            container.sort_children(key=lambda one: order.index(getattr(one, "by", "")))

    def _tick(self) -> None:
        now = self.comparison.clock()
        for widget in self.query(RankerColumn):
            column = self.comparison.column(widget.by)
            if column.state in ("opening", "thinking") and self.blind is None:
                widget.paint_head(now - column.asked_at if column.asked_at else 0.0)

    def _widget(self, by: str) -> RankerColumn | None:
        return next((one for one in self.query(RankerColumn) if one.by == by), None)

    @property
    def _current(self) -> RankerColumn | None:
        """The column the keys go to."""
        widgets = list(self.query(RankerColumn))
        for one in widgets:
            if one.has_focus_within:
                return one
        return widgets[0] if widgets else None

    def _focus_column(self, place: int) -> None:
        widgets = list(self.query(RankerColumn))
        if widgets:
            widgets[max(0, min(place, len(widgets) - 1))].focus_list()

    # What keys do.

    def action_walk(self, by: int) -> None:
        """Go on to the next person, or back."""
        person, category = self.comparison.person, self.category
        if person is not None and category is not None:
            self.show_number((person.number + by) % category.people)

    def action_search(self) -> None:
        """Bring the keys to the search."""
        self.remove_class("-folded")
        self.query_one("#search").focus()

    def action_turn(self, by: int) -> None:
        """Go to the next column."""
        widgets = list(self.query(RankerColumn))
        current = self._current
        if current is not None:
            self._focus_column(widgets.index(current) + by)

    def action_fold(self) -> None:
        """Give the people's room to the columns, or back."""
        self.toggle_class("-folded")

    @work(exclusive=True, group="modal")
    async def action_edit(self) -> None:
        """Make a history by hand."""
        if self.category is None or self.comparison.person is None:
            return
        items = self.comparison.history
        changed = await self.app.push_screen_wait(EditHistory(self.category, items))
        if changed is not None and changed != items:
            self._stop_all()
            self.comparison.edit(changed)
            self._ask()

    @work(exclusive=True, group="opinion")
    async def action_opinion(self, value: int) -> None:
        """Keep that an item is liked or not; the same again takes it back."""
        column, category = self._current, self.category
        item = column.selected if column is not None else None
        if item is None or category is None:
            return
        edited, person = self.comparison.edited is not None, self.comparison.person
        user = "" if edited or person is None else person.id
        taken_back = self.opinions.get(item.item) == value
        say = compare_data.saying(category, user, item.item, 0 if taken_back else value)
        try:
            self.opinions = await self.recsys.ask_store(say)
        except RecsysError as error:
            self.recsys.say(error)
        self._paint()

    def action_explain(self) -> None:
        """Let a model say why the selected item might suit."""
        column = self._current
        if column is None or column.selected is None or self.live is None or self.blind:
            return
        opened = self.comparison.column(column.by).opened
        if opened is None or not opened.explains:
            self.recsys.say(
                BadSetting(
                    f"{column.by!r} is no language model and gives no reasons",
                    next_step="select an item in a teacher's column, and press e",
                )
            )
            return
        column.reason = (column.selected.item, "")
        column.paint_list()
        self.live.explain(column.by, column.selected.item)

    def _reason(self, column: RankerColumn, message: Piece | Ended | Refused) -> None:
        """Add to the reason that is being written, if this belongs to it."""
        assert self.live is not None
        number, item = self.live.explaining.get(column.by, (0, -1))
        if message.number != number:
            return
        if isinstance(message, Piece):
            said = column.reason[1] if column.reason is not None else ""
            column.reason = (item, said + message.text)
        else:
            del self.live.explaining[column.by]
            if isinstance(message, Refused):
                column.reason = (item, f"({message.what})")
        column.paint_list()

    def action_cancel(self) -> None:
        """Stop what the current column is at."""
        if self._current is not None and self.live is not None:
            self.live.stop(self._current.by)
            self._paint()

    def action_again(self) -> None:
        """Ask a column once more, starting it anew where its process has ended."""
        column = self._current
        if column is None or self.live is None:
            return
        if self.comparison.column(column.by).dead:
            self._replace(column.by, column.by)
        else:
            self.live.ask(column.by)
            self._paint()

    @work(exclusive=True, group="modal")
    async def action_add(self) -> None:
        """Put another ranker beside the others."""
        if self.category is None or self.live is None:
            return
        names = await self._offered(self.category)
        by = await self.app.push_screen_wait(AddColumn(names))
        if by and self._widget(by) is None:
            self._end_blind()
            self.comparison.add(by)
            await self._start(by)
            self._paint()

    async def _offered(self, category: Category) -> list[tuple[str, str]]:
        look = compare_data.rankers(category, self.recsys.settings)
        try:
            found = await self.recsys.ask_store(look)
        except RecsysError as error:
            self.recsys.say(error)
            return []
        there = {one.by for one in self.comparison.columns}
        return [one for one in found if one[0] not in there]

    @work(exclusive=True, group="modal")
    async def action_remove(self) -> None:
        """Take the current column away; one stays."""
        column = self._current
        if column is None or self.live is None or len(self.comparison.columns) < 2:
            return
        self._end_blind()
        self.live.end(column.by)
        self.comparison.remove(column.by)
        await column.remove()
        self._paint()

    @work(exclusive=True, group="modal")
    async def _replace(self, old: str, new: str) -> None:
        """Start a column anew, in its place, perhaps as another ranker."""
        column = self._widget(old)
        if column is None or self.live is None:
            return
        names = [new if one.by == old else one.by for one in self.comparison.columns]
        self.live.end(old)
        self.comparison.remove(old)
        await column.remove()
        self.comparison.add(new)
        self.comparison.columns.sort(key=lambda one: names.index(one.by))
        await self._start(new)
        self._arrange(names)
        self._paint()
        self._focus_column(names.index(new))

    def action_offer(self) -> None:
        """Do what would mend the current column."""
        column = self._current
        refused = None if column is None else self.comparison.column(column.by).refused
        if column is None or refused is None:
            return
        if column.by.startswith("student"):
            self.app.switch_mode("distil")
        elif refused.kind == "ModelMissing":
            self.app.switch_mode("teachers")
        elif column.by.startswith("teacher"):
            self._replace(column.by, "teacher:embedded")
        else:
            self.action_again()

    def action_notices(self) -> None:
        """Show what an answer said besides."""
        column = self._current
        now = None if column is None else self.comparison.column(column.by)
        if now is None or self.blind is not None:
            return
        notices = (*(now.opened.notices if now.opened else ()),)
        notices += now.answer.notices if now.answer else ()
        for notice in notices or ("nothing to say about it",):
            self.recsys.tell(notice)

    def action_copy(self) -> None:
        """Copy the current list as plain text."""
        column = self._current
        answer = None if column is None else self.comparison.column(column.by).answer
        if answer is None:
            return
        lines = [
            f"{place}. {plain(item.title or item.id, 500)}"
            for place, item in enumerate(answer.items, start=1)
        ]
        self.app.copy_to_clipboard("\n".join(lines))
        self.recsys.tell(f"copied {len(lines)} lines")

    @work(exclusive=True, group="modal")
    async def action_save(self) -> None:
        """Write the comparison down."""
        person, category = self.comparison.person, self.category
        if person is None or category is None or self.blind is not None:
            return
        at = datetime.now()
        who = "".join(c if c.isalnum() else "-" for c in person.id)[:40]
        folder = self.recsys.settings.data_dir / "comparisons"
        path = await self.app.push_screen_wait(SaveComparison(folder / f"{at:%Y%m%d-%H%M%S}-{who}"))
        if path is None:
            return
        write = as_json if path.suffix == ".json" else as_markdown
        try:
            await compare_data.keep(path, write(self.comparison, category.name, at))
        except OSError as error:
            self.recsys.tell(f"cannot write {path}: {error.strerror}")
            return
        self.recsys.tell(f"saved to {path}")

    # Blind.

    def action_blind(self) -> None:
        """Hide who is who, or end that."""
        if self.blind is not None:
            self._end_blind()
        elif len(self.comparison.columns) > 1:
            names = [one.by for one in self.comparison.columns]
            self.blind = Blind(names, seed=time.time_ns())
        self._paint()

    def _end_blind(self) -> None:
        if self.blind is None:
            return
        for line in self.blind.words():
            self.recsys.tell(line)
            self.recsys.last_words.append(line)
        self.blind = None
        self._arrange([one.by for one in self.comparison.columns])

    def on_ranker_column_selected(self, event: RankerColumn.Selected) -> None:
        """Count the column as preferred, where it is blind; then to the next person."""
        if self.blind is not None and not self._is_waiting():
            self.blind.prefer(event.by)
            self.action_walk(1)

    # What is missing.

    @work(exclusive=True, group="missing")
    async def on_missing_chosen(self, event: Missing.Chosen) -> None:
        """Bring data, or look again."""
        if event.action == "again":
            self.recsys.load_category()
            return
        self._started = (await self.recsys.jobs.start(compare_data.bringing(event.action))).id
        await self._put_missing(Missing("Bringing data …"))

    def _job_news(self, news: JobNews) -> None:
        if news.job.id != self._started:
            return
        if news.job.state == "done":
            self._started = ""
            self.recsys.load_category()
        elif not news.job.going:
            self._started = ""
            self._say_failed(news.job.error or f"it was {news.job.state}", news.job.next_step)

    @work(exclusive=True, group="missing")
    async def _say_failed(self, what: str, next_step: str) -> None:
        further = f"next: {next_step}" if next_step else HOW_TO_IMPORT
        await self._put_missing(Missing(what, NO_DATA, further=further))
