"""What every connection is set to, and what is said when a database cannot be used."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from storage.database import Database, insert_batch, plain_rows
from storage.errors import BadSetting, StoreMissing, StoreUnavailable
from storage.records import SoftLabel
from storage.store import Store
from storage.tables import categories, reviews

NOBODY = 65534


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database.open(str(tmp_path / "recsys.sqlite"))
    yield database
    database.close()


@pytest.fixture
def locked_folder() -> Iterator[Path]:
    """A folder this process may read and not write, whoever runs the tests."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Store.open(folder / "recsys.sqlite", folder / "artifacts").close()
        (folder / "artifacts").mkdir()
        root = os.geteuid() == 0
        folder.chmod(0o555)
        (folder / "artifacts").chmod(0o555)
        if root:  # permissions mean nothing to root
            os.seteuid(NOBODY)
        try:
            yield folder
        finally:
            if root:
                os.seteuid(0)
            (folder / "artifacts").chmod(0o755)
            folder.chmod(0o755)


def test_every_connection_has_our_settings_from_any_thread(database: Database) -> None:
    names = ("journal_mode", "foreign_keys", "busy_timeout", "synchronous")

    def read() -> None:
        with database.reading() as connection:
            seen.append(
                tuple(connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names)
            )

    seen: list[tuple[Any, ...]] = []
    read()
    with database.reading():  # keeps the first connection busy: the thread gets another
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
    assert seen == [("wal", 1, 10_000, 1)] * 2


def test_an_error_undoes_the_whole_block(database: Database) -> None:
    def write() -> None:
        with database.writing() as connection:
            connection.exec_driver_sql("CREATE TABLE half (a)")
            connection.exec_driver_sql("INSERT INTO soft_labels VALUES ('k','[]','[]','ok',0,'{}')")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    with database.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM soft_labels").scalar() == 0
        found = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE name = 'half'")
        assert found.first() is None


def test_readers_go_on_while_somebody_writes(store: Store) -> None:
    with store.database.writing() as connection:
        connection.exec_driver_sql("INSERT INTO soft_labels VALUES ('k','[]','[]','ok',0,'{}')")
        seen: list[object] = []
        thread = threading.Thread(target=lambda: seen.append(store.labels.get(["k"])))
        thread.start()
        thread.join()
        assert seen == [{}]
    assert list(store.labels.get(["k"])) == ["k"]


def test_a_locked_database_is_named_after_the_wait(tmp_path: Path) -> None:
    file = tmp_path / "recsys.sqlite"
    with Store.open(file, tmp_path, busy_seconds=0.1) as store:
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            started = time.monotonic()
            with pytest.raises(StoreUnavailable, match=r"recsys\.sqlite.*is locked.*next: run"):
                store.labels.add(SoftLabel("k", (0.0,), (1,), "ok", 0.1))
            assert time.monotonic() - started < 5
            assert store.labels.get(["k"]) == {}
            other.execute("ROLLBACK")
        store.labels.add(SoftLabel("k", (0.0,), (1,), "ok", 0.1))
        assert list(store.labels.get(["k"])) == ["k"]


def test_a_read_only_folder_is_named(locked_folder: Path) -> None:
    with pytest.raises(StoreUnavailable, match="read-only") as caught:
        Store.open(locked_folder / "new.sqlite", locked_folder)
    assert "new.sqlite" in str(caught.value)
    with pytest.raises(StoreUnavailable, match="read-only"):
        Store.open(locked_folder / "recsys.sqlite", locked_folder)
    with pytest.raises(StoreUnavailable, match=r"cannot be created: Permission denied"):
        Store.open(locked_folder / "deeper" / "new.sqlite", locked_folder)


def test_artifacts_in_a_read_only_folder(locked_folder: Path) -> None:
    from storage.artifacts import Artifacts

    refused = pytest.raises(StoreUnavailable, match=r"cannot be written: Permission denied")
    with refused, Artifacts(locked_folder / "artifacts").writing("plan", {}):
        pass


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    with Store.open(tmp_path / "recsys.sqlite", tmp_path) as store:
        store.labels.add(SoftLabel("first", (0.5,), (1,), "ok", 0.1))
        with store.database.reading() as connection:
            used = connection.exec_driver_sql("PRAGMA page_count").scalar()
            # The setting belongs to the connection, which the pool hands out again.
            connection.exec_driver_sql(f"PRAGMA max_page_count = {used}")
        many = [SoftLabel(f"k{n}", (float(n),) * 50, (1,) * 50, "ok", 0.1) for n in range(500)]
        with pytest.raises(StoreUnavailable, match=r"disk is full.*next: free some space"):
            store.labels.add_many(many)
    with Store.open(tmp_path / "recsys.sqlite", tmp_path) as store:
        assert list(store.labels.get(["first", "k0", "k499"])) == ["first"]


