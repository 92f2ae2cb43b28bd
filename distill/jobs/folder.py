"""The folder of one job: which files lie in it, and what they say together of how it stands.

Its process holds the lock for as long as it lives, and writes its end last of all: a free lock
without an end was killed. Apart from `jobs`, because the process itself writes here too.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from distill.jobs.lock import held
from distill.jobs.records import KINDS, Ended, Job, JobSpec, State

SPEC = "spec.json"
EVENTS = "events.jsonl"
LOG = "log.txt"
"""What the process complained of."""
LOCK = "lock"
PID = "pid"
STARTING = "starting"
"""Is there from when a process is asked for until it holds the lock."""
STOP = "stop"
"""Is there once somebody asked for an end."""
END = "end.json"

STARTS_WITHIN = 60.0
"""Seconds within which a process takes its lock; numbers of processes are used again."""


def put(path: Path, text: str) -> None:
    """Write a file, whole or not at all."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def read_job(folder: Path) -> Job:
    """Read how a job stands; files that cannot be read make it 'damaged', never an error.

    >>> read_job(Path("nowhere")).state
    'damaged'
    """
    spec = _spec(folder / SPEC)
    if spec is None:
        return Job(folder.name, JobSpec("sample", title="(cannot be read)"), "damaged", folder)
    state, end = _standing(folder)
    summary = end.get("summary")
    return Job(
        folder.name,
        spec,
        state,
        folder,
        started_at=_stamp(folder / PID),
        ended_at=str(end.get("ended_at", "")),
        pid=_number(folder / PID) if state in ("running", "stopping") else 0,
        summary=tuple(str(line) for line in summary) if isinstance(summary, list) else (),
        run=str(end.get("run", "")),
        error=str(end.get("error", "")),
        next_step=str(end.get("next_step", "")),
    )


def is_starting(folder: Path) -> bool:
    """Say whether a process was asked for that had no time yet to take the lock."""
    if _age(folder / STARTING) > STARTS_WITHIN:
        return False
    pid = _number(folder / PID)
    return not pid or _lives(pid)


def _standing(folder: Path) -> tuple[State, Mapping[str, Any]]:
    """Return the state and the end; the end is looked for again, as it may come meanwhile."""
    end = _end(folder / END)
    if not end:
        if held(folder / LOCK) or is_starting(folder):
            return ("stopping" if (folder / STOP).exists() else "running"), {}
        end = _end(folder / END)
    return (end["state"] if end else "lost"), end


def _spec(path: Path) -> JobSpec | None:
    asked = _read(path)
    kind, category, title = asked.get("kind"), asked.get("category"), asked.get("title")
    arguments = asked.get("arguments")
    if kind not in KINDS or not isinstance(arguments, dict):
        return None
    if not isinstance(category, str) or not isinstance(title, str):
        return None
    return JobSpec(kind, category, title, arguments)


def _end(path: Path) -> Mapping[str, Any]:
    """Return how it ended; empty where that is not there, or cannot be read."""
    found = _read(path)
    return found if found.get("state") in get_args(Ended) else {}


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError, OverflowError):
        return False  # or it is another user's by now
    return True


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return math.inf


def _number(path: Path) -> int:
    try:
        return max(0, int(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return 0


def _stamp(path: Path) -> str:
    try:
        made = path.stat().st_mtime
    except OSError:
        return ""
    return datetime.fromtimestamp(made, UTC).isoformat(timespec="seconds")
