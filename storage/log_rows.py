"""Finding a row of the log again by what stood before it.

Apart because a row's number belongs to one import of one shop: what travels says who it was,
what they had, and what came next.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from sqlalchemy import Connection, func, select

from storage.database import Database, plain_rows
from storage.lookup import category_by_id
from storage.records import IntArray, LabelRequest
from storage.tables import interactions

NO_ROW = -1
"""The event of a request whose target is no row of the log."""

_AT_ONCE = 500
"""People in one statement: every database takes that many parameters."""
_SLICE = 20_000


class LogRows:
    """The rows of one category's log, of which only where each person begins is held."""

    def __init__(self, database: Database, category_id: int) -> None:
        """Stand on an open database."""
        self._database = database
        self._category_id = category_id

    def find(self, requests: Sequence[LabelRequest]) -> list[int]:
        """Return the row of each request's target, NO_ROW where the log has no such row.

        It is the row of the person that comes after as many rows as the history is long, if
        these are the history, and if it holds the target.
        """
        people = list({request.user for request in requests if request.target >= 0})
        with self._database.reading() as connection:
            had = _items_of(connection, self._category_id, people)
        return [self._row(request, had.get(request.user, [])) for request in requests]

    def _row(self, request: LabelRequest, had: Sequence[int]) -> int:
        before = len(request.history)
        if request.target < 0 or before >= len(had):
            return NO_ROW
        if had[before] != request.candidates[request.target]:
            return NO_ROW
        if tuple(had[:before]) != request.history:
            return NO_ROW
        return int(self._starts[request.user]) + before

    @cached_property
    def _starts(self) -> IntArray:
        """Row where each person begins; only counted when somebody asks."""
        user = interactions.c.user_number
        query = (
            select(user, func.count())
            .where(interactions.c.category_id == self._category_id)
            .group_by(user)
            .order_by(user)
        )
        with self._database.reading() as connection:
            people = category_by_id(connection, self._category_id).people
            starts = np.zeros(people + 1, dtype=np.int64)
            for rows in plain_rows(connection, query, _SLICE):
                users, counts = np.array(rows, dtype=np.int64).T
                starts[users + 1] = counts
        return np.cumsum(starts)


def _items_of(
    connection: Connection, category_id: int, people: Sequence[int]
) -> dict[int, list[int]]:
    """Return the items of these people, oldest first."""
    log = interactions.c
    found: dict[int, list[int]] = {}
    for start in range(0, len(people), _AT_ONCE):
        query = (
            select(log.user_number, log.item_number)
            .where(
                log.category_id == category_id,
                log.user_number.in_(people[start : start + _AT_ONCE]),
            )
            .order_by(log.user_number, log.position)
        )
        for user, item in connection.execute(query):
            found.setdefault(user, []).append(item)
    return found