@pytest.mark.parametrize("content", [b"not a database at all, but long enough\n" * 40, b"{}"])
def test_a_file_that_is_no_database(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "notes.txt"
    file.write_bytes(content)
    with pytest.raises(StoreUnavailable, match=r"notes\.txt.*is not a database"):
        Store.open(file, tmp_path)
    assert file.read_bytes() == content


def test_a_damaged_database_is_named(tmp_path: Path) -> None:
    file = tmp_path / "recsys.sqlite"
    Store.open(file, tmp_path).close()
    content = bytearray(file.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    file.write_bytes(content)
    with pytest.raises(StoreUnavailable, match="is damaged"):
        Store.open(file, tmp_path).close()


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        Store.open(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (":memory:", "would forget everything"),
        ("sqlite://", "would forget everything"),
        ("nosuchthing://host/db", "no kind of database is called 'nosuchthing'; known are"),
        ("://", "not a database URL"),
    ],
)
def test_urls_that_cannot_be_used(tmp_path: Path, url: str, says: str) -> None:
    with pytest.raises(BadSetting, match=says):
        Store.open(url, tmp_path)


def test_who_only_reads_makes_no_database(tmp_path: Path) -> None:
    file = tmp_path / "typo" / "shop.sqlite"
    with pytest.raises(StoreMissing, match="there is no database") as caught:
        Store.open(file, tmp_path, create=False)
    assert str(file) in caught.value.next_step
    assert not file.parent.exists()
    Store.open(file, tmp_path).close()
    Store.open(file, tmp_path, create=False).close()


def test_whether_the_file_that_was_opened_is_there(tmp_path: Path) -> None:
    file = tmp_path / "ma base?.sqlite"
    with Store.open(file, tmp_path) as store:
        assert store.is_there
        away = file.rename(tmp_path / "away")
        assert not store.is_there
        Store.open(file, tmp_path).close()
        assert not store.is_there, "another file of the same name"
        away.rename(file)
        assert store.is_there


def test_a_driver_that_is_not_installed_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="no driver for") as caught:
        Store.open("mysql://host/db", tmp_path)
    assert "psycopg" not in caught.value.next_step


def test_a_password_is_never_shown(tmp_path: Path) -> None:
    with pytest.raises(BadSetting) as caught:
        Store.open("nosuchthing://ann:secret@host/db", tmp_path)
    assert "secret" not in str(caught.value)


def test_a_name_with_spaces_and_per_cent_signs(tmp_path: Path) -> None:
    file = tmp_path / "100 % of it" / "ma base?.sqlite"
    Store.open(file, tmp_path).close()
    assert file.exists()


def test_rows_by_the_neutral_way_are_the_same(database: Database) -> None:
    """PostgreSQL is not at hand; the code it would run is, on SQLite."""
    with database.writing() as connection:
        connection.execute(
            categories.insert(),
            {c.name: 1 for c in categories.c if c.name not in ("id", "name")}
            | {"id": 1, "name": "Pens"},
        )
        names = ("category_id", "user_number", "item_number", "time", "title", "text")
        first = [dict(zip(names, (1, u, 0, 5, "old", "old"), strict=True)) for u in range(3)]
        insert_batch(connection, reviews, first, newest=False)
        again = [
            dict(zip(names, (1, u, 0, 5, f"n{u}", w), strict=True)) for u in (1, 3, 3) for w in "ab"
        ]
        insert_batch(connection, reviews, again, newest=True)
        query = select(reviews.c.user_number, reviews.c.title, reviews.c.text).order_by(
            reviews.c.user_number
        )
        fast = [tuple(row) for some in plain_rows(connection, query, 3) for row in some]
        assert fast == [tuple(row) for row in connection.execute(query)]
        assert fast == [(0, "old", "old"), (1, "n1", "b"), (2, "old", "old"), (3, "n3", "b")]
