"""Files of lines: written whole or not at all, read as a stream."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.errors import BadData, StoreUnavailable


def write_lines(path: Path, lines: Iterable[str]) -> int:
    """Write lines to a file that is there only when all of them are; return how many.

    Raises:
        StoreUnavailable: it cannot be written.
    """
    part = path.with_name(path.name + ".part")
    count = 0
    try:
        with part.open("w", encoding="utf-8") as stream:
            for line in lines:
                stream.write(line + "\n")
                count += 1
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StoreUnavailable(f"cannot write {str(path)!r}: {error.strerror}") from error
    return count


def print_lines(lines: Iterable[str]) -> None:
    """Write lines to standard output.

    Raises:
        StoreUnavailable: where it leads is full.
    """
    try:
        for line in lines:
            print(line)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StoreUnavailable(f"cannot write to standard output: {error.strerror}") from error


@contextmanager
def reading_lines(path: Path) -> Iterator[Iterator[bytes]]:
    """Yield the lines of a file as bytes: whoever reads them counts those that are no text.

    Raises:
        BadData: there is no such file, or it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            yield iter(stream)
    except OSError as error:
        raise BadData(f"cannot read {str(path)!r}: {error.strerror}") from error
