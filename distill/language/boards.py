"""Losses and validations for TensorBoard, where somebody asks for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distill.training import Evaluated
from storage.errors import BadSetting


class Board:
    """Writes to a directory; without one, nothing."""

    def __init__(self, writer: Any = None) -> None:
        """Take a writer of TensorBoard's."""
        self._writer = writer

    def stepped(self, step: int, parts: Mapping[str, float]) -> None:
        """Write the loss of a step and its parts."""
        if self._writer is None:
            return
        self._writer.add_scalar("loss/total", sum(parts.values()), step)
        for name, part in parts.items():
            self._writer.add_scalar(f"loss/{name}", part, step)

    def validated(self, step: int, evaluated: Evaluated) -> None:
        """Write a validation."""
        if self._writer is not None:
            self._writer.add_scalar("validation/score", evaluated.ndcg, step)
            self._writer.add_scalar("validation/best", evaluated.best, step)


@contextmanager
def open_board(directory: Path | None) -> Iterator[Board]:
    """Open a board on a directory, and close it again; without one, a board that is none.

    Raises:
        BadSetting: TensorBoard is not installed, or the directory cannot be written.

    >>> with open_board(None) as board:
    ...     board.stepped(1, {"task": 0.5})
    """
    if directory is None:
        yield Board()
        return
    try:
        # Deferred: it is not installed with the rest, and takes seconds.
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise BadSetting(
            "TensorBoard is not installed", next_step="pip install tensorboard"
        ) from error
    try:
        writer = SummaryWriter(str(directory))
    except OSError as error:
        raise BadSetting(f"{str(directory)!r} cannot be written: {error}") from error
    try:
        yield Board(writer)
    finally:
        writer.close()
