"""`import_data`: from the files of a source to a category of the Store, all of it or nothing.

Reads the log, then cleans and orders it, then reads the titles of the items that are left,
then writes. What the Store has of the category already takes part like rows of the file, so
that a second import of the same file adds nothing and one of a longer file adds its new rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import astuple, dataclass, field
from pathlib import Path

import numpy as np

from recommender.datasets.collecting import Collector
from recommender.datasets.formats import open_source
from recommender.datasets.merging import Merged, digest_of, merge
from recommender.datasets.rows import BATCH, Source
from recommender.datasets.spill import Spill, SpilledItems
from recommender.events import Event, Notice, Progress, StageDone, StageStarted
from storage.errors import BadData, BadSetting
from storage.records import Category, FloatArray, Item, ItemRow
from storage.store import Store

READING, ORDERING, TITLES, WRITING = "reading", "cleaning", "titles", "writing"


@dataclass(frozen=True, slots=True)
class ImportCounts:
    """What became of the rows of a source."""

    rows_read: int
    """Usable rows of the log."""
    rows_new: int
    """Rows that the Store did not have and now has."""
    already_there: int
    duplicates: int
    """Rows that repeat another one of the source exactly."""
    dropped_by_core: int
    bad_rows: int
    """Rows that could not be used, and were skipped."""
    bad_items: int
    people_new: int
    items_new: int
    items_without_title: int
    """Of all items of the category."""
    reviews: int
    """Review texts that were added."""
    first_bad: tuple[str, ...] = ()
    """The first bad rows, with file, line and reason."""


@dataclass(frozen=True, slots=True)
class ImportFinished(Event):
    """The result of an import."""

    category: Category
    counts: ImportCounts


def import_data(
    store: Store,
    path: Path,
    *,
    category: str,
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
    items: Path | None = None,
    k_core: int = 0,
    with_reviews: bool = False,
    strict: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Event]:
    """Import a file, a folder or a zip into a category; `ImportFinished` comes last.

    Args:
        store: where to.
        path: what to import.
        category: its name. New rows of the same source are added to what it holds.
        format: one of `FORMATS`; None tells it from the files.
        columns: ours (user, item, time, rating, title …) -> the columns of a table.
        items: a file of items that does not lie beside the log.
        k_core: keep people and items with at least this many interactions.
        with_reviews: keep title and text of reviews.
        strict: stop at the first bad row.
        clock: seconds, for the durations that are reported.

    Raises:
        BadData: the source cannot be used; nothing of it is kept.
        BadSetting: a format that does not exist, or a name or number that cannot be used.
    """
    if not category.strip() or not category.isprintable():
        raise BadSetting(f"{category!r} is no name for a category")
    if k_core < 0:
        raise BadSetting(f"--k-core {k_core} is below 0")
    source = open_source(
        path, format, columns=columns, items=items, with_reviews=with_reviews, strict=strict
    )
    yield from import_source(
        store, source, category=category, k_core=k_core, with_reviews=with_reviews, clock=clock
    )


def import_source(
    store: Store,
    source: Source,
    *,
    category: str,
    k_core: int = 0,
    with_reviews: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Event]:
    """Import from an open source: what `import_data` does once it knows the format."""
    known = next((c for c in store.catalogue.categories() if c.name == category), None)
    if (
        known is not None
        and not known.synthetic
        and _family(known.source) != _family(source.format)
    ):
        raise BadData(
            f"category {category!r} holds {known.source}, which {source.format} does not mix with",
            next_step="recsys data import PATH --category ANOTHER_NAME",
        )
    if known is not None and known.synthetic:
        yield Notice(
            f"the synthetic sample {category!r} is being replaced by real data "
            f"({source.format}), with its runs"
        )
    with Spill() as spill:
        job = _Import(store, source, category, known, k_core, with_reviews, clock, spill)
        rows = yield from job.read()
        merged = yield from job.order(rows)
        items = yield from job.titles(merged)
        yield from job.write(rows, merged, items)


@dataclass(slots=True)
class _Import:
    """One import, step by step."""

    store: Store
    source: Source
    name: str
    known: Category | None
    k_core: int
    with_reviews: bool
    clock: Callable[[], float]
    spill: Spill
    collector: Collector = field(init=False)
    people: int = 0
    """How many the Store had."""
    things: int = 0

    def __post_init__(self) -> None:
        self.collector = Collector(self.spill if self.with_reviews else None)
        old = self.old
        if old is not None:
            catalogue = self.store.catalogue
            log = catalogue.log(old.id)
            self.people, self.things = log.people, log.items
            self.collector.add_stored(catalogue.user_ids(old.id), catalogue.item_ids(old.id), log)

    @property
    def old(self) -> Category | None:
        """The category that is added to; None where it is new, or replaces the sample."""
        return None if self.known is None or self.known.synthetic else self.known

    def read(self) -> Generator[Event, None, int]:
        """Read the log; return how many rows could be used."""
        source, started, rows = self.source, self.clock(), 0
        yield StageStarted(READING, source.meter.total, "bytes")
        for chunk in source.chunks():
            self.collector.add(chunk)
            rows += len(chunk.users)
            note = f"{rows:,} interactions"
            yield Progress(READING, source.meter.done, source.meter.total, note)
        summary = f"{rows:,} interactions, {source.bad.count:,} bad rows"
        yield StageDone(READING, self.clock() - started, summary)
        yield from _bad_rows(source)
        return rows

    def order(self, rows: int) -> Generator[Event, None, Merged]:
        """Clean and order the log."""
        started = self.clock()
        yield StageStarted(ORDERING, rows, "interactions")
        collector, self.collector = self.collector, Collector()
        merged = merge(collector, k=self.k_core, old_people=self.people, old_items=self.things)
        summary = (
            f"{merged.new:,} new, {merged.there:,} there already, {merged.duplicates:,} "
            f"duplicates, {merged.dropped:,} outside the k-core"
        )
        if not len(merged.columns):
            raise BadData(
                f"nothing is left to import: of {rows:,} usable rows {summary}; "
                f"{self.source.bad.count:,} rows are bad{_first_bad(self.source)}"
            )
        yield StageDone(ORDERING, self.clock() - started, summary)
        if merged.stay:
            yield Notice(
                f"{merged.stay:,} interactions of {self.name!r} are outside the "
                f"{self.k_core}-core and stay, because they were there before"
            )
        return merged

    def titles(self, merged: Merged) -> Generator[Event, None, SpilledItems]:
        """Read the catalogue; of what the Store knows, only what the source says is changed."""
        started, source = self.clock(), self.source
        yield StageStarted(TITLES, source.meter.total, "bytes")
        items = SpilledItems(self.spill, merged.item_ids)
        if self.old is not None:
            for one in self.store.catalogue.items(self.old.id):
                items.put(one.number, stored_row(one))
        numbers = {one: number for number, one in enumerate(merged.item_ids)}
        unseen = source.keeps_unseen and self.k_core < 2
        titled = bytearray(len(numbers))
        for count, row in enumerate(source.items()):
            if count % BATCH == 0:
                yield Progress(TITLES, source.meter.done, source.meter.total)
            number = numbers.get(row.id)
            if number is None:
                if not unseen:
                    continue
                number = numbers[row.id] = len(numbers)
                titled.append(0)
            elif titled[number]:
                continue
            titled[number] = bool(row.title)
            items.put(number, both(row, items[number]) if number < len(items) else row)
        untitled = sum(not item.title for item in items)
        summary = f"{len(items):,} items, {untitled:,} without a title"
        yield StageDone(TITLES, self.clock() - started, summary)
        return items

    def write(self, rows: int, merged: Merged, items: SpilledItems) -> Generator[Event, None, None]:
        """Write it in one transaction, and say what became of the rows."""
        started, source, old = self.clock(), self.source, self.old
        yield StageStarted(WRITING, len(merged.columns), "interactions")
        first_reviews = old is None or not self.store.catalogue.review_count(old.id)
        reviewed = merged.review_rows(stored_too=first_reviews)
        texts = merged.reviews(self.spill, reviewed) if len(reviewed) else None
        data = merged.import_data(items, texts)
        low, high = scale(source, merged.columns.rating, old)
        written = self.store.catalogue.write(
            self.name,
            data,
            source=source.format,
            synthetic=False,
            rating_low=low,
            rating_high=high,
            note=source.note,
            digest=digest_of(data),
            replace=self.known is not None and self.known.synthetic,
            k_core=self.k_core,
        )
        yield StageDone(WRITING, self.clock() - started, f"{len(merged.columns):,} interactions")
        counts = ImportCounts(
            rows_read=rows,
            rows_new=merged.new,
            already_there=merged.there,
            duplicates=merged.duplicates,
            dropped_by_core=merged.dropped,
            bad_rows=source.bad.count,
            bad_items=source.bad.items,
            people_new=len(merged.user_ids) - self.people,
            items_new=len(items) - self.things,
            items_without_title=sum(not item.title for item in items),
            reviews=len(reviewed),
            first_bad=tuple(source.bad.first),
        )
        yield ImportFinished(written, counts)


def stored_row(item: Item) -> ItemRow:
    """Return a stored item as a loader would give it.

    >>> stored_row(Item(3, "b1", "Pen")).title
    'Pen'
    """
    return ItemRow(item.id, item.title, item.brand, item.description, item.categories, item.price)


def both(new: ItemRow, old: ItemRow) -> ItemRow:
    """Return the new row, with what it does not say taken from the old one.

    >>> both(ItemRow("b1", "Pen"), ItemRow("b1", "Old pen", brand="Bic"))
    ItemRow(id='b1', title='Pen', brand='Bic', description='', categories='', price='')
    """
    pairs = zip(astuple(new), astuple(old), strict=True)
    return ItemRow(*(ours or theirs for ours, theirs in pairs))


def scale(
    source: Source, rating: FloatArray, old: Category | None
) -> tuple[float | None, float | None]:
    """Return the lowest and highest rating: of the format, or else those that occur."""
    found = list(source.rating_scale or ())
    known = rating[~np.isnan(rating)]
    if not found and len(known):
        found = [float(known.min()), float(known.max())]
    if old is not None and old.rating_low is not None and old.rating_high is not None:
        found += [old.rating_low, old.rating_high]
    return (min(found), max(found)) if found and len(known) else (None, None)


def _family(format: str) -> str:
    """Return what shares ids: the forms of Amazon Reviews 2023 do, nothing else does."""
    return "amazon-2023" if format.startswith("amazon-2023") else format


def _bad_rows(source: Source) -> Iterator[Event]:
    bad = source.bad
    if bad.count:
        yield Notice(f"{bad.count:,} bad rows are skipped{_first_bad(source)}")


def _first_bad(source: Source) -> str:
    return f", the first: {'; '.join(source.bad.first)}" if source.bad.first else ""
