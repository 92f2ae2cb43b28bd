"""The jobs of this machine: started, stopped, resumed, and read by whoever looks.

Nothing here waits for a job, and nothing that works is loaded.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import mkdtemp
from threading import Thread

from distill.jobs.codec import from_line
from distill.jobs.folder import (
    END,
    EVENTS,
    LOCK,
    LOG,
    PID,
    SPEC,
    STARTING,
    STOP,
    is_starting,
    put,
    read_job,
)
from distill.jobs.lock import claimed, held
from distill.jobs.records import KINDS, Job, JobSpec
from recommender.config import Settings
from recommender.events import Event
from storage.errors import BadSetting, StoreUnavailable, UnknownName

AT_ONCE = 1 << 20
"""Bytes of events that are read in one go."""
PATIENCE = 0.5
"""Seconds that a lock is waited for: somebody who looks holds it for a moment."""
TICK = timedelta(microseconds=16)
"""What the last digits of an id count: four hexadecimal ones are a second."""

_Jobs = list[Job]
_Events = list[Event]


class Jobs:
    """The jobs in a folder.

    >>> Jobs(Path("nowhere")).list()
    []
    """

    def __init__(
        self, folder: Path, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """`folder` holds one folder a job; `now` is the clock they are named by."""
        self.folder = folder.absolute()
        self._now = now

    def list(self) -> _Jobs:
        """Return all jobs, newest first."""
        if not self.folder.is_dir():
            return []
        names = sorted((name for name in os.listdir(self.folder) if _is_id(name)), reverse=True)
        folders = (self.folder / name for name in names)
        return [read_job(folder) for folder in folders if folder.is_dir()]

    def get(self, job: str) -> Job:
        """Return a job by id.

        Raises:
            UnknownName: there is none.
        """
        return read_job(self._of(job))

    def start(self, spec: JobSpec, settings: Settings) -> Job:
        """Start a process that does what is asked and outlives this one.

        It resolves no settings, and works where this process does: names of files mean the same.

        Raises:
            BadSetting: no such kind of job, or arguments that are no plain values.
            StoreUnavailable: the folder cannot be written.
        """
        if spec.kind not in KINDS:
            raise BadSetting(f"no kind of job {spec.kind!r}: {', '.join(KINDS)}")
        asked = {
            "kind": spec.kind,
            "category": spec.category,
            "title": spec.title,
            "arguments": dict(spec.arguments),
            "where": os.getcwd(),
            **settings.carried(),
        }
        try:
            text = json.dumps(asked)
        except TypeError as error:
            raise BadSetting(f"a job's arguments are plain values: {error}") from error
        with _writing(self.folder):
            folder = self._new(text)
            return _begin(folder, os.getcwd())

    def stop(self, job: str) -> None:
        """Ask a job to stop at its next checkpoint; one that has ended is left as it is.

        Raises:
            UnknownName: there is no such job.
        """
        found = self.get(job)
        if not found.going:
            return
        with _writing(found.folder):
            (found.folder / STOP).touch()
        # A process that holds no lock yet looks for that file; a signal would only kill it.
        if found.pid and held(found.folder / LOCK):
            with suppress(ProcessLookupError):
                os.kill(found.pid, signal.SIGTERM)

    def resume(self, job: str) -> Job:
        """Let a job go on: what it finished is found again by what it was made of.

        Raises:
            UnknownName: there is no such job.
            BadSetting: it runs, or cannot be read, or the folder it was started in is gone.
        """
        found = self.get(job)
        if found.going or found.state == "damaged":
            raise BadSetting(f"job {job!r} is {found.state} and cannot be resumed")
        where = json.loads((found.folder / SPEC).read_text(encoding="utf-8")).get("where")
        if not isinstance(where, str) or not Path(where).is_dir():
            raise BadSetting(f"the folder that job {job!r} was started in is gone: {where!r}")
        with _writing(found.folder), _ended(found.folder):
            for name in (END, STOP, PID):
                (found.folder / name).unlink(missing_ok=True)
            (found.folder / STARTING).touch()
        with _writing(found.folder):
            return _begin(found.folder, where)

    def remove(self, job: str) -> None:
        """Forget a job that has ended; what it made stays.

        Raises:
            UnknownName: there is no such job.
            BadSetting: it runs.
        """
        folder = self._of(job)
        with _writing(folder), _ended(folder):
            # First out of everybody's sight, as one step.
            gone = folder.with_name(f".{job}")
            folder.rename(gone)
            shutil.rmtree(gone)

    def events(self, job: str, since: int = 0) -> tuple[_Events, int]:
        """Return what a job said behind a place in its file, and the place behind that.

        At most about 1 MB is read; a line that is not whole yet is left for the next time.

        Raises:
            UnknownName: there is no such job.
        """
        try:
            with (self._of(job) / EVENTS).open("rb") as file:
                file.seek(since)
                data = file.read(AT_ONCE)
                if b"\n" not in data:
                    data += file.readline()
        except FileNotFoundError:
            return [], since
        whole = data[: data.rfind(b"\n") + 1]
        read = (from_line(line) for line in whole.splitlines())
        return [one[0] for one in read if one is not None], since + len(whole)

    def _of(self, job: str) -> Path:
        if not _is_id(job) or not (self.folder / job).is_dir():
            raise UnknownName(f"no job {job!r}")
        return self.folder / job

    def _new(self, asked: str) -> Path:
        """Make a folder under an id of its own; it is seen once it is whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        hidden = Path(mkdtemp(prefix=".new-", dir=self.folder))
        put(hidden / SPEC, asked)
        (hidden / STARTING).touch()
        at = self._now()
        while True:
            try:
                return hidden.rename(self.folder / _id(at))
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
                at += TICK


def _id(at: datetime) -> str:
    """Return the id of a job that is started at a moment: ids sort as moments do.

    >>> _id(datetime(2026, 11, 24, 19, 4, 55, 999_999))
    '20261124-190455-f423'
    """
    return f"{at:%Y%m%d-%H%M%S}-{at.microsecond // 16:04x}"


def _is_id(name: str) -> bool:
    return bool(name) and not name.startswith(".") and Path(name).name == name


def _begin(folder: Path, where: str) -> Job:
    with (folder / LOG).open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "distill.jobs", str(folder)],
            cwd=where,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    # It may outlive us; if it does not, somebody must take note of its end.
    Thread(target=child.wait, daemon=True, name=f"job {folder.name}").start()
    put(folder / PID, str(child.pid))
    return read_job(folder)


@contextmanager
def _ended(folder: Path) -> Iterator[None]:
    """Keep everybody else from a folder in which no process works.

    Raises:
        BadSetting: one does.
    """
    with claimed(folder / LOCK, PATIENCE) as mine:
        if not mine or is_starting(folder):
            raise BadSetting(f"job {folder.name!r} is running: stop it first")
        yield


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(f"cannot write to {str(folder)!r}: {error}") from error
