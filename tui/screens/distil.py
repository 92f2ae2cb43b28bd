"""Distilling: what is asked on one side of the list of jobs, and on the other how one goes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import ContentSwitcher, OptionList

from distill.jobs.records import Job, JobSpec, State
from distill.students import reads_text
from recommender.models import FETCH
from storage.errors import RecsysError, UnknownName
from tui import distil_choices, distil_offers
from tui.distil_choices import Wanted, needs_of
from tui.job_story import Story
from tui.job_watch import JobNews
from tui.screens.compared import Compared
from tui.screens.room import Room
from tui.widgets.distil_form import DistilForm
from tui.widgets.job_list import JobList
from tui.widgets.no_data import NoData
from tui.widgets.shown_job import ShownJob
from tui.widgets.side_by_side import SideBySide

if TYPE_CHECKING:
    from storage.records import Category

EVERY = 1.0
"""Seconds between two looks at how long a stage takes yet, while nothing new is said."""
RESUMED: tuple[State, ...] = ("stopped", "failed", "lost")


class Distil(Room):
    """A list of jobs; beside it a form for a new distillation, or the job that is looked at."""

    TITLE = "Distil"
    ABOUT = (
        "A distillation asks the teacher, measures its layers, and trains a student on both. It "
        "runs in a process of its own: leave this screen or the app, it goes on, and is found "
        "again. Stopped, it can be resumed from its last checkpoint. The form begins with the "
        "teacher that the Compare screen is about."
    )
    DEFAULT_CSS = """
    Distil JobList { width: 26; background: $surface; }
    Distil.-wide JobList { width: 44; }
    Distil #beside { width: 1fr; height: 1fr; }
    Distil.-low ShownJob #job-middle { margin-bottom: 0; }
    Distil.-low ShownJob.-ended #job-middle { display: none; }
    Distil.-low ShownJob.-ended #job-curves { min-height: 9; }
    Distil.-low ShownJob #job-end { max-height: 7; }
    Distil.-low ShownJob.-no-curves #job-middle { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "begin", "New"),
        Binding("s", "stop", "Stop"),
        Binding("r", "resume", "Resume"),
        Binding("delete", "remove", "Remove"),
        Binding("f", "fetch", "Fetch models"),
        Binding("escape", "back", "Back to the list", show=False),
    ]

    def __init__(self) -> None:
        """Know no job yet."""
        super().__init__()
        self.HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (120, "-wide")]
        self.VERTICAL_BREAKPOINTS = [(0, "-low"), (34, "-tall")]
        self._jobs: dict[str, Job] = {}
        self._looking: str | None = None
        self._stories: dict[str, Story] = {}
        self._places: dict[str, int] = {}
        self._starting = False
        self._heard_of = 0

    def body(self) -> ComposeResult:
        """Make the list, and what is beside it."""
        no_data = NoData()
        no_data.id = "no-data"
        with Horizontal():
            yield JobList(id="jobs")
            with ContentSwitcher(initial="form", id="beside"):
                yield DistilForm(self.recsys.settings.teacher, id="form")
                yield ShownJob(id="job")
                yield no_data

    def on_mount(self) -> None:
        """Hear of categories and jobs, and look for teachers."""
        self.recsys.job_signal.subscribe(self, self._heard)
        self.set_interval(EVERY, self._tick)
        self.query_one(JobList).focus()
        self._load_jobs()
        self._load_choices()

    def on_screen_resume(self) -> None:
        """Catch up with what was said and chosen while another screen was shown."""
        if self._looking is not None:
            self._read(self._looking)
        teacher = self._compared()
        if teacher is not None:
            self.query_one(DistilForm).follow(teacher)

    def _compared(self) -> str | None:
        """Return the teacher of the Compare screen; None before that was opened, and if blind."""
        try:
            screens = self.app.get_screen_stack("compare")
        except KeyError:
            return None
        for screen in screens:
            if isinstance(screen, Compared) and screen.blind is None:
                alive = [one.by for one in screen.comparison.columns if not one.dead]
                focused = (side.current for side in screen.query(SideBySide))
                at = next((column.by for column in focused if column is not None), "")
                return distil_offers.compared(alive, at, self.recsys.settings)
        return None

    def category_changed(self, category: Category | None) -> None:
        """Offer to distil it; where there is none, ways to get one."""
        if category is not None:
            says = f"{category.name} (synthetic sample)" if category.synthetic else category.name
            self.query_one(DistilForm).show_category(category.name, says)
        self._turn()

    @property
    def job(self) -> Job | None:
        """The job that is looked at."""
        return self._jobs.get(self._looking or "")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer only what the job that is looked at allows."""
        job = self.job
        match action:
            case "stop":
                return job is not None and job.state == "running"
            case "resume":
                return job is not None and job.state in RESUMED
            case "remove":
                return job is not None and not job.going
            case "fetch":
                return job is not None and job.state == "failed" and job.next_step == FETCH
        return True

    def action_begin(self) -> None:
        """Show the form."""
        self.query_one(JobList).highlighted = 0
        self._looking = None
        self._turn()
        if self.recsys.category is not None:
            self.query_one(DistilForm).focus_first()

    def action_back(self) -> None:
        """Go back to the list."""
        self.query_one(JobList).focus()

    @work(group="asking")
    async def action_stop(self) -> None:
        """Let the job stop at its next checkpoint."""
        if self.job is not None:
            await self._tried(self.recsys.jobs.stop(self.job.id))

    @work(group="asking")
    async def action_resume(self) -> None:
        """Let the job go on."""
        if self.job is not None:
            await self._tried(self.recsys.jobs.resume(self.job.id))

    @work(group="asking")
    async def action_remove(self) -> None:
        """Forget the job; what it made stays."""
        job = self.job
        if job is not None and await self._tried(self.recsys.jobs.remove(job.id)):
            self._stories.pop(job.id, None)
            self._places.pop(job.id, None)
            await self._list()

    def action_fetch(self) -> None:
        """Bring the embedded models."""
        self._begin(JobSpec("fetch", title="fetch the embedded models"))

    @on(JobList.Looked)
    def _look(self, event: JobList.Looked) -> None:
        self._looking = event.job
        self._turn()
        self.refresh_bindings()
        if event.job is not None:
            self._paint()
            self._read(event.job)

    @on(OptionList.OptionSelected, "#jobs")
    def _enter(self) -> None:
        """Go into what is looked at."""
        if self._looking is not None:
            self.query_one("#job-log").focus()
        elif self.recsys.category is not None:
            self.query_one(DistilForm).focus_first()

    @on(DistilForm.Start)
    def _asked(self, event: DistilForm.Start) -> None:
        self._begin(event.wanted)

    @work(group="starting")
    async def _begin(self, wanted: Wanted | JobSpec) -> None:
        if self._starting:  # pressed twice
            return
        self._starting = True
        try:
            spec = await self._asked_for(wanted) if isinstance(wanted, Wanted) else wanted
            distil_choices.require_other(spec, self._jobs.values())
            job = await self.recsys.jobs.start(spec)
            await self._list(job.id)
        except RecsysError as error:
            self.recsys.say(error)
        finally:
            self._starting = False

    async def _asked_for(self, wanted: Wanted) -> JobSpec:
        """Return the job that is wanted, once its teacher answers."""
        settings, form = self.recsys.settings, self.query_one(DistilForm)
        spec = await asyncio.to_thread(distil_choices.spec_of, wanted, settings)
        if needs_of(wanted.method).teacher or reads_text(wanted.student):
            form.asking(True)
            try:
                await asyncio.to_thread(distil_offers.require_answer, wanted.teacher, settings)
            finally:
                form.asking(False)
        return spec

    async def _tried(self, asked: Awaitable[object]) -> bool:
        try:
            await asked
        except RecsysError as error:
            self.recsys.say(error)
            return False
        return True

    @work(exclusive=True, group="list")
    async def _load_jobs(self) -> None:
        await self._list()

    async def _list(self, look_at: str | None = None) -> None:
        while True:
            heard = self._heard_of
            jobs = await self.recsys.jobs.all()
            if heard == self._heard_of:  # else the news are newer than the list
                break
        self._jobs = {job.id: job for job in jobs}
        self.query_one(JobList).show(jobs, look_at)
        self.refresh_bindings()

    @work(exclusive=True, group="choices")
    async def _load_choices(self) -> None:
        """Offer what is here at once, and what servers hold when they have answered."""
        settings, form = self.recsys.settings, self.query_one(DistilForm)
        try:
            here = await asyncio.to_thread(distil_offers.teachers_here, settings)
            weights = await asyncio.to_thread(distil_offers.weights_here, settings)
        except RecsysError as error:
            self.recsys.say(error)
            return
        form.offer_weights(weights)
        form.offer_teachers(here, "looking for Ollama models …")
        held = await asyncio.to_thread(distil_offers.teachers_on_servers, settings)
        form.offer_teachers(distil_offers.joined(here, held), distil_offers.said_of_servers(held))

    @work(exclusive=True, group="reading")
    async def _read(self, job: str) -> None:
        """Hear what a job said since it was looked at last; the place is kept with the story."""
        story = self._stories.setdefault(job, Story())
        while True:
            before = self._places.get(job, 0)
            try:
                events, place = await self.recsys.jobs.events(job, before)
            except UnknownName:  # removed meanwhile
                return
            if place == before:
                break
            story.hear(events)
            self._places[job] = place
        story.tick(time.monotonic())
        self._paint()

    def _heard(self, news: JobNews) -> None:
        job = news.job
        self._heard_of += 1
        self.query_one(NoData).news(news)
        self._jobs[job.id] = job
        if not self.query_one(JobList).change(job):
            self._load_jobs()
        if job.id == self._looking:
            self.refresh_bindings()
            if self.is_current:
                self._read(job.id)

    def _turn(self) -> None:
        """Show the side that fits."""
        empty = self.recsys.loaded and self.recsys.category is None
        side = "job" if self._looking is not None else "no-data" if empty else "form"
        beside = self.query_one("#beside", ContentSwitcher)
        if beside.current != side:
            beside.current = side
            if side == "no-data":
                self.query_one(NoData).look()

    def _paint(self) -> None:
        job = self.job
        if job is not None:
            story = self._stories.setdefault(job.id, Story())
            self.query_one(ShownJob).show(job, story, time.monotonic())

    def _tick(self) -> None:
        job = self.job
        if job is not None and job.going and self.is_current and job.id in self._stories:
            self.query_one(ShownJob).tick(job, self._stories[job.id], time.monotonic())
