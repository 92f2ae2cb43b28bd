"""A small shop in a real Store, with a student that was exported, and two measured runs.

Two groups of people buy the two halves of the catalogue in turn, so that what is right is
known by construction. Some titles are hostile. The student is a real network of random
weights: what it answers means nothing, how it is served is the point.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recommender.baselines import ItemKNN, Popularity
from recommender.evaluation import evaluate
from recommender.splits import temporal_split
from storage.records import NO_PART, ImportData, ItemRow, Run
from storage.store import Store

PEOPLE, ITEMS, LENGTH = 40, 16, 6
NAME = "Tiny shop"
HOSTILE = "\x1b[2J[bold red]Pen[/bold red] \u202eecho"
HOSTILE_SHOWN = "[bold red]Pen[/bold red] echo"
DAY = 86_400_000


def build(folder: Path) -> None:
    """Fill a data folder."""
    with Store.open(str(folder / "recsys.sqlite"), folder / "artifacts") as store:
        category = store.catalogue.write(
            NAME,
            _data(),
            source="table",
            synthetic=True,
            rating_low=1.0,
            rating_high=5.0,
            note="made by a test",
            digest="one",
        )
        split = temporal_split(store.catalogue.log(category.id))
        items, offsets = split.train_sequences()
        for ranker in (Popularity.fit(items, ITEMS), ItemKNN.fit(items, offsets, ITEMS)):
            run = _run(f"{ranker.name}-1", category.id, "baseline", ranker.name)
            store.runs.add(run)
            evaluation = evaluate(ranker, split, "test", resamples=100)
            with store.artifacts.writing("evaluation", {"run": run.id}) as path:
                store.artifacts.save_arrays(path / "rows.safetensors", evaluation.arrays())
            key = store.artifacts.key("evaluation", {"run": run.id})
            store.runs.add_measurements(evaluation.measurements(run.id, key))


def add_student(folder: Path) -> None:
    """Export a student and register it."""
    from recommender.sequential.export import write_student
    from recommender.sequential.sasrec import SASRec
    from recommender.sequential.shape import NetworkConfig

    config = NetworkConfig(width=8, blocks=1, heads=1, max_len=10)
    network = SASRec(ITEMS, config, seed=1)
    weights = {name: weight.numpy() for name, weight in network.state_dict().items()}
    with Store.open(str(folder / "recsys.sqlite"), folder / "artifacts") as store:
        category = store.catalogue.category(NAME)
        with store.artifacts.writing("student", {"seed": 1}) as path:
            write_student(path, weights, config, np.arange(ITEMS), {"name": "distilled"})
        key = store.artifacts.key("student", {"seed": 1})
        store.runs.add(_run("distilled-1", category.id, "student", "distilled", artifact=key))


def _run(key: str, category: int, kind: str, name: str, artifact: str = "") -> Run:
    return Run(
        id=key,
        category_id=category,
        kind=kind,
        name=name,
        seed=0,
        config={"split": "temporal", "min_rating": None, "teacher": {"spec": "embedded"}},
        status="done",
        created_at="2026-11-23T12:00:00+00:00",
        artifact=artifact,
        selection=0.25 if kind == "student" else None,
    )


def _data() -> ImportData:
    titles = [f"Item {number:02d}" for number in range(ITEMS)]
    titles[0] = HOSTILE
    user = np.repeat(np.arange(PEOPLE), LENGTH)
    step = np.tile(np.arange(LENGTH), PEOPLE)
    item = (user * 3 + step * 2) % ITEMS
    return ImportData(
        user_ids=[f"u{number}" for number in range(PEOPLE)],
        items=[
            ItemRow(f"i{n}", title, brand="Norvik" if n % 2 else "")
            for n, title in enumerate(titles)
        ],
        user=user,
        item=item,
        time=step * DAY + user * 1000,
        rating=(1 + (user + step) % 5).astype(np.float32),
        part=np.full(len(user), NO_PART, dtype=np.int8),
    )
