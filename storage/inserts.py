"""Inserting rows that may be there already, and leaving those that are.

Apart because the statement that does so safely while somebody else inserts the same rows is
not standard SQL: SQLite and PostgreSQL have it, and elsewhere one has to look first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Insert, Table, and_, insert, select
from sqlalchemy.dialects import postgresql, sqlite

Key = tuple[Any, ...]
Values = Mapping[str, Any]


def insert_missing(connection: Connection, into: Table, rows: Sequence[Values]) -> set[Key]:
    """Insert the rows whose primary key is not there; return the keys that were added.

    Of several rows with one key the first is taken.

    Args:
        connection: in a transaction.
        into: a table.
        rows: values by column.
    """
    names = [column.name for column in into.primary_key]
    first: dict[Key, Values] = {}
    for row in rows:
        first.setdefault(tuple(row[name] for name in names), row)
    if not first:
        return set()
    statement = _careful(connection.dialect.name, into)
    if statement is None:
        return look_first(connection, into, first)
    # In the order of the keys: two writers of the same rows never wait for each other.
    ordered = [dict(first[key]) for key in sorted(first)]
    added = connection.execute(statement.returning(*into.primary_key), ordered)
    return {tuple(row) for row in added}


def look_first(connection: Connection, into: Table, rows: Mapping[Key, Values]) -> set[Key]:
    """Insert the rows that are not there, on a database that cannot be told to leave them.

    Where two writers do so at the same moment one of them fails, and changes nothing.
    """
    columns = list(into.primary_key)
    added = set()
    for key, row in rows.items():
        same = and_(*(column == value for column, value in zip(columns, key, strict=True)))
        if connection.execute(select(columns[0]).where(same)).first() is None:
            connection.execute(insert(into), dict(row))
            added.add(key)
    return added


def _careful(dialect: str, into: Table) -> Insert | None:
    """Return the statement that leaves a row with the same primary key, None without one."""
    if dialect == "sqlite":
        return sqlite.insert(into).on_conflict_do_nothing(index_elements=list(into.primary_key))
    if dialect == "postgresql":
        key = list(into.primary_key)
        return postgresql.insert(into).on_conflict_do_nothing(index_elements=key)
    return None
