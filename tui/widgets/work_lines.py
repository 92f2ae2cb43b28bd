"""Jobs as lines: how far each is, what came of it, and buttons to stop it or let it go on."""

from __future__ import annotations

import time
from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.css.query import NoMatches
from textual.message import Message
from textual.widgets import Button, Static

from distill.jobs.records import Job
from recommender.events import Event
from tui.job_story import Story
from tui.text import plain
from tui.widgets.job_list import SIGNS, STYLES
from tui.widgets.stages import bar_line

MOST = 3
"""Lines; what runs always has one."""
ENDED = ("stopped", "failed", "lost")


class WorkLine(Horizontal):
    """One job."""

    DEFAULT_CSS = """
    WorkLine { height: auto; padding: 0 1; }
    WorkLine Static { width: 1fr; height: auto; max-height: 4; }
    WorkLine Button { width: auto; min-width: 8; margin: 0 0 0 1; }
    """

    class Pressed(Message):
        """A button of a job's line."""

        def __init__(self, job: str, action: str) -> None:
            """`action` is 'stop', 'resume' or 'forget'."""
            super().__init__()
            self.job, self.action = job, action

    def __init__(self, job: Job) -> None:
        """Show a job of which nothing was heard yet."""
        super().__init__()
        self.job, self.story = job, Story()
        self.said = ""

    def compose(self) -> ComposeResult:
        """Make the text and the buttons."""
        yield Static("", markup=False)
        for action, label in (("stop", "Stop"), ("resume", "Go on"), ("forget", "Forget")):
            yield Button(label, name=action, compact=True, classes=action)

    def on_mount(self) -> None:
        """Draw it."""
        self.paint()

    def hear(self, job: Job, events: Sequence[Event]) -> None:
        """Show the job as it is now."""
        self.job = job
        self.story.hear(events)
        self.story.tick(time.monotonic())
        self.paint()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Say which button it was."""
        event.stop()
        self.post_message(self.Pressed(self.job.id, event.button.name or ""))

    def on_resize(self) -> None:
        """Draw the bar as long as there is room."""
        self.paint()

    def paint(self) -> None:
        """Draw how far it is, or what came of it."""
        job = self.job
        found = work_content(job, self.story, max(30, self.size.width - 12), time.monotonic())
        self.said = found.plain
        try:
            self.query_one(Static).update(found)
        except NoMatches:  # news came before its parts were made
            return
        able = {"stop": job.state == "running", "resume": job.state in ENDED}
        able["forget"] = not job.going
        for button in self.query(Button):
            button.display = able[button.name or ""]


def work_content(job: Job, story: Story, width: int, now: float) -> Content:
    """Return a job as two lines.

    >>> from pathlib import Path
    >>> from distill.jobs.records import JobSpec
    >>> spec = JobSpec("pull", title="pull qwen3:8b")
    >>> print(work_content(Job("a", spec, "failed", Path("a"), error="no such model"),
    ...     Story(), 60, 0.0).plain)
    ✗ failed  pull qwen3:8b
      no such model
    """
    head = Content.assemble(
        (f"{SIGNS[job.state]} {job.state}", STYLES[job.state]),
        f"  {plain(job.spec.named, max(10, width - 12))}",
    )
    return Content.assemble(head, "\n  ", _below(job, story, width, now))


def _below(job: Job, story: Story, width: int, now: float) -> Content:
    stage = story.current
    if job.going:
        waits = "stops at its next checkpoint …" if job.state == "stopping" else "begins …"
        return bar_line(stage, story.seconds_left(now), width) if stage else Content(waits)
    if job.error:
        further = f"; next: {job.next_step}" if job.next_step else ""
        return Content.styled(plain(f"{job.error}{further}", width * 3), "$text-error")
    if job.summary:
        return Content(plain(job.summary[0], width))
    if job.state == "lost":
        return Content("its process was killed; it can go on where it was")
    return Content("it can go on where it was" if job.state == "stopped" else "")


class WorkLines(VerticalScroll, can_focus=False):
    """The jobs that run, and the last of those that ended."""

    DEFAULT_CSS = "WorkLines { height: auto; max-height: 6; }"

    @property
    def lines(self) -> list[WorkLine]:
        """One a job, as they stand."""
        return list(self.query(WorkLine))

    def line(self, job: str) -> WorkLine | None:
        """Return the line of a job."""
        return next((one for one in self.lines if one.job.id == job), None)

    def hear(self, job: Job, events: Sequence[Event]) -> None:
        """Show a job, in a new line on top if it has none."""
        line = self.line(job.id)
        if line is None:
            line = WorkLine(job)
            self.mount(line, before=0)
        line.hear(job, events)
        for old in [one for one in self.lines if not one.job.going][MOST:]:
            old.remove()

    async def forget(self, job: str) -> None:
        """Take the line of a job away."""
        line = self.line(job)
        if line is not None:
            await line.remove()
