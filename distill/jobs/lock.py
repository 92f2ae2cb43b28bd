"""The lock in a job's folder: whoever holds it is alive, and it goes when its process goes.

Apart, because looking must not look like holding: two that look at once hold it together.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOOK_AGAIN = 0.01
"""Seconds between two attempts."""


def held(path: Path) -> bool:
    """Say whether a process holds a lock.

    >>> held(Path("nowhere"))
    False
    """
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not _taken(file, fcntl.LOCK_SH)
    finally:
        os.close(file)


@contextmanager
def claimed(path: Path, patience: float) -> Iterator[bool]:
    """Hold a lock for as long as the block lasts; False where another holds it.

    It is waited for so many seconds: somebody who looks holds it for a moment. The file stays
    where it is, since another may have opened it.
    """
    until = time.monotonic() + patience
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while not (mine := _taken(file, fcntl.LOCK_EX)) and time.monotonic() < until:
            time.sleep(LOOK_AGAIN)
        yield mine
    finally:
        os.close(file)


def _taken(file: int, how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
