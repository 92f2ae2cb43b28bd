"""The jobs of this machine: started, stopped, resumed, and read by whoever looks.

A job is a folder. Its process holds the lock in it for as long as it lives, and writes how it
ended last of all: a free lock without an end was killed. Nothing here waits for a job.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any, cast

from filelock import FileLock, Timeout

from distill.jobs.codec import from_line
from distill.jobs.records import KINDS, Job, JobSpec, Kind, State
from recommender.config import Settings
from recommender.events import Event
from storage.errors import BadSetting, UnknownName

SPEC, END, LOCK, EVENTS, LOG, PID, STOP = (
    "spec.json",
    "end.json",
    "lock",
    "events.jsonl",
    "log.txt",
    "pid",
    "stop",
)
STARTS_WITHIN = 60.0
"""Seconds after which a process that holds no lock is none of ours: numbers are used again."""
AT_ONCE = 1 << 20
"""Bytes of events that are read in one go."""

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
        self.folder = folder
        self._now = now

    def list(self) -> _Jobs:
        """Return all jobs, newest first."""
        if not self.folder.is_dir():
            return []
        folders = sorted((one for one in self.folder.iterdir() if one.is_dir()), reverse=True)
        return [_job(folder) for folder in folders]

    def get(self, job: str) -> Job:
        """Return a job by id.

        Raises:
            UnknownName: there is none.
        """
        folder = self.folder / job
        if not job or Path(job).name != job or not folder.is_dir():
            raise UnknownName(f"no job {job!r}")
        return _job(folder)

    def start(self, spec: JobSpec, settings: Settings) -> Job:
        """Start a process that does what is asked and outlives this one.

        Raises:
            BadSetting: no such kind of job.
        """
        if spec.kind not in KINDS:
            raise BadSetting(f"no kind of job {spec.kind!r}: {', '.join(KINDS)}")
        name = f"{self._now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        folder = self.folder / name
        folder.mkdir(parents=True)
        asked = {
            "kind": spec.kind,
            "category": spec.category,
            "title": spec.title,
            "arguments": dict(spec.arguments),
            **settings.carried(),
        }
        (folder / SPEC).write_text(json.dumps(asked), encoding="utf-8")
        return self._begin(folder)

    def stop(self, job: str) -> None:
        """Ask a job to stop at its next checkpoint; one that has ended is left as it is."""
        found = self.get(job)
        if found.going and found.pid:
            (found.folder / STOP).touch()
            with suppress(ProcessLookupError):
                os.kill(found.pid, signal.SIGTERM)

    def resume(self, job: str) -> Job:
        """Let a job go on: what it finished is found again by what it was made of.

        Raises:
            BadSetting: it runs, or cannot be read.
        """
        found = self.get(job)
        if found.going or found.state == "damaged":
            raise BadSetting(f"job {job!r} is {found.state} and cannot be resumed")
        for name in (END, STOP, PID, LOCK):
            (found.folder / name).unlink(missing_ok=True)
        return self._begin(found.folder)

    def remove(self, job: str) -> None:
        """Forget a job that has ended; what it made stays.

        Raises:
            BadSetting: it runs.
        """
        found = self.get(job)
        if found.going:
            raise BadSetting(f"job {job!r} is {found.state}: stop it first")
        shutil.rmtree(found.folder)

    def events(self, job: str, since: int = 0) -> tuple[_Events, int]:
        """Return what a job said behind a place in its file, and the place behind that.

        A line that is not whole yet is left for the next time.

        Raises:
            UnknownName: there is no such job.
        """
        path = self.get(job).folder / EVENTS
        try:
            with path.open("rb") as file:
                file.seek(since)
                data = file.read(AT_ONCE)
        except FileNotFoundError:
            return [], since
        whole = data[: data.rfind(b"\n") + 1]
        read = (from_line(line) for line in whole.splitlines())
        return [one[0] for one in read if one is not None], since + len(whole)

    def _begin(self, folder: Path) -> Job:
        with (folder / LOG).open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-P", "-m", "distill.jobs", str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        # It may outlive us; if it does not, somebody must take note of its end.
        Thread(target=child.wait, daemon=True, name=f"job {folder.name}").start()
        (folder / PID).write_text(str(child.pid), encoding="utf-8")
        return _job(folder, beginning=True)


def _job(folder: Path, *, beginning: bool = False) -> Job:
    try:
        asked: Mapping[str, Any] = json.loads((folder / SPEC).read_text(encoding="utf-8"))
        spec = JobSpec(
            cast("Kind", asked["kind"]), asked["category"], asked["title"], asked["arguments"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return Job(folder.name, JobSpec("sample", title="(cannot be read)"), "damaged", folder)
    pid = _number(folder / PID)
    end = _read(folder / END)
    state = _state(folder, end, pid, beginning)
    return Job(
        folder.name,
        spec,
        state,
        folder,
        started_at=_stamp(folder / PID),
        ended_at=str(end.get("ended_at", "")),
        pid=pid if state in ("running", "stopping") else 0,
        summary=tuple(str(line) for line in end.get("summary", ())),
        run=str(end.get("run", "")),
        error=str(end.get("error", "")),
        next_step=str(end.get("next_step", "")),
    )


def _state(folder: Path, end: Mapping[str, Any], pid: int, beginning: bool) -> State:
    if end:
        known = ("done", "stopped", "failed")
        return cast("State", end.get("state")) if end.get("state") in known else "damaged"
    if beginning or held(folder) or _is_starting(folder, pid):
        return "stopping" if (folder / STOP).exists() else "running"
    # It may have ended between the two looks.
    return _state(folder, _read(folder / END), pid, False) if (folder / END).exists() else "lost"


def held(folder: Path) -> bool:
    """Say whether a process holds the lock of a job's folder."""
    if not (folder / LOCK).exists():
        return False
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def _is_starting(folder: Path, pid: int) -> bool:
    """Say whether a process was started that had no time yet to take the lock."""
    if (folder / LOCK).exists() or not pid or _age(folder / PID) > STARTS_WITHIN:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return math.inf


def _number(path: Path) -> int:
    try:
        return int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0


def _stamp(path: Path) -> str:
    try:
        made = path.stat().st_mtime
    except OSError:
        return ""
    return datetime.fromtimestamp(made, UTC).isoformat(timespec="seconds")


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
