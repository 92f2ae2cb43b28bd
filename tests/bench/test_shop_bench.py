"""A shop of the size of real Electronics, down the whole road but the teacher. By make bench.

370,000 items, 1.6 million people, about 15 million interactions: written as a CSV, imported,
split, a student trained for some steps, evaluated on a sample of people, exported, served.
Every stage runs in one process, so that its peak is the peak of all of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.bench

LIMIT = 8 << 30
PEOPLE = int(os.environ.get("BENCH_PEOPLE", "1600000"))
"""Fewer people make a quick look of it; the items stay."""

ROAD = """
import resource, sys, time
from pathlib import Path
import numpy as np
from distill.data import TrainData
from distill.train import train
from distill.training import TrainConfig, Trained
from recommender.baselines import Popularity
from recommender.datasets import import_data
from recommender.datasets.shop import Shop
from recommender.evaluation import evaluate
from recommender.events import Notice
from recommender.sequential.export import write_student
from recommender.sequential.student import StudentRanker
from recommender.splits import temporal_split
from storage.store import Store

folder, people = Path(sys.argv[1]), int(sys.argv[2])
scale = 1 if sys.platform == "darwin" else 1024

peaks = []

def said(what, begun):
    # A training begins a new peak, so each part's is kept.
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale)
    taken = time.perf_counter() - begun
    print(f"{what}: {taken:.1f} s, peak {peaks[-1] / 1e9:.2f} GB", flush=True)

begun = time.perf_counter()
shop = Shop(people=people)
(folder / "data").mkdir()
with (folder / "data" / "shop.csv").open("w") as file:
    file.write("user,item,rating,time\\n")
    for chunk in shop.chunks():
        rows = zip(chunk.users, chunk.items, chunk.rating.tolist(), chunk.time.tolist())
        file.writelines(f"{u},{i},{r},{t}\\n" for u, i, r, t in rows)
with (folder / "data" / "items.csv").open("w") as file:
    file.write("item,title\\n")
    file.writelines(f"{row.id},{row.title}\\n" for row in shop.item_rows())
said("made", begun)

begun = time.perf_counter()
columns = {"user": "user", "item": "item", "rating": "rating", "time": "time", "title": "title"}
with Store.open(str(folder / "shop.sqlite"), folder / "artifacts") as store:
    *_, done = import_data(store, folder / "data" / "shop.csv", category="Shop", format="table",
                           columns=columns, items=folder / "data" / "items.csv")
    said(f"imported {done.counts.rows_new:,} rows", begun)
    begun = time.perf_counter()
    log = store.catalogue.log(done.category.id)
    split = temporal_split(log)
    said("read and split", begun)

begun = time.perf_counter()
data = TrainData.from_split(split, most_valid=1000)
config = TrainConfig(start="free", epochs=1, epoch_steps=30)
for event in train(config, data):
    if isinstance(event, Notice):
        print(event.text)
assert isinstance(event, Trained)
said("30 steps and a validation", begun)

begun = time.perf_counter()
write_student(folder, event.weights, config.network, data.popularity(), {})
student = StudentRanker.open(folder)
for ranker in (student, Popularity.fit(split.train_sequences()[0], log.items)):
    evaluate(ranker, split, "test", max_people=500)
said("exported and evaluated on 500 people", begun)

times = []
for user in range(30):
    begun = time.perf_counter()
    student.rank(log.item[split.starts[user] : split.starts[user + 1]], n=10)
    times.append(time.perf_counter() - begun)
print(f"an answer from {log.items:,} items: p50 {1000 * np.median(times):.1f} ms")
print("peak", max(peaks))
"""


def test_a_shop_of_real_size(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ROAD, str(tmp_path), str(PEOPLE)],
        capture_output=True,
        text=True,
        timeout=3600,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.rsplit("peak ", 1)[1]) < LIMIT
