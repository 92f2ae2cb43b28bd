"""One database behind a URL: opening it, reading from it, writing to it.

Apart because this is the one place where a connection is made, where a transaction begins
and ends, and where a driver's errors become sentences for the person who can mend them.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    Column,
    Connection,
    Engine,
    Select,
    String,
    Table,
    and_,
    bindparam,
    create_engine,
    delete,
    insert,
    inspect,
    make_url,
    select,
    table,
)
from sqlalchemy import exc as failures

from storage import sqlite
from storage.errors import BadSetting, StoreMissing, StoreUnavailable
from storage.migrations import HEAD, KNOWN, VERSION_TABLE

BUSY_SECONDS = 10.0
"""How long to wait for another writer before giving up."""

_BATCH = 10_000

KINDS = "a path, sqlite:///PATH and postgresql+psycopg://USER@HOST/NAME"
"""What `--db` takes, for people."""


class Database:
    """An open database whose schema is the one this version knows.

    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     database = Database.open(str(pathlib.Path(folder, "shop.db")))
    ...     with database.reading() as connection:
    ...         print(connection.exec_driver_sql("SELECT count(*) FROM categories").scalar())
    ...     database.close()
    0
    """

    def __init__(self, engine: Engine, name: str, file: Path | None = None) -> None:
        """Hold an engine; `name` is what messages call the database, `file` where it lies."""
        self._engine = engine
        self._file = file
        self._opened: tuple[int, int] | None = None
        self.name = name

    @classmethod
    def open(cls, url: str, *, busy_seconds: float = BUSY_SECONDS, create: bool = True) -> Database:
        """Connect, create or migrate the schema, and return the database.

        Args:
            url: Any SQLAlchemy URL; a bare path is a SQLite file.
            busy_seconds: How long to wait for another writer.
            create: Make the file of a SQLite database where there is none.

        Raises:
            BadSetting: If the URL cannot be read or its driver is not installed.
            StoreMissing: If there is none and none is to be made.
            StoreUnavailable: If the database cannot be used, and why.
        """
        address = _address(url)
        name = address.database or "" if _is_sqlite(address) else address.render_as_string()
        file = sqlite.file_of(address) if _is_sqlite(address) else None
        if not create and file is not None and not file.exists():
            raise StoreMissing(
                f"there is no database {str(file)!r}",
                next_step=f"recsys data import PATH --category NAME --db {file}, or another --db",
            )
        engine = _engine(address, busy_seconds)
        database = cls(engine, name, file)
        with ExitStack() as undone:
            undone.callback(engine.dispose)
            database._bring_up_to_date()
            undone.pop_all()
        database._opened = _identity(file)
        return database

    @property
    def is_there(self) -> bool:
        """Whether the file that was opened still lies where it was; one look at the folder."""
        return _identity(self._file) == self._opened

    @property
    def dialect(self) -> str:
        """Name of the kind of database: 'sqlite', 'postgresql' …"""
        return self._engine.dialect.name

    def close(self) -> None:
        """Close every connection. The database object is of no use afterwards."""
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yield a connection that sees one state of the data until the block ends."""
        with self._translating(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Yield a connection in a transaction: kept when the block ends, undone on an error."""
        with self._translating(), self._engine.connect() as connection:
            connection = connection.execution_options(**{sqlite.IMMEDIATE: True})
            with connection.begin():
                yield connection

    def insert_rows(
        self,
        connection: Connection,
        into: Table,
        columns: Sequence[str],
        rows: Iterable[Sequence[Any]],
        *,
        newest: bool = False,
    ) -> None:
        """Insert many rows in bounded memory, as fast as this database allows.

        Values go to the driver as they are, so not for columns with a type of our own.

        Args:
            connection: in a transaction.
            into: a table.
            columns: their names, in the order of the values.
            rows: the values.
            newest: a row takes the place of one with the same primary key.
        """
        if self.dialect == sqlite.DIALECT:
            sqlite.insert_rows(connection, into, columns, iter(rows), newest=newest)
            return
        source = iter(rows)
        while batch := list(itertools.islice(source, _BATCH)):
            values = [dict(zip(columns, row, strict=True)) for row in batch]
            insert_batch(connection, into, values, newest=newest)

    def _bring_up_to_date(self) -> None:
        """Create or migrate the schema; a database that is at HEAD costs one query.

        Raises:
            StoreUnavailable: If the schema is newer than this version, or not ours.
        """
        with self.reading() as connection:
            version = _version(connection)
        if version == HEAD:
            return
        # Alembic takes longer to import than everything else here takes to run.
        from storage.migrations.upgrade import upgrade

        with self.writing() as connection:
            # Read again under the lock: another process may have done the work meanwhile.
            version = _version(connection)
            if version is None and inspect(connection).get_table_names():
                raise StoreUnavailable(
                    f"{self.name!r} is a database of another program",
                    next_step="name another file with --db or RECSYS_DB",
                )
            if version is not None and version not in KNOWN:
                raise StoreUnavailable(
                    f"{self.name!r} was written by a newer recsys: its schema is {version!r},"
                    f" and this one knows {HEAD!r}",
                    next_step="install the newer recsys, or name another file with --db",
                )
            upgrade(connection)

    @contextmanager
    def _translating(self) -> Iterator[None]:
        """Turn what a driver says about a database that cannot be used into a sentence."""
        try:
            yield
        except (failures.DBAPIError, sqlite3.Error) as error:
            unavailable = self._unavailable(error)
            if unavailable is None:
                raise
            raise unavailable from error

    def _unavailable(self, error: Exception) -> StoreUnavailable | None:
        """Return what to tell the user; None where the error is a bug of ours."""
        cause = error.orig if isinstance(error, failures.DBAPIError) else error
        found = sqlite.reason(cause)
        if found is not None:
            return StoreUnavailable(f"the database {self.name!r} {found[0]}", next_step=found[1])
        elsewhere = self.dialect != sqlite.DIALECT
        if elsewhere and isinstance(error, failures.OperationalError | failures.InterfaceError):
            first = str(cause).strip().partition("\n")[0]
            return StoreUnavailable(
                f"the database {self.name!r} cannot be used: {first}", next_step="recsys doctor"
            )
        return None


def plain_rows(connection: Connection, query: Select[Any], size: int) -> Iterator[Sequence[Any]]:
    """Yield the rows of a query, `size` at a time, as plain tuples of what the driver gives."""
    if connection.dialect.name == sqlite.DIALECT:
        yield from sqlite.plain_rows(connection, query, size)
        return
    options = {"stream_results": True, "max_row_buffer": size}
    with connection.execute(query, execution_options=options) as result:
        for some in result.partitions(size):
            yield list(map(tuple, some))


def insert_batch(
    connection: Connection, into: Table, values: Sequence[dict[str, Any]], *, newest: bool
) -> None:
    """Insert rows by SQLAlchemy alone; with `newest`, those of the same primary key go first."""
    if newest:
        key = [column.name for column in into.primary_key]
        values = list({tuple(row[name] for name in key): row for row in values}.values())
        same = and_(*(into.c[name] == bindparam(f"old_{name}") for name in key))
        old = [{f"old_{name}": row[name] for name in key} for row in values]
        connection.execute(delete(into).where(same), old)
    connection.execute(insert(into), values)


def _address(url: str) -> URL:
    """Read a URL; what has no scheme is the path of a SQLite file."""
    try:
        return make_url(url) if "://" in url else URL.create("sqlite", database=url)
    except failures.ArgumentError as error:
        raise BadSetting(
            f"{url!r} is not a database URL", next_step="--db path/to/recsys.db"
        ) from error


def file_of_url(url: str) -> Path | None:
    """Return the file a database lies in, None where it is on a server.

    Raises:
        BadSetting: the URL cannot be read, or no kind of database is called so.

    >>> str(file_of_url("shop.db")), file_of_url("postgresql+psycopg://me@box/shop")
    ('shop.db', None)
    """
    address = _address(url)
    if _is_sqlite(address):
        return sqlite.file_of(address)
    try:
        address.get_dialect()
    except failures.NoSuchModuleError as error:
        raise _unknown_kind(address) from error
    return None


def _unknown_kind(address: URL) -> BadSetting:
    return BadSetting(
        f"{address.render_as_string()!r}: no kind of database is called "
        f"{address.drivername!r}; known are {KINDS}",
        next_step="--db path/to/recsys.db",
    )


def _engine(address: URL, busy_seconds: float) -> Engine:
    """Make the engine, with SQLite's settings and directory where it is SQLite."""
    shown = address.render_as_string()
    if _is_sqlite(address):
        file = sqlite.file_of(address)
        if file is None:
            raise BadSetting(
                f"{shown!r} is a database in memory, which would forget everything",
                next_step="--db path/to/recsys.db",
            )
        _make_directory(file.parent)
    try:
        engine = create_engine(address)
    except failures.NoSuchModuleError as error:
        raise _unknown_kind(address) from error
    except ModuleNotFoundError as error:
        raise BadSetting(
            f"no driver for {shown!r} is installed ({error}); known are {KINDS}",
            next_step="pip install psycopg"
            if address.drivername == "postgresql+psycopg"
            else "--db path/to/recsys.db",
        ) from error
    if _is_sqlite(address):
        sqlite.prepare(engine, busy_seconds)
    return engine


def _is_sqlite(address: URL) -> bool:
    return address.get_backend_name() == sqlite.DIALECT


def _identity(file: Path | None) -> tuple[int, int] | None:
    """Return what tells one file from another of the same name; None where there is none."""
    try:
        found = None if file is None else file.stat()
    except OSError:
        return None
    return None if found is None else (found.st_dev, found.st_ino)


def _make_directory(folder: Path) -> None:
    """Create the directory a database file lies in."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(
            f"the directory {str(folder)!r} cannot be created: {error.strerror}",
            next_step="name another file with --db or RECSYS_DB",
        ) from error


def _version(connection: Connection) -> str | None:
    """Return the revision the schema is at, None for a database without our tables."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    version: Column[str] = Column("version_num", String)
    return connection.execute(select(version).select_from(table(VERSION_TABLE))).scalar()
