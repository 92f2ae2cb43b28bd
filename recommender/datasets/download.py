"""Fetching one file over HTTP: resumed after a cut, complete or absent, never half in place.

Bytes go to NAME.part, and NAME.part.json beside it says of which version of the remote file
they are. A later attempt, in this process or the next, asks for the rest on condition that the
file is still that version. Only what was verified gets its name.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential

from recommender.events import Event, Notice, Progress, StageDone, StageStarted
from storage.errors import BadData, Offline, StoreUnavailable

TIMEOUT = httpx.Timeout(30.0, connect=15.0)
FRUITLESS = 4
"""Attempts in a row without a single new byte, after which it is given up."""
EVERY = 0.2
"""Seconds between two reports of progress."""
_PASSING = frozenset({408, 429, 500, 502, 503, 504})


class Interrupted(Exception):
    """The connection or the server failed in a way that may pass."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A published file."""

    url: str
    name: str
    """What it is called here."""
    md5: str = ""
    """Empty where none is published."""


@dataclass(frozen=True, slots=True)
class Version:
    """Which bytes a server holds under a URL, as its headers say."""

    length: int | None
    etag: str
    modified: str

    @property
    def condition(self) -> str:
        """What `If-Range` takes: a strong ETag, else the date."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified


def size_of(client: httpx.Client, url: str) -> int | None:
    """Ask for the length of a file; None where the server does not say.

    Raises:
        Interrupted: nobody answers.
        BadData: the server does not have it.
    """
    try:
        answer = client.head(url, headers={"Accept-Encoding": "identity"})
    except httpx.RequestError as error:
        raise Interrupted(_said(error)) from error
    if answer.status_code in (404, 410):
        raise BadData(f"{url} answers {answer.status_code}: it is not published there (any more)")
    return _version(answer).length if answer.is_success else None


def is_complete(folder: Path, remote: Remote) -> bool:
    """Tell whether a file is in place and whole; one that was brought by hand is verified."""
    path = folder / remote.name
    if not path.is_file():
        return False
    version = _read_version(path)
    if version is not None and version.length is not None:
        return path.stat().st_size == version.length
    return _fault(path, remote) == ""


def download(
    client: httpx.Client, remote: Remote, folder: Path, *, pause: float = 1.0
) -> Iterator[Event]:
    """Fetch one file into a folder; go on from a `.part` that is there.

    Args:
        client: who asks.
        remote: what to fetch.
        folder: where to.
        pause: seconds before the first new attempt, doubled for each further one.

    Raises:
        Offline: nobody answers, after several attempts.
        BadData: the server does not have it, or the bytes are not those published.
        StoreUnavailable: the folder cannot be written, or the disk is full.
    """
    started = time.monotonic()
    part = folder / f"{remote.name}.part"
    fruitless = [0, -1]  # attempts without a new byte, and the size before this one

    def give_up(_: RetryCallState) -> bool:
        size = part.stat().st_size if part.is_file() else 0
        fruitless[0] = fruitless[0] + 1 if size <= fruitless[1] else 1
        fruitless[1] = size
        return fruitless[0] >= FRUITLESS

    attempts = Retrying(
        retry=retry_if_exception_type(Interrupted),
        stop=give_up,
        wait=wait_exponential(multiplier=pause, max=30),
        reraise=True,
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for attempt in attempts:
            if attempt.retry_state.attempt_number > 1:
                yield Notice(f"{remote.name}: the connection failed; going on where it was cut")
            with attempt:
                yield from _attempt(client, remote, part)
        yield from _into_place(remote, part, folder, started)
    except Interrupted as error:
        raise Offline(f"cannot fetch {remote.url}: {error}") from error
    except OSError as error:
        raise StoreUnavailable(
            f"cannot write {str(part)!r}: {error.strerror or error}; what is there is kept",
            next_step="free some space or choose another folder, and run the same command again",
        ) from error


def _attempt(client: httpx.Client, remote: Remote, part: Path) -> Iterator[Event]:
    """Ask for the rest, append it; `Interrupted` leaves what arrived in the `.part`."""
    have = part.stat().st_size if part.is_file() else 0
    known = _read_version(part)
    headers = {"Accept-Encoding": "identity"}
    if have and known is not None and known.condition:
        headers |= {"Range": f"bytes={have}-", "If-Range": known.condition}
    try:
        with client.stream("GET", remote.url, headers=headers) as answer:
            if answer.status_code == 416 and known is not None and known.length == have:
                return  # the cut came after the last byte
            if answer.status_code == 416:
                part.unlink()
                raise Interrupted("the server has a shorter file than was begun")
            _check_status(answer, remote)
            resumed = answer.status_code == 206
            if resumed and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                part.unlink()
                raise Interrupted("the server sent another range than was asked for")
            version = known if resumed and known is not None else _version(answer)
            if not resumed:
                have = 0
                _write_version(part, version)
            yield StageStarted(remote.name, version.length or 0, "bytes")
            yield from _append(answer, part, have, version.length, remote.name)
    except httpx.RequestError as error:
        raise Interrupted(_said(error)) from error


def _append(
    answer: httpx.Response, part: Path, have: int, length: int | None, stage: str
) -> Iterator[Event]:
    last = time.monotonic()
    with part.open("r+b" if have else "wb") as file:
        file.seek(have)
        file.truncate()
        for piece in answer.iter_raw():  # a size would hold bytes back, and a cut lose them
            file.write(piece)
            have += len(piece)
            if time.monotonic() - last > EVERY:
                last = time.monotonic()
                yield Progress(stage, have, length or 0)
    if length is not None and have < length:
        raise Interrupted(f"the connection ended after {have:,} of {length:,} bytes")


def _check_status(answer: httpx.Response, remote: Remote) -> None:
    if answer.status_code in _PASSING:
        raise Interrupted(f"the server answers {answer.status_code}")
    if answer.status_code not in (200, 206):
        raise BadData(
            f"{remote.url} answers {answer.status_code}: it is not published there (any more)"
        )


def _into_place(remote: Remote, part: Path, folder: Path, started: float) -> Iterator[Event]:
    version = _read_version(part)
    size = part.stat().st_size
    length = version.length if version else None
    fault = _fault(part, remote)
    if length is not None and size != length:
        fault = f"has {size:,} bytes, but {length:,} were announced"
    beside = part.with_name(f"{part.name}.json")
    if fault:
        part.unlink()
        beside.unlink(missing_ok=True)
        raise BadData(
            f"{remote.name!r} {fault}; it was removed",
            next_step="run the same command again to fetch it from the beginning",
        )
    known = version or Version(size, "", "")
    _write_version(part, Version(size, known.etag, known.modified))
    os.replace(part, folder / remote.name)
    os.replace(beside, folder / f"{remote.name}.json")
    how = "md5 checked" if remote.md5 else "length and end checked"
    yield StageDone(remote.name, time.monotonic() - started, f"{size / 1e6:,.1f} MB, {how}")


def _fault(path: Path, remote: Remote) -> str:
    """Return what is wrong with the bytes, an empty text if nothing."""
    if remote.md5:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
        return "" if found == remote.md5 else f"has md5 {found}, but {remote.md5} was published"
    if remote.name.endswith(".gz"):
        try:
            with gzip.open(path) as stream:
                while stream.read(1 << 20):
                    pass
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            return f"is not whole ({error})"
    return ""


def _version(answer: httpx.Response) -> Version:
    length = answer.headers.get("Content-Length", "")
    return Version(
        length=int(length) if length.isdigit() else None,
        etag=answer.headers.get("ETag", ""),
        modified=answer.headers.get("Last-Modified", ""),
    )


def _read_version(path: Path) -> Version | None:
    """Return which version a file is of, or is to become; None where no usable note says so."""
    try:
        kept = json.loads(path.with_name(f"{path.name}.json").read_text(encoding="utf-8"))
        return Version(kept["length"], kept["etag"], kept["modified"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _write_version(path: Path, version: Version) -> None:
    kept = {"length": version.length, "etag": version.etag, "modified": version.modified}
    path.with_name(f"{path.name}.json").write_text(json.dumps(kept), encoding="utf-8")


def _said(error: httpx.RequestError) -> str:
    return str(error) or type(error).__name__
