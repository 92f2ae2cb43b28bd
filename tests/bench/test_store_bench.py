"""How fast and how large a big import is, in a process that does nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import json, pathlib, resource, sys, time
import numpy as np
from storage.records import NO_PART, ImportData, ItemRow
from storage.store import Store

folder, count = pathlib.Path(sys.argv[1]), int(sys.argv[2])
people, things = count // 10, count // 40
draw = np.random.default_rng(0)
user = np.repeat(np.arange(people), 10)
data = ImportData(
    [f"A{n:013d}" for n in draw.permutation(people)],
    [ItemRow(f"B{n:09d}", f"A title of the usual length, number {n}") for n in range(things)],
    user,
    draw.integers(0, things, count),
    draw.integers(0, 2**40, count),
    np.full(count, 4.0, dtype=np.float32),
    np.full(count, NO_PART, dtype=np.int8),
)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
arrays = peak()
with Store.open(folder / "recsys.sqlite", folder / "artifacts") as store:
    started = time.perf_counter()
    category = store.catalogue.write(
        "Big", data, source="", synthetic=False, rating_low=1.0, rating_high=5.0, note="",
        digest="d",
    )
    wrote, whole = time.perf_counter() - started, peak()
    del data
    started = time.perf_counter()
    assert np.array_equal(store.catalogue.log(category.id).user, user)
    read = time.perf_counter() - started
print(json.dumps({"arrays": arrays, "peak": whole, "write": count / wrote, "read": count / read}))
"""


@pytest.mark.bench
def test_ten_million_rows(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), "10_000_000"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    print(
        f"10 M rows: {found['write']:,.0f} written/s, {found['read']:,.0f} read/s, peak "
        f"{found['peak']:.0f} MB, of which {found['arrays']:.0f} MB were the data"
    )
    assert found["write"] > 100_000
    assert found["peak"] < 600
