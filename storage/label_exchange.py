"""Answers that leave one Store and enter another: what was paid for once is used elsewhere.

Apart from the label store because it only stands on what that offers. Both ways stream, a few
hundred answers at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TypeVar

from storage.label_lines import BadLine, LabelLine, check_header, header_line, read_line, write_line
from storage.log_rows import NO_ROW, LogRows
from storage.lookup import category_by_id, ids_of, numbers_of
from storage.records import LabelRequest, SoftLabel
from storage.store import Store

_AT_ONCE = 500
_SHOWN = 5
"""How many bad lines are named."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ImportedLabels:
    """What became of the lines: every one that is not blank is counted once."""

    added: int
    """Requests with their answers that the Store did not have, at least one of the two."""
    known: int
    """The Store had both; its own answer stays."""
    unknown_people: int
    """The person is not in the category."""
    unknown_items: int
    """An item is not in the category."""
    bad: int
    """Lines that could not be used, and were skipped."""
    first_bad: tuple[str, ...] = ()
    """The first of them, with line and reason."""


@dataclass(slots=True)
class _Readable:
    """The lines that can be used, and a count of those that cannot."""

    bad: int = 0
    first: list[str] = field(default_factory=list)

    def of(self, lines: Iterable[str | bytes], start: int) -> Iterator[LabelLine]:
        for number, line in enumerate(lines, start=start):
            if not line.strip():
                continue
            try:
                yield read_line(line)
            except BadLine as error:
                self.bad += 1
                if len(self.first) < _SHOWN:
                    self.first.append(f"line {number}: {error}")


def export_labels(
    store: Store, category_id: int, *, teacher: str = "", method: str = "", purpose: str = ""
) -> Iterator[str]:
    """Yield a header and then one JSON line a request that has an answer, without line ends.

    Args:
        store: where from.
        category_id: whose.
        teacher: only this one's; empty means any.
        method: only asked this way.
        purpose: only asked for this.

    Raises:
        UnknownName: there is no such category.
    """
    with store.database.reading() as connection:
        category = category_by_id(connection, category_id)
    yield header_line(category)
    pairs = store.labels.answered(category_id, teacher=teacher, method=method, purpose=purpose)
    for some in _batches(pairs):
        items = (i for request, _ in some for i in (*request.history, *request.candidates))
        with store.database.reading() as connection:
            people = ids_of(connection, "user", category_id, (r.user for r, _ in some))
            things = ids_of(connection, "item", category_id, items)
        for request, answer in some:
            yield write_line(request, answer, people, things)


def import_labels(store: Store, category_id: int, lines: Iterable[str | bytes]) -> ImportedLabels:
    """Take in what `export_labels` wrote, here or elsewhere; what is there already is left.

    Lines that cannot be used are counted and skipped, as are those about people or items the
    category does not have. Stopped half-way it keeps what it took in, and may be run again.

    Args:
        store: where to.
        category_id: whose people and items these are.
        lines: with or without line ends; of a file that may be damaged, bytes.

    Raises:
        BadData: the first line says that these are no labels, or those of a newer version.
        UnknownName: there is no such category.
    """
    with store.database.reading() as connection:
        category_by_id(connection, category_id)
    source = iter(lines)
    check_header(next(source, ""))
    readable = _Readable()
    rows = LogRows(store.database, category_id)
    counts: Counter[str] = Counter()
    for some in _batches(readable.of(source, start=2)):
        counts.update(_take_in(store, category_id, rows, some))
    return ImportedLabels(
        added=counts["added"],
        known=counts["known"],
        unknown_people=counts["unknown_people"],
        unknown_items=counts["unknown_items"],
        bad=readable.bad,
        first_bad=tuple(readable.first),
    )


def _take_in(
    store: Store, category_id: int, rows: LogRows, lines: Sequence[LabelLine]
) -> Counter[str]:
    """Keep what these lines hold; return what became of them."""
    items = (one for line in lines for one in (*line.history, *line.candidates))
    with store.database.reading() as connection:
        people = numbers_of(connection, "user", category_id, (line.user for line in lines))
        things = numbers_of(connection, "item", category_id, items)
    counts: Counter[str] = Counter()
    usable: list[LabelLine] = []
    for line in lines:
        if line.user not in people:
            counts["unknown_people"] += 1
        elif not things.keys() >= {*line.history, *line.candidates}:
            counts["unknown_items"] += 1
        else:
            usable.append(line)
    requests = [_request(line, category_id, people, things) for line in usable]
    events = rows.find(requests)
    requests = [
        replace(request, event=event if line.in_log else NO_ROW)
        for line, request, event in zip(usable, requests, events, strict=True)
    ]
    # Answers first: one without its request costs nothing, and the other way round it would be
    # asked again, should this be the moment in which the process dies.
    answers = store.labels.add_many([_answer(line) for line in usable])
    asked = set(store.labels.add_requests(requests))
    for request in requests:
        new = request.key in answers or request in asked
        counts["added" if new else "known"] += 1
        answers.discard(request.key)
        asked.discard(request)
    return counts


def _request(
    line: LabelLine, category_id: int, people: Mapping[str, int], things: Mapping[str, int]
) -> LabelRequest:
    """Return the request of a line; its event is not known yet."""
    return LabelRequest(
        key=line.key,
        category_id=category_id,
        purpose=line.purpose,
        user=people[line.user],
        event=NO_ROW,
        history=tuple(things[one] for one in line.history),
        candidates=tuple(things[one] for one in line.candidates),
        target=line.target,
        teacher=line.teacher,
        method=line.method,
        template=line.template,
        shift=line.shift,
    )


def _answer(line: LabelLine) -> SoftLabel:
    return SoftLabel(
        line.key, tuple(line.scores), tuple(line.tokens), line.status, line.seconds, line.details
    )


def _batches(values: Iterable[T]) -> Iterator[list[T]]:
    source = iter(values)
    while some := list(islice(source, _AT_ONCE)):
        yield some
