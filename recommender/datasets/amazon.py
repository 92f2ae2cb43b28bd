"""Amazon Reviews 2023 (McAuley Lab) in its published forms, and Review Data 2018 as two CSVs.

In the 2023 release an item is its `parent_asin` (variants of a product share one), its brand
is the metadata's `store`, and times are milliseconds. Metadata covers millions of products;
only those somebody reviewed are kept. The 2018 files have `position` and `part` instead of
times.

Source: https://amazon-reviews-2023.github.io, Hou et al. 2024, arXiv 2403.03952.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from recommender.datasets.delimited import DelimitedSource, Layout, Spec
from recommender.datasets.files import DataFile, Meter, find, opened_bytes
from recommender.datasets.names import AMAZON_NOTE
from recommender.datasets.rows import BadRows, RowError, chunk, good_chunks, ratings, times
from recommender.datasets.text import TEXT_LIMIT, clean_text, is_clean_id
from storage.errors import BadData
from storage.records import NO_PART, PARTS, InteractionChunk, ItemRow

SCALE = (1.0, 5.0)
_PART_OF_NAME = re.compile(r"^(.+)\.(train|valid|test)\.csv(\.gz)?$")
_LOG = {"user": "user_id", "item": "parent_asin", "rating": "rating", "time": "timestamp"}

OFFICE = Spec(
    format="amazon-2018",
    layout=Layout(),
    columns={"user": "user_id", "item": "item_id", "order": "position", "part": "part"},
    item_columns={
        "id": "item_id",
        "title": "title",
        "brand": "brand",
        "description": "description",
    },
    note="Amazon Review Data 2018, McAuley Lab, UCSD: published for research",
)


@dataclass(slots=True)
class AmazonSource:
    """Reviews as JSON lines or rating CSVs, with metadata as JSON lines."""

    format: str
    logs: Sequence[tuple[DataFile, int]]
    catalogue: Sequence[DataFile]
    with_reviews: bool
    bad: BadRows
    meter: Meter = field(default_factory=Meter)
    rating_scale: tuple[float, float] | None = SCALE
    note: str = AMAZON_NOTE
    keeps_unseen: bool = False
    _ratings: DelimitedSource | None = None

    def __post_init__(self) -> None:
        """Count the bytes and check the headers of CSVs; read nothing else yet."""
        if self.format != "amazon-2023-reviews":
            spec = Spec(self.format, Layout(), _LOG, rating_scale=SCALE, time_unit="ms")
            self._ratings = DelimitedSource(spec, self.logs, [])
            self._ratings.bad, self._ratings.meter = self.bad, self.meter
        files = [file for file, _ in self.logs] + list(self.catalogue)
        self.meter.total = sum(file.size for file in files)

    def items(self) -> Iterator[ItemRow]:
        """Read the metadata; lines that are no record are counted as bad."""
        for file in self.catalogue:
            for line, text in _lines(file, self.meter):
                try:
                    item = item_of(orjson.loads(text))
                except (ValueError, RowError) as error:
                    self.bad.add(file.name, line, _reason(error), item=True)
                else:
                    yield item

    def chunks(self) -> Iterator[InteractionChunk]:
        """Read the reviews, or the ratings."""
        if self._ratings is not None:
            yield from self._ratings.chunks()
            return
        for file, _ in self.logs:
            lines = _lines(file, self.meter)
            yield from good_chunks(lines, self._chunk, self.bad, file.name)

    def _chunk(self, lines: Sequence[bytes]) -> InteractionChunk:
        try:
            records = [orjson.loads(line) for line in lines]
        except ValueError as error:
            raise RowError(_reason(error)) from error
        return review_chunk(records, with_reviews=self.with_reviews)


def review_chunk(records: Sequence[Mapping[str, Any]], *, with_reviews: bool) -> InteractionChunk:
    """Turn review records into columns.

    >>> one = {"user_id": "U", "parent_asin": "B", "rating": 5.0, "timestamp": 1600000000000}
    >>> review_chunk([one], with_reviews=False).items
    ['B']

    Raises:
        RowError: a record lacks a field or holds something else in it.
    """
    try:
        users = [record["user_id"] for record in records]
        items = [record.get("parent_asin") or record["asin"] for record in records]
        stars = [record["rating"] for record in records]
        moments = [record["timestamp"] for record in records]
    except KeyError as error:
        raise RowError(f"no field {error.args[0]!r}") from error
    except (TypeError, AttributeError) as error:
        raise RowError("not a JSON object") from error
    if not all(isinstance(one, str) for one in (*users, *items)):
        raise RowError("an id that is no text")
    review = None
    if with_reviews:
        review = (
            [str(record.get("title") or "") for record in records],
            [str(record.get("text") or "") for record in records],
        )
    return chunk(
        users, items, time=times(moments, "ms"), rating=ratings(stars, SCALE), review=review
    )


def item_of(record: Mapping[str, Any]) -> ItemRow:
    """Turn a metadata record into an item.

    >>> item_of({"parent_asin": "B", "title": "Pen &amp; Ink", "store": "Parker"}).title
    'Pen & Ink'

    Raises:
        RowError: there is no usable `parent_asin`.
    """
    key = record.get("parent_asin") if isinstance(record, Mapping) else None
    if not isinstance(key, str) or not is_clean_id(key.strip()):
        raise RowError("no usable parent_asin")
    described = _joined(record.get("description"), " ") or _joined(record.get("features"), " ")
    path = _joined(record.get("categories"), " | ") or _joined(record.get("main_category"), "")
    return ItemRow(
        id=key.strip(),
        title=clean_text(_joined(record.get("title"), " ")),
        brand=clean_text(_joined(record.get("store"), " ")),
        description=clean_text(described, TEXT_LIMIT),
        categories=clean_text(path),
        price=clean_text(_joined(record.get("price"), " ")),
    )


def open_2023(
    path: Path, format: str, *, items: Path | None, with_reviews: bool, strict: bool
) -> AmazonSource:
    """Open one published file; its metadata, and the other parts of a split, lie beside it.

    Raises:
        BadData: a folder that holds no or several files of the format.
    """
    log = _published(path, format) if path.is_dir() else path
    logs = [(DataFile(log), NO_PART)]
    found = _PART_OF_NAME.match(log.name)
    if format == "amazon-2023-split" and found:
        names = [f"{found[1]}.{part}.csv{found[3] or ''}" for part in PARTS]
        beside = [(log.with_name(name), number) for number, name in enumerate(names)]
        logs = [(DataFile(one), number) for one, number in beside if one.is_file()]
    stem = log.name.split(".")[0]
    meta = find(log, f"meta_{stem}.jsonl.gz") or find(log, f"meta_{stem}.jsonl")
    catalogue = [DataFile(items)] if items else [meta] if meta else []
    for file in catalogue:
        if ".json" not in file.name:
            raise BadData(f"{file.name!r} is no metadata of Amazon Reviews 2023 (JSON lines)")
    return AmazonSource(format, logs, catalogue, with_reviews, BadRows(strict))


def open_2018(path: Path, *, items: Path | None, strict: bool) -> DelimitedSource:
    """Open `interactions.csv` with `items.csv` beside it, in a folder or named itself.

    Raises:
        BadData: the log is not there.
    """
    log = find(path, "interactions.csv") if path.is_dir() else DataFile(path)
    if log is None:
        raise BadData(f"{str(path)!r} holds no 'interactions.csv', which amazon-2018 has")
    catalogue = DataFile(items) if items else find(path, "items.csv")
    return DelimitedSource(
        OFFICE, [(log, NO_PART)], [catalogue] if catalogue else [], strict=strict
    )


def is_split_name(name: str) -> bool:
    """Tell whether a file is called like one part of a published split.

    >>> is_split_name("Books.train.csv.gz"), is_split_name("Books.csv.gz")
    (True, False)
    """
    return _PART_OF_NAME.match(name) is not None


def _published(folder: Path, format: str) -> Path:
    reviews, split = format == "amazon-2023-reviews", format == "amazon-2023-split"
    suffixes = (".jsonl", ".jsonl.gz") if reviews else (".csv", ".csv.gz")
    found = [
        one
        for one in sorted(folder.iterdir())
        if one.name.endswith(suffixes)
        and not one.name.startswith("meta_")
        and is_split_name(one.name) == split
    ]
    if split:
        found = [one for one in found if ".train." in one.name] or found[:1]
    if len(found) != 1:
        example = found[0] if found else folder / "FILE"
        raise BadData(
            f"{str(folder)!r} holds {len(found)} files of {format}; name one of them",
            next_step=f"recsys data import {example} --category NAME",
        )
    return found[0]


def _lines(file: DataFile, meter: Meter) -> Iterator[tuple[int, bytes]]:
    with opened_bytes(file, meter) as stream:
        for number, line in enumerate(stream, start=1):
            if not line.isspace():
                yield number, line


def _joined(value: object, separator: str) -> str:
    if isinstance(value, (list, tuple)):
        return separator.join(str(one) for one in value if one)
    return "" if value is None else str(value)


def _reason(error: Exception) -> str:
    return f"not JSON ({error})" if isinstance(error, orjson.JSONDecodeError) else str(error)
