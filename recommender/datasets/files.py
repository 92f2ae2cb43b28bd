"""Opening what a source consists of: plain files, gzip, members of a zip.

Apart from the formats because a cut-off download is the same mistake in all of them: every
error of reading becomes one sentence here, and the position in the compressed bytes is what
progress is counted in.
"""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TextIO

from storage.errors import BadData

_BUFFER = 1 << 18


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file, or a member of a zip file; gzip is told by the name."""

    path: Path
    member: str = ""

    @property
    def name(self) -> str:
        """What messages call it.

        >>> DataFile(Path("ml-1m.zip"), "ml-1m/ratings.dat").name
        'ml-1m.zip/ratings.dat'
        """
        inner = self.member.rsplit("/", 1)[-1]
        return f"{self.path.name}/{inner}" if inner else self.path.name

    @property
    def size(self) -> int:
        """Bytes that progress counts: on disk, for a member those it unpacks to."""
        if not self.member:
            return self.path.stat().st_size
        with zipfile.ZipFile(self.path) as archive:
            return archive.getinfo(self.member).file_size


@dataclass(slots=True)
class Meter:
    """How much of a source's bytes has been read."""

    total: int = 0
    _finished: int = 0
    _tell: Callable[[], int] | None = field(default=None, repr=False)

    @property
    def done(self) -> int:
        """Bytes read so far."""
        return self._finished + (self._tell() if self._tell else 0)

    def follow(self, tell: Callable[[], int]) -> None:
        """Count the position of the file that is read now."""
        self._tell = tell

    def finish(self) -> None:
        """Keep the position of a file that is about to be closed."""
        self._finished, self._tell = self.done, None


@contextmanager
def opened(
    file: DataFile, meter: Meter | None = None, encoding: str = "utf-8-sig"
) -> Iterator[TextIO]:
    """Open as text; bytes that are not of the encoding become lone surrogates.

    Raises:
        BadData: the file is missing, cut off or damaged.
    """
    with opened_bytes(file, meter) as stream:
        text = io.TextIOWrapper(stream, encoding, errors="surrogateescape", newline="")
        try:
            yield text
        finally:
            text.detach()  # the stream is closed by its own context


@contextmanager
def opened_bytes(file: DataFile, meter: Meter | None = None) -> Iterator[IO[bytes]]:
    """Open as bytes, unpacked.

    Raises:
        BadData: the file is missing, cut off or damaged.
    """
    try:
        with _unpacked(file, meter) as stream:
            yield stream
    except EOFError as error:
        raise BadData(
            f"{str(file.path)!r} is cut off: its compressed data ends early; nothing of it is kept",
            next_step=f"remove {file.path} and {_fetch_again(file)}",
        ) from error
    except (zlib.error, gzip.BadGzipFile, zipfile.BadZipFile) as error:
        raise BadData(
            f"{str(file.path)!r} is damaged ({error}); nothing of it is kept",
            next_step=f"remove {file.path} and {_fetch_again(file)}",
        ) from error
    except FileNotFoundError as error:
        raise BadData(f"there is no file {str(file.path)!r}") from error
    except OSError as error:
        raise BadData(f"cannot read {str(file.path)!r}: {error.strerror or error}") from error


@contextmanager
def _unpacked(file: DataFile, meter: Meter | None) -> Iterator[IO[bytes]]:
    if file.member:
        with (
            zipfile.ZipFile(file.path) as archive,
            archive.open(file.member) as stream,
            _metered(meter, stream.tell),
        ):
            yield stream
        return
    with file.path.open("rb", buffering=_BUFFER) as raw, _metered(meter, raw.tell):
        if file.path.suffix.lower() != ".gz":
            yield raw
            return
        with gzip.GzipFile(fileobj=raw) as packed, io.BufferedReader(packed, _BUFFER) as stream:
            yield stream


@contextmanager
def _metered(meter: Meter | None, tell: Callable[[], int]) -> Iterator[None]:
    if meter is None:
        yield
        return
    meter.follow(tell)
    try:
        yield
    finally:
        meter.finish()


def _fetch_again(file: DataFile) -> str:
    # Imported here: the list of what can be pulled lives with the network client.
    from recommender.datasets.names import published_name

    name = published_name(file.path.name)
    return f"run recsys data pull {name}" if name else "fetch it again"


def neighbours(place: Path) -> list[DataFile]:
    """Return the files of a folder, of a zip, or beside a file.

    >>> neighbours(Path("nowhere/log.csv"))
    []

    Raises:
        BadData: a zip that cannot be read.
    """
    if place.is_file() and place.suffix.lower() == ".zip":
        try:
            with zipfile.ZipFile(place) as archive:
                names = [name for name in archive.namelist() if not name.endswith("/")]
        except zipfile.BadZipFile as error:
            raise BadData(
                f"{str(place)!r} is no complete zip file; nothing of it is kept",
                next_step=f"remove {place} and {_fetch_again(DataFile(place))}",
            ) from error
        return [DataFile(place, name) for name in sorted(names)]
    folder = place if place.is_dir() else place.parent
    if not folder.is_dir():
        return []
    return [DataFile(path) for path in sorted(folder.iterdir()) if path.is_file()]


def find(place: Path, name: str) -> DataFile | None:
    """Return the file of that name in a folder, in a zip, or beside a file.

    >>> find(Path("nowhere/ratings.dat"), "movies.dat") is None
    True
    """
    for file in neighbours(place):
        if (file.member or file.path.name).rsplit("/", 1)[-1] == name:
            return file
    return None
