"""Which format a path has, and the source that reads it.

Apart from the loaders because it is the one list of them: what `--format` takes, and what is
told from a file's name and first line where it is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from recommender.datasets import amazon, movielens
from recommender.datasets.files import neighbours
from recommender.datasets.rows import Source
from storage.errors import BadData, BadSetting

FORMATS = (
    "amazon-2018",
    "movielens-100k",
    "movielens-1m",
    "movielens-csv",
    "movietweetings",
    "recbole",
)


def detect_format(path: Path) -> str:
    """Return the format of a file, a folder or a zip.

    Raises:
        BadData: there is nothing there, or nothing that is known.
    """
    if not path.exists():
        raise BadData(f"there is no file or folder {str(path)!r}")
    names = {(file.member or file.path.name).rsplit("/", 1)[-1] for file in neighbours(path)}
    if path.is_file() and path.suffix != ".zip":
        names = {path.name} | (names if path.suffix in (".data", ".item", ".dat") else set())
    if any(name.endswith(".inter") for name in names):
        return "recbole"
    if "u.data" in names:
        return "movielens-100k"
    if "interactions.csv" in names:
        return "amazon-2018"
    raise BadData(
        f"{str(path)!r} is in no format that is told from its name or first line; "
        f"there are {', '.join(FORMATS)}",
        next_step=f"recsys data import {path} --category NAME --format FORMAT",
    )


def open_source(
    path: Path,
    format: str | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    items: Path | None = None,
    with_reviews: bool = False,
    strict: bool = False,
) -> Source:
    """Open what lies at a path, after a look at its headers.

    Args:
        path: a file, a folder or a zip.
        format: one of `FORMATS`; None tells it from the files.
        columns: ours -> theirs, for a table of the user's own.
        items: a file of items that does not lie beside the log.
        with_reviews: whether the text of reviews is read, where there is any.
        strict: whether the first bad row is an error.

    Raises:
        BadSetting: there is no such format.
        BadData: the files are not what the format says.
    """
    if format is not None and format not in FORMATS:
        raise BadSetting(f"there is no format {format!r}; there are {', '.join(FORMATS)}")
    format = format or detect_format(path)
    if format == "recbole":
        return movielens.open_recbole(path, items=items, strict=strict)
    if format == "amazon-2018":
        return amazon.open_2018(path, items=items, strict=strict)
    return movielens.open_movielens(path, format, items=items, strict=strict)
