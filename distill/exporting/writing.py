"""Files and directories that are there whole or not at all, at a place the user named.

Apart from `storage.artifacts`, whose places are its own: here something of the user's may stand
at the target, and is replaced only where that was said.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.errors import BadSetting, StoreUnavailable

ABANDONED = 24 * 3600.0
"""Seconds after which an unfinished file is taken for one of a killed process."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOENT, errno.ENAMETOOLONG)
_PART = ".part-"


@contextmanager
def whole_file(target: Path, *, force: bool, size: int = 0) -> Iterator[Path]:
    """Yield the name of a file to write; it becomes the target when the block ends well.

    Args:
        target: what the user named.
        force: replace a file that is there.
        size: bytes it will have, where that is known: a disk too small for it is refused before
            anything is written.

    Raises:
        BadSetting: something is there already.
        StoreUnavailable: the disk is full, or the place may not be written.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     place = Path(folder, "a.txt")
    ...     with whole_file(place, force=False) as part:
    ...         _ = part.write_text("all of it")
    ...     place.read_text(), [one.name for one in place.parent.iterdir()]
    ('all of it', ['a.txt'])
    """
    refuse_taken(target, force=force)
    if target.is_dir():
        raise BadSetting(f"{str(target)!r} is a directory", next_step="the name of a file in it")
    with _refusals(target):
        _require_room(target, size)
        clear_abandoned(target.parent, f".{target.name}{_PART}*")
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}{_PART}", dir=target.parent)
        os.close(descriptor)
    part = Path(name)
    try:
        with _refusals(target):
            yield part
            _settle(part)
            part.chmod(0o644)
            os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def whole_directory(target: Path, *, force: bool, size: int = 0) -> Iterator[Path]:
    """Yield a directory to write into; it becomes the target when the block ends well.

    Args:
        target: what the user named.
        force: replace a model's directory that is there; any other is left alone.
        size: bytes it will have, where that is known.

    Raises:
        BadSetting: something is there already, or something else than a model.
        StoreUnavailable: the disk is full, or the place may not be written.
    """
    with _refusals(target):
        _take_back(target.resolve())
    refuse_taken(target, force=force)
    target = target.resolve()  # a link keeps pointing where it does
    if target.exists() and not (target / "config.json").is_file():
        raise BadSetting(
            f"{str(target)!r} is no model's directory, and is not replaced by one",
            next_step="another name",
        )
    with _refusals(target):
        _require_room(target, size)
        clear_abandoned(target.parent, f".{target.name}{_PART}*")
        part = Path(tempfile.mkdtemp(prefix=f".{target.name}{_PART}", dir=target.parent))
    try:
        with _refusals(target):
            yield part
            for file in part.rglob("*"):
                if file.is_file():
                    _settle(file)
            part.chmod(0o755)
            _put(part, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _put(part: Path, target: Path) -> None:
    """Give a finished directory its name; what had it goes once the new one is there."""
    if not target.exists():
        os.replace(part, target)
        return
    old = _aside(target)
    os.replace(target, old)
    try:
        os.replace(part, target)
    except OSError:
        os.replace(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _take_back(target: Path) -> None:
    """Give an old directory its name again where a kill came before the new one had it."""
    old = _aside(target)
    if old.exists():
        if target.exists():
            shutil.rmtree(old)
        else:
            os.replace(old, target)


def _aside(target: Path) -> Path:
    """Return where a directory waits while another gets its name; nothing cleans up there."""
    return target.with_name(f".{target.name}.replaced")


def refuse_taken(target: Path, *, force: bool) -> None:
    """Refuse a name that is taken, or whose folder is not there; ask before long work.

    Raises:
        BadSetting: with what is there.
    """
    if target.exists() and not force:
        raise BadSetting(f"{str(target)!r} is there already", next_step="--force to replace it")
    if not target.name or not target.parent.is_dir():
        raise BadSetting(
            f"there is no folder {str(target.parent)!r} to write {target.name!r} into",
            next_step=f"mkdir -p {target.parent}",
        )


def _require_room(target: Path, size: int) -> None:
    free = shutil.disk_usage(target.parent).free
    if size > free:
        raise StoreUnavailable(
            f"{str(target)!r} would have {size / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free "
            "there",
            next_step="free some space, or name another disk",
        )


def clear_abandoned(folder: Path, names: str) -> None:
    """Remove what killed processes left under such names, once nobody can be at it still."""
    for left in folder.glob(names):
        if time.time() - left.stat().st_mtime > ABANDONED:
            shutil.rmtree(left) if left.is_dir() else left.unlink()


def _settle(file: Path) -> None:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())


@contextmanager
def _refusals(target: Path) -> Iterator[None]:
    """Turn what a file system refuses into a sentence."""
    try:
        yield
    except OSError as error:
        said = os.strerror(error.errno) if error.errno else str(error)
        if error.errno in _FULL:
            raise StoreUnavailable(
                f"{str(target)!r} was not written, and nothing was lost: {said}",
                next_step="free some space and run the same command again",
            ) from error
        if error.errno in _CLOSED:
            raise StoreUnavailable(
                f"{str(target)!r} cannot be written: {said}",
                next_step="a place you may write to",
            ) from error
        raise
