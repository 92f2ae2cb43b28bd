"""Losses and validations for TensorBoard, where somebody asks for them."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distill.training import Evaluated, StepDone
from recommender.events import Event
from storage.errors import BadSetting


class Board:
    """Writes to a directory; without one, nothing."""

    def __init__(self, writer: Any = None, begun: int = 0) -> None:
        """Take a writer of TensorBoard's, and how many steps are done already."""
        self._writer = writer
        self._step = begun

    def hear(self, event: Event) -> None:
        """Write what an event of a training says: a step's loss and its parts, or a validation."""
        if self._writer is None:
            return
        if isinstance(event, StepDone):
            self._step = event.step
            self._writer.add_scalar("loss/total", event.loss, event.step)
            for name, part in event.parts.items():
                self._writer.add_scalar(f"loss/{name}", part, event.step)
        elif isinstance(event, Evaluated):
            self._writer.add_scalar("validation/score", event.score, self._step)
            self._writer.add_scalar("validation/best", event.best, self._step)


def folder_of(directory: Path | None, name: str) -> Path | None:
    """Return the folder of one training below a directory; None stays None.

    >>> folder_of(Path("logs"), "distilled (pkd-last)").name
    'distilled-pkd-last'
    """
    slug = "-".join(re.findall(r"[\w.]+", name.lower()))
    return None if directory is None else directory / slug


def require_board(directory: Path | None) -> None:
    """Refuse a board that could not be opened, before long work; nothing is written to it.

    Raises:
        BadSetting: TensorBoard is not installed, or the directory cannot be written.

    >>> require_board(None)
    """
    if directory is None:
        return
    _summary_writer()
    with _refusals(directory):
        directory.mkdir(parents=True, exist_ok=True)
        if not os.access(directory, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


@contextmanager
def open_board(directory: Path | None, *, begun: int = 0) -> Iterator[Board]:
    """Open a board on a directory, and close it again; without one, a board that is none.

    Args:
        directory: to write to.
        begun: steps that are done already, of a training that goes on: the first that is said
            may be the validation of the last of them.

    Raises:
        BadSetting: TensorBoard is not installed, or the directory cannot be written.

    >>> with open_board(None) as board:
    ...     board.hear(StepDone(1, 0.5, {"task": 0.5}))
    """
    if directory is None:
        yield Board()
        return
    with _refusals(directory):
        # Steps that a killed run wrote behind its last checkpoint come again: shown once.
        writer = _summary_writer()(str(directory), purge_step=begun + 1)
    try:
        yield Board(writer, begun)
    finally:
        writer.close()


@contextmanager
def _refusals(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BadSetting(f"{str(directory)!r} cannot be written: {error}") from error


def _summary_writer() -> Any:
    try:
        # Deferred: it is not installed with the rest, and takes seconds.
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise BadSetting(
            "TensorBoard is not installed", next_step=f"{sys.executable} -m pip install tensorboard"
        ) from error
    return SummaryWriter
