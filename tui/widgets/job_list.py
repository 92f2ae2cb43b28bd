"""The jobs of this machine as a list, the newest first, below the way to begin one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from distill.jobs.records import Job, State
from tui.text import plain

NEW = "new"
NEW_LINE = "＋ new distillation"
SIGNS: dict[State, str] = {
    "running": "▶",
    "stopping": "◌",
    "done": "✓",
    "stopped": "■",
    "failed": "✗",
    "lost": "?",
    "damaged": "!",
}
STYLES: dict[State, str] = {
    "running": "$primary",
    "stopping": "$warning",
    "done": "$success",
    "stopped": "$warning",
    "failed": "$error",
    "lost": "$error",
    "damaged": "$error",
}


class JobList(OptionList):
    """Says which job is looked at whenever the highlight moves."""

    DEFAULT_CSS = "JobList { height: 1fr; padding: 0 1 0 0; }"

    class Looked(Message):
        """Another job is highlighted; None is the way to a new one."""

        def __init__(self, job: str | None) -> None:
            """`job` is its id."""
            super().__init__()
            self.job = job

    def __init__(self, *, id: str | None = None) -> None:
        """Begin with no jobs."""
        super().__init__(Option(Content(NEW_LINE), id=NEW), id=id, markup=False, compact=True)
        self.jobs: dict[str, Job] = {}

    @property
    def looked_at(self) -> str | None:
        """The id of the job that is highlighted; None for the way to a new one."""
        option = self.highlighted_option
        return None if option is None or option.id == NEW else option.id

    def show(self, jobs: Sequence[Job], look_at: str | None = None) -> None:
        """Show these jobs; the highlight stays with its job, or goes to one that is named."""
        before = look_at or self.looked_at
        self.jobs = {job.id: job for job in jobs}
        with self.prevent(OptionList.OptionHighlighted):
            self.set_options([Option(Content(NEW_LINE), id=NEW), *map(self._option, jobs)])
            self.highlighted = self.get_option_index(before) if before in self.jobs else 0
        if before != self.looked_at or look_at is not None:
            self.post_message(self.Looked(self.looked_at))

    def change(self, job: Job) -> bool:
        """Show a job as it is now; False where it is not in the list."""
        if job.id not in self.jobs:
            return False
        self.jobs[job.id] = job
        self.replace_option_prompt(job.id, self._option(job).prompt)
        return True

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Say who is looked at."""
        event.stop()
        self.post_message(self.Looked(self.looked_at))

    def _option(self, job: Job) -> Option:
        return Option(job_lines(job), id=job.id)


def job_lines(job: Job) -> Content:
    """Return a job as two lines: how it stands and since when, and what it is, its kind first.

    >>> from pathlib import Path
    >>> from distill.jobs.records import JobSpec
    >>> spec = JobSpec("label", "Books", "label Books [bold]")
    >>> print(job_lines(Job("a", spec, "stopped", Path("a"))).plain)
    ■ stopped
    label Books [bold]
    >>> spec = JobSpec("distil", "Books", "Books: embedded, uniform, 1 request")
    >>> print(job_lines(Job("a", spec, "done", Path("a"))).plain)
    ✓ done
    distil Books: embedded, uniform, 1 request
    """
    started = when(job.started_at)
    kind, rest = kind_and_rest(job)
    return Content.assemble(
        (f"{SIGNS[job.state]} {job.state}", STYLES[job.state]),
        (f"  {started}" if started else "", "$text-muted"),
        "\n",
        (kind, "bold"),
        f" {rest}" if kind and rest else rest,
    )


def kind_and_rest(job: Job) -> tuple[str, str]:
    """Return of what kind a job is, and its title without that; a damaged one has no kind.

    >>> from pathlib import Path
    >>> from distill.jobs.records import JobSpec
    >>> kind_and_rest(Job("a", JobSpec("pull", title="pull qwen3:8b"), "done", Path("a")))
    ('pull', 'qwen3:8b')
    >>> kind_and_rest(Job("a", JobSpec("sample", title="bring data: sample"), "done", Path("a")))
    ('sample', 'bring data')
    """
    if job.state == "damaged":
        return "", plain(job.spec.named, 60)
    kind, title = job.spec.kind, plain(job.spec.named, 60)
    rest = title.removeprefix(kind) if title.startswith((f"{kind} ", f"{kind}:")) else title
    rest = "" if rest == kind else rest.removesuffix(f": {kind}")
    return kind, rest.lstrip(" :")


def when(stamp: str) -> str:
    """Return a moment as people here read it; '' where there is none.

    >>> len(when("2026-03-01T12:30:00+00:00")), when(""), when("soon")
    (12, '', '')
    """
    try:
        return datetime.fromisoformat(stamp).astimezone().strftime("%d %b %H:%M")
    except ValueError:
        return ""
