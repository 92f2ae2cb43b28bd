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
from collections.abc import Callable, Generator, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from filelock import FileLock, Timeout

from distill.jobs.codec import JobResult, to_line
from distill.jobs.jobs import END, EVENTS, LOCK, SPEC, STOP
from distill.training import Evaluated, StepDone
from recommender.config import Settings
from recommender.events import Event
from storage.errors import BadSetting, RecsysError

NICENESS = 5
LOCK_SECONDS = 5.0
"""Somebody who looks holds the lock for a moment."""
STEPS_EVERY = 0.2
"""Seconds between two steps of a training that are written down."""

Work = Generator[Event, None, None] | Iterator[Event]


def main(arguments: list[str]) -> int:
    """Run the job of a folder to its end; return the exit code."""
    folder = Path(arguments[0])
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=LOCK_SECONDS)
    except Timeout:
        sys.stderr.write(f"{folder.name} runs already\n")
        return 1
    with lock:
        os.nice(NICENESS)
        stop = _Stop(folder)
        try:
            end = _ended(folder, stop)
        except RecsysError as error:
            end = {"state": "failed", "error": error.what, "next_step": error.next_step}
        except Exception as error:
            traceback.print_exc()
            said = " ".join(str(error).split())
            end = {
                "state": "failed",
                "error": f"{type(error).__name__}: {said}",
                "next_step": f"look into {folder / 'log.txt'}",
            }
            _end(folder, end)
            raise
        _end(folder, end)
    return 0


class _Stop:
    """Whether somebody asked for an end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.asked = False
        for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(one, self._hear)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        # A service manager ends jobs too: whoever looks should see what is going on.
        (self._folder / STOP).touch()


def _ended(folder: Path, stop: _Stop) -> dict[str, object]:
    """Do the work; return how it ended."""
    asked = json.loads((folder / SPEC).read_text(encoding="utf-8"))
    settings = Settings.received(asked)
    work = _work(asked, settings)
    result = JobResult(())
    with (folder / EVENTS).open("a", encoding="utf-8") as file:
        written = Written(file)
        for event in work:
            if isinstance(event, JobResult):
                result = event
            written.write(event)
            if stop.asked and not isinstance(event, JobResult):
                if isinstance(work, Generator):
                    work.close()
                return {"state": "stopped"}
    return {"state": "done", "summary": list(result.summary), "run": result.run}


class Written:
    """Events put down as they come, steps of a training thinned out."""

    def __init__(self, file: TextIO, clock: Callable[[], float] = time.time) -> None:
        """Append to a file; `clock` gives seconds."""
        self._file, self._clock = file, clock
        self._waiting: StepDone | None = None
        self._last = -STEPS_EVERY

    def write(self, event: Event) -> None:
        """Put an event down; of steps the last before an evaluation, and some between."""
        now = self._clock()
        if isinstance(event, StepDone):
            self._waiting = event
            if now - self._last >= STEPS_EVERY:
                self._flush(now)
            return
        if isinstance(event, Evaluated):
            self._flush(now)
        self._put(event, now)

    def _flush(self, now: float) -> None:
        if self._waiting is not None:
            self._put(self._waiting, now)
            self._waiting, self._last = None, now

    def _put(self, event: Event, now: float) -> None:
        line = to_line(event, now)
        if line is not None:
            self._file.write(line)
            self._file.flush()


def _work(asked: Mapping[str, Any], settings: Settings) -> Work:
    """Return the work of a job's kind. What each needs is loaded here and nowhere before."""
    arguments: dict[str, Any] = asked["arguments"]
    match asked["kind"]:
        case "distil":
            return _distil(arguments, settings)
        case "label":
            return _label(arguments, settings)
        case "pull":
            from recommender.backends.ollama.pulling import pull

            return pull(str(arguments["name"]), host=str(arguments.get("host", "")))
        case "fetch":
            from recommender.models import fetch

            return fetch(settings.models)
        case "sample":
            return _sample(settings)
        case "movielens-100k":
            return _movielens(settings)
    raise BadSetting(f"no kind of job {asked['kind']!r}")


def _distil(arguments: Mapping[str, Any], settings: Settings) -> Work:
    from distill.config import DistilConfig
    from distill.pipeline import Distilled, distil

    for event in distil(DistilConfig.from_dict(arguments), settings=settings):
        if isinstance(event, Distilled):
            yield JobResult(event.summary, event.run)
        else:
            yield event


def _label(arguments: Mapping[str, Any], settings: Settings) -> Work:
    from distill.config import DistilConfig
    from distill.labels import CategoryLabelled, label_category
    from storage.store import Store

    config = DistilConfig.from_dict(arguments)
    with Store.open(settings.db, settings.artifacts) as store:
        for event in label_category(store, config, settings):
            if isinstance(event, CategoryLabelled):
                yield JobResult(
                    tuple(
                        f"{row.name}: {row.labels:,} labels of {row.questions:,} questions, "
                        f"MRR {row.mrr.value:.3f} [{row.mrr.low:.3f}, {row.mrr.high:.3f}] "
                        f"(chance {event.chance:.3f})"
                        for row in event.teachers
                    )
                )
            else:
                yield event


def _sample(settings: Settings) -> Work:
    from recommender.datasets.sample import SampleImported, import_sample
    from storage.store import Store

    with Store.open(settings.db, settings.artifacts) as store:
        for event in import_sample(store):
            if isinstance(event, SampleImported):
                yield JobResult((_size(event.category),))
            else:
                yield event


def _movielens(settings: Settings) -> Work:
    from recommender.datasets import ImportFinished, import_data
    from recommender.datasets.sources import PullFinished, pull
    from storage.store import Store

    for event in pull("movielens-100k", settings.downloads):
        if isinstance(event, PullFinished):
            path = event.paths[0]
        else:
            yield event
    with Store.open(settings.db, settings.artifacts) as store:
        for event in import_data(store, path, category="movielens-100k"):
            if isinstance(event, ImportFinished):
                yield JobResult((_size(event.category), event.category.note))
            else:
                yield event


def _size(category: Any) -> str:
    return f"{category.name}: {category.people:,} people, {category.items:,} items"


def _end(folder: Path, end: Mapping[str, object]) -> None:
    """Write how it ended, whole or not at all."""
    stamped = {**end, "ended_at": datetime.now(UTC).isoformat(timespec="seconds")}
    part = folder / f"{END}.part"
    part.write_text(json.dumps(stamped), encoding="utf-8")
    part.replace(folder / END)
