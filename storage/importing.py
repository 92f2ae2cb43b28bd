"""Writing a whole category, in one transaction: all of it, or nothing.

Apart from reading because speed and memory are decided here, and because here numbers are
kept: what indexes an array of a trained student means the same after the next import.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, astuple
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, Table, delete, insert, select, update

from storage.columns import LOG_COLUMNS, log_rows
from storage.database import Database
from storage.errors import BadData
from storage.records import Category, ImportData, ItemRow
from storage.tables import (
    categories,
    feedback,
    interactions,
    items,
    label_requests,
    layer_profiles,
    moments,
    reviews,
    runs,
    unconditional_scores,
    users,
)

_USERS = ("category_id", "number", "user_id")
_TEXTS = ("title", "brand", "description", "categories", "price")
_ITEMS = ("category_id", "number", "item_id", *_TEXTS)
_REVIEWS = ("category_id", "user_number", "item_number", "time", "title", "text")
_STREAMED = 2_000


def write_category(
    database: Database, described: Category, data: ImportData, *, replace: bool
) -> None:
    """Write or rewrite a category; the same data again writes nothing.

    Args:
        database: an open one.
        described: what the category is from now on; its id and date are given here.
        data: everything it consists of from now on.
        replace: drop a category of that name first, with its labels and runs: it is other
            data under the same name.

    Raises:
        BadData: real data would be mixed with a synthetic sample.
        ValueError: the rows are not in order, or somebody's number would change.
    """
    _check(data)
    with database.writing() as connection:
        row = connection.execute(
            select(categories).where(categories.c.name == described.name)
        ).first()
        old = None if row is None else Category(**row._mapping)
        if old is not None and old.synthetic != described.synthetic and not replace:
            raise BadData(
                f"category {old.name!r} holds {'a synthetic sample' if old.synthetic else 'real'}"
                f" data: invented and real data never mix",
                next_step="name another category with --category",
            )
        if old is not None and _unchanged(connection, old, described, data):
            return
        if old is not None and replace:
            drop_category(connection, old.id)
            old = None
        category_id = _describe(connection, described, old)
        people, things = _keep_numbers(connection, data, old)
        _add(database, connection, category_id, data, people, things)


def drop_category(connection: Connection, category_id: int) -> None:
    """Remove a category with everything that belongs to it."""
    for table in (
        interactions,
        reviews,
        users,
        items,
        label_requests,
        unconditional_scores,
        layer_profiles,
        runs,
        feedback,
        moments,
    ):
        connection.execute(delete(table).where(table.c.category_id == category_id))
    connection.execute(delete(categories).where(categories.c.id == category_id))


def _check(data: ImportData) -> None:
    """Refuse rows that could not be read back as they are."""
    columns = (data.user, data.item, data.time, data.rating, data.part)
    if len({len(column) for column in columns}) != 1:
        raise ValueError("the columns of an import differ in length")
    if len(data.user) == 0:
        return
    if np.any(data.user[1:] < data.user[:-1]):
        raise ValueError("the rows of an import are not sorted by user")
    if data.user[0] < 0 or data.user[-1] >= len(data.user_ids):
        raise ValueError("a user number of an import has no id")
    if data.item.min() < 0 or data.item.max() >= len(data.items):
        raise ValueError("an item number of an import has no item")


def _unchanged(
    connection: Connection, old: Category, described: Category, data: ImportData
) -> bool:
    if (old.digest, old.synthetic) != (described.digest, described.synthetic):
        return False
    if data.reviews is None:
        return True
    kept = select(reviews.c.title).where(reviews.c.category_id == old.id).limit(1)
    return connection.execute(kept).first() is not None


def _describe(connection: Connection, described: Category, old: Category | None) -> int:
    """Write the category's own row and clear what will be written anew; return its id."""
    values = asdict(described) | {"imported_at": datetime.now(UTC).isoformat(timespec="seconds")}
    del values["id"]
    if old is None:
        connection.execute(insert(categories), values)
        mine = select(categories.c.id).where(categories.c.name == described.name)
        return int(connection.execute(mine).scalar_one())
    connection.execute(update(categories).where(categories.c.id == old.id).values(**values))
    # Requests name rows of the log, which move. Their answers are keyed by content and stay.
    for table in (interactions, label_requests):
        connection.execute(delete(table).where(table.c.category_id == old.id))
    return old.id


def _keep_numbers(
    connection: Connection, data: ImportData, old: Category | None
) -> tuple[int, int]:
    """Check that nobody's number changes and renew texts; return (people, items) there are."""
    if old is None:
        return 0, 0
    for number, row in enumerate(_by_number(connection, users, old.id)):
        if number >= len(data.user_ids) or data.user_ids[number] != row.user_id:
            raise ValueError(f"user {row.user_id!r} would lose the number {number}")
    changed: list[tuple[int, ItemRow, bool]] = []
    for number, row in enumerate(_by_number(connection, items, old.id)):
        if number >= len(data.items) or data.items[number].id != row.item_id:
            raise ValueError(f"item {row.item_id!r} would lose the number {number}")
        item = data.items[number]
        if astuple(item) != tuple(row[2:]):
            changed.append((number, item, item.title != row.title))
    for number, item, retitled in changed:
        _renew(connection, old.id, number, item, retitled=retitled)
    return old.people, old.items


def _renew(
    connection: Connection, category_id: int, number: int, item: ItemRow, *, retitled: bool
) -> None:
    """Give an item its new texts; what a teacher said about the old title is forgotten."""
    this = (items.c.category_id == category_id) & (items.c.number == number)
    texts = {name: getattr(item, name) for name in _TEXTS}
    connection.execute(update(items).where(this).values(**texts))
    if retitled:
        scores = unconditional_scores.c
        about = (scores.category_id == category_id) & (scores.item_number == number)
        connection.execute(delete(unconditional_scores).where(about))


def _by_number(connection: Connection, table: Table, category_id: int) -> Iterator[Row[Any]]:
    query = select(table).where(table.c.category_id == category_id).order_by(table.c.number)
    options = {"stream_results": True, "yield_per": _STREAMED}
    yield from connection.execute(query, execution_options=options)


def _add(
    database: Database,
    connection: Connection,
    category_id: int,
    data: ImportData,
    people: int,
    things: int,
) -> None:
    """Write everybody from number `people` on, all items from `things` on, and every row."""
    new_people = islice(enumerate(data.user_ids), people, None)
    who = ((category_id, number, one) for number, one in new_people)
    database.insert_rows(connection, users, _USERS, who)
    new_things = islice(enumerate(data.items), things, None)
    what = ((category_id, number, *astuple(item)) for number, item in new_things)
    database.insert_rows(connection, items, _ITEMS, what)
    database.insert_rows(connection, interactions, LOG_COLUMNS, log_rows(category_id, data))
    if data.reviews is not None:
        written = _review_rows(category_id, data)
        database.insert_rows(connection, reviews, _REVIEWS, written, newest=True)


def _review_rows(category_id: int, data: ImportData) -> Iterator[tuple[Any, ...]]:
    for row, title, text in data.reviews or ():
        place = int(data.user[row]), int(data.item[row]), int(data.time[row])
        yield category_id, *place, title, text
