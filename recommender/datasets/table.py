"""Anybody's own CSV, TSV or Parquet, and the Parquet files of Amazon Reviews 2023.

Columns are known by their usual names or by `--columns`; items may be in a second file. In a
log without times and positions the order of the file is a person's order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recommender.datasets.amazon import SCALE, item_of, review_chunk
from recommender.datasets.delimited import (
    COLUMNS_FORM,
    DelimitedSource,
    Layout,
    Spec,
    column_indices,
    read_header,
)
from recommender.datasets.files import DataFile, Meter
from recommender.datasets.names import AMAZON_NOTE
from recommender.datasets.rows import (
    BATCH,
    BadRows,
    RowError,
    chunk,
    good_chunks,
    parts,
    positions,
    ratings,
    times,
)
from recommender.datasets.text import TEXT_LIMIT, clean_text, is_clean_id
from storage.errors import BadData
from storage.records import NO_PART, InteractionChunk, ItemRow

USUAL = {
    "user": ("user_id", "user", "userid", "uid", "customer_id", "customer", "reviewerid"),
    "item": ("item_id", "item", "itemid", "parent_asin", "asin", "product_id", "movieid", "sku"),
    "time": ("timestamp", "time", "ts", "datetime", "date", "unixreviewtime"),
    "rating": ("rating", "score", "stars", "overall"),
    "order": ("position", "order"),
    "part": ("part", "split"),
    "review_title": ("review_title", "summary"),
    "review_text": ("review_text", "review", "reviewtext"),
}
USUAL_ITEM = {
    "id": USUAL["item"],
    "title": ("title", "item_title", "product_title", "name"),
    "brand": ("brand", "store", "maker"),
    "description": ("description",),
    "categories": ("categories", "category", "genres", "genre"),
    "price": ("price",),
}
OURS = (*USUAL, *(name for name in USUAL_ITEM if name != "id"))


def open_table(
    path: Path,
    *,
    columns: Mapping[str, str] | None,
    items: Path | None,
    with_reviews: bool,
    strict: bool,
) -> DelimitedSource | ParquetSource:
    """Open a file with a column mapping, or a folder of Parquet files.

    Raises:
        BadData: a mapping that names what we do not know, or a column that is not there.
    """
    for ours in columns or {}:
        if ours not in OURS:
            raise BadData(
                f"--columns names {ours!r}; it can name {', '.join(OURS)}",
                next_step=f"recsys data import {path} --category NAME {COLUMNS_FORM}",
            )
    logs = parquet_files(path)
    if logs:
        return ParquetSource("table", logs, [items] if items else [], columns, with_reviews, strict)
    layout = layout_of(DataFile(path))
    header = read_header(DataFile(path), layout)
    catalogue = DataFile(items or path)
    item_layout = layout_of(catalogue)
    item_columns = named(read_header(catalogue, item_layout), USUAL_ITEM, _for_items(columns))
    if not items and set(item_columns) <= {"id"}:
        item_columns = {}
    spec = Spec(
        format="table",
        layout=layout,
        columns=named(header, USUAL, columns),
        item_layout=item_layout,
        item_columns=item_columns,
        rating_optional=True,
    )
    # A log with a title in every row is read twice: once for the titles.
    files = [catalogue] if item_columns else []
    return DelimitedSource(
        spec, [(DataFile(path), NO_PART)], files, with_reviews=with_reviews, strict=strict
    )


def named(
    header: Sequence[str], usual: Mapping[str, Sequence[str]], given: Mapping[str, str] | None
) -> dict[str, str]:
    """Return ours -> theirs: what was given, then columns with a usual name.

    >>> named(["who", "Item_ID", "ts"], USUAL, {"user": "who"})
    {'user': 'who', 'item': 'Item_ID', 'time': 'ts'}
    """
    found = {ours: theirs for ours, theirs in (given or {}).items() if ours in usual}
    lower = {name.lower(): name for name in reversed(header)}
    for ours, names in usual.items():
        known = next((lower[name] for name in names if name in lower), None)
        if ours not in found and known is not None and known not in found.values():
            found[ours] = known
    return {ours: found[ours] for ours in usual if ours in found}


def layout_of(file: DataFile) -> Layout:
    """Return the layout of a CSV or TSV file, told by its first line."""
    if ".tsv" in file.path.name.lower():
        return Layout("\t")
    whole = read_header(file, Layout("\x00"))[0]  # no such delimiter: the line as it is
    return Layout(max(",;\t|", key=whole.count))


def parquet_files(path: Path) -> list[Path]:
    """Return a Parquet file, or those in a folder."""
    if path.is_dir():
        return sorted(path.rglob("*.parquet"))
    return [path] if path.suffix.lower() in (".parquet", ".pq") else []


@dataclass(slots=True)
class ParquetSource:
    """Parquet files of one's own, or with the columns of Amazon Reviews 2023."""

    format: str
    logs: Sequence[Path]
    catalogue: Sequence[Path]
    columns: Mapping[str, str] | None
    with_reviews: bool
    strict: bool
    bad: BadRows = field(init=False)
    meter: Meter = field(default_factory=Meter)
    note: str = ""
    keeps_unseen: bool = True

    def __post_init__(self) -> None:
        """Check the columns; read nothing else yet."""
        self.bad = BadRows(self.strict)
        if self.amazon:
            self.note, self.keeps_unseen = AMAZON_NOTE, False
            self.catalogue = [p for p in self.logs if "user_id" not in names_of(p)]
            self.logs = [p for p in self.logs if "user_id" in names_of(p)]
            for path in self.logs:
                wanted = {"item": "parent_asin", "rating": "rating", "time": "timestamp"}
                column_indices(path.name, names_of(path), wanted, ())
        for path in self.logs if not self.amazon else ():
            mapping = named(names_of(path), USUAL, self.columns)
            column_indices(path.name, names_of(path), mapping, ("user", "item"))
        for path in self.catalogue if not self.amazon else ():
            mapping = named(names_of(path), USUAL_ITEM, _for_items(self.columns))
            column_indices(path.name, names_of(path), mapping, ("id",))
        if not self.logs:
            raise BadData("none of the Parquet files has a column 'user_id'")
        self.meter.total = sum(path.stat().st_size for path in [*self.logs, *self.catalogue])

    @property
    def amazon(self) -> bool:
        """Whether the files have the columns of Amazon Reviews 2023."""
        return self.format == "amazon-2023-parquet"

    @property
    def rating_scale(self) -> tuple[float, float] | None:
        """Of the format, where it has one."""
        return SCALE if self.amazon else None

    def items(self) -> Iterator[ItemRow]:
        """Read the catalogue, from the log where there is no second file."""
        for path in self.catalogue or ([] if self.amazon else self.logs):
            mapping = named(names_of(path), USUAL_ITEM, _for_items(self.columns))
            if not self.catalogue and set(mapping) <= {"id"}:
                continue
            for line, record in self._records(path, None if self.amazon else mapping):
                try:
                    yield item_of(record) if self.amazon else _item(record, mapping)
                except RowError as error:
                    self.bad.add(path.name, line, str(error), item=True)

    def chunks(self) -> Iterator[InteractionChunk]:
        """Read the log."""
        for path in self.logs:
            mapping = named(names_of(path), USUAL, self.columns)
            if self.amazon:
                mapping = {name: name for name in _REVIEW if name in names_of(path)}

            def convert(
                records: Sequence[Mapping[str, Any]], mapping: Mapping[str, str] = mapping
            ) -> InteractionChunk:
                if self.amazon:
                    return review_chunk(records, with_reviews=self.with_reviews)
                return _table_chunk(records, mapping, with_reviews=self.with_reviews)

            rows = self._records(path, mapping)
            yield from good_chunks(rows, convert, self.bad, path.name)

    def _records(
        self, path: Path, mapping: Mapping[str, str] | None
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (row number, record) with only the columns that are read."""
        # Imported here: half a second, and only Parquet needs it.
        import pyarrow as pa
        import pyarrow.parquet as pq

        size = path.stat().st_size
        wanted = list(mapping.values()) if mapping else [n for n in _META if n in names_of(path)]
        try:
            with pq.ParquetFile(path) as file:
                rows, done = max(file.metadata.num_rows, 1), 0
                self.meter.follow(lambda: size * done // rows)
                for batch in file.iter_batches(BATCH, columns=wanted):
                    yield from enumerate(batch.to_pylist(), start=done + 1)
                    done += len(batch)
                self.meter.finish()
        except (pa.ArrowException, OSError) as error:
            raise BadData(f"cannot read {str(path)!r}: {error}") from error


_REVIEW = ("user_id", "parent_asin", "asin", "rating", "timestamp", "title", "text")
_META = (
    "parent_asin",
    "title",
    "store",
    "description",
    "features",
    "categories",
    "main_category",
    "price",
)


def names_of(path: Path) -> list[str]:
    """Return the columns of a Parquet file.

    Raises:
        BadData: it is none.
    """
    # Imported here: see `_records`.
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return list(pq.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise BadData(f"{str(path)!r} is no Parquet file: {error}") from error


def _for_items(columns: Mapping[str, str] | None) -> dict[str, str]:
    given = dict(columns or {})
    return {"id": given["item"], **given} if "item" in given else given


def _table_chunk(
    records: Sequence[Mapping[str, Any]], mapping: Mapping[str, str], *, with_reviews: bool
) -> InteractionChunk:
    found = {ours: [record[theirs] for record in records] for ours, theirs in mapping.items()}
    review = None
    if with_reviews and {"review_title", "review_text"} & set(found):
        blank = [""] * len(records)
        titles, texts = found.get("review_title", blank), found.get("review_text", blank)
        review = ([str(one or "") for one in titles], [str(one or "") for one in texts])
    return chunk(
        [_key(one) for one in found["user"]],
        [_key(one) for one in found["item"]],
        time=times(found["time"], "any") if "time" in found else None,
        rating=ratings(found["rating"], None, optional=True) if "rating" in found else None,
        order=positions(found["order"]) if "order" in found else None,
        part=parts([str(one) for one in found["part"]]) if "part" in found else NO_PART,
        review=review,
    )


def _item(record: Mapping[str, Any], mapping: Mapping[str, str]) -> ItemRow:
    key = _key(record[mapping["id"]]).strip()
    if not is_clean_id(key):
        raise RowError("no usable item id")
    fields = {}
    for ours in ("title", "brand", "description", "categories", "price"):
        value = record[mapping[ours]] if ours in mapping else None
        joined = " | ".join(map(str, value)) if isinstance(value, list) else str(value or "")
        fields[ours] = clean_text(joined, TEXT_LIMIT if ours == "description" else 1_000)
    return ItemRow(id=key, **fields)


def _key(value: object) -> str:
    return "" if value is None else str(value)
