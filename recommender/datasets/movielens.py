"""MovieLens in its published forms, as RecBole packs it, and MovieTweetings.

- 100K: `u.data` (tabs) and `u.item` ('|', Latin-1); or `ml-100k.inter` and `.item` with typed
  headers, from the wheel of RecBole.
- 1M: `ratings.dat` and `movies.dat` ('::', Latin-1).
- 32M and the "latest" releases: `ratings.csv` and `movies.csv`.
- MovieTweetings: the 1M layout in UTF-8, ratings 0 to 10, IMDb numbers.

Times are seconds. Titles are written "The Usual Suspects (1995)", not "Usual Suspects, The
(1995)": that is how people and language models know them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from recommender.datasets.delimited import DelimitedSource, Layout, Spec, read_header
from recommender.datasets.files import DataFile, find, neighbours
from recommender.datasets.names import MOVIELENS_NOTE
from storage.errors import BadData
from storage.records import NO_PART

_ARTICLE = re.compile(r"^(.+), (The|An|A|Les|Le|La|L'|Los|Las|El|Il|Die|Der|Das)((?: \(.*)?)$")
_GENRES = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)
_LOG = {"user": "user", "item": "item", "rating": "rating", "time": "time"}
_ITEM = {"id": "id", "title": "title", "categories": "genres"}
_LOG_HEADER = ("user", "item", "rating", "time")


def natural_title(title: str) -> str:
    """Return a title with its article in front.

    >>> natural_title("Usual Suspects, The (1995)")
    'The Usual Suspects (1995)'
    """
    found = _ARTICLE.match(title)
    if not found:
        return title
    name, article, rest = found.groups()
    return f"{article}{'' if article.endswith(chr(39)) else ' '}{name}{rest}"


_DAT = Layout("::", "latin-1", quoted=False, header=_LOG_HEADER)
_DAT_ITEMS = Layout("::", "latin-1", quoted=False, header=("id", "title", "genres"))

HUNDRED_K = Spec(
    format="movielens-100k",
    layout=Layout("\t", "latin-1", quoted=False, header=_LOG_HEADER),
    columns=_LOG,
    item_layout=Layout(
        "|", "latin-1", quoted=False, header=("id", "title", "date", "video", "url", *_GENRES)
    ),
    item_columns={"id": "id", "title": "title"} | {name: name for name in _GENRES},
    genre_flags=_GENRES,
    rating_scale=(1, 5),
    time_unit="s",
    title=natural_title,
    note=MOVIELENS_NOTE,
)
ONE_M = Spec(
    format="movielens-1m",
    layout=_DAT,
    columns=_LOG,
    item_layout=_DAT_ITEMS,
    item_columns=_ITEM,
    rating_scale=(1, 5),
    time_unit="s",
    genre_separator="|",
    title=natural_title,
    note=MOVIELENS_NOTE,
)
CSV = Spec(
    format="movielens-csv",
    layout=Layout(),
    columns={"user": "userId", "item": "movieId", "rating": "rating", "time": "timestamp"},
    item_columns={"id": "movieId", "title": "title", "categories": "genres"},
    rating_scale=(0.5, 5),
    time_unit="s",
    genre_separator="|",
    title=natural_title,
    note=MOVIELENS_NOTE,
)
MOVIETWEETINGS = replace(
    ONE_M,
    format="movietweetings",
    layout=replace(_DAT, encoding="utf-8-sig"),
    item_layout=replace(_DAT_ITEMS, encoding="utf-8-sig"),
    rating_scale=(0, 10),
    title=str,
    note="MovieTweetings, Simon Dooms: MIT",
)
_FILES = {
    "movielens-100k": (HUNDRED_K, "u.data", "u.item"),
    "movielens-1m": (ONE_M, "ratings.dat", "movies.dat"),
    "movielens-csv": (CSV, "ratings.csv", "movies.csv"),
    "movietweetings": (MOVIETWEETINGS, "ratings.dat", "movies.dat"),
}


def open_movielens(path: Path, format: str, *, items: Path | None, strict: bool) -> DelimitedSource:
    """Open a folder, a zip as published, or one of the two files beside the other."""
    spec, log_name, item_name = _FILES[format]
    log = find(path, log_name)
    if log is None:
        raise BadData(f"{str(path)!r} holds no {log_name!r}, which {format} has")
    catalogue = DataFile(items) if items else find(path, item_name)
    if format == "movielens-1m" and "10m" in str(path).lower():
        spec = replace(spec, rating_scale=(0.5, 5))  # the 10M release has the same files
    return DelimitedSource(spec, [(log, NO_PART)], [catalogue] if catalogue else [], strict=strict)


def open_recbole(path: Path, *, items: Path | None, strict: bool) -> DelimitedSource:
    """Open RecBole's atomic files: NAME.inter, and NAME.item beside it."""
    log = _only(path, ".inter")
    name = (log.member or str(log.path)).rsplit("/", 1)[-1].removesuffix(".inter")
    catalogue = DataFile(items) if items else find(path, f"{name}.item")
    layout = Layout("\t", "utf-8-sig", quoted=False)
    spec = Spec(
        format="recbole",
        layout=layout,
        columns=_present(read_header(log, layout), _RECBOLE_LOG),
        item_layout=layout,
        item_columns=_present(read_header(catalogue, layout), _RECBOLE_ITEM) if catalogue else {},
        time_unit="s",
        rating_optional=True,
    )
    if name.startswith("ml-"):
        spec = replace(spec, title=natural_title, note=MOVIELENS_NOTE, genre_separator=" ")
        half_stars = name in ("ml-10m", "ml-20m", "ml-25m", "ml-32m")
        spec = replace(spec, rating_scale=(0.5 if half_stars else 1, 5))
    return DelimitedSource(spec, [(log, NO_PART)], [catalogue] if catalogue else [], strict=strict)


_RECBOLE_LOG = {
    "user": ("user_id",),
    "item": ("item_id",),
    "rating": ("rating",),
    "time": ("timestamp",),
}
_RECBOLE_ITEM = {
    "id": ("item_id",),
    "title": ("movie_title", "title", "item_name", "name"),
    "year": ("release_year",),
    "categories": ("class", "genre", "genres", "categories"),
    "brand": ("brand", "store"),
    "price": ("price",),
    "description": ("description",),
}


def _present(header: Sequence[str], known: Mapping[str, Sequence[str]]) -> dict[str, str]:
    return {
        ours: next(name for name in names if name in header)
        for ours, names in known.items()
        if any(name in header for name in names)
    }


def _only(path: Path, suffix: str) -> DataFile:
    if path.is_file() and path.suffix == suffix:
        return DataFile(path)
    found = [f for f in neighbours(path) if (f.member or f.path.name).endswith(suffix)]
    if len(found) != 1:
        raise BadData(f"{str(path)!r} holds {len(found)} files *{suffix}; name one of them")
    return found[0]
