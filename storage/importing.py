"""Writing a whole category, in one transaction: all of it, or nothing.

Apart from reading because speed and memory are decided here: rows go to the driver in
slices of the arrays, and no list of them is ever built.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
from sqlalchemy import Connection, delete, func, insert, select, update

from storage.database import Database
from storage.records import NO_PART, NO_TIME, ImportData
from storage.tables import (
    categories,
    interactions,
    items,
    label_requests,
    layer_profiles,
    reviews,
    runs,
    unconditional_scores,
    users,
)

_SLICE = 100_000
"""Interactions that are Python objects at one time."""

_USERS = ("category_id", "number", "user_id")
_ITEMS = (
    "category_id",
    "number",
    "item_id",
    "title",
    "brand",
    "description",
    "categories",
    "price",
)
_LOG = ("category_id", "user_number", "position", "item_number", "time", "rating", "part")
_REVIEWS = ("category_id", "number", "user_number", "item_number", "time", "title", "text")


def write_category(
    database: Database,
    name: str,
    data: ImportData,
    *,
    about: dict[str, Any],
    replace: bool,
) -> None:
    """Write or rewrite a category.

    Args:
        database: an open one.
        name: of the category; one of that name is rewritten in place, keeping its id, its
            labels and its runs.
        data: everything it consists of from now on.
        about: the other columns of `categories`.
        replace: drop a category of that name first, with its labels and runs: it is other
            data under the same name.
    """
    with database.writing() as connection:
        known = connection.execute(select(categories.c.id).where(categories.c.name == name))
        category_id = known.scalar()
        if category_id is not None and replace:
            drop_category(connection, category_id)
            category_id = None
        columns = about | {
            "people": len(data.user_ids),
            "items": len(data.items),
            "interactions": len(data.user),
            "imported_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        if category_id is None:
            added = connection.execute(insert(categories), {"name": name, **columns})
            (category_id,) = added.inserted_primary_key or (None,)
        else:
            changed = update(categories).where(categories.c.id == category_id).values(**columns)
            connection.execute(changed)
            for table in (interactions, users, items):
                connection.execute(delete(table).where(table.c.category_id == category_id))
        assert category_id is not None
        _write_rows(database, connection, int(category_id), data)


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
    ):
        connection.execute(delete(table).where(table.c.category_id == category_id))
    connection.execute(delete(categories).where(categories.c.id == category_id))


def _write_rows(
    database: Database, connection: Connection, category_id: int, data: ImportData
) -> None:
    people = ((category_id, number, one) for number, one in enumerate(data.user_ids))
    database.insert_rows(connection, users, _USERS, people)
    things = (
        (
            category_id,
            number,
            item.id,
            item.title,
            item.brand,
            item.description,
            item.categories,
            item.price,
        )
        for number, item in enumerate(data.items)
    )
    database.insert_rows(connection, items, _ITEMS, things)
    database.insert_rows(connection, interactions, _LOG, _log_rows(category_id, data))
    if data.reviews is not None:
        count = connection.execute(
            select(func.max(reviews.c.number)).where(reviews.c.category_id == category_id)
        ).scalar()
        first = 0 if count is None else int(count) + 1
        database.insert_rows(connection, reviews, _REVIEWS, _review_rows(category_id, data, first))


def _log_rows(category_id: int, data: ImportData) -> Iterator[tuple[Any, ...]]:
    """Yield one tuple an interaction, made slice by slice."""
    position = 0
    last = -1
    for start in range(0, len(data.user), _SLICE):
        part = slice(start, start + _SLICE)
        times = data.time[part].astype(object)
        times[data.time[part] == NO_TIME] = None
        ratings = data.rating[part].astype(object)
        ratings[np.isnan(data.rating[part])] = None
        parts = data.part[part].astype(object)
        parts[data.part[part] == NO_PART] = None
        rows = zip(
            data.user[part].tolist(),
            data.item[part].tolist(),
            times.tolist(),
            ratings.tolist(),
            parts.tolist(),
            strict=True,
        )
        for user, item, time, rating, which in rows:
            position = position + 1 if user == last else 0
            last = user
            yield category_id, user, position, item, time, rating, which


def _review_rows(category_id: int, data: ImportData, first: int) -> Iterator[tuple[Any, ...]]:
    for number, (row, title, text) in enumerate(data.reviews or (), start=first):
        time = int(data.time[row])
        yield (
            category_id,
            number,
            int(data.user[row]),
            int(data.item[row]),
            None if time == NO_TIME else time,
            title,
            text,
        )
