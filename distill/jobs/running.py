"""The process of a job: it does what its folder asks, and writes down what is said meanwhile.

Told to end, it closes the work at its next event, which is a point from which it can go on.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import IO

from distill.jobs.codec import JobResult, Resumed, to_line
from distill.jobs.folder import END, EVENTS, LOCK, LOG, PID, SPEC, STARTING, STOP, put
from distill.jobs.lock import claimed
from distill.jobs.work import work_of
from distill.training import Evaluated, StepDone
from recommender.config import Settings
from recommender.events import Event, Progress, StageDone, StageStarted
from storage.errors import RecsysError

NICENESS = 5
LOCK_SECONDS = 2.0
"""Somebody who looks holds the lock for a moment."""
EVERY = 0.2
"""Seconds between two steps, or two figures of one stage's progress, that are written down."""


def main(arguments: list[str]) -> int:
    """Run the job of a folder to its end; return the exit code."""
    folder = Path(arguments[0])
    # Before the lock: who sees it held may send a signal.
    stop = _Stop(folder)
    with claimed(folder / LOCK, LOCK_SECONDS) as mine:
        if not mine:
            sys.stderr.write(f"{folder.name} runs already\n")
            return 1
        put(folder / PID, str(os.getpid()))
        (folder / STARTING).unlink(missing_ok=True)
        os.nice(NICENESS)
        end = _run(folder, stop)
        at = datetime.now(UTC).isoformat(timespec="seconds")
        put(folder / END, json.dumps({**end, "ended_at": at}))
    return 0


class _Stop:
    """Whether somebody asked for an end."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / STOP
        self._told = False
        for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(one, self._hear)

    @property
    def asked(self) -> bool:
        return self._told

    def was_asked(self) -> bool:
        """Say whether it was asked for before a signal could be heard."""
        return self._told or self._file.exists()

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._told = True
        # A service manager ends jobs too: whoever looks should see what is going on.
        with suppress(OSError):
            self._file.touch()


def _run(folder: Path, stop: _Stop) -> Mapping[str, object]:
    """Do the work; return how it ended, and what went wrong in a sentence."""
    try:
        return _worked(folder, stop)
    except RecsysError as error:
        return {"state": "failed", "error": error.what, "next_step": error.next_step}
    except Exception as error:  # noqa: BLE001  the traceback is kept, where its folder is found
        traceback.print_exc()
        said = " ".join(traceback.format_exception_only(error)[-1].split())
        return {"state": "failed", "error": said, "next_step": f"look into {folder / LOG}"}


def _worked(folder: Path, stop: _Stop) -> Mapping[str, object]:
    if stop.was_asked():
        return {"state": "stopped"}
    asked = json.loads((folder / SPEC).read_text(encoding="utf-8"))
    with (
        (folder / EVENTS).open("ab+") as file,
        closing(Written(file)) as written,
        closing(work_of(asked, Settings.received(asked))) as work,
    ):
        if written.goes_on:
            written.write(Resumed())
        result = JobResult(())
        for event in work:
            written.write(event)
            if isinstance(event, JobResult):
                result = event
            elif stop.asked:
                return {"state": "stopped"}
    return {"state": "done", "summary": list(result.summary), "run": result.run}


class Written:
    """Events put down as they come, those of which there are very many thinned out."""

    def __init__(self, file: IO[bytes], clock: Callable[[], float] = time.time) -> None:
        """Append to a file; `clock` gives seconds."""
        self._file, self._clock = file, clock
        self._waiting: dict[type[Event], Event] = {}
        self._last: dict[type[Event], float] = {}
        self._stage = ""
        self._close_line()
        self.goes_on = file.tell() > 0
        """Whether somebody wrote into the file before."""

    def write(self, event: Event) -> None:
        """Put an event down.

        Of steps, some, and the last before an evaluation or another stage; of a stage's
        progress, some, and the last before anything else is said.
        """
        now = self._clock()
        if isinstance(event, StepDone):
            self._thin(event, now)
        elif isinstance(event, Progress):
            if event.stage != self._stage:
                self._flush(Progress, now)
                self._stage = event.stage
            self._thin(event, now)
        else:
            self._flush(Progress, now)
            if isinstance(event, Evaluated | StageStarted | StageDone):
                self._flush(StepDone, now)
            self._put(event, now)

    def close(self) -> None:
        """Put down what waits; the file stays open."""
        now = self._clock()
        self._flush(StepDone, now)
        self._flush(Progress, now)

    def _thin(self, event: Event, now: float) -> None:
        kind = type(event)
        self._waiting[kind] = event
        # A clock may be set back.
        if not 0 <= now - self._last.get(kind, -EVERY) < EVERY:
            self._flush(kind, now)

    def _flush(self, kind: type[Event], now: float) -> None:
        waiting = self._waiting.pop(kind, None)
        if waiting is not None:
            self._put(waiting, now)
            self._last[kind] = now

    def _put(self, event: Event, now: float) -> None:
        line = to_line(event, now)
        if line is not None:
            self._file.write(line.encode())
            self._file.flush()

    def _close_line(self) -> None:
        """End a line that a killed process left half written."""
        if self._file.seek(0, os.SEEK_END) > 0:
            self._file.seek(-1, os.SEEK_END)
            if self._file.read(1) != b"\n":
                self._file.write(b"\n")
