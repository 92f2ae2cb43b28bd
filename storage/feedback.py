"""What people said of items: liked or not, one word a person and item, the newest.

Apart from the log because nobody bought anything: it is an opinion, given while looking.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import Row, delete, func, insert, select

from storage.database import Database
from storage.tables import feedback

Value = Literal[1, -1]


@dataclass(frozen=True, slots=True)
class Feedback:
    """One opinion."""

    category_id: int
    user: str
    """Id of the person; empty for a history that was made by hand."""
    item: int
    value: int
    """1 for liked, -1 for not."""
    said_at: str
    """ISO 8601, UTC."""


class Opinions:
    """The opinions kept in a database.

    >>> import tempfile
    >>> from storage.store import Store
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Store.open(f"{folder}/shop.sqlite", folder) as store:
    ...         print(store.feedback.of(1, "ann"))
    {}
    """

    def __init__(
        self, database: Database, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """Stand on an open database; `now` is the clock opinions are stamped by."""
        self._database = database
        self._now = now

    def set(self, category_id: int, user: str, item: int, value: Value) -> None:
        """Keep an opinion in place of an earlier one.

        Raises:
            ValueError: neither 1 nor -1.
            StoreUnavailable: somebody else writes.
        """
        if value not in (1, -1):
            raise ValueError(f"an opinion is 1 or -1, not {value!r}")
        row = {
            "category_id": category_id,
            "user_id": user,
            "item_number": int(item),
            "value": value,
            "said_at": self._now().isoformat(timespec="seconds"),
        }
        with self._database.writing() as connection:
            connection.execute(_about(category_id, user, item))
            connection.execute(insert(feedback), row)

    def clear(self, category_id: int, user: str, item: int) -> None:
        """Forget an opinion; one that was never given is no matter."""
        with self._database.writing() as connection:
            connection.execute(_about(category_id, user, item))

    def of(self, category_id: int, user: str) -> dict[int, int]:
        """Return a person's opinions, item -> value."""
        table = feedback
        query = select(table.c.item_number, table.c.value).where(
            table.c.category_id == category_id, table.c.user_id == user
        )
        with self._database.reading() as connection:
            return {int(item): int(value) for item, value in connection.execute(query)}

    def count(self, category_id: int) -> int:
        """Return how many opinions a category has."""
        query = select(func.count()).where(feedback.c.category_id == category_id)
        with self._database.reading() as connection:
            return connection.execute(query).scalar_one()

    def list(self, category_id: int) -> list[Feedback]:
        """Return all opinions of a category, by person and item."""
        table = feedback
        query = (
            select(table)
            .where(table.c.category_id == category_id)
            .order_by(table.c.user_id, table.c.item_number)
        )
        with self._database.reading() as connection:
            return [_opinion(row) for row in connection.execute(query)]


def _about(category_id: int, user: str, item: int) -> Any:
    table = feedback
    return delete(table).where(
        table.c.category_id == category_id,
        table.c.user_id == user,
        table.c.item_number == int(item),
    )


def _opinion(row: Row[Any]) -> Feedback:
    return Feedback(row.category_id, row.user_id, row.item_number, row.value, row.said_at)
