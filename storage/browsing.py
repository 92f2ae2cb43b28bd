"""One person and one item at a time, for somebody who looks: no log is read for it.

Apart from the catalogue, which serves whoever learns or ranks, because here titles, times and
ratings are wanted together, and because it is asked at every key that is pressed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, and_, case, func, insert, or_, select

from storage.database import Database
from storage.errors import UnknownName
from storage.lookup import rows_by_number
from storage.records import NO_PART, NO_TIME, Category, Item
from storage.tables import categories, interactions, items, moments, storable, users

_LONGEST = 1000
"""Characters of a text that are searched for: SQLite refuses patterns of 50,000 bytes."""


@dataclass(frozen=True, slots=True)
class PastEvent:
    """One row of a person's log."""

    item: Item
    time: int
    """Milliseconds, NO_TIME where unknown."""
    rating: float | None
    """On the source's own scale; None where there is none."""
    part: int = NO_PART
    """Index into PARTS, NO_PART where the source has none."""


class Browsing:
    """People and items of a database, looked at one by one.

    >>> import tempfile
    >>> from storage.store import Store
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Store.open(f"{folder}/shop.sqlite", folder) as store:
    ...         print(store.browsing.timeline(1, 0), store.browsing.find_items(1, "pen"))
    [] []
    """

    def __init__(self, database: Database) -> None:
        """Stand on an open database."""
        self._database = database

    def timeline(self, category_id: int, user_number: int) -> list[PastEvent]:
        """Return one person's rows with their items, oldest first."""
        log = interactions
        query = (
            select(items, log.c.time, log.c.rating, log.c.part)
            .join(
                items,
                and_(items.c.category_id == log.c.category_id, items.c.number == log.c.item_number),
            )
            .where(log.c.category_id == category_id, log.c.user_number == int(user_number))
            .order_by(log.c.position)
        )
        with self._database.reading() as connection:
            return [_past(row) for row in connection.execute(query)]

    def user_at(self, category_id: int, number: int) -> str:
        """Return the id of the person of a number.

        Raises:
            UnknownName: nobody has it.
        """
        query = select(users.c.user_id).where(
            users.c.category_id == category_id, users.c.number == int(number)
        )
        with self._database.reading() as connection:
            found = connection.execute(query).scalar()
        if found is None:
            raise UnknownName(f"nobody has the number {number}", next_step="recsys data list")
        return str(found)

    def find_items(self, category_id: int, text: str, limit: int = 20) -> list[Item]:
        """Return items whose title holds a text or whose id begins with it, likest first.

        Upper and lower case are one. First come titles and ids that begin with the text, then
        titles with a word that does, then the others; shorter titles first.
        """
        wanted = text.strip()[:_LONGEST]
        if not wanted or not storable(wanted):
            return []
        title, item_id = items.c.title, items.c.item_id
        begins = or_(_like(title, wanted, "{}%"), _like(item_id, wanted, "{}%"))
        place = case((begins, 0), (_like(title, wanted, "% {}%"), 1), else_=2)
        query = (
            select(items.c.number)  # texts are long: only those of the first are read
            .where(
                items.c.category_id == category_id,
                or_(_like(title, wanted, "%{}%"), _like(item_id, wanted, "{}%")),
            )
            .order_by(place, func.length(title), items.c.number)
            .limit(limit)
        )
        with self._database.reading() as connection:
            first = connection.execute(query).scalars().all()
            return [_item(row) for row in rows_by_number(connection, items, category_id, first)]

    def moment(
        self, category: Category, share: float, min_rating: float | None = None
    ) -> int | None:
        """Return the time below which a share of all rows lies; None where some have no time.

        It is times[int(len(times) · share)] of the sorted times, as `recommender.splits` cuts.
        Sorting millions of rows takes seconds, so what came of it is kept, for this very data;
        it is done in the database, where other threads need not wait for it.

        Args:
            category: whose rows.
            share: in [0, 1).
            min_rating: rows rated lower, or not at all, are left out; None keeps all.

        Raises:
            StoreUnavailable: somebody else writes.
        """
        key = f"{category.id}/{category.digest}/{share!r}/{min_rating!r}"
        with self._database.reading() as connection:
            row = connection.execute(select(moments.c.time).where(moments.c.key == key)).first()
        if row is not None:
            return None if row.time is None else int(row.time)
        found = self._work_out(category.id, share, min_rating)
        with self._database.writing() as connection:
            there = connection.execute(select(moments.c.key).where(moments.c.key == key)).first()
            if there is None and _is_still(connection, category):
                kept = {"key": key, "category_id": category.id, "time": found}
                connection.execute(insert(moments), kept)
        return found

    def _work_out(self, category_id: int, share: float, min_rating: float | None) -> int | None:
        log = interactions
        mine = log.c.category_id == category_id
        if min_rating is not None:
            # Ratings are kept in single precision: 4.1 is not what it is as a double.
            mine = and_(mine, log.c.rating >= float(np.float32(min_rating)))
        with self._database.reading() as connection:
            counts = select(func.count(), func.count(log.c.time)).where(mine)
            rows, timed = connection.execute(counts).one()
            if not rows or timed < rows:
                return None
            below = int(rows * share)
            above = rows - 1 - below
            # Counted from the nearer end: what is passed over is held sorted meanwhile.
            from_above = above < below
            query = select(log.c.time).where(mine).limit(1).offset(min(above, below))
            order = log.c.time.desc() if from_above else log.c.time
            return int(connection.execute(query.order_by(order)).scalar_one())


def _is_still(connection: Connection, category: Category) -> bool:
    """Say whether nobody imported or dropped the category since it was looked up."""
    query = select(categories.c.digest).where(categories.c.id == category.id)
    return connection.execute(query).scalar() == category.digest


def _like(column: Any, text: str, shape: str) -> Any:
    """Return the condition that a column reads like a text set into a shape.

    SQLite takes upper and lower case as one in ASCII only, so that other letters are looked
    for as a title may spell them.
    """
    spelled = (text, text.lower(), text.upper(), text.title())
    alike = {one.encode().lower(): one for one in spelled}  # bytes are lowered in ASCII only
    return or_(*(_pattern(column, one, shape) for one in alike.values()))


def _pattern(column: Any, text: str, shape: str) -> Any:
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return column.ilike(shape.format(escaped), escape="\\")


def _past(row: Row[Any]) -> PastEvent:
    return PastEvent(
        _item(row),
        NO_TIME if row.time is None else int(row.time),
        None if row.rating is None else float(row.rating),
        NO_PART if row.part is None else int(row.part),
    )


def _item(row: Row[Any]) -> Item:
    return Item(
        row.number, row.item_id, row.title, row.brand, row.description, row.categories, row.price
    )
