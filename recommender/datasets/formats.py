"""Which format a path has, and the source that reads it.

Apart from the loaders because it is the one list of them: what `--format` takes, and what is
told from names and first lines where it is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from recommender.datasets import amazon, movielens
from recommender.datasets.delimited import Layout, read_header
from recommender.datasets.files import DataFile, find, neighbours, opened
from recommender.datasets.rows import Source
from recommender.datasets.table import ParquetSource, names_of, open_table, parquet_files
from storage.errors import BadData, BadSetting

FORMATS = (
    "amazon-2023-reviews",
    "amazon-2023-ratings",
    "amazon-2023-split",
    "amazon-2023-parquet",
    "amazon-2018",
    "movielens-100k",
    "movielens-1m",
    "movielens-csv",
    "movietweetings",
    "recbole",
    "table",
)
_RATINGS = ("user_id", "parent_asin", "rating", "timestamp")
_KNOWN_FILES = {
    "u.data": "movielens-100k",
    "interactions.csv": "amazon-2018",
    "ratings.csv": "movielens-csv",
}
_TABLES = (".csv", ".csv.gz", ".tsv", ".tsv.gz")


def detect_format(path: Path) -> str:
    """Return the format of a file, a folder or a published zip.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "log.csv")
    ...     _ = file.write_text("user_id,parent_asin,rating,timestamp\\n")
    ...     detect_format(file)
    'amazon-2023-ratings'

    Raises:
        BadData: there is nothing there, or nothing that is known; lists the formats.
    """
    if not path.exists():
        raise BadData(f"there is no file or folder {str(path)!r}")
    whole = path.is_dir() or path.suffix.lower() == ".zip"
    found = _of_files(path) if whole else _of_name(path)
    if not found:
        raise BadData(
            f"{str(path)!r} is in no format that is told from names or first lines; there are "
            f"{', '.join(FORMATS)}",
            next_step=f"recsys data import {path} --category NAME --format FORMAT",
        )
    return found


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
        BadSetting: there is no such format, or columns are named for one that has its own.
        BadData: the files are not what the format says.
    """
    if not path.exists():
        raise BadData(f"there is no file or folder {str(path)!r}")
    if items is not None and not items.is_file():
        raise BadData(f"there is no file {str(items)!r}")
    format = format or ("table" if columns else detect_format(path))
    if format not in FORMATS:
        raise BadSetting(f"there is no format {format!r}; there are {', '.join(FORMATS)}")
    if columns and format != "table":
        raise BadSetting(f"--columns is for the format table, and {str(path)!r} is {format}")
    if format == "amazon-2023-parquet":
        files = [*parquet_files(path), *([items] if items else [])]
        return ParquetSource(format, files, [], None, with_reviews, strict)
    if format == "amazon-2018":
        return amazon.open_2018(path, items=items, strict=strict)
    if format.startswith("amazon-2023"):
        return amazon.open_2023(path, format, items=items, with_reviews=with_reviews, strict=strict)
    if format == "recbole":
        return movielens.open_recbole(path, items=items, strict=strict)
    if format == "table":
        return open_table(
            path, columns=columns, items=items, with_reviews=with_reviews, strict=strict
        )
    return movielens.open_movielens(path, format, items=items, strict=strict)


def _of_files(path: Path) -> str:
    names = [(file.member or file.path.name).rsplit("/", 1)[-1] for file in neighbours(path)]
    for name, format in _KNOWN_FILES.items():
        if name in names:
            return format
    if "ratings.dat" in names:
        return _dat(path)
    if any(name.endswith(".inter") for name in names):
        return "recbole"
    if not path.is_dir():
        return ""
    if parquet_files(path):
        return _parquet(path)
    if any(amazon.is_split_name(name) for name in names):
        return "amazon-2023-split"
    if any(".jsonl" in name and not name.startswith("meta_") for name in names):
        return "amazon-2023-reviews"
    tables = [name for name in names if name.lower().endswith(_TABLES)]
    return _header(path / tables[0]) if len(tables) == 1 else ""


def _of_name(path: Path) -> str:
    name = path.name.lower()
    if name in ("ratings.dat", "movies.dat"):
        return _dat(path)
    if name in ("u.data", "u.item"):
        return "movielens-100k"
    if name.endswith(".inter"):
        return "recbole"
    if name.endswith((".jsonl", ".jsonl.gz")):
        return "amazon-2023-reviews"
    if amazon.is_split_name(path.name):
        return "amazon-2023-split"
    if parquet_files(path):
        return _parquet(path)
    return _header(path) if name.endswith(_TABLES) else ""


def _header(path: Path) -> str:
    """Tell a CSV by its columns."""
    header = read_header(DataFile(path), Layout())
    if header[:4] == _RATINGS:
        return "amazon-2023-ratings"
    if header == ("user_id", "item_id", "position", "part"):
        return "amazon-2018"
    if header[:4] == ("userId", "movieId", "rating", "timestamp"):
        return "movielens-csv"
    return "table"


def _dat(path: Path) -> str:
    """Tell MovieTweetings, whose movies have IMDb numbers of seven digits, from MovieLens."""
    file = find(path, "ratings.dat")
    if file is None:
        return ""
    with opened(file, encoding="latin-1") as stream:
        columns = stream.readline().split("::")
    return "movietweetings" if len(columns) > 1 and len(columns[1]) >= 7 else "movielens-1m"


def _parquet(path: Path) -> str:
    found = (set(_RATINGS) <= set(names_of(file)) for file in parquet_files(path))
    return "amazon-2023-parquet" if any(found) else "table"
