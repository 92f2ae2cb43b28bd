"""Categories: their people, their items, and the log of who had what.

Apart from labels and runs because it is what came from outside. What is asked for whole
comes as columns or as a stream: a log of many millions of rows is never a list of objects.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
from sqlalchemy import Row, Select, Table, func, select

from storage.columns import read_log
from storage.database import Database
from storage.errors import UnknownName
from storage.importing import drop_category, write_category
from storage.lookup import beginning, category_by_id, number_of, rows_by_number, unknown
from storage.records import Category, ImportData, IntArray, Item, Log, Review
from storage.tables import categories, interactions, items, reviews, users

_STREAMED = 2_000
"""Rows that are Python objects at one time."""
_REVIEW = ("user_number", "item_number", "time", "title", "text")
GET_DATA = "recsys data import PATH --category {0}, recsys data pull NAME, or recsys data sample"


class Catalogue:
    """The categories of a database.

    >>> import tempfile
    >>> from storage.records import ItemRow
    >>> one = np.zeros(1, dtype=np.int64)
    >>> data = ImportData(["ann"], [ItemRow("p1", "Pen")], one, one, one,
    ...                   one.astype(np.float32), one.astype(np.int8))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     database = Database.open(f"{folder}/shop.sqlite")
    ...     catalogue = Catalogue(database)
    ...     pens = catalogue.write("Pens", data, source="by hand", synthetic=True, rating_low=None,
    ...                            rating_high=None, note="", digest="1")
    ...     person = catalogue.user_number(pens.id, "ann")
    ...     history = catalogue.history(pens.id, person)
    ...     print([item.title for item in catalogue.items_by_number(pens.id, history)])
    ...     database.close()
    ['Pen']
    """

    def __init__(self, database: Database) -> None:
        """Stand on an open database."""
        self._database = database

    def categories(self) -> list[Category]:
        """Return all categories by name."""
        with self._database.reading() as connection:
            rows = connection.execute(select(categories).order_by(categories.c.name))
            return [Category(**row._mapping) for row in rows]

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

        People and items keep their numbers. Requests to teachers go, because they name rows
        of the log; the answers stay, so that asking again costs nothing.

        Args:
            name: of the category; one of that name keeps its id, its answers and its runs.
            data: everything it consists of from now on, what the Store had included.
            source: format and origin.
            synthetic: whether it is the sample.
            rating_low: of the source's scale.
            rating_high: of the source's scale.
            note: licence or origin remark.
            digest: of the data.
            replace: drop what has that name first, with its labels and runs.
            k_core: that was applied, 0 for none.

        Raises:
            BadData: real data would be mixed with a synthetic sample.
            StoreUnavailable: the disk is full, or somebody else writes; nothing has changed.
        """
        described = Category(
            id=0,
            name=name,
            source=source,
            synthetic=synthetic,
            rating_low=rating_low,
            rating_high=rating_high,
            people=len(data.user_ids),
            items=len(data.items),
            interactions=len(data.user),
            imported_at="",
            digest=digest,
            note=note,
            k_core=k_core,
        )
        write_category(self._database, described, data, replace=replace)
        return self.category(name)

    def drop(self, category_id: int) -> None:
        """Remove a category with its requests, profiles and runs.

        Raises:
            UnknownName: there is no such category.
        """
        with self._database.writing() as connection:
            drop_category(connection, category_by_id(connection, category_id).id)

    def users(self, category_id: int) -> int:
        """Return how many people a category has."""
        return self._count(users, category_id)

    def user_ids(self, category_id: int, numbers: Sequence[int] | None = None) -> list[str]:
        """Return the ids of these people, in their order; everybody's, in number order.

        Raises:
            UnknownName: a number that nobody has.
        """
        if numbers is None:
            return self._column(users, "user_id", category_id)
        with self._database.reading() as connection:
            found = rows_by_number(connection, users, category_id, numbers)
        return [row.user_id for row in found]

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
        """Yield all items in number order, without holding all of them."""
        query = select(items).where(items.c.category_id == category_id).order_by(items.c.number)
        for row in self._streamed(query):
            yield _item(row)

    def items_by_number(self, category_id: int, numbers: Sequence[int]) -> list[Item]:
        """Return the items of these numbers, in their order.

        Raises:
            UnknownName: a number that no item has.
        """
        with self._database.reading() as connection:
            return [_item(row) for row in rows_by_number(connection, items, category_id, numbers)]

    def find_item(self, category_id: int, item_id: str) -> int | None:
        """Return the number of an item by id, None where there is none."""
        with self._database.reading() as connection:
            return number_of(connection, "item", category_id, item_id)

    def item_number(self, category_id: int, item_id: str) -> int:
        """Return the number of an item by id.

        Raises:
            UnknownName: there is none, with near ids.
        """
        return self._must_be_there("item", category_id, item_id)

    def user_number(self, category_id: int, user_id: str) -> int:
        """Return the number of a person by id.

        Raises:
            UnknownName: there is none, with near ids.
        """
        return self._must_be_there("user", category_id, user_id)

    def find_users(self, category_id: int, prefix: str, limit: int = 20) -> list[str]:
        """Return ids of people that begin with a text, in order, by index."""
        with self._database.reading() as connection:
            return beginning(connection, "user", category_id, prefix, limit)

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
        """Return the whole log as columns, sorted by person and position.

        Raises:
            UnknownName: there is no such category.
        """
        with self._database.reading() as connection:
            return read_log(connection, category_by_id(connection, category_id))

    def reviews(self, category_id: int) -> Iterator[Review]:
        """Yield the reviews by person and item, without holding all of them."""
        query = (
            select(*(reviews.c[name] for name in _REVIEW))
            .where(reviews.c.category_id == category_id)
            .order_by(reviews.c.user_number, reviews.c.item_number, reviews.c.time)
        )
        for row in self._streamed(query):
            yield Review(row.user_number, row.item_number, row.time, title=row.title, text=row.text)

    def review_count(self, category_id: int) -> int:
        """Return how many review texts are kept."""
        return self._count(reviews, category_id)

    def _count(self, table: Table, category_id: int) -> int:
        query = select(func.count()).where(table.c.category_id == category_id)
        with self._database.reading() as connection:
            return connection.execute(query).scalar_one()

    def _streamed(self, query: Select[Any]) -> Iterator[Row[Any]]:
        options = {"stream_results": True, "yield_per": _STREAMED}
        with self._database.reading() as connection:
            yield from connection.execute(query, execution_options=options)

    def _must_be_there(self, what: str, category_id: int, wanted: str) -> int:
        with self._database.reading() as connection:
            number = number_of(connection, what, category_id, wanted)
            if number is None:
                raise unknown(connection, what, category_id, wanted)
            return number

    def _column(self, table: Table, name: str, category_id: int) -> list[str]:
        query = (
            select(table.c[name]).where(table.c.category_id == category_id).order_by(table.c.number)
        )
        with self._database.reading() as connection:
            return list(connection.execute(query).scalars())


def _item(row: Row[Any]) -> Item:
    return Item(
        row.number, row.item_id, row.title, row.brand, row.description, row.categories, row.price
    )
