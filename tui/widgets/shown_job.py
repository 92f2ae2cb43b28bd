"""A job as it goes: what it is, its stages, how long it takes yet, curves, layers and log."""

from __future__ import annotations

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import RichLog, Static

from distill.jobs.records import Job
from tui.job_story import LINES, Story
from tui.shown import shown
from tui.text import plain
from tui.widgets.curves import Curve
from tui.widgets.job_list import SIGNS, STYLES, when
from tui.widgets.layer_bars import LayerBars
from tui.widgets.stages import Stages, bar_line

SEEN = 200
"""Lines of a log that are written at once where all of it is to be written anew."""


class ShownJob(Vertical):
    """Shows one job; who owns it says what is new."""

    DEFAULT_CSS = """
    ShownJob { padding: 0 1; }
    ShownJob #job-head { height: auto; max-height: 2; }
    ShownJob #job-bar { height: 1; }
    ShownJob #job-middle { height: 2fr; min-height: 4; max-height: 14; margin-bottom: 1; }
    ShownJob Stages { width: 3fr; height: 1fr; }
    ShownJob LayerBars { width: 2fr; margin-left: 1; min-width: 18; max-width: 60; }
    ShownJob #job-curves { height: 3fr; min-height: 7; max-height: 24; }
    ShownJob #job-end { height: auto; max-height: 9; scrollbar-size-vertical: 1; }
    ShownJob RichLog {
        height: 2fr; min-height: 3; background: $surface; border: none; scrollbar-size-vertical: 1;
    }
    ShownJob.-ended #job-bar { display: none; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        """Show nothing until `show` is called."""
        super().__init__(id=id)
        self._written = 0
        self._whose = ""

    def compose(self) -> ComposeResult:
        """Make the parts."""
        yield Static("", id="job-head", markup=False)
        yield Static("", id="job-bar", markup=False)
        with Horizontal(id="job-middle"):
            yield Stages()
            yield LayerBars()
        with Horizontal(id="job-curves"):
            yield Curve("loss", id="loss")
            yield Curve("NDCG@10", id="scores")
        with VerticalScroll(id="job-end"):
            yield Static("", id="job-said", markup=False)
        yield RichLog(max_lines=LINES, wrap=True, markup=False, min_width=20, id="job-log")

    def show(self, job: Job, story: Story, now: float) -> None:
        """Show how a job stands at a second of the clock."""
        self.set_class(not job.going, "-ended")
        curves = bool(story.losses or story.scores)
        self.set_class(not curves, "-no-curves")
        self.query_one("#job-head", Static).update(head(job))
        self.query_one(Stages).show(story.stages, going=job.going)
        self.query_one(LayerBars).show(story.weighed)
        self.query_one("#job-curves").display = curves
        self.query_one("#loss", Curve).show(story.losses)
        self.query_one("#scores", Curve).show(story.scores, story.measure)
        end = ending(job, story)
        self.query_one("#job-said", Static).update(end)
        self.query_one("#job-end").display = bool(end.plain)
        self._log(job, story)
        self.tick(job, story, now)

    def tick(self, job: Job, story: Story, now: float) -> None:
        """Show how long the stage takes yet."""
        stage = story.current
        if stage is None or not job.going:
            self.query_one("#job-bar", Static).update("")
            return
        line = bar_line(stage, story.seconds_left(now), max(20, self.content_size.width))
        self.query_one("#job-bar", Static).update(line)

    def _log(self, job: Job, story: Story) -> None:
        log = self.query_one("#job-log", RichLog)
        if job.id != self._whose or story.logged < self._written:
            log.clear()
            self._whose, self._written = job.id, max(0, story.logged - SEEN)
        new = min(story.logged - self._written, len(story.log))
        for line in list(story.log)[len(story.log) - new :]:
            log.write(Text(plain(line)))
        self._written = story.logged


def head(job: Job) -> Content:
    """Return what a job is and how it stands, in two lines.

    >>> from pathlib import Path
    >>> from distill.jobs.records import JobSpec
    >>> head(Job("a", JobSpec("sample"), "failed", Path("a"))).plain
    'sample\\n✗ failed'
    """
    said = f"{SIGNS[job.state]} {job.state}"
    span = (f"begun {when(job.started_at)}" if job.started_at else "") + (
        f", ended {when(job.ended_at)}" if job.ended_at else ""
    )
    return Content.assemble(
        (plain(job.spec.named), "bold"),
        "\n",
        (said, STYLES[job.state]),
        (f" · {span}" if span else "", "$text-muted"),
    )


def ending(job: Job, story: Story) -> Content:
    """Return what came of a job, or why it ended and what to do; empty while it goes.

    >>> from pathlib import Path
    >>> from distill.jobs.records import JobSpec
    >>> job = Job("a", JobSpec("sample"), "failed", Path("a"), error="no", next_step="do it")
    >>> ending(job, Story()).plain
    'no\\nnext: do it'
    """
    match job.state:
        case "done":
            return Content("\n").join([shown(line) for line in job.summary or story.summary])
        case "failed":
            further = f"\nnext: {plain(job.next_step)}" if job.next_step else ""
            return Content.assemble((plain(job.error), "$text-error"), further)
        case "stopped":
            return Content("stopped at a checkpoint: r resumes it from there")
        case "lost":
            return Content("it was killed before it could say how it ended: r resumes it")
        case "damaged":
            return Content("its files cannot be read: delete removes it")
        case "stopping":
            return Content("stopping at the next checkpoint …")
    return Content("")
