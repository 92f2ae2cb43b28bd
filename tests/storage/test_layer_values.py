"""What requests gave when they were measured: exact, kept once, and safe from a kill."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, create_engine, select, update
from sqlalchemy.dialects import postgresql

from storage.errors import ArtifactDamaged
from storage.layer_values import Layers, array_bytes, bytes_arrays
from storage.records import LayerValues
from storage.store import Store
from storage.tables import layer_values

DAMAGED = r"'fisher' measured of request 'r1' is damaged.*'k1'.*next: recsys doctor --repair"


def values(number: int, **arrays: Any) -> LayerValues:
    made = arrays or {"layers": np.arange(3.0) + number}
    return LayerValues(f"k{number}", f"r{number}", "fisher", made, 0.25)


def same(found: LayerValues, wanted: LayerValues) -> bool:
    """Say whether two are equal to the bit: names, types, shapes, bytes, and all the rest."""
    assert (found.key, found.request, found.measure) == (wanted.key, wanted.request, wanted.measure)
    assert found.seconds == wanted.seconds
    assert list(found.arrays) == sorted(wanted.arrays)
    for name, array in wanted.arrays.items():
        got = found.arrays[name]
        assert (got.dtype, got.shape) == (array.dtype, array.shape), name
        assert got.tobytes() == array.tobytes(), name
    return True


def blob(store: Store, key: str, content: bytes) -> None:
    """Put other bytes into a row, past everything that would refuse them."""
    with store.database.writing() as connection:
        table = layer_values
        connection.execute(update(table).where(table.c.key == key).values(arrays=content))


SHAPES = [(), (0,), (1,), (7,), (0, 3), (3, 0, 2), (2, 3), (2, 3, 4), (1, 1, 1, 1, 5)]


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_every_type_and_shape_comes_back(store: Store, dtype: Any) -> None:
    draw = np.random.default_rng(0)
    wanted = values(
        1, **{str(s): np.asarray(draw.normal(size=s) * 9).astype(dtype) for s in SHAPES}
    )
    store.layers.add(wanted)
    assert same(store.layers.get(["k1"])["k1"], wanted)


def test_types_live_side_by_side_to_the_last_bit(store: Store) -> None:
    wanted = values(
        1,
        loss=np.array(0.1 + 0.2),
        odd=np.array([np.nan, np.inf, -np.inf, -0.0, 5e-324, 1 / 3]),
        single=np.array([1 / 3, np.nan], dtype=np.float32),
        counts=np.array([np.iinfo(np.int64).min, np.iinfo(np.int64).max]),
        **{"": np.ones(1), "layer.0/żółw 🐢": np.zeros(2)},
    )
    store.layers.add(wanted)
    assert same(store.layers.get(["k1"])["k1"], wanted)
    nothing = LayerValues("k2", "r2", "fisher", {}, 0.0)
    store.layers.add(nothing)
    assert same(store.layers.get(["k2"])["k2"], nothing)


def test_what_does_not_lie_row_by_row_comes_back_as_it_reads(store: Store) -> None:
    square = np.arange(12.0).reshape(3, 4)
    views = {"turned": square.T, "columns": np.asfortranarray(square), "steps": square[::-1, ::2]}
    store.layers.add(values(1, **views))
    found = store.layers.get(["k1"])["k1"].arrays
    assert {name: array.tolist() for name, array in found.items()} == {
        name: array.tolist() for name, array in views.items()
    }


def test_what_comes_back_is_the_callers_own(store: Store) -> None:
    store.layers.add(values(1))
    first = store.layers.get(["k1"])["k1"].arrays["layers"]
    first += 1
    assert store.layers.get(["k1"])["k1"].arrays["layers"].tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    "array",
    [
        np.ones(2, dtype=np.float16),
        np.ones(2, dtype=np.int32),
        np.ones(2, dtype=bool),
        np.ones(2, dtype=np.complex128),
        np.ones(2, dtype=">f8"),
        np.array(["a"]),
        np.array([None]),
    ],
    ids=lambda array: array.dtype.str,
)
def test_another_type_is_refused(store: Store, array: Any) -> None:
    with pytest.raises(ValueError, match=r"array 'wrong' is of .*float64, float32 and int64"):
        store.layers.add(values(1, right=np.ones(1), wrong=array))
    assert store.layers.get(["k1"]) == {}


def test_the_name_the_format_reserves_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="'__metadata__'"):
        store.layers.add(values(1, __metadata__=np.ones(1)))
    assert store.layers.count("fisher") == 0


def test_the_first_one_stays(store: Store) -> None:
    store.layers.add(values(1))
    store.layers.add(LayerValues("k1", "another", "other", {"layers": np.zeros(1)}, 9.0))
    assert same(store.layers.get(["k1", "absent", "k1"])["k1"], values(1))
    assert store.layers.get(["absent"]) == store.layers.get([]) == {}


def test_rows_are_counted_by_measure(store: Store) -> None:
    for n in range(3):
        store.layers.add(values(n))
    store.layers.add(LayerValues("ghost", "r0", "ghost", {}, 0.0))
    assert [store.layers.count(name) for name in ("fisher", "ghost", "none")] == [3, 1, 0]


def test_seconds_of_numpy_are_taken_and_the_moment_is_kept(store: Store) -> None:
    moment = datetime(2026, 11, 23, 10, 30, 5, 999, tzinfo=UTC)
    layers = Layers(store.database, now=lambda: moment)
    layers.add(LayerValues("k1", "r1", "fisher", {}, np.float32(0.5)))  # type: ignore[arg-type]
    assert layers.get(["k1"])["k1"].seconds == 0.5
    with store.database.reading() as connection:
        made = connection.execute(select(layer_values.c.made_at)).scalars().all()
    assert made == ["2026-11-23T10:30:05+00:00"]


def test_more_keys_than_one_statement_takes(store: Store) -> None:
    """Every third key is there: among them those beside the borders of the slices."""
    rows = [(f"k{n}", array_bytes({"n": np.array(n)})) for n in range(0, 20_000, 3)]
    with store.database.writing() as connection:
        store.database.insert_rows(
            connection,
            layer_values,
            ["key", "arrays", "request", "measure", "seconds", "made_at"],
            [(*row, "r", "fisher", 0.0, "") for row in rows],
        )
    found = store.layers.get([f"k{n}" for n in range(20_000)])
    assert {key: int(one.arrays["n"]) for key, one in found.items()} == {
        f"k{n}": n for n in range(0, 20_000, 3)
    }
    store.layers.remove([f"k{n}" for n in range(1, 20_000)])
    assert list(store.layers.get([f"k{n}" for n in range(20_000)])) == ["k0"]


def unknown_type() -> bytes:
    """Return a well-formed file, written out by hand, of a type that NumPy does not have."""
    head = b'{"layers":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}    '
    return len(head).to_bytes(8, "little") + head + bytes(4)


GOOD = array_bytes({"layers": np.arange(3.0)})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no arrays",
        GOOD[:-1],
        GOOD + b"\0",
        GOOD[:20],
        b"\xff" * 8 + GOOD[8:],
        GOOD.replace(b"[3]", b"[4]"),
        GOOD.replace(b"layers", b"\xff\xfeyers"),
        GOOD.replace(b"F64", b"U64"),
        unknown_type(),
    ],
    ids=[
        "empty", "text", "cut", "longer", "only the head", "length", "shape", "name",
        "type never written", "type unknown to NumPy",
    ],
)  # fmt: skip
def test_damage_is_a_sentence_and_can_be_mended(store: Store, content: bytes) -> None:
    for n in range(3):
        store.layers.add(values(n))
    assert content != GOOD
    assert store.layers.damaged() == []
    blob(store, "k1", content)
    with pytest.raises(ArtifactDamaged, match=DAMAGED):
        store.layers.get(["k0", "k1", "k2"])
    assert store.layers.get(["k0", "k2"]).keys() == {"k0", "k2"}
    assert store.layers.damaged() == ["k1"]
    store.layers.remove(store.layers.damaged())
    store.layers.add(values(1))
    assert same(store.layers.get(["k0", "k1", "k2"])["k1"], values(1))


def test_no_damaged_byte_is_a_traceback() -> None:
    """Any byte of the head replaced by any other: arrays of our types come out, or ValueError."""
    good = array_bytes({"a": np.ones(2), "b": np.array(1), "c": np.ones(1, dtype=np.float32)})
    head = 8 + int.from_bytes(good[:8], "little")
    refused = 0
    for place in range(head):
        for byte in range(0, 256, 5):
            content = good[:place] + bytes([byte]) + good[place + 1 :]
            try:
                found = bytes_arrays(content)
            except ValueError:
                refused += 1
            else:
                assert {array.dtype.kind for array in found.values()} <= {"f", "i"}
    assert refused > 0.9 * head * 51


def test_postgresql_is_asked_the_same() -> None:
    """No column is a reserved word, and the arrays are bytes."""
    table = layer_values
    text = str(select(table).where(table.c.key.in_(["k"])).compile(dialect=postgresql.dialect()))
    assert '"' not in text
    kind = table.c["arrays"].type.compile(dialect=postgresql.dialect())
    assert kind == "BYTEA"


def test_a_measure_is_looked_up_by_its_index(tmp_path: Path) -> None:
    Store.open(tmp_path / "recsys.sqlite", tmp_path).close()
    engine: Engine = create_engine(f"sqlite:///{tmp_path / 'recsys.sqlite'}")
    with engine.connect() as connection:
        plan = connection.exec_driver_sql(
            "EXPLAIN QUERY PLAN SELECT count(*) FROM layer_values WHERE measure = 'fisher'"
        )
        assert "ix_layer_values_measure" in str(plan.all())
    engine.dispose()


ADD = """
import pathlib, sys, time
import numpy as np
from storage.records import LayerValues
from storage.store import Store

