"""Delimited text of every kind: one reader, told by a layout what the columns are called.

CSV with quotes, tabs, '|', '::', typed headers or none: MovieLens, MovieTweetings, both
Amazon releases and any user's own file differ in a `Layout` and a `Spec`, not in code.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from recommender.datasets.files import DataFile, Meter, opened
from recommender.datasets.rows import (
    BadRows,
    RowError,
    TimeUnit,
    chunk,
    good_chunks,
    parts,
    positions,
    ratings,
    times,
)
from recommender.datasets.text import TEXT_LIMIT, clean_text, is_clean_id
from storage.errors import BadData
from storage.records import InteractionChunk, ItemRow

COLUMNS_FORM = "--columns user=…,item=…,time=…,rating=…,title=…"


@dataclass(frozen=True, slots=True)
class Layout:
    """How the lines of a file are cut into columns."""

    delimiter: str = ","
    encoding: str = "utf-8-sig"
    quoted: bool = True
    header: tuple[str, ...] = ()
    """Names of the columns where the file does not begin with them."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What a format's files mean."""

    format: str
    layout: Layout
    columns: Mapping[str, str]
    """Ours (user, item, time, rating, order, part, review_title, review_text) -> theirs."""
    item_layout: Layout = field(default_factory=Layout)
    item_columns: Mapping[str, str] = field(default_factory=dict)
    """Ours (the fields of `ItemRow`, and year) -> theirs."""
    rating_scale: tuple[float, float] | None = None
    rating_optional: bool = False
    time_unit: TimeUnit = "any"
    genre_separator: str = ""
    """What separates genres in one column; empty where it is kept as it is."""
    genre_flags: tuple[str, ...] = ()
    """Columns of 0 and 1, one a genre, in place of a column of genres."""
    title: Callable[[str], str] = str
    """Applied to a clean title."""
    note: str = ""
    keeps_unseen: bool = True


class DelimitedSource:
    """Interactions and items of delimited files."""

    def __init__(
        self,
        spec: Spec,
        logs: Sequence[tuple[DataFile, int]],
        catalogue: Sequence[DataFile],
        *,
        with_reviews: bool = False,
        strict: bool = False,
    ) -> None:
        """Check the headers; read nothing else yet.

        Args:
            spec: what the columns mean.
            logs: files of interactions, each with its part or NO_PART.
            catalogue: files of items; may be files of interactions too.
            with_reviews: whether to keep their text, where the spec names it.
            strict: whether the first bad row is an error.
        """
        self._spec = spec
        self._logs = logs
        self._catalogue = catalogue
        self._reviews = with_reviews
        self.bad = BadRows(strict)
        self.meter = Meter()
        for file, _ in logs:
            self._indices(file, spec.layout, spec.columns, ("user", "item"))
            self.meter.total += file.size
        for file in catalogue:
            self._indices(file, spec.item_layout, spec.item_columns, ("id",))
            self.meter.total += file.size

    @property
    def format(self) -> str:
        """One of `FORMATS`."""
        return self._spec.format

    @property
    def rating_scale(self) -> tuple[float, float] | None:
        """Of the format, where it has one."""
        return self._spec.rating_scale

    @property
    def note(self) -> str:
        """Licence or origin remark."""
        return self._spec.note

    @property
    def keeps_unseen(self) -> bool:
        """Whether items that nobody had belong to the catalogue."""
        return self._spec.keeps_unseen

    def items(self) -> Iterator[ItemRow]:
        """Read the catalogue; rows without a usable id are counted as bad."""
        spec = self._spec
        for file in self._catalogue:
            at = self._indices(file, spec.item_layout, spec.item_columns, ("id",))
            width = max(at.values()) + 1
            for line, row in read_rows(file, spec.item_layout, self.meter, self.bad, item=True):
                if len(row) < width:
                    self.bad.add(file.name, line, f"{len(row)} columns, not {width}", item=True)
                    continue
                found = {name: row[index] for name, index in at.items()}
                if is_clean_id(found["id"].strip()):
                    yield self._item(found)
                else:
                    self.bad.add(file.name, line, "no usable item id", item=True)

    def chunks(self) -> Iterator[InteractionChunk]:
        """Read the log; bad rows are counted and left out."""
        spec = self._spec
        for file, part in self._logs:
            at = self._indices(file, spec.layout, spec.columns, ("user", "item"))
            width = len(spec.layout.header or read_header(file, spec.layout))
            rows = read_rows(file, spec.layout, self.meter, self.bad)

            def convert(
                rows: Sequence[list[str]],
                at: dict[str, int] = at,
                part: int = part,
                width: int = width,
            ) -> InteractionChunk:
                return self._chunk(rows, at, part, width)

            yield from good_chunks(rows, convert, self.bad, file.name)

    def _chunk(
        self, rows: Sequence[list[str]], at: Mapping[str, int], part: int, width: int
    ) -> InteractionChunk:
        lengths = set(map(len, rows))
        if lengths != {width}:
            raise RowError(f"{min(lengths - {width})} columns, not {width}")
        columns = list(zip(*rows, strict=True))
        spec = self._spec
        return chunk(
            columns[at["user"]],
            columns[at["item"]],
            time=times(columns[at["time"]], spec.time_unit) if "time" in at else None,
            rating=(
                ratings(columns[at["rating"]], spec.rating_scale, optional=spec.rating_optional)
                if "rating" in at
                else None
            ),
            order=positions(columns[at["order"]]) if "order" in at else None,
            part=parts(columns[at["part"]]) if "part" in at else part,
            review=self._review(columns, at),
        )

    def _review(
        self, columns: Sequence[Sequence[str]], at: Mapping[str, int]
    ) -> tuple[Sequence[str], Sequence[str]] | None:
        if not self._reviews or not {"review_title", "review_text"} & set(at):
            return None
        blank = [""] * len(columns[0])
        titles = columns[at["review_title"]] if "review_title" in at else blank
        texts = columns[at["review_text"]] if "review_text" in at else blank
        return titles, texts

    def _item(self, found: Mapping[str, str]) -> ItemRow:
        separator = self._spec.genre_separator
        genres = found.get("categories", "")
        if self._spec.genre_flags:
            genres = " | ".join(name for name in self._spec.genre_flags if found[name] == "1")
        elif separator:
            genres = " | ".join(one for one in genres.split(separator) if one)
        title = clean_text(found.get("title", ""))
        year = clean_text(found.get("year", ""))
        title = self._spec.title(title)
        return ItemRow(
            id=found["id"].strip(),
            title=f"{title} ({year})" if title and year else title,
            brand=clean_text(found.get("brand", "")),
            description=clean_text(found.get("description", ""), TEXT_LIMIT),
            categories=clean_text(genres),
            price=clean_text(found.get("price", "")),
        )

    def _indices(
        self, file: DataFile, layout: Layout, columns: Mapping[str, str], needed: Sequence[str]
    ) -> dict[str, int]:
        header = layout.header or read_header(file, layout)
        return column_indices(file.name, header, columns, needed)


