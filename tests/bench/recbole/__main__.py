"""Times our SASRec and RecBole's on MovieLens-100K: `python -m tests.bench.recbole`.

The same log, leave-last-out split, sizes, loss, learning rate, targets a step and threads, and
one measure for both: NDCG@10 on validation over the full catalogue, histories masked. RecBole is
installed into an environment of its own that is thrown away. It trains every prefix of a history
as its own row, we a whole history at once; that is what is compared.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from distill.data import TrainData
from distill.train import train
from distill.training import Evaluated, TrainConfig
from recommender.config import resolve
from recommender.splits import leave_last_out
from storage.records import Log
from storage.store import Store

CATEGORY = "movielens-100k"
NEEDED = ("recbole==1.2.1", "numpy<2", "pandas<2.3", "scipy<1.14")
NAME = "log"
TIMES = 20
"""How many times faster we should be."""
ROWS = 2048
"""Targets a step: rows of RecBole's, which has one target in each, as it has them by default."""


@dataclass(frozen=True, slots=True)
class Point:
    """One epoch: when it was done, and how good it was."""

    epoch: int
    seconds: float
    ndcg: float


def best(points: list[Point]) -> Point:
    """The first of the best epochs."""
    return max(points, key=lambda point: (point.ndcg, -point.epoch))


def reaching(points: list[Point], ndcg: float) -> Point | None:
    """The first epoch that is as good as that, if any."""
    return next((point for point in points if point.ndcg >= ndcg), None)


def ours(data: TrainData, config: TrainConfig) -> list[Point]:
    """Train; validation is ours, so its time counts."""
    points, begun = [], time.perf_counter()
    for event in train(config, data):
        if isinstance(event, Evaluated):
            points.append(Point(event.epoch, time.perf_counter() - begun, event.score))
    return points


def written(folder: Path, log: Log, data: TrainData, config: TrainConfig, threads: int) -> None:
    """Write what RecBole's side reads: its atomic file, our validation requests, the sizes."""
    place = folder / NAME
    place.mkdir()
    # The order of a person's events, not their time: equal times are then in one order for both.
    begin = np.searchsorted(log.user, np.arange(log.people))
    order = np.arange(len(log.user)) - begin[log.user]
    rows = ["user_id:token\titem_id:token\ttimestamp:float"]
    rows += [f"{u}\t{i}\t{t}" for u, i, t in zip(log.user, log.item, order, strict=True)]
    (place / f"{NAME}.inter").write_text("\n".join(rows) + "\n")
    assert data.valid_targets is not None
    requests = {
        "histories": [history.tolist() for history in data.valid_histories],
        "targets": data.valid_targets.tolist(),
    }
    (folder / "requests.json").write_text(json.dumps(requests))
    network = config.network
    shape = {
        "max_len": network.max_len,
        "blocks": network.blocks,
        "heads": network.heads,
        "width": network.width,
        "inner": network.inner * network.width,
        "dropout": network.dropout,
        "learning_rate": config.learning_rate,
        "rows": ROWS,
        "epochs": 300,
        "patience": config.patience,
        "seed": config.seed,
        "threads": threads,
    }
    (folder / "shape.json").write_text(json.dumps(shape))


def installed(folder: Path) -> Path:
    """Make the environment; return its Python."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    # Two steps: torch first and alone, else an index may bring one with CUDA.
    subprocess.run([*pip, f"torch=={torch.__version__.partition('+')[0]}"], check=True)
    subprocess.run([*pip, *NEEDED], check=True)
    return python


def theirs(python: Path, folder: Path, seconds: float, threads: int) -> Iterator[Point]:
    """Train RecBole's SASRec until the time is over, or it stops by itself."""
    side = Path(__file__).parent / "theirs.py"
    command = [str(python), "-W", "ignore", str(side), str(folder), str(seconds)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    environment.pop("PYTHONPATH", None)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=folder, env=environment
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                said = json.loads(line)
                yield Point(said["epoch"], said["seconds"], said["ndcg"])
    if process.returncode:
        sys.exit(f"error: RecBole ended with {process.returncode}")


def table(own: list[Point], other: list[Point]) -> str:
    """What is printed, as Markdown."""
    lines = [
        "| | epochs | until its best validation | NDCG@10 there |",
        "|---|---|---|---|",
    ]
    for name, points in (("`recsys`", own), ("RecBole 1.2.1", other)):
        top = best(points)
        lines.append(f"| {name} | {len(points)} | {top.seconds:,.1f} s | {top.ndcg:.4f} |")
    aim = best(other)
    ours_there = reaching(own, aim.ndcg)
    if ours_there is None:
        lines += ["", f"We never reach its best validation NDCG@10, {aim.ndcg:.4f}."]
    else:
        times = aim.seconds / ours_there.seconds
        met = "met" if times >= TIMES else "missed"
        lines += [
            "",
            f"Its best, {aim.ndcg:.4f}, we reach after {ours_there.seconds:.1f} s, "
            f"{times:.0f} times faster (asked: {TIMES}, {met}).",
        ]
    return "\n".join(lines)


def main() -> None:
    """Time both and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=45.0, help="for RecBole, at most")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="of both")
    parser.add_argument("--python", type=Path, help="of an environment that has RecBole already")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    settings = resolve().settings
    with Store.open(settings.db, settings.artifacts) as store:
        log = store.catalogue.log(store.catalogue.category(CATEGORY).id)
    data = TrainData.from_split(leave_last_out(log))
    config = TrainConfig(start="free", learning_rate=asked.learning_rate)
    config = replace(config, batch=ROWS // config.network.max_len)
    own = ours(data, config)
    print(f"recsys: best of {len(own)} epochs: {best(own)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        written(Path(folder), log, data, config, asked.threads)
        python = asked.python or installed(Path(folder) / "env")
        other = []
        for point in theirs(python, Path(folder), asked.minutes * 60, asked.threads):
            other.append(point)
            print(f"RecBole: {point}", flush=True)
    print(table(own, other))


if __name__ == "__main__":
    main()