def values(n):
    return LayerValues(f"k{n}", f"r{n}", "fisher", {"layers": np.arange(3.0) + n}, 0.25)

store = Store.open(sys.argv[1], pathlib.Path("."))
while time.time() < float(sys.argv[2]):
    pass
"""
"""Begins a program that adds values to the Store it is told of, at the moment it is told."""


def test_two_processes_add_the_same_requests(tmp_path: Path) -> None:
    """In opposite orders: each is there once, and nobody fails."""
    file = tmp_path / "recsys.sqlite"
    Store.open(file, tmp_path).close()
    program = f"{ADD}\nfor n in range(200)[:: int(sys.argv[3])]:\n    store.layers.add(values(n))"
    start = str(time.time() + 2)
    both = [
        subprocess.Popen([sys.executable, "-c", program, str(file), start, way])
        for way in ("1", "-1")
    ]
    assert [process.wait(timeout=60) for process in both] == [0, 0]
    with Store.open(file, tmp_path) as store:
        assert store.layers.count("fisher") == 200
        found = store.layers.get([f"k{n}" for n in range(200)])
        assert all(same(found[f"k{n}"], values(n)) for n in range(200))


@pytest.mark.parametrize("seed", range(3))
def test_a_kill_loses_at_most_the_request_under_way(tmp_path: Path, seed: int) -> None:
    program = (
        f"{ADD}\n"
        "for n in range(1_000_000):\n"
        "    store.layers.add(values(n))\n"
        "    print(n, flush=True)"
    )
    file = tmp_path / "recsys.sqlite"
    said: list[int] = []
    with subprocess.Popen(
        [sys.executable, "-c", program, str(file), "0"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        said.append(int(process.stdout.readline()))
        time.sleep(random.Random(seed).uniform(0.0, 0.2))
        process.send_signal(signal.SIGKILL)
        # A line that was cut by the kill has no end, and acknowledged nothing.
        said += [int(line) for line in process.stdout if line.endswith("\n")]
    assert process.returncode == -signal.SIGKILL
    with Store.open(file, tmp_path) as store:
        kept = store.layers.count("fisher")
        assert len(said) <= kept <= len(said) + 1  # one may be kept and not said any more
        assert store.layers.damaged() == []
        # The next run measures what is not there, and nothing else.
        wanted = [f"k{n}" for n in range(kept + 5)]
        found = store.layers.get(wanted)
        assert list(range(kept)) == sorted(int(key[1:]) for key in found)
        for n in range(kept, kept + 5):
            store.layers.add(values(n))
        found = store.layers.get(wanted)
        assert all(same(found[f"k{n}"], values(n)) for n in range(kept + 5))
