"""The schema: described once, reached by migrations, and the same either way."""

from __future__ import annotations

import math
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

import storage.migrations
from storage import sqlite
from storage.errors import StoreUnavailable
from storage.migrations import HEAD, KNOWN, VERSION_TABLE
from storage.migrations.upgrade import upgrade
from storage.records import LabelRequest, LayerProfile, LayerValues, SoftLabel
from storage.store import Store
from storage.tables import metadata


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path / 'plain.sqlite'}")
    sqlite.prepare(engine, busy_seconds=1)
    yield engine
    engine.dispose()


def migrate(engine: Engine, revision: str) -> None:
    with engine.connect() as connection, connection.begin():
        upgrade(connection, revision)


def go_back(engine: Engine, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(storage.migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    with engine.connect() as connection, connection.begin():
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def layout(engine: Engine) -> dict[str, str]:
    """Table and index -> the statement that made it, white space and column order aside."""
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE sql NOT NULL")
        return {name: " ".join(sorted(sql.replace("\n", " ").split())) for name, sql in rows}


def test_models_are_what_the_migrations_make(engine: Engine) -> None:
    migrate(engine, HEAD)
    with engine.connect() as connection:
        options = {"compare_type": True, "version_table": VERSION_TABLE}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []


def test_defaults_names_of_constraints_and_layout_agree_too(engine: Engine, tmp_path: Path) -> None:
    migrate(engine, HEAD)
    other = create_engine(f"sqlite:///{tmp_path / 'models.sqlite'}")
    metadata.create_all(other)
    migrated, made = inspect(engine), inspect(other)
    for table in metadata.tables:
        for what in ("get_columns", "get_foreign_keys", "get_unique_constraints", "get_indexes"):
            found = getattr(migrated, what)(table)
            wanted = getattr(made, what)(table)
            assert sorted(map(str, found)) == sorted(map(str, wanted)), (table, what)
        assert migrated.get_pk_constraint(table) == made.get_pk_constraint(table)
    for name, statement in layout(other).items():
        assert ("ROWID" in statement) == ("ROWID" in layout(engine)[name]), name
    other.dispose()


def test_known_revisions_are_the_files() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(storage.migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    scripts = list(ScriptDirectory.from_config(config).walk_revisions())
    assert tuple(script.revision for script in reversed(scripts)) == KNOWN


def test_a_populated_older_schema_is_migrated(engine: Engine, tmp_path: Path) -> None:
    migrate(engine, "0001")
    with engine.connect() as connection, connection.begin():
        for statement in (
            "INSERT INTO categories VALUES (1,'Pens','x',0,1.0,5.0,1,1,1,0,'2026','d','')",
            "INSERT INTO users VALUES (1,0,'ann')",
            "INSERT INTO items VALUES (1,0,'p1','Pen','','','','')",
            "INSERT INTO interactions VALUES (1,0,0,0,NULL,4.0,NULL)",
            "INSERT INTO runs (id,category_id,kind,name,seed,config,status,created_at,artifact,"
            "selection) VALUES ('r1',1,'student','distilled',7,'{\"a\":1}','done','2026','k',0.5)",
            "INSERT INTO measurements (run,scope,metric,value,low,high,n,people)"
            " VALUES ('r1','test/full','ndcg@10',0.5,0.4,0.6,9,3)",
        ):
            connection.exec_driver_sql(statement)
    engine.dispose()
    with Store.open(tmp_path / "plain.sqlite", tmp_path / "artifacts") as store:
        category = store.catalogue.category("Pens")
        assert store.catalogue.log(category.id).rating.tolist() == [4.0]
        run = store.runs.get("r1")
        assert (run.final, run.config, run.selection) == (False, {"a": 1}, 0.5)
        (figure,) = store.runs.measurements("r1")
        assert (figure.artifact, figure.value, figure.people) == ("", 0.5, 3)
        assert store.schema_version == HEAD


def populate_0002(engine: Engine) -> None:
    migrate(engine, "0002")
    with engine.connect() as connection, connection.begin():
        for statement in (
            "INSERT INTO categories VALUES (1,'Pens','x',0,1.0,5.0,1,2,1,0,'2026','d','')",
            "INSERT INTO label_requests VALUES"
            " (1,0,'k0','train',0,3,'[1]','[0,1]',1,'smol','likelihood'),"
            " (1,1,'k1','gate',0,-1,'[1]','[0,1]',-1,'smol','letters')",
            "INSERT INTO soft_labels VALUES ('k0','[-1.5,-Infinity]','[2,3]','ok',0.5,'{\"a\":1}')",
        ):
            connection.exec_driver_sql(statement)


def test_questions_and_answers_of_the_older_schema_are_migrated(
    engine: Engine, tmp_path: Path
) -> None:
    populate_0002(engine)
    engine.dispose()
    with Store.open(tmp_path / "plain.sqlite", tmp_path / "artifacts") as store:
        first = LabelRequest("k0", 1, "train", 0, 3, (1,), (0, 1), 1, "smol", "likelihood")
        second = LabelRequest("k1", 1, "gate", 0, -1, (1,), (0, 1), -1, "smol", "letters")
        assert store.labels.requests(1) == [first, second]
        assert (first.template, first.shift) == ("", 0)
        assert store.labels.pending(1) == [second]
        answer = SoftLabel("k0", (-1.5, -math.inf), (2, 3), "ok", 0.5, {"a": 1})
        assert store.labels.get(["k0", "k1"]) == {"k0": answer}
        assert store.labels.failures(["k0", "k1"]) == {}
        third = replace(second, key="k2", template="7/books", shift=1)
        store.labels.add_requests([first, third])
        assert store.labels.requests(1) == [first, second, third]


def test_the_label_store_can_go_back_and_forth(engine: Engine) -> None:
    populate_0002(engine)
    before = layout(engine)
    migrate(engine, "0003")
    assert {"label_failures", "noise_floors"} <= layout(engine).keys()
    go_back(engine, "0002")
    assert layout(engine) == before
    with engine.connect() as connection:
        kept = connection.exec_driver_sql("SELECT key, method FROM label_requests").all()
    assert [tuple(row) for row in kept] == [("k0", "likelihood"), ("k1", "letters")]


def populate_0003(engine: Engine) -> None:
    migrate(engine, "0003")
    with engine.connect() as connection, connection.begin():
        for statement in (
            "INSERT INTO categories VALUES (1,'Pens','x',0,1.0,5.0,1,2,1,0,'2026','d','')",
            "INSERT INTO layer_profiles VALUES"
            " ('p9',1,'smol','fisher',40,'[0.1,0.2]','[0.0,0.1]','[0.2,0.3]','a,b','{\"t\":2.5}'),"
            " ('p8',1,'smol','fisher',41,'[0.1]','[0.0]','[0.2]','c','{}')",
        ):
            connection.exec_driver_sql(statement)


def test_profiles_of_the_older_schema_are_kept_and_come_first(
    engine: Engine, tmp_path: Path
) -> None:
    populate_0003(engine)
    engine.dispose()
    with Store.open(tmp_path / "plain.sqlite", tmp_path / "artifacts") as store:
        old = LayerProfile(
            "p9", 1, "smol", "fisher", 40, (0.1, 0.2), (0.0, 0.1), (0.2, 0.3), "a,b", {"t": 2.5}
        )
        assert store.runs.profile("p9") == old
        assert len(store.runs.profiles(1)) == 2
        assert store.runs.latest_profile(1, "fisher") == old  # by key, where no time is known
        new = replace(old, key="p0", requests=7)
        store.runs.add_profile(new)
        assert store.runs.latest_profile(1, "fisher") == new
        store.layers.add(LayerValues("k", "r", "fisher", {"loss": np.array(0.5)}, 0.1))
        assert store.layers.get(["k"])["k"].arrays["loss"] == 0.5


def test_the_layer_values_can_go_back_and_forth(engine: Engine) -> None:
    populate_0003(engine)
    before = layout(engine)
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM layer_profiles").all()
    migrate(engine, "0004")
    assert {"layer_values", "ix_layer_values_measure"} <= layout(engine).keys()
    go_back(engine, "0003")
    assert layout(engine) == before
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT * FROM layer_profiles").all() == rows


def populate_0004(engine: Engine) -> None:
    migrate(engine, "0004")
    with engine.connect() as connection, connection.begin():
        for statement in (
            "INSERT INTO categories VALUES (1,'Pens','x',0,1.0,5.0,1,1,1,0,'2026','d','')",
            "INSERT INTO users VALUES (1,0,'ann')",
            "INSERT INTO items VALUES (1,0,'p1','Pen','','','','')",
            "INSERT INTO interactions VALUES (1,0,0,0,7,4.0,NULL)",
        ):
            connection.exec_driver_sql(statement)


def test_a_shop_of_the_older_schema_takes_opinions(engine: Engine, tmp_path: Path) -> None:
    populate_0004(engine)
    engine.dispose()
    with Store.open(tmp_path / "plain.sqlite", tmp_path / "artifacts") as store:
        category = store.catalogue.category("Pens")
        assert store.feedback.count(category.id) == 0
        store.feedback.set(category.id, "ann", 0, 1)
        assert store.feedback.of(category.id, "ann") == {0: 1}
        assert store.browsing.moment(category, 0.9) == 7
        assert [event.item.title for event in store.browsing.timeline(category.id, 0)] == ["Pen"]


def test_opinions_can_go_back_and_forth(engine: Engine) -> None:
    populate_0004(engine)
    before = layout(engine)
    migrate(engine, "0005")
    assert {"feedback", "moments", "ix_moments_category_id"} <= layout(engine).keys()
    go_back(engine, "0004")
    assert layout(engine) == before


def test_a_migration_that_fails_leaves_the_older_schema(engine: Engine, tmp_path: Path) -> None:
    migrate(engine, "0001")
    with engine.connect() as connection, connection.begin():
        # The second change of 0002 will find its column there already; the first must go back.
        connection.exec_driver_sql("ALTER TABLE measurements ADD COLUMN artifact VARCHAR")
    before = layout(engine)
    with pytest.raises(Exception, match="duplicate column"):
        Store.open(tmp_path / "plain.sqlite", tmp_path)
    assert layout(engine) == before


def test_a_newer_schema_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "recsys.sqlite"
    Store.open(file, tmp_path).close()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
        connection.commit()
    with pytest.raises(StoreUnavailable, match=r"newer recsys.*'9999'.*install the newer"):
        Store.open(file, tmp_path)


def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
        connection.commit()
    with pytest.raises(StoreUnavailable, match="another program"):
        Store.open(file, tmp_path)
    with closing(sqlite3.connect(file)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master")]
    assert names == ["bookmarks"]


def test_every_table_can_be_made_on_postgresql() -> None:
    dialect = postgresql.dialect()
    for table in metadata.sorted_tables:
        statement = str(CreateTable(table).compile(dialect=dialect))
        assert "ROWID" not in statement
        assert len(max((c.name for c in table.constraints if c.name), key=len)) <= 63
        for index in table.indexes:
            assert str(CreateIndex(index).compile(dialect=dialect)).startswith("CREATE INDEX")
    ids = str(CreateTable(metadata.tables["users"]).compile(dialect=dialect))
    assert 'user_id VARCHAR COLLATE "C"' in ids


def test_opening_what_is_up_to_date_needs_no_alembic(tmp_path: Path) -> None:
    Store.open(tmp_path / "recsys.sqlite", tmp_path).close()
    program = (
        "import sys, pathlib; from storage.store import Store\n"
        f"Store.open({str(tmp_path / 'recsys.sqlite')!r}, pathlib.Path('.')).close()\n"
        "print('alembic' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_two_processes_may_make_the_same_database(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from storage.store import Store\n"
        f"Store.open({str(tmp_path / 'new' / 'recsys.sqlite')!r}, pathlib.Path('.')).close()"
    )
    both = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(2)]
    assert [process.wait(timeout=60) for process in both] == [0, 0]
    with Store.open(tmp_path / "new" / "recsys.sqlite", tmp_path) as store:
        assert store.catalogue.categories() == []
