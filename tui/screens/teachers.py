"""Who can teach: servers and models, what was labelled, and the jobs that pull and label."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import DataTable, Static

from distill.jobs.records import JobSpec
from storage.errors import RecsysError
from tui.fitting import left_out
from tui.job_watch import JobNews
from tui.screens.labelling import AskLabels
from tui.screens.pulling import PullModel
from tui.screens.room import Room
from tui.shown import shown
from tui.teacher_data import (
    ModelRow,
    ModelWatch,
    floor_of,
    host_line,
    label_job,
    models_held,
    with_hosts,
)
from tui.text import plain
from tui.widgets.label_counts import LabelCounts
from tui.widgets.model_table import ModelTable, described
from tui.widgets.work_lines import MOST, WorkLine, WorkLines

if TYPE_CHECKING:
    from recommender.backends.ollama.survey import HostState
    from recommender.config import Settings
    from recommender.protocol import Protocol
    from storage.label_records import LabelStatistics, NoiseFloor
    from storage.records import Category
    from storage.store import Store

EVERY = 10.0
"""Seconds between two looks at the servers while the screen is shown."""
KINDS = ("pull", "label", "fetch")
NO_DATA = "there is no data yet: the first screen (1) brings some"
MORE = "widen the window"
NO_LABELS = "no label yet: l asks the model that is highlighted"


class Teachers(Room):
    """Models, jobs and labels."""

    TITLE = "Teachers"
    AUTO_FOCUS = "ModelTable"
    ABOUT = (
        "The models of your Ollama servers and of this machine. Letters need a server that names "
        "log-probabilities. A pull or a labelling runs on its own: it goes on when the app is "
        "left, and stops at a point from which it can go on."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l", "label", "Label"),
        Binding("p", "pull", "Pull"),
        Binding("f", "fetch", "Fetch"),
        Binding("x", "stop", "Stop"),
        Binding("r", "again", "Look again"),
    ]
    DEFAULT_CSS = """
    Teachers #hosts { height: auto; max-height: 6; padding: 0 1; }
    Teachers #about { height: auto; max-height: 4; padding: 0 1; color: $text-muted; }
    Teachers #models { height: 3fr; }
    Teachers LabelCounts { height: 2fr; }
    """

    def __init__(self) -> None:
        """Know nothing yet."""
        super().__init__()
        self.category: Category | None = None
        self.states: dict[str, HostState] = {}
        """Host as the settings write it -> how it stood."""
        self.here: list[ModelRow] = []
        self.floors: dict[str, NoiseFloor] = {}
        self._looking: set[str] = set()
        self._over: dict[str, JobNews] = {}
        """Jobs that had ended when they were first heard of."""
        self._watch: ModelWatch | None = None

    def body(self) -> ComposeResult:
        """Make the servers, their models, the jobs and the labels."""
        yield Static("looking for Ollama servers …", id="hosts", markup=False)
        with Vertical(id="models"):
            yield ModelTable()
            yield Static("", id="about", markup=False)
            yield WorkLines()
        yield LabelCounts()

    def on_mount(self) -> None:
        """Look, now and again, and hear of jobs."""
        self.recsys.job_signal.subscribe(self, self._job_news)
        self._find_jobs()
        self.set_interval(EVERY, self._tick)

    @property
    def table(self) -> ModelTable:
        """The models."""
        return self.query_one(ModelTable)

    @property
    def models_watch(self) -> ModelWatch:
        """What looks at the servers."""
        if self._watch is None:
            self._watch = ModelWatch(self.recsys.settings)
        return self._watch

    def on_screen_resume(self) -> None:
        """Look at once."""
        self.action_again()

    def category_changed(self, category: Category | None) -> None:
        """Count another category's labels."""
        self.category = category
        self.count_labels()

    def action_again(self) -> None:
        """Look at everything anew."""
        self.look_here()
        for host in self.models_watch.hosts:
            self.look_at(host)
        if self.category is None and self.recsys.loaded:
            self.recsys.load_category()
        self.count_labels()

    def _tick(self) -> None:
        if self.is_current:
            self.look_here()
            for host in self.models_watch.hosts:
                self.look_at(host)
            if any(one.job.going for one in self.query_one(WorkLines).lines):
                self.count_labels()

    @work(group="servers")
    async def look_at(self, host: str) -> None:
        """Look at a server, unless that is being done."""
        if host in self._looking:
            return
        self._looking.add(host)
        try:
            self.states[host] = await self.models_watch.look(host)
        finally:
            self._looking.discard(host)
        self._paint()

    @work(exclusive=True, group="here")
    async def look_here(self) -> None:
        """Look at the models of this machine."""
        try:
            self.here = await self.models_watch.here()
        except RecsysError as error:
            self.recsys.say(error)
            return
        self._paint()

    def models(self) -> list[ModelRow]:
        """Return what is known: the servers' models first, then those of this machine."""
        states = [self.states[h] for h in self.models_watch.hosts if h in self.states]
        return [*(row for one in states for row in models_held(one)), *self.here]

    def _paint(self) -> None:
        states = [self.states[h] for h in self.models_watch.hosts if h in self.states]
        if states:
            lines = [_host(state) for state in states]
            self.query_one("#hosts", Static).update(Content("\n").join(lines))
        all_known = len(states) == len(self.models_watch.hosts)
        self.table.put(self.models(), self.floors, settled=all_known and bool(self.here))
        self._describe()

    def _describe(self) -> None:
        row = self.table.current
        lines = described(row, floor_of(row, self.floors) if row else None)
        lines += [one for one in [left_out(self.table.hidden, MORE)] if one]
        text = Content("\n").join(shown(line) for line in lines)
        self.query_one("#about", Static).update(text)

    def on_model_table_fitted(self) -> None:
        """Say which columns there is no room for."""
        self._describe()

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """Say what is known of a model."""
        if event.data_table is self.table:
            self._describe()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Have the highlighted model label, or have it brought."""
        row = self.table.current
        if event.data_table is self.table and row is not None:
            self.action_fetch() if row.missing else self.action_label()

    @work(exclusive=True, group="labels")
    async def count_labels(self) -> None:
        """Count what was asked and answered."""
        counts, category = self.query_one(LabelCounts), self.category
        if category is None:
            if self.recsys.loaded:
                trouble = self.recsys.trouble
                counts.say("labels", NO_DATA if trouble is None else str(trouble))
            return
        title = f"labels of {category.name}"
        try:
            found, self.floors = await self.recsys.ask_store(lambda s: _counted(s, category))
            self._paint()
            if not found:
                counts.say(title, NO_LABELS)
                return
            counts.show(title, found)
            counts.show_silent(await self.recsys.ask_store(lambda s: _silent(s, category)))
        except RecsysError as error:
            counts.say(title, str(error))

    @work(exclusive=True, group="asking")
    async def action_label(self) -> None:
        """Have the highlighted model label the category."""
        row, category = self.table.current, self.category
        if row is None or category is None:
            self.recsys.tell("no model is highlighted" if category else NO_DATA)
            return
        if row.missing:
            self.recsys.tell(f"{row.name} is not on this machine: f fetches it")
            return
        settings = self.recsys.settings
        try:
            protocol = await self.recsys.ask_store(lambda store: _protocol(store, category))
        except RecsysError as error:
            self.recsys.say(error)
            return
        asked = await self.recsys.push_screen_wait(
            AskLabels(row.name, category.name, _how(protocol), settings.candidates)
        )
        if asked is not None:
            spec = label_job(category.name, row, asked, protocol, settings)
            await self._start(spec, with_hosts(settings, row, self.models()))

    @work(exclusive=True, group="asking")
    async def action_pull(self) -> None:
        """Bring a model onto a server."""
        known = self.states
        hosts = [(h, known[h].address if h in known else h) for h in self.models_watch.hosts]
        spec = await self.recsys.push_screen_wait(PullModel(hosts))
        if spec is not None:
            await self._start(spec)

    @work(exclusive=True, group="asking")
    async def action_fetch(self) -> None:
        """Bring the models that come along."""
        if any(row.missing for row in self.here):
            await self._start(JobSpec("fetch", title="fetch the models that come along"))
        else:
            self.recsys.tell("the models that come along are here")

    async def _start(self, spec: JobSpec, settings: Settings | None = None) -> None:
        """Start a job, unless just that runs already."""
        for line in self.query_one(WorkLines).lines:
            if line.job.going and line.job.spec == spec:
                self.recsys.tell(f"{spec.named} runs already")
                return
        try:
            job = await self.recsys.jobs.start(spec, settings)
        except RecsysError as error:
            self.recsys.say(error)
            return
        lines = self.query_one(WorkLines)
        lines.hear(job, ())
        if job.id in self._over:
            lines.hear(self._over[job.id].job, self._over[job.id].events)

    @work(group="jobs")
    async def _find_jobs(self) -> None:
        """Show what was begun before this screen was opened, if it runs or can go on."""
        kept = 0
        found = []
        for job in await self.recsys.jobs.all():
            open_end = job.state in ("stopped", "failed", "lost")
            kept += open_end
            if job.spec.kind in KINDS and (job.going or (open_end and kept <= MOST)):
                said, _ = await self.recsys.jobs.events(job.id)
                found.append((job, said))
        lines = self.query_one(WorkLines)
        for job, said in reversed(found):
            if lines.line(job.id) is None:
                lines.hear(job, said)

    def _job_news(self, news: JobNews) -> None:
        job = news.job
        lines = self.query_one(WorkLines)
        line = lines.line(job.id)
        if job.spec.kind not in KINDS:
            return
        if line is None and news.first and not job.going:
            self._over[job.id] = news  # of a sitting long ago, or of a job that is just being begun
            return
        ended = line is not None and line.job.going and not job.going
        lines.hear(job, news.events)
        if ended:
            self.action_again()

    def action_stop(self) -> None:
        """Stop the job whose button is focused, else the one that was begun last."""
        going = [one for one in self.query_one(WorkLines).lines if one.job.state == "running"]
        line = next((one for one in going if one.has_focus_within), going[0] if going else None)
        if line is None:
            self.recsys.tell("nothing runs here that could be stopped")
        else:
            self.change_job(line.job.id, "stop")

    def on_work_line_pressed(self, event: WorkLine.Pressed) -> None:
        """Do what a button says."""
        self.change_job(event.job, event.action)

    @work(group="jobs")
    async def change_job(self, job: str, action: str) -> None:
        """Stop a job, let it go on, or forget it."""
        lines = self.query_one(WorkLines)
        try:
            if action == "stop":
                await self.recsys.jobs.stop(job)
            elif action == "resume":
                lines.hear(await self.recsys.jobs.resume(job), ())
            else:
                await self.recsys.jobs.remove(job)
                await lines.forget(job)
        except RecsysError as error:
            self.recsys.say(error)


def _host(state: HostState) -> Content:
    line = plain(host_line(state), 400)
    return Content.assemble((line[:1], "$success" if state.up else "$error"), line[1:])


def _how(protocol: Protocol) -> str:
    low = protocol.min_rating
    return f"split {protocol.split}" + ("" if low is None else f", ratings from {low:g}")


def _counted(
    store: Store, category: Category
) -> tuple[list[LabelStatistics], dict[str, NoiseFloor]]:
    return store.labels.statistics(category.id), store.noise.newest()


def _silent(store: Store, category: Category) -> dict[str, int]:
    # Imported here, in a thread: NumPy takes longer to load than a frame.
    from recommender.asking.label_statistics import without_opinion

    return without_opinion(store, category.id)


def _protocol(store: Store, category: Category) -> Protocol:
    # As above.
    from recommender.people import protocol_of

    return protocol_of(store, category)
