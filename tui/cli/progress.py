"""What a long job says, drawn on stderr: bars on a terminal, a line now and then in a file.

A job is a generator of events (`recommender.events`). `follow` consumes it, closes it however
it ends, and returns its last event, which is its result.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, TextIO, TypeVar

from recommender.events import (
    Event,
    Notice,
    Progress,
    StageDone,
    StageSkipped,
    StageStarted,
    amount,
)
from tui.text import duration, plain

if TYPE_CHECKING:
    from rich.progress import TaskID

EVERY = 5.0
"""Seconds between two lines about one stage where there is no terminal."""

R = TypeVar("R", bound=Event)


class Listener(Protocol):
    """Shows events, one at a time."""

    def show(self, event: Event) -> None:
        """Show one event; one that is not about progress is left to the caller."""

    def __enter__(self) -> Listener: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def follow(events: Iterator[Event], result: type[R], *, stream: TextIO | None = None) -> R:
    """Run a job to its end, show what it says, and return its result.

    >>> follow(iter([StageSkipped("labels", "there already")]), StageSkipped, stream=sys.stdout)
    labels: skipped, there already
    StageSkipped(stage='labels', reason='there already')
    """
    stream = sys.stderr if stream is None else stream
    last: Event | None = None
    with ExitStack() as stack:
        if isinstance(events, Generator):
            stack.enter_context(closing(events))
        listener: Listener = Drawn(stream) if stream.isatty() else Written(stream)
        stack.enter_context(listener)
        for last in events:
            listener.show(last)
    if not isinstance(last, result):
        raise TypeError(f"the job ended with {last!r}, not with a {result.__name__}")
    return last


class Written:
    """Events as plain lines, at most one about a stage's progress every few seconds."""

    def __init__(
        self, stream: TextIO, *, every: float = EVERY, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock` gives seconds; `every` of them lie between two lines about one stage."""
        self._stream = stream
        self._every = every
        self._clock = clock
        self._shown = clock()
        self._first: tuple[float, int] | None = None
        self._unit = ""

    def __enter__(self) -> Written:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def show(self, event: Event) -> None:
        """Write a line for the event, or none where one was written just now."""
        if isinstance(event, StageStarted):
            self._shown = self._clock()
            self._unit, self._first = event.unit, None
            much = f" {amount(event.total, event.unit)}" if event.total else ""
            self._write(f"{event.stage}:{much} …")
        elif isinstance(event, Progress):
            now = self._clock()
            # A job that goes on begins in the middle: the first figure tells nothing of the rate.
            began, done = self._first = self._first or (now, event.done)
            if now - self._shown >= self._every:
                self._shown = now
                rate = (event.done - done) / (now - began) if now > began else 0.0
                self._write(_progress_line(event, self._unit, rate))
        else:
            line = _closing_line(event)
            if line:
                self._write(line)

    def _write(self, line: str) -> None:
        print(plain(line), file=self._stream, flush=True)


class Drawn:
    """Events as bars with the time left, on a terminal."""

    def __init__(self, stream: TextIO) -> None:
        """`stream` is a terminal."""
        # Imported here: only a terminal is drawn on.
        from rich.console import Console
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars
        from rich.table import Column

        self._console = Console(file=stream, markup=False, emoji=False, highlight=False)
        self._bars = Bars(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[amount]}", markup=False, justify="right"),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn(
                "{task.fields[note]}",
                markup=False,
                table_column=Column(no_wrap=True, overflow="ellipsis"),
            ),
            console=self._console,
            transient=True,
        )
        self._tasks: dict[str, tuple[TaskID, str]] = {}
        """Stage -> its bar and its unit."""

    def __enter__(self) -> Drawn:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def show(self, event: Event) -> None:
        """Move a bar, or print a line above the bars."""
        if isinstance(event, StageStarted):
            self._task(event.stage, event.total, event.unit)
        elif isinstance(event, Progress):
            task, unit = self._task(event.stage, event.total, "")
            total = event.total or None
            amount = f"{event.done:,}/{event.total:,}" if total else f"{event.done:,}"
            self._bars.update(
                task,
                completed=event.done,
                total=total,
                amount=f"{amount} {unit}".rstrip(),
                note=plain(event.note),
            )
        else:
            self._close(event)

    def _task(self, stage: str, total: int, unit: str) -> tuple[TaskID, str]:
        if stage not in self._tasks:
            task = self._bars.add_task(plain(stage), total=total or None, amount="", note="")
            self._tasks[stage] = (task, plain(unit))
        return self._tasks[stage]

    def _close(self, event: Event) -> None:
        if isinstance(event, StageDone | StageSkipped) and event.stage in self._tasks:
            self._bars.remove_task(self._tasks.pop(event.stage)[0])
        line = _closing_line(event)
        if line:
            self._console.print(plain(line), soft_wrap=True)


def _closing_line(event: Event) -> str:
    if isinstance(event, StageDone):
        summary = f"; {event.summary}" if event.summary else ""
        return f"{event.stage}: done in {duration(event.seconds)}{summary}"
    if isinstance(event, StageSkipped):
        return f"{event.stage}: skipped, {event.reason}"
    return event.text if isinstance(event, Notice) else ""


def _progress_line(event: Progress, unit: str, rate: float) -> str:
    """Return e.g. 'labels: 120/700 requests, 17 %, 2 min 05 s left, 3.1/s'.

    Args:
        event: how far it is.
        unit: of what is counted.
        rate: done in a second; 0 where nobody knows.
    """
    words = f"{event.stage}: {event.done:,}"
    if event.total:
        words += f"/{event.total:,}"
    words += f" {unit}".rstrip()
    if event.total and event.done:
        words += f", {100 * event.done // event.total} %"
        if rate and event.done < event.total:
            words += f", {duration((event.total - event.done) / rate)} left"
    return f"{words}, {event.note}" if event.note else words
