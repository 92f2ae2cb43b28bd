"""What a job has said, put together: its stages, curves, layer weights, log and time left.

Apart from the widgets that show it, because this is heard event by event, and holds no more of
a long job than can be shown.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from distill.jobs.codec import JobResult, Resumed
from distill.training import Evaluated, LayersWeighed, StepDone
from recommender.events import Event, Notice, Progress, StageDone, StageSkipped, StageStarted
from tui.job_stage import Stage
from tui.text import duration

LINES = 1000
"""Of the log; what was said before is in the job's folder."""
SAMPLES = 40
"""Looks at the progress of a stage from which its rate is taken."""
SOONEST = 1.0
"""Seconds of progress below which nothing is said of the time left."""
GOES_ON = "the job goes on"
"""In the log, where another process took it up."""
TRAINING = "train "

Point = tuple[float, float]
Curves = dict[str, list[Point]]


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
    scores: Curves = field(default_factory=dict)
    """Student -> (epoch, what is selected by on validation)."""
    measure: str = "NDCG@10"
    """What those scores are."""
    weighed: LayersWeighed | None = None
    log: deque[str] = field(default_factory=lambda: deque(maxlen=LINES))
    logged: int = 0
    """Lines ever said: who writes them down knows by it which are new."""
    summary: tuple[str, ...] = ()
    _looks: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=SAMPLES))
    _earlier: frozenset[str] = frozenset()
    """Lines of earlier sittings: who a teacher is, and whose the data are, is said in each."""

    @property
    def current(self) -> Stage | None:
        """The stage that was begun last and has not ended.

        Of a job that goes on and has begun none yet, the one that it left off.
        """
        running = next((one for one in reversed(self.stages) if one.state == "running"), None)
        if running is None and self.stages and self.stages[-1].state == "stopped":
            return self.stages[-1]
        return running

    def hear(self, events: Sequence[Event]) -> None:
        """Take note of what was said."""
        for event in events:
            self._hear(event)

    def tick(self, now: float) -> None:
        """Look how far the stage is; to be called once all was heard that was said until now."""
        stage = self.current
        if stage is None or (self._looks and stage.done < self._looks[-1][1]):
            self._looks.clear()
        if stage is not None and (not self._looks or stage.done > self._looks[-1][1]):
            self._looks.append((now, stage.done))

    def seconds_left(self, now: float) -> float | None:
        """Return how long the stage takes yet at its rate of late; None where that is not known.

        It is not known either once that time has passed: the rate was another than of late.
        """
        stage = self.current
        if stage is None or not stage.total or len(self._looks) < 2:
            return None
        (began, first), (last, done) = self._looks[0], self._looks[-1]
        if last - began < SOONEST or done <= first:
            return None
        seconds = (stage.total - done) * (last - began) / (done - first)
        left = seconds - (now - last)
        return left if left > 0 else None

    def _hear(self, event: Event) -> None:
        match event:
            case StageStarted() | Progress() | StageDone() | StageSkipped():
                self._stage(event)
            case StepDone() if math.isfinite(event.loss):
                _add(self.losses, self._student(), (event.step, event.loss))
            case Evaluated() if math.isfinite(event.score):
                self.measure = event.measure
                _add(self.scores, self._student(), (event.epoch, event.score))
            case LayersWeighed():
                self.weighed = event
            case Notice():
                self._say_once(event.text)
            case Resumed():
                self._resume()
            case JobResult():
                self.summary = event.summary
                for stage in self.stages:
                    # What ended between two sittings is not begun again, and so has no end.
                    stage.state = "done" if stage.unfinished else stage.state
            case _:
                pass  # said of a training without validation, or of a kind not known yet

    def _stage(self, event: StageStarted | Progress | StageDone | StageSkipped) -> None:
        stage = self._named(event.stage)
        match event:
            case StageStarted():
                stage.begin(event.total, event.unit)
                self._looks.clear()
                # In the order they were worked at: what goes on now is the last one.
                self.stages.remove(stage)
                self.stages.append(stage)
            case Progress():
                stage.heard(event.done, event.total, event.note)
            case StageDone():
                stage.state, stage.note = "done", event.summary
                said = (
                    f"{event.stage}: {event.summary}" if event.summary else f"{event.stage}: done"
                )
                self._say(f"{said} ({duration(event.seconds)})")
            case StageSkipped():
                if stage.state != "done":  # by an earlier sitting: why it was done says more
                    stage.state, stage.note = "skipped", event.reason
                self._say_once(f"{event.stage}: skipped, {event.reason}")

    def _resume(self) -> None:
        """Take note that what comes is of another process."""
        self._earlier |= frozenset(self.log)
        self._looks.clear()
        for stage in self.stages:
            if stage.state == "running":
                whole = 0 < stage.total <= stage.done
                stage.state = "done" if whole else "stopped"
        self._say(GOES_ON)

    def _named(self, name: str) -> Stage:
        """Return a stage by name, the one of an earlier sitting too."""
        found = next((one for one in self.stages if one.name == name), None)
        if found is None:
            found = Stage(name)
            self.stages.append(found)
        return found

    def _student(self) -> str:
        stage = self.current
        return "" if stage is None else student_of(stage.name)

    def _say_once(self, line: str) -> None:
        """Say what every sitting begins with, if no earlier one said it."""
        if line not in self._earlier:
            self._say(line)

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
