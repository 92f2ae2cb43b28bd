"""What teachers were asked, and what they answered: append-only, keyed by content.

Apart from the catalogue because an answer outlives the run that asked for it: it is found
by the hash of all that decides it, and asking the same twice costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Select, func, insert, select

from storage.database import Database
from storage.inserts import insert_missing
from storage.label_rows import failure_of, failure_row, label_of, label_row, request_of, request_row
from storage.label_statistics import read_statistics
from storage.records import LabelFailure, LabelRequest, LabelStatistics, SoftLabel
from storage.tables import (
    categories,
    label_failures,
    label_requests,
    soft_labels,
    unconditional_scores,
)

_AT_ONCE = 500
"""Keys in one query: every database takes that many parameters."""
_STREAMED = 500
"""Rows that are Python objects at one time."""

Identity = tuple[str, str, int, int]
"""Purpose, key, person and event: what makes a request another one within a category."""

T = TypeVar("T")


class Labels:
    """The label store of a database.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     database = Database.open(f"{folder}/shop.sqlite")
    ...     labels = Labels(database)
    ...     labels.add(SoftLabel("k1", (-3.5, -2.0), (4, 3), "ok", 0.5))
    ...     known = labels.get(["k1", "k2"])
    ...     database.close()
    >>> {key: answer.scores for key, answer in known.items()}
    {'k1': (-3.5, -2.0)}
    """

    def __init__(self, database: Database) -> None:
        """Stand on an open database."""
        self._database = database

    def add_requests(self, requests: Sequence[LabelRequest]) -> list[LabelRequest]:
        """Keep requests; those that are there already are left. Return those that were not."""
        by_category: dict[int, dict[Identity, LabelRequest]] = {}
        for request in requests:
            by_category.setdefault(request.category_id, {}).setdefault(_identity(request), request)
        return [
            request
            for category_id, wanted in by_category.items()
            for request in self._add_requests(category_id, wanted)
        ]

    def add(self, label: SoftLabel) -> None:
        """Keep one answer; an answer that is there already is left as it is."""
        self.add_many([label])

    def add_many(self, labels: Sequence[SoftLabel]) -> set[str]:
        """Keep answers in one transaction; those that are there already are left.

        When this returns they are kept, whatever becomes of this process. Two processes may
        add the same answers at the same time.

        Returns:
            The keys of those that were not there.
        """
        if not labels:
            return set()
        with self._database.writing() as connection:
            added = insert_missing(connection, soft_labels, [label_row(one) for one in labels])
        return {key for (key,) in added}

    def add_failure(self, failure: LabelFailure) -> None:
        """Keep an attempt that brought no answer, beside those before it."""
        with self._database.writing() as connection:
            connection.execute(insert(label_failures), failure_row(failure))

    def failures(self, keys: Sequence[str]) -> dict[str, list[LabelFailure]]:
        """Return the attempts at these requests that brought no answer, by key, oldest first."""
        table = label_failures
        found: dict[str, list[LabelFailure]] = {}
        with self._database.reading() as connection:
            for some in _slices(list(dict.fromkeys(keys))):
                query = select(table).where(table.c.key.in_(some)).order_by(table.c.number)
                for row in connection.execute(query):
                    found.setdefault(row.key, []).append(failure_of(row))
        return found

    def get(self, keys: Sequence[str]) -> dict[str, SoftLabel]:
        """Return the answers there are to these requests, by key."""
        found: dict[str, SoftLabel] = {}
        with self._database.reading() as connection:
            for some in _slices(list(dict.fromkeys(keys))):
                rows = connection.execute(select(soft_labels).where(soft_labels.c.key.in_(some)))
                found.update((row.key, label_of(row)) for row in rows)
        return found

    def requests(
        self, category_id: int, *, teacher: str = "", method: str = "", purpose: str = ""
    ) -> list[LabelRequest]:
        """Return the requests of a category in the order they were added; empty means any."""
        query = _narrowed(select(label_requests), category_id, teacher, method, purpose)
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(label_requests.c.number))
            return [request_of(row) for row in rows]

    def answered(
        self, category_id: int, *, teacher: str = "", method: str = "", purpose: str = ""
    ) -> Iterator[tuple[LabelRequest, SoftLabel]]:
        """Yield requests with their answers in the order they were added, few at a time."""
        answer = (column for column in soft_labels.c if column.name != "key")
        query = _narrowed(
            select(label_requests, *answer).join(
                soft_labels, soft_labels.c.key == label_requests.c.key
            ),
            category_id, teacher, method, purpose,
        )  # fmt: skip
        options = {"stream_results": True, "yield_per": _STREAMED}
        with self._database.reading() as connection:
            ordered = query.order_by(label_requests.c.number)
            for row in connection.execute(ordered, execution_options=options):
                yield request_of(row), label_of(row)

    def pending(
        self, category_id: int, *, teacher: str = "", method: str = "", purpose: str = ""
    ) -> list[LabelRequest]:
        """Return those of the requests that have no answer yet."""
        asked = self.requests(category_id, teacher=teacher, method=method, purpose=purpose)
        answered = self.get([request.key for request in asked])
        return [request for request in asked if request.key not in answered]

    def unconditional(
        self, teacher: str, category_id: int, items: Sequence[int]
    ) -> dict[int, tuple[float, int]]:
        """Return (log-probability, tokens) of titles by themselves, by item number."""
        table = unconditional_scores
        found: dict[int, tuple[float, int]] = {}
        with self._database.reading() as connection:
            for some in _slices(list(items)):
                rows = connection.execute(
                    select(table.c.item_number, table.c.logprob, table.c.tokens).where(
                        table.c.category_id == category_id,
                        table.c.teacher == teacher,
                        table.c.item_number.in_([int(item) for item in some]),
                    )
                )
                found.update((item, (logprob, tokens)) for item, logprob, tokens in rows)
        return found

    def add_unconditional(
        self, teacher: str, category_id: int, scores: Mapping[int, tuple[float, int]]
    ) -> None:
        """Keep what titles score by themselves; those that are there already are left."""
        rows = [
            {
                "category_id": category_id,
                "teacher": teacher,
                "item_number": int(item),
                "logprob": float(logprob),
                "tokens": int(tokens),
            }
            for item, (logprob, tokens) in scores.items()
        ]
        if rows:
            with self._database.writing() as connection:
                insert_missing(connection, unconditional_scores, rows)

    def statistics(self, category_id: int) -> list[LabelStatistics]:
        """Return what each teacher, method and purpose came to, one a status, most first."""
        with self._database.reading() as connection:
            return read_statistics(connection, category_id)

    def _add_requests(
        self, category_id: int, wanted: Mapping[Identity, LabelRequest]
    ) -> list[LabelRequest]:
        table = label_requests
        with self._database.writing() as connection:
            # Where writers do not wait for one another anyway, they wait here: two that added
            # at the same moment would give the same numbers.
            mine = select(categories.c.id).where(categories.c.id == category_id)
            connection.execute(mine.with_for_update())
            kept: set[Identity] = set()
            for keys in _slices([request.key for request in wanted.values()]):
                rows = connection.execute(
                    select(table.c.purpose, table.c.key, table.c.user_number, table.c.event).where(
                        table.c.category_id == category_id, table.c.key.in_(keys)
                    )
                )
                kept.update(tuple(row) for row in rows)
            last = connection.execute(
                select(func.max(table.c.number)).where(table.c.category_id == category_id)
            ).scalar()
            first = 0 if last is None else int(last) + 1
            fresh = [request for identity, request in wanted.items() if identity not in kept]
            if fresh:
                rows_to_add = [request_row(one, first + n) for n, one in enumerate(fresh)]
                connection.execute(insert(table), rows_to_add)
        return fresh


def _identity(request: LabelRequest) -> Identity:
    return (request.purpose, request.key, request.user, request.event)


def _narrowed(
    query: Select[Any], category_id: int, teacher: str, method: str, purpose: str
) -> Select[Any]:
    query = query.where(label_requests.c.category_id == category_id)
    named = {"teacher": teacher, "method": method, "purpose": purpose}
    for name, value in named.items():
        if value:
            query = query.where(label_requests.c[name] == value)
    return query


def _slices(values: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), _AT_ONCE):
        yield values[start : start + _AT_ONCE]
