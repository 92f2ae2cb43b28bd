"""How fast a student answers, and that it can be trained in a shop's size. Run by make bench.

Times are of one otherwise idle core; on a busy machine they mean little.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from recommender.sequential.shape import NetworkConfig
from recommender.sequential.student import StudentRanker

pytestmark = pytest.mark.bench

SHOP = """
import resource, sys, time
from pathlib import Path
import numpy as np
from distill.data import TrainData
from distill.train import train
from distill.training import StepDone, TrainConfig, Trained
from recommender.events import Notice
from recommender.sequential.export import write_student
from recommender.sequential.student import StudentRanker

items, people, steps = 370_000, 1_600_000, 40
rng = np.random.default_rng(0)
lengths = rng.integers(5, 15, people)
offsets = np.concatenate([[0], lengths.cumsum()])
log = np.minimum(rng.zipf(1.3, offsets[-1]) - 1, items - 1).astype(np.int64)
text = rng.normal(size=(items, 384)).astype(np.float32)
valid = [rng.integers(0, items // 2, 8) for _ in range(2_000)]
targets = rng.integers(items // 2, items, 2_000)
data = TrainData(items, log, offsets, valid, targets, text)
config = TrainConfig(epochs=2, epoch_steps=steps // 2)
begun, first = time.perf_counter(), None
for event in train(config, data, checkpoint=Path(sys.argv[1]) / "checkpoint"):
    if isinstance(event, Notice):
        print(event.text)
    if isinstance(event, StepDone):
        first = first or time.perf_counter()
assert isinstance(event, Trained)
spent = time.perf_counter() - first
print(f"start {first - begun:.1f} s; {steps} steps, 2 validations, 2 checkpoints {spent:.1f} s")
write_student(Path(sys.argv[1]), event.weights, config.network, data.popularity(), {})
student, times = StudentRanker.open(sys.argv[1]), []
for _ in range(30):
    begun = time.perf_counter()
    student.rank(rng.integers(0, items, 10), n=10)
    times.append(time.perf_counter() - begun)
print(f"answer of {items:,} items: p50 {1000 * np.median(times):.1f} ms")
scale = 1 if sys.platform == "darwin" else 1024
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale)
"""


def test_an_answer_takes_under_two_milliseconds_for_3500_items(tmp_path: Path) -> None:
    from recommender.sequential.export import write_student  # torch: not for the whole module
    from recommender.sequential.sasrec import SASRec

    config, items = NetworkConfig(), 3500
    weights = {
        name: tensor.numpy() for name, tensor in SASRec(items, config, seed=0).state_dict().items()
    }
    write_student(tmp_path, weights, config, np.ones(items, np.int64), {})
    student = StudentRanker.open(tmp_path)
    rng = np.random.default_rng(0)
    for length in (1, 10, 50):
        history, times = rng.integers(0, items, length), []
        for _ in range(300):
            begun = time.perf_counter()
            student.rank(history, n=10)
            times.append(1000 * (time.perf_counter() - begun))
        p50, p95 = np.percentile(times, [50, 95])
        print(f"history of {length}: p50 {p50:.3f} ms, p95 {p95:.3f} ms")
        assert p50 < 2


def test_a_shop_of_370_000_items_and_1_600_000_people_trains_under_8_gb(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHOP, str(tmp_path)], capture_output=True, text=True, check=True
    )
    print(done.stdout)
    assert "sampled items" in done.stdout
    assert int(done.stdout.split()[-1]) < 8e9
