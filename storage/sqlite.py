"""Everything that is true of SQLite only: its settings, its transactions, its errors.

Apart because any SQLAlchemy URL may be given: this is the one module to leave behind. The
other modules say what they want in SQLAlchemy's terms.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, Select, Table, event

DIALECT = "sqlite"
WRITE_AHEAD = "PRAGMA journal_mode = WAL"
IMMEDIATE = "recsys_immediate"
"""Name of the execution option that asks for the write lock when a transaction begins."""

_REASONS = {
    "SQLITE_BUSY": "is locked by another process that is writing to it",
    "SQLITE_LOCKED": "is locked by another connection that is writing to it",
    "SQLITE_READONLY": "cannot be written: the file or its directory is read-only",
    "SQLITE_PERM": "cannot be written: the file or its directory is read-only",
    "SQLITE_CANTOPEN": "cannot be opened: its directory is missing, read-only or not a directory",
    "SQLITE_FULL": "cannot grow: the disk is full",
    "SQLITE_IOERR": "cannot be read or written: the disk reports an error",
    "SQLITE_CORRUPT": "is damaged",
    "SQLITE_NOTADB": "is not a database",
}
_NEXT = {
    "SQLITE_BUSY": "run the same command again when the other one has finished",
    "SQLITE_LOCKED": "run the same command again when the other one has finished",
    "SQLITE_FULL": "free some space and run the same command again",
}


def file_of(address: URL) -> Path | None:
    """Return the file a SQLite URL names, None for a database in memory.

    >>> from sqlalchemy import make_url
    >>> str(file_of(make_url("sqlite:///shop.db"))), str(file_of(make_url("sqlite:///what?.db")))
    ('shop.db', 'what')
    >>> str(file_of(make_url("sqlite:///file:shop.db?mode=ro&uri=true")))
    'shop.db'
    """
    name = address.database
    if not name or name == ":memory:" or "mode=memory" in name or name == "file::memory:":
        return None
    if name.startswith("file:"):
        return Path(name.removeprefix("file:").partition("?")[0])
    return Path(name)


def _write_ahead(cursor: sqlite3.Cursor, seconds: float) -> None:
    """Switch a database to write-ahead logging; two that make it at once wait for each other.

    SQLite does not wait by itself here: of two first openers, one is told at once that the
    database is locked.
    """
    try:
        cursor.execute(WRITE_AHEAD)
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise
        # Deferred: it is needed once in a database's life, if ever.
        from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random

        retrying = Retrying(
            retry=retry_if_exception(lambda error: "locked" in str(error)),
            stop=stop_after_delay(seconds),
            wait=wait_random(0.01, 0.05),
            reraise=True,
        )
        retrying(cursor.execute, WRITE_AHEAD)


def prepare(engine: Engine, busy_seconds: float) -> None:
    """Give every connection of an engine our settings, and transactions that mean what they say.

    Python's driver opens transactions by itself, late, and closes them before some
    statements; with `isolation_level = None` it leaves that to us, so that schema changes
    roll back too, and a writer takes its lock at once instead of failing half-way.
    """

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {int(busy_seconds * 1000)}")
        cursor.execute("PRAGMA foreign_keys = ON")
        _write_ahead(cursor, busy_seconds)
        cursor.execute("PRAGMA synchronous = NORMAL")
        # An import of millions of people fills an index in random order: with the default
        # of 2 MB every insert would read and write a page of the file.
        cursor.execute("PRAGMA cache_size = -65536")
        cursor.execute("PRAGMA journal_size_limit = 67108864")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get(IMMEDIATE, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def insert_rows(
    connection: Connection,
    table: Table,
    columns: Sequence[str],
    rows: Iterator[Sequence[Any]],
    *,
    newest: bool,
) -> None:
    """Insert from an iterator of tuples: the driver pulls them, so no list is ever built.

    Three times as fast as the neutral way, which makes a dictionary of every row.

    Args:
        connection: in a transaction.
        table: to insert into.
        columns: their names, in the order of the values.
        rows: the values.
        newest: a row takes the place of one with the same primary key.
    """
    names = ", ".join(f'"{name}"' for name in columns)
    marks = ", ".join("?" * len(columns))
    cursor = connection.connection.cursor()
    try:
        # sqlite3 takes any iterable; the driver-neutral type of the cursor asks for a list.
        verb = "INSERT OR REPLACE" if newest else "INSERT"
        statement = f'{verb} INTO "{table.name}" ({names}) VALUES ({marks})'
        cursor.executemany(statement, rows)  # type: ignore[arg-type]
    finally:
        cursor.close()


def plain_rows(connection: Connection, query: Select[Any], size: int) -> Iterator[Sequence[Any]]:
    """Yield the rows of a query, `size` at a time, straight from the driver.

    Twice as fast as the neutral way, which makes an object of SQLAlchemy's of every row.
    """
    text = query.compile(connection, compile_kwargs={"literal_binds": True})
    cursor = connection.connection.cursor()
    try:
        cursor.execute(str(text))
        while rows := cursor.fetchmany(size):
            yield rows
    finally:
        cursor.close()


def reason(error: BaseException | None) -> tuple[str, str] | None:
    """Return why a database cannot be used and what to do, None where it is a bug of ours.

    >>> reason(ValueError("no")) is None
    True
    """
    if not isinstance(error, sqlite3.Error):
        return None
    name = getattr(error, "sqlite_errorname", "") or ""
    for code, sentence in _REASONS.items():
        if name == code or name.startswith(f"{code}_"):
            return sentence, _NEXT.get(code, "recsys doctor")
    return None