def column_indices(
    name: str, header: Sequence[str], columns: Mapping[str, str], needed: Sequence[str]
) -> dict[str, int]:
    """Return ours -> index for every column that is named, all of which must be there.

    >>> column_indices("a.csv", ["who", "what"], {"user": "who", "item": "what"}, ["user"])
    {'user': 0, 'item': 1}

    Raises:
        BadData: a column is missing; says which there are and how to name them.
    """
    there = {column: index for index, column in reversed(list(enumerate(header)))}
    missing = [ours for ours in needed if ours not in columns]
    absent = [theirs for theirs in columns.values() if theirs not in there]
    if missing or absent:
        what = f"no column {absent[0]!r}" if absent else f"no column for {missing[0]!r}"
        shown = ", ".join(column[:40] for column in list(header)[:20])
        raise BadData(
            f"{name!r} has {what}; it has: {shown}",
            next_step=f"recsys data import {name} --category NAME {COLUMNS_FORM}",
        )
    return {ours: there[theirs] for ours, theirs in columns.items()}


def read_header(file: DataFile, layout: Layout) -> tuple[str, ...]:
    """Return the names in the first line, without the types some formats add to them.

    Raises:
        BadData: the file is empty or cannot be read.
    """
    with opened(file, encoding=layout.encoding) as stream:
        if layout.quoted:
            row = next(csv.reader(stream, delimiter=layout.delimiter), None)
        else:
            row = stream.readline().rstrip("\r\n").split(layout.delimiter)
    if not row or row == [""]:
        raise BadData(f"{str(file.path)!r} is empty")
    return tuple(name.strip().split(":")[0] if not layout.quoted else name.strip() for name in row)


def read_rows(
    file: DataFile, layout: Layout, meter: Meter, bad: BadRows, *, item: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, columns) of every line below the header that is not blank."""
    with opened(file, meter, layout.encoding) as stream:
        if not layout.quoted:
            for line, text in enumerate(stream, start=1):
                if (line > 1 or layout.header) and not text.isspace():
                    yield line, text.rstrip("\r\n").split(layout.delimiter)
            return
        reader = csv.reader(stream, delimiter=layout.delimiter)
        skip = not layout.header
        while True:
            try:
                for row in reader:
                    if skip:
                        skip = False
                    elif row:
                        yield reader.line_num, row
                return
            except csv.Error as error:  # the reader goes on with the next line
                bad.add(file.name, reader.line_num, str(error), item=item)
