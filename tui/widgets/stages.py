"""The stages of a job, each with its state, and a bar for the one that runs."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.widget import Widget

from tui.job_story import Stage, StageState
from tui.shown import shown
from tui.text import duration, plain

SIGNS: dict[StageState, str] = {"running": "▶", "done": "✓", "skipped": "–"}
STOPPED = "■"
LONGEST_BAR = 40


class Stages(Widget):
    """As many lines as there is room for, the latest stages last."""

    def __init__(self, *, id: str | None = None) -> None:
        """Show nothing until `show` is called."""
        super().__init__(id=id)
        self._stages: Sequence[Stage] = ()
        self._going = True

    def show(self, stages: Sequence[Stage], *, going: bool) -> None:
        """Show these; where the job goes no more, what ran was stopped."""
        self._stages, self._going = stages, going
        self.refresh()

    def render(self) -> Content:
        """Make the lines."""
        width, height = self.size
        if not self._stages:
            return Content("waiting for its first stage") if self._going else Content("no stages")
        lines = [stage_line(one, width, going=self._going) for one in self._stages[-height:]]
        return Content("\n").join(lines)


def stage_line(stage: Stage, width: int, *, going: bool = True) -> Content:
    """Return a stage as a line: its sign, its name, how far it is or what came of it.

    >>> stage_line(Stage("labels", "running", 3, 9, "requests"), 40).plain
    '▶ labels  3 of 9 requests'
    >>> stage_line(Stage("labels", "running"), 40, going=False).plain
    '■ labels  stopped'
    """
    style = {"running": "$primary", "done": "$success", "skipped": "$text-muted"}[stage.state]
    sign = SIGNS[stage.state]
    if stage.state == "running" and not going:
        style, sign = "$warning", STOPPED
    name = plain(stage.name, max(8, min(len(stage.name), width - 2)))
    room = width - len(name) - 4
    said = plain(_said(stage, going), room) if room > 3 else ""
    return Content.assemble((sign, style), f" {name}", (f"  {said}" if said else "", "$text-muted"))


def bar(share: float, width: int) -> str:
    """Return a bar of so many characters.

    >>> bar(0.5, 4), bar(1.0, 2), bar(0.0, 2)
    ('━━──', '━━', '──')
    """
    filled = round(share * width)
    return "━" * filled + "─" * (width - filled)


def bar_line(stage: Stage, left: float | None, width: int) -> Content:
    """Return how far the stage is as one line, with the time that is left of it.

    >>> bar_line(Stage("labels", "running", 3, 6), 12.0, 60).plain
    'labels  ━━━━━━━━━━──────────   50 %  12.0 s left'
    >>> bar_line(Stage("loading", "running"), None, 60).plain
    'loading  …'
    """
    name = plain(stage.name, max(8, width // 3))
    if stage.share is None:
        return Content.assemble((name, "bold"), f"  {plain(stage.note, width // 2) or '…'}")
    length = max(5, min(LONGEST_BAR, width // 3))
    drawn = bar(stage.share, length)
    filled = drawn.count("━")
    time = "" if left is None else f"  {duration(left)} left"
    note = shown(f"  {stage.note}", max(1, width - len(name) - length - len(time) - 13))
    return Content.assemble(
        (name, "bold"),
        "  ",
        (drawn[:filled], "$primary"),
        (drawn[filled:], "$text-muted"),
        f"  {stage.share:4.0%}".replace("%", " %"),
        time,
        *(("  ", note) if note.plain else ()),
    )


def _said(stage: Stage, going: bool) -> str:
    if stage.state != "running":
        return stage.note
    if not going:
        return "stopped"
    if stage.total:
        return f"{stage.done:,} of {stage.total:,} {stage.unit}".rstrip()
    return stage.note or "…"
