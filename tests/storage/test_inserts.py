"""Inserting what is not there yet: once, the first of several, on any kind of database."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection, select
from sqlalchemy.dialects import mysql, postgresql

from storage.inserts import _careful, insert_missing, look_first
from storage.store import Store
from storage.tables import soft_labels, unconditional_scores


def label(key: str, status: str) -> dict[str, Any]:
    plain = {"scores": [], "tokens": [], "seconds": 0.0, "details": {}}
    return plain | {"key": key, "status": status}


def kept(connection: Connection) -> dict[str, str]:
    rows = connection.execute(select(soft_labels.c.key, soft_labels.c.status))
    return {row.key: row.status for row in rows}


@pytest.mark.parametrize("dialect", ["sqlite", "another"])
def test_what_is_there_stays_and_the_first_counts(
    store: Store, monkeypatch: pytest.MonkeyPatch, dialect: str
) -> None:
    """Databases that have to look first are not at hand; the code they would run is."""
    with store.database.writing() as connection:
        monkeypatch.setattr(connection.dialect, "name", dialect)
        assert insert_missing(connection, soft_labels, [label("b", "old")]) == {("b",)}
        rows = [label(key, status) for key, status in ("c1", "a1", "b1", "a2")]
        assert insert_missing(connection, soft_labels, rows) == {("a",), ("c",)}
        assert insert_missing(connection, soft_labels, rows) == set()
        assert insert_missing(connection, soft_labels, []) == set()
        assert kept(connection) == {"a": "1", "b": "old", "c": "1"}


def test_keys_of_several_columns(store: Store) -> None:
    row = {"category_id": 1, "teacher": "smol", "item_number": 0, "logprob": -1.0, "tokens": 2}
    others = [row | {"item_number": 1}, row | {"teacher": "big"}, row | {"logprob": -9.0}]
    with store.database.writing() as connection:
        connection.exec_driver_sql(
            "INSERT INTO categories VALUES (1,'Pens','x',0,1.0,5.0,1,2,1,0,'2026','d','')"
        )
        insert_missing(connection, unconditional_scores, [row])
        added = insert_missing(connection, unconditional_scores, others)
        assert added == {(1, "smol", 1), (1, "big", 0)}


def test_more_rows_than_one_statement_takes(store: Store) -> None:
    rows = [label(f"k{n}", "ok") for n in range(12_000)]
    with store.database.writing() as connection:
        insert_missing(connection, soft_labels, rows[::2])
        assert len(insert_missing(connection, soft_labels, rows)) == 6_000
        assert len(kept(connection)) == 12_000


def test_an_error_that_is_not_about_the_key_is_one(store: Store) -> None:
    with pytest.raises(Exception, match="NOT NULL"), store.database.writing() as connection:
        insert_missing(connection, soft_labels, [label("a", "ok") | {"seconds": None}])


def test_postgresql_is_told_the_same() -> None:
    statement = _careful("postgresql", soft_labels)
    assert statement is not None
    text = str(statement.compile(dialect=postgresql.dialect()))
    assert text.endswith("ON CONFLICT (key) DO NOTHING")
    assert _careful(mysql.dialect().name, soft_labels) is None


def test_looking_first_needs_no_statement_of_its_own(store: Store) -> None:
    with store.database.writing() as connection:
        rows = {(key,): label(key, "ok") for key in "ab"}
        assert look_first(connection, soft_labels, rows) == {("a",), ("b",)}
        assert look_first(connection, soft_labels, rows) == set()
