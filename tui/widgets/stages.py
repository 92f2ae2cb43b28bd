"""The stages of a job, each with its state, and a bar for the one that runs."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.widget import Widget

from recommender.events import amount
from tui.job_stage import Stage, StageState
from tui.shown import shown
from tui.text import duration, plain

SIGNS: dict[StageState, str] = {"running": "▶", "stopped": "■", "done": "✓", "skipped": "–"}
STYLES: dict[StageState, str] = {
    "running": "$primary",
    "stopped": "$warning",
    "done": "$success",
    "skipped": "$text-muted",
}
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
    >>> stage_line(Stage("labels", "running", 3, 9), 40, going=False).plain
    '■ labels  stopped at 3 of 9'
    """
    state = "stopped" if stage.state == "running" and not going else stage.state
    name = plain(stage.name, max(8, min(len(stage.name), width - 2)))
    room = width - len(name) - 4
    said = plain(_said(stage, state), room) if room > 3 else ""
    muted = (f"  {said}" if said else "", "$text-muted")
    return Content.assemble((SIGNS[state], STYLES[state]), f" {name}", muted)


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
    >>> bar_line(Stage("labels", "running", 5, 6), 0.0004, 60).plain
    'labels  ━━━━━━━━━━━━━━━━━───   83 %  under 1 s left'
    >>> bar_line(Stage("loading", "running"), None, 60).plain
    'loading  …'
    """
    name = plain(stage.name, max(8, width // 3))
    if stage.share is None:
        return Content.assemble((name, "bold"), f"  {plain(stage.note, width // 2) or '…'}")
    length = max(5, min(LONGEST_BAR, width // 3))
    drawn = bar(stage.share, length)
    filled = drawn.count("━")
    time = "" if left is None else f"  {duration(left) if left >= 1 else 'under 1 s'} left"
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


def _said(stage: Stage, state: StageState) -> str:
    if state in ("done", "skipped"):
        return stage.note
    far = f"{stage.done:,} of {amount(stage.total, stage.unit)}" if stage.total else ""
    if state == "stopped":
        return f"stopped at {far}" if far else "stopped"
    return far or stage.note or "…"
