"""What teachers were asked, and what they answered: append-only, keyed by content.

Apart from the catalogue because an answer outlives the run that asked for it: it is found
by the hash of all that decides it, and asking the same twice costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Row, Select, func, insert, select

from storage.database import Database
from storage.records import LabelRequest, SoftLabel
from storage.tables import label_requests, soft_labels, unconditional_scores

_AT_ONCE = 500
"""Keys in one query: every database takes that many parameters."""

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

    def add_requests(self, requests: Sequence[LabelRequest]) -> None:
        """Keep requests; those that are there already are left as they are."""
        by_category: dict[int, dict[tuple[object, ...], LabelRequest]] = {}
        for request in requests:
            by_category.setdefault(request.category_id, {})[_identity(request)] = request
        for category_id, wanted in by_category.items():
            self._add_requests(category_id, wanted)

    def add(self, label: SoftLabel) -> None:
        """Keep one answer; an answer that is there already is left as it is."""
        self.add_many([label])

    def add_many(self, labels: Sequence[SoftLabel]) -> None:
        """Keep answers in one transaction; those that are there already are left."""
        with self._database.writing() as connection:
            kept: set[str] = set()
            for keys in _slices([label.key for label in labels]):
                found = connection.execute(
                    select(soft_labels.c.key).where(soft_labels.c.key.in_(keys))
                )
                kept.update(found.scalars())
            rows = {label.key: _label_row(label) for label in labels if label.key not in kept}
            if rows:
                connection.execute(insert(soft_labels), list(rows.values()))

    def get(self, keys: Sequence[str]) -> dict[str, SoftLabel]:
        """Return the answers there are to these requests, by key."""
        found: dict[str, SoftLabel] = {}
        with self._database.reading() as connection:
            for some in _slices(list(dict.fromkeys(keys))):
                rows = connection.execute(select(soft_labels).where(soft_labels.c.key.in_(some)))
                found.update((row.key, _label(row)) for row in rows)
        return found

    def requests(
        self, category_id: int, *, teacher: str = "", method: str = "", purpose: str = ""
    ) -> list[LabelRequest]:
        """Return the requests of a category in the order they were added; empty means any."""
        query = _narrowed(select(label_requests), category_id, teacher, method, purpose)
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(label_requests.c.number))
            return [_request(row) for row in rows]

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
        known = self.unconditional(teacher, category_id, list(scores))
        rows = [
            {
                "category_id": category_id,
                "teacher": teacher,
                "item_number": int(item),
                "logprob": float(logprob),
                "tokens": int(tokens),
            }
            for item, (logprob, tokens) in scores.items()
            if item not in known
        ]
        if rows:
            with self._database.writing() as connection:
                connection.execute(insert(unconditional_scores), rows)

    def statistics(self, category_id: int) -> list[tuple[str, str, str, int]]:
        """Return (teacher, method, status, answers), most answers first."""
        count = func.count()
        query = (
            select(label_requests.c.teacher, label_requests.c.method, soft_labels.c.status, count)
            .join(soft_labels, soft_labels.c.key == label_requests.c.key)
            .where(label_requests.c.category_id == category_id)
            .group_by(label_requests.c.teacher, label_requests.c.method, soft_labels.c.status)
            .order_by(count.desc())
        )
        with self._database.reading() as connection:
            return [(t, m, s, int(n)) for t, m, s, n in connection.execute(query)]

    def _add_requests(
        self, category_id: int, wanted: Mapping[tuple[object, ...], LabelRequest]
    ) -> None:
        table = label_requests
        with self._database.writing() as connection:
            kept: set[tuple[object, ...]] = set()
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
            rows_to_add = [_request_row(r, first + n) for n, r in enumerate(fresh)]
            if rows_to_add:
                connection.execute(insert(table), rows_to_add)


def _identity(request: LabelRequest) -> tuple[object, ...]:
    return (request.purpose, request.key, request.user, request.event)


def _request_row(request: LabelRequest, number: int) -> dict[str, Any]:
    return {
        "category_id": request.category_id,
        "number": number,
        "key": request.key,
        "purpose": request.purpose,
        "user_number": request.user,
        "event": request.event,
        "history": list(request.history),
        "candidates": list(request.candidates),
        "target": request.target,
        "teacher": request.teacher,
        "method": request.method,
    }


def _request(row: Row[Any]) -> LabelRequest:
    return LabelRequest(
        key=row.key,
        category_id=row.category_id,
        purpose=row.purpose,
        user=row.user_number,
        event=row.event,
        history=tuple(row.history),
        candidates=tuple(row.candidates),
        target=row.target,
        teacher=row.teacher,
        method=row.method,
    )


def _label_row(label: SoftLabel) -> dict[str, Any]:
    return {
        "key": label.key,
        "scores": [float(score) for score in label.scores],
        "tokens": [int(count) for count in label.tokens],
        "status": label.status,
        "seconds": float(label.seconds),
        "details": dict(label.details),
    }


def _label(row: Row[Any]) -> SoftLabel:
    return SoftLabel(
        row.key, tuple(row.scores), tuple(row.tokens), row.status, row.seconds, row.details
    )


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
