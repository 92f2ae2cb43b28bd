"""What a job has said, put together: its stages, curves, layer weights, log and time left.

Apart from the widgets that show it, because this is heard event by event, and holds no more of
a long job than can be shown.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from distill.jobs.codec import JobResult
from distill.training import Evaluated, LayersWeighed, StepDone
from recommender.events import Event, Notice, Progress, StageDone, StageSkipped, StageStarted
from tui.text import duration

LINES = 1000
"""Of the log; what was said before is in the job's folder."""
SAMPLES = 40
"""Looks at the progress of a stage from which its rate is taken."""
SOONEST = 1.0
"""Seconds of progress below which nothing is said of the time left."""
TRAINING = "train "

Point = tuple[float, float]
Curves = dict[str, list[Point]]
StageState = Literal["running", "done", "skipped"]


@dataclass(slots=True)
class Stage:
    """One stage of a job."""

    name: str
    state: StageState = "running"
    done: int = 0
    total: int = 0
    """0 where it is not known."""
    unit: str = ""
    note: str = ""
    """A short figure while it runs, then what came of it, or why it was skipped."""

    @property
    def share(self) -> float | None:
        """How much of it is done; None where its length is not known.

        >>> Stage("labels", done=1, total=4).share, Stage("labels", done=1).share
        (0.25, None)
        """
        return min(1.0, self.done / self.total) if self.total > 0 else None


@dataclass(slots=True)
class Story:
    """A job's events, heard in their order.

    >>> story = Story()
    >>> story.hear([StageStarted("labels", 8), Progress("labels", 2, 8)])
    >>> story.tick(10.0)
    >>> story.hear([Progress("labels", 4, 8)])
    >>> story.tick(12.0)
    >>> story.seconds_left(13.0)
    3.0
    """

    stages: list[Stage] = field(default_factory=list)
    losses: Curves = field(default_factory=dict)
    """Student -> (step, loss)."""
    ndcg: Curves = field(default_factory=dict)
    """Student -> (epoch, NDCG@10 on validation)."""
    weighed: LayersWeighed | None = None
    log: deque[str] = field(default_factory=lambda: deque(maxlen=LINES))
    logged: int = 0
    """Lines ever said: who writes them down knows by it which are new."""
    summary: tuple[str, ...] = ()
    _looks: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=SAMPLES))

    @property
    def current(self) -> Stage | None:
        """The stage that was begun last and has not ended."""
        return next((one for one in reversed(self.stages) if one.state == "running"), None)

    def hear(self, events: Sequence[Event]) -> None:
        """Take note of what was said."""
        for event in events:
            self._hear(event)

    def tick(self, now: float) -> None:
        """Look how far the stage is; to be called once all was heard that was said until now."""
        stage = self.current
        if stage is None:
            self._looks.clear()
        elif not self._looks or stage.done > self._looks[-1][1]:
            self._looks.append((now, stage.done))

    def seconds_left(self, now: float) -> float | None:
        """Return how long the stage takes yet at its rate of late; None where that is not known."""
        stage = self.current
        if stage is None or not stage.total or len(self._looks) < 2:
            return None
        (began, first), (last, done) = self._looks[0], self._looks[-1]
        if last - began < SOONEST or done <= first:
            return None
        seconds = (stage.total - done) * (last - began) / (done - first)
        return max(0.0, seconds - (now - last))

    def _hear(self, event: Event) -> None:
        match event:
            case StageStarted() | Progress() | StageDone() | StageSkipped():
                self._stage(event)
            case StepDone() if math.isfinite(event.loss):
                _add(self.losses, self._student(), (event.step, event.loss))
            case Evaluated() if math.isfinite(event.ndcg):
                _add(self.ndcg, self._student(), (event.epoch, event.ndcg))
            case LayersWeighed():
                self.weighed = event
            case Notice():
                self._say(event.text)
            case JobResult():
                self.summary = event.summary
            case _:
                pass  # said of a training without validation, or of a kind not known yet

    def _stage(self, event: StageStarted | Progress | StageDone | StageSkipped) -> None:
        stage = self._named(event.stage)
        match event:
            case StageStarted():
                stage.state, stage.done, stage.note = "running", 0, ""
                stage.total, stage.unit = event.total, event.unit
                self._looks.clear()
            case Progress():
                stage.state, stage.done, stage.note = "running", event.done, event.note
                stage.total = event.total or stage.total
            case StageDone():
                stage.state, stage.note = "done", event.summary
                said = (
                    f"{event.stage}: {event.summary}" if event.summary else f"{event.stage}: done"
                )
                self._say(f"{said} ({duration(event.seconds)})")
            case StageSkipped():
                stage.state, stage.note = "skipped", event.reason
                self._say(f"{event.stage}: skipped, {event.reason}")

    def _named(self, name: str) -> Stage:
        """Return a stage by name; of a second sitting it is where it was in the first."""
        found = next((one for one in self.stages if one.name == name), None)
        if found is None:
            found = Stage(name)
            self.stages.append(found)
        return found

    def _student(self) -> str:
        stage = self.current
        return "" if stage is None else student_of(stage.name)

    def _say(self, line: str) -> None:
        self.log.append(line)
        self.logged += 1


def student_of(stage: str) -> str:
    """Return the short name of the student that a stage trains.

    >>> student_of("train undistilled (same text, same budget)"), student_of("final training")
    ('undistilled', 'final training')
    """
    return stage.removeprefix(TRAINING).split(" (")[0]


def thinned(points: Sequence[Point], most: int) -> list[Point]:
    """Return at most so many of the points, evenly spread, the first and the last among them.

    >>> thinned([(x, x) for x in range(9)], 3)
    [(0, 0), (4, 4), (8, 8)]
    >>> thinned([(1, 2)], 3)
    [(1, 2)]
    """
    if len(points) <= most:
        return list(points)
    step = (len(points) - 1) / (most - 1)
    return [points[round(place * step)] for place in range(most)]


def _add(curves: Curves, student: str, point: Point) -> None:
    """Put a point down; a training that went on from a checkpoint says some of them again."""
    curve = curves.setdefault(student, [])
    while curve and curve[-1][0] >= point[0]:
        curve.pop()
    curve.append(point)
