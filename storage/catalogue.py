"""Categories: their people, their items, and the log of who had what.

Apart from labels and runs because it is what came from outside. Reading is in columns,
because a log of many millions of rows is never a list of objects.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Row, Table, func, select

from storage.database import Database
from storage.errors import UnknownName
from storage.importing import drop_category, write_category
from storage.records import NO_PART, NO_TIME, Category, ImportData, IntArray, Item, Log
from storage.tables import categories, interactions, items, reviews, users

_FETCHED = 50_000
"""Rows that are Python objects at one time."""
_AT_ONCE = 500
GET_DATA = "recsys data import PATH --category {0}, recsys data pull NAME, or recsys data sample"


class Catalogue:
    """The categories of a database."""

    def __init__(self, database: Database) -> None:
        """Stand on an open database."""
        self._database = database

    def categories(self) -> list[Category]:
        """Return all categories by name."""
        with self._database.reading() as connection:
            rows = connection.execute(select(categories).order_by(categories.c.name))
            return [_category(row) for row in rows]

    def category(self, name: str) -> Category:
        """Return a category by name.

        Raises:
            UnknownName: there is none, with the nearest names and the ways to get data.
        """
        known = self.categories()
        for category in known:
            if category.name == name:
                return category
        near = get_close_matches(name, [category.name for category in known], n=3, cutoff=0.5)
        hint = f"; did you mean {', '.join(repr(one) for one in near)}?" if near else ""
        raise UnknownName(f"no category {name!r}{hint}", next_step=GET_DATA.format(name))

    def categories_of_user(self, user_id: str) -> list[Category]:
        """Return the categories a person is in."""
        query = select(users.c.category_id).where(users.c.user_id == user_id)
        with self._database.reading() as connection:
            found = set(connection.execute(query).scalars())
        return [category for category in self.categories() if category.id in found]

    def write(
        self,
        name: str,
        data: ImportData,
        *,
        source: str,
        synthetic: bool,
        rating_low: float | None,
        rating_high: float | None,
        note: str,
        digest: str,
        replace: bool = False,
        k_core: int = 0,
    ) -> Category:
        """Write a whole category in one transaction; equal digests write nothing.

        Args:
            name: of the category; one of that name keeps its id, labels and runs.
            data: everything it consists of from now on.
            source: format and origin.
            synthetic: whether it is the sample.
            rating_low: of the source's scale.
            rating_high: of the source's scale.
            note: licence or origin remark.
            digest: of the data.
            replace: drop what has that name first, with its labels and runs.
            k_core: that was applied, 0 for none.
        """
        for known in self.categories():
            if known.name == name and known.digest == digest and not replace:
                return known
        about = {
            "source": source,
            "synthetic": synthetic,
            "rating_low": rating_low,
            "rating_high": rating_high,
            "note": note,
            "digest": digest,
            "k_core": k_core,
        }
        write_category(self._database, name, data, about=about, replace=replace)
        return self.category(name)

    def drop(self, category_id: int) -> None:
        """Remove a category with its labels and runs."""
        with self._database.writing() as connection:
            drop_category(connection, category_id)

    def user_ids(self, category_id: int) -> list[str]:
        """Return everybody's id, in number order."""
        return self._column(users, "user_id", category_id)

    def item_ids(self, category_id: int) -> list[str]:
        """Return the ids of all items, in number order."""
        return self._column(items, "item_id", category_id)

    def item_titles(self, category_id: int) -> list[str]:
        """Return the titles of all items, in number order; the id where there is no title."""
        query = (
            select(items.c.title, items.c.item_id)
            .where(items.c.category_id == category_id)
            .order_by(items.c.number)
        )
        with self._database.reading() as connection:
            return [title or item_id for title, item_id in connection.execute(query)]

    def items(self, category_id: int) -> Iterator[Item]:
        """Yield all items in number order."""
        query = select(items).where(items.c.category_id == category_id).order_by(items.c.number)
        with self._database.reading() as connection:
            for row in connection.execute(query).yield_per(_FETCHED):
                yield _item(row)

    def items_by_number(self, category_id: int, numbers: Sequence[int]) -> list[Item]:
        """Return the items of these numbers, in their order."""
        found: dict[int, Item] = {}
        with self._database.reading() as connection:
            for start in range(0, len(numbers), _AT_ONCE):
                some = [int(number) for number in numbers[start : start + _AT_ONCE]]
                query = select(items).where(
                    items.c.category_id == category_id, items.c.number.in_(some)
                )
                found.update((row.number, _item(row)) for row in connection.execute(query))
        return [found[int(number)] for number in numbers]

    def find_item(self, category_id: int, item_id: str) -> int | None:
        """Return the number of an item by id, None where there is none."""
        return self._number(items, "item_id", category_id, item_id)

    def item_number(self, category_id: int, item_id: str) -> int:
        """Return the number of an item by id.

        Raises:
            UnknownName: there is none, with near ids.
        """
        number = self.find_item(category_id, item_id)
        if number is None:
            raise self._unknown(items, "item_id", category_id, item_id, "item")
        return number

    def user_number(self, category_id: int, user_id: str) -> int:
        """Return the number of a person by id.

        Raises:
            UnknownName: there is none, with near ids.
        """
        number = self._number(users, "user_id", category_id, user_id)
        if number is None:
            raise self._unknown(users, "user_id", category_id, user_id, "user")
        return number

    def find_users(self, category_id: int, prefix: str, limit: int = 20) -> list[str]:
        """Return ids of people that begin with a text, in order, by index."""
        with self._database.reading() as connection:
            return _beginning(connection, users, "user_id", category_id, prefix, limit)

    def history(self, category_id: int, user_number: int) -> IntArray:
        """Return the items of one person, oldest first."""
        query = (
            select(interactions.c.item_number)
            .where(
                interactions.c.category_id == category_id,
                interactions.c.user_number == int(user_number),
            )
            .order_by(interactions.c.position)
        )
        with self._database.reading() as connection:
            return np.array(connection.execute(query).scalars().all(), dtype=np.int64)

    def log(self, category_id: int) -> Log:
        """Return the whole log as columns, sorted by person and position."""
        query = (
            select(
                interactions.c.user_number,
                interactions.c.item_number,
                func.coalesce(interactions.c.time, NO_TIME),
                interactions.c.rating,
                func.coalesce(interactions.c.part, NO_PART),
            )
            .where(interactions.c.category_id == category_id)
            .order_by(interactions.c.user_number, interactions.c.position)
        )
        with self._database.reading() as connection:
            sizes = select(categories.c.people, categories.c["items"], categories.c.interactions)
            row = connection.execute(sizes.where(categories.c.id == category_id)).one()
            people, count, length = row
            log = _empty_log(int(length), int(people), int(count))
            columns: tuple[npt.NDArray[Any], ...] = (
                log.user,
                log.item,
                log.time,
                log.rating,
                log.part,
            )
            at = 0
            rows = connection.execution_options(stream_results=True).execute(query)
            for some in rows.partitions(_FETCHED):
                for column, values in zip(columns, zip(*some, strict=True), strict=True):
                    # None becomes NaN, which only the rating can be.
                    column[at : at + len(some)] = np.array(values, dtype=column.dtype)
                at += len(some)
        return log

    def review_count(self, category_id: int) -> int:
        """Return how many review texts are kept."""
        query = select(func.count()).where(reviews.c.category_id == category_id)
        with self._database.reading() as connection:
            return int(connection.execute(query).scalar() or 0)

    def _column(self, table: Table, name: str, category_id: int) -> list[str]:
        query = (
            select(table.c[name]).where(table.c.category_id == category_id).order_by(table.c.number)
        )
        with self._database.reading() as connection:
            return list(connection.execute(query).scalars())

    def _number(self, table: Table, name: str, category_id: int, value: str) -> int | None:
        query = select(table.c.number).where(
            table.c.category_id == category_id, table.c[name] == value
        )
        with self._database.reading() as connection:
            return connection.execute(query).scalar()

    def _unknown(
        self, table: Table, name: str, category_id: int, value: str, what: str
    ) -> UnknownName:
        with self._database.reading() as connection:
            near = _beginning(connection, table, name, category_id, value[:3], 1000)
            near = get_close_matches(value, near, n=3) or _beginning(
                connection, table, name, category_id, "", 3
            )
            found = select(categories.c.name).where(categories.c.id == category_id)
            category = connection.execute(found).scalar()
        hint = f"; there are, for example, {', '.join(repr(one) for one in near)}" if near else ""
        return UnknownName(
            f"no {what} {value!r} in {category!r}{hint}", next_step=f"recsys data stats {category}"
        )


def _beginning(
    connection: Connection, table: Table, name: str, category_id: int, prefix: str, limit: int
) -> list[str]:
    query = (
        select(table.c[name])
        .where(table.c.category_id == category_id, table.c[name] >= prefix)
        .order_by(table.c[name])
        .limit(limit)
    )
    if prefix:
        query = query.where(table.c[name] < prefix + "\U0010ffff")
    return list(connection.execute(query).scalars())


def _empty_log(length: int, people: int, count: int) -> Log:
    return Log(
        user=np.empty(length, dtype=np.int64),
        item=np.empty(length, dtype=np.int64),
        time=np.empty(length, dtype=np.int64),
        rating=np.empty(length, dtype=np.float32),
        part=np.empty(length, dtype=np.int8),
        people=people,
        items=count,
    )


def _category(row: Row[Any]) -> Category:
    fields = dict(row._mapping)
    del fields["k_core"]
    return Category(**fields)


def _item(row: Row[Any]) -> Item:
    return Item(
        row.number, row.item_id, row.title, row.brand, row.description, row.categories, row.price
    )
