"""Finding people and items one by one: by id, by number, by the beginning of an id.

Apart because both are kept alike, and because of what is said when somebody is not there:
the ids that come nearest, found through an index and never by reading all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

from sqlalchemy import Column, Connection, Row, Table, select

from storage.errors import UnknownName
from storage.records import Category
from storage.tables import categories, items, storable, users

_AT_ONCE = 500
"""Numbers or ids in one statement: every database takes as many parameters."""
_LIKE = 1000
"""How many ids with the same beginning are compared with one that is missing."""
_SHOWN = 3

T = TypeVar("T")

_IDS: dict[str, Column[str]] = {"user": users.c.user_id, "item": items.c.item_id}


def category_by_id(connection: Connection, category_id: int) -> Category:
    """Return a category by its id.

    Raises:
        UnknownName: there is none.
    """
    row = connection.execute(select(categories).where(categories.c.id == category_id)).first()
    if row is None:
        raise UnknownName(f"no category has the id {category_id}", next_step="recsys data list")
    return Category(**row._mapping)


def number_of(connection: Connection, what: str, category_id: int, wanted: str) -> int | None:
    """Return the number of a 'user' or 'item' by id, None where there is none."""
    if not storable(wanted):
        return None
    column = _IDS[what]
    query = select(column.table.c.number).where(
        column.table.c.category_id == category_id, column == wanted
    )
    return connection.execute(query).scalar()


def numbers_of(
    connection: Connection, what: str, category_id: int, wanted: Iterable[str]
) -> dict[str, int]:
    """Return the numbers of people or items by id; ids that nobody has are left out."""
    column = _IDS[what]
    number = column.table.c.number
    found: dict[str, int] = {}
    for some in _slices(list(dict.fromkeys(wanted))):
        query = select(column, number).where(
            column.table.c.category_id == category_id, column.in_(some)
        )
        found.update((one, int(n)) for one, n in connection.execute(query))
    return found


def ids_of(
    connection: Connection, what: str, category_id: int, numbers: Iterable[int]
) -> dict[int, str]:
    """Return the ids of people or items by number.

    Raises:
        UnknownName: a number that nobody has.
    """
    column = _IDS[what]
    number = column.table.c.number
    wanted = list(dict.fromkeys(int(one) for one in numbers))
    found: dict[int, str] = {}
    for some in _slices(wanted):
        query = select(number, column).where(
            column.table.c.category_id == category_id, number.in_(some)
        )
        found.update((int(n), one) for n, one in connection.execute(query))
    for one in wanted:
        if one not in found:
            raise UnknownName(f"nothing in {column.table.name} has the number {one}")
    return found


def rows_by_number(
    connection: Connection, table: Table, category_id: int, numbers: Sequence[int]
) -> list[Row[Any]]:
    """Return the rows of people or items, one a number, in the order of the numbers.

    Raises:
        UnknownName: a number that nobody has.
    """
    wanted = [int(number) for number in numbers]
    found: dict[int, Row[Any]] = {}
    for some in _slices(wanted):
        query = select(table).where(table.c.category_id == category_id, table.c.number.in_(some))
        found.update((row.number, row) for row in connection.execute(query))
    for number in wanted:
        if number not in found:
            raise UnknownName(f"nothing in {table.name} has the number {number}")
    return [found[number] for number in wanted]


def beginning(
    connection: Connection, what: str, category_id: int, prefix: str, limit: int
) -> list[str]:
    """Return the first ids that begin with a text, in order: a range of the index."""
    if not storable(prefix):
        return []
    column = _IDS[what]
    query = (
        select(column)
        .where(column.table.c.category_id == category_id, column >= prefix)
        .order_by(column)
        .limit(limit)
    )
    if prefix:
        query = query.where(column <= prefix + "\U0010ffff")
    return list(connection.execute(query).scalars())


def unknown(connection: Connection, what: str, category_id: int, wanted: str) -> UnknownName:
    """Return the error for a 'user' or 'item' that is not there, with the nearest ids."""
    alike = beginning(connection, what, category_id, wanted[:3], _LIKE)
    near = get_close_matches(wanted, alike, n=_SHOWN)
    for length in range(min(len(wanted), 40), -1, -1):
        near = near or beginning(connection, what, category_id, wanted[:length], _SHOWN)
    name = category_by_id(connection, category_id).name
    hint = f"; there are, for example, {', '.join(map(repr, near))}" if near else ""
    return UnknownName(
        f"no {what} {wanted!r} in {name!r}{hint}", next_step=f"recsys data stats {name}"
    )


def _slices(values: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), _AT_ONCE):
        yield values[start : start + _AT_ONCE]
