"""Rows a second from a file into SQLite, and the memory they take. Run by make bench.

The file has the size and the shape of a large shop's 5-core ratings: Electronics of Amazon
Reviews 2023 has about ten rows a person. Every import runs in a process of its own, so that
its peak is its own.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.bench

ROWS = 10_000_000
PEOPLE = 1_000_000
ITEMS = 250_000
MEBIBYTE = 1 << 20

IMPORT = """
import resource, sys, time
from pathlib import Path
from recommender.datasets import import_data
from recommender.events import StageDone
from storage.store import Store

folder, path = Path(sys.argv[1]), Path(sys.argv[2])
begun = time.perf_counter()
with Store.open(str(folder / "shop.sqlite"), folder / "artifacts") as store:
    for event in import_data(store, path, category="Shop"):
        if isinstance(event, StageDone):
            print(f"{event.stage}: {event.seconds:.1f} s, {event.summary}")
scale = 1 if sys.platform == "darwin" else 1024
print("new", event.counts.rows_new)
print("seconds", time.perf_counter() - begun)
print("cpu", time.process_time())
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale)
"""


def write_ratings(path: Path, rows: int, *, seed: int = 0) -> Path:
    """Write ratings in the 5-core form, sorted by nothing."""
    rng = np.random.default_rng(seed)
    with path.open("w", encoding="utf-8") as file:
        file.write("user_id,parent_asin,rating,timestamp\n")
        for start in range(0, rows, 1 << 18):
            size = min(1 << 18, rows - start)
            columns = (
                rng.integers(PEOPLE, size=size).tolist(),
                (ITEMS * np.square(rng.random(size))).astype(np.int64).tolist(),
                rng.integers(1, 6, size=size).tolist(),
                (1_500_000_000_000 + rng.integers(10**11, size=size)).tolist(),
            )
            file.writelines(
                f"AE{user:026d},B{item:09d},{stars}.0,{moment}\n"
                for user, item, stars, moment in zip(*columns, strict=True)
            )
    return path


def run_import(folder: Path, path: Path) -> dict[str, float]:
    """Import in a fresh process; return what it measured of itself."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, str(folder), str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    found = re.findall(r"^(new|seconds|cpu|peak) (\S+)$", done.stdout, re.M)
    return {name: float(value) for name, value in found}


def test_ten_million_rows_take_under_600_mb_and_come_at_100_000_a_second(tmp_path: Path) -> None:
    path = write_ratings(tmp_path / "Shop.csv", ROWS)
    first = run_import(tmp_path, path)
    rate = first["new"] / first["seconds"]
    print(f"{rate:,.0f} rows/s, peak {first['peak'] / MEBIBYTE:.0f} MiB")
    again = run_import(tmp_path, path)
    print(f"again: {again['seconds']:.0f} s, peak {again['peak'] / MEBIBYTE:.0f} MiB")
    assert again["new"] == 0
    assert first["peak"] < 600e6
    assert rate > 100_000
