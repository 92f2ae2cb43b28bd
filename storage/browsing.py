"""One person and one item at a time, for somebody who looks: no log is read for it.

Apart from the catalogue, which serves whoever learns or ranks, because here titles, times and
ratings are wanted together, and because it is asked at every key that is pressed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, and_, case, func, insert, or_, select

from storage.database import Database
from storage.errors import UnknownName
from storage.records import NO_PART, NO_TIME, Category, Item
from storage.tables import interactions, items, moments, users


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

        Upper and lower case are one, in ASCII. First come titles and ids that begin with the
        text, then titles with a word that does, then the others; shorter titles first.
        """
        wanted = text.strip()
        if not wanted:
            return []
        pattern = wanted.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")

        def like(column: Any, shape: str) -> Any:
            return column.ilike(shape.format(pattern), escape="\\")

        title, item_id = items.c.title, items.c.item_id
        place = case(
            (or_(like(title, "{}%"), like(item_id, "{}%")), 0), (like(title, "% {}%"), 1), else_=2
        )
        query = (
            select(items)
            .where(
                items.c.category_id == category_id,
                or_(like(title, "%{}%"), like(item_id, "{}%")),
            )
            .order_by(place, func.length(title), items.c.number)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [_item(row) for row in connection.execute(query)]

    def moment(
        self, category: Category, share: float, min_rating: float | None = None
    ) -> int | None:
        """Return the time below which a share of all rows lies; None where some have no time.

        It is times[int(len(times) · share)] of the sorted times, as `recommender.splits` cuts.
        Sorting millions of rows takes seconds, so what came of it is kept, for this very data.

        Args:
            category: whose rows.
            share: in [0, 1).
            min_rating: rows rated lower, or not at all, are left out; None keeps all.
        """
        key = f"{category.id}/{category.digest}/{share!r}/{min_rating!r}"
        with self._database.reading() as connection:
            row = connection.execute(select(moments.c.time).where(moments.c.key == key)).first()
        if row is not None:
            return None if row.time is None else int(row.time)
        found = self._work_out(category.id, share, min_rating)
        with self._database.writing() as connection:
            there = connection.execute(select(moments.c.key).where(moments.c.key == key)).first()
            if there is None:
                kept = {"key": key, "category_id": category.id, "time": found}
                connection.execute(insert(moments), kept)
        return found

    def _work_out(self, category_id: int, share: float, min_rating: float | None) -> int | None:
        log = interactions
        mine = log.c.category_id == category_id
        if min_rating is not None:
            mine = and_(mine, log.c.rating >= min_rating)
        with self._database.reading() as connection:
            counts = select(func.count(), func.count(log.c.time)).where(mine)
            rows, timed = connection.execute(counts).one()
            if not rows or timed < rows:
                return None
            query = select(log.c.time).where(mine).order_by(log.c.time)
            found = connection.execute(query.offset(int(rows * share)).limit(1)).scalar_one()
        return int(found)


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
