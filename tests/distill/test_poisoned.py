"""Nothing that is chosen or learned looks at the test part: with other items there, it is the same.

The poison is seen: the figures on test differ. For adaptations see `adapting/test_adapt.py`, for
what Llama students read `language/test_lessons.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from distill.pipeline import Distilled, distil
from distill.studies.files import Study
from distill.studies.running import Studied, run_study
from recommender.config import Settings
from recommender.splits import TEST, Split, temporal_split
from storage.records import Log
from storage.store import Store
from tests.distill.conftest import configured
from tests.tiny import SHOP, Letters, add_shop


def poisoned(log: Log) -> Split:
    """Split, and put another item into every row of the test part."""
    split = temporal_split(log)
    items = split.log.item.copy()
    held = split.part == TEST
    items[held] = (items[held] + 1) % split.log.items
    return temporal_split(replace(split.log, item=items))


def distilled(home: Path, llama: Path) -> tuple[object, object]:
    """Go down the road; return what was chosen and learned, and what was found on test."""
    settings = Settings(data_dir=home, device="cpu", precision="float32", threads=1)
    config = configured(spec=str(llama))
    *_, last = distil(config, settings=settings, encoder=Letters())
    assert isinstance(last, Distilled)
    with Store.open(settings.db, settings.artifacts) as store:
        runs = [run for run in store.runs.list() if run.kind == "student"]
        kept = [store.artifacts.open(run.artifact).path for run in runs]
        teacher = [run.config for run in store.runs.list() if run.kind == "teacher"]
    weights = [Path(path, "weights.safetensors").read_bytes() for path in kept]
    assert (len(weights), len(teacher)) == (2, 1)
    figures = [f.value for _, rows in last.rows for f in rows if f.metric == "ndcg@10"]
    return (weights, [run.selection for run in runs], teacher[0]["scoring"]), figures


def studied(home: Path, llama: Path) -> tuple[object, object]:
    """Run a study of two arms; return what was learned, and how the test requests were ranked."""
    settings = Settings(
        data_dir=home, teacher=str(llama), device="cpu", precision="float32", threads=1
    )
    base = configured().as_dict()
    study = Study(
        name="poison",
        question="does it look?",
        data=(SHOP,),
        seeds=(0,),
        base={name: base[name] for name in ("teacher", "student")}
        | {"teacher": {**base["teacher"], "spec": str(llama)}},
        arms={"none": {"method": "none"}, "logits-only": {"method": "logits-only"}},
        against=("none",),
        metric="ndcg@10",
        settings=settings,
    )
    with Store.open(settings.db, settings.artifacts) as store:
        *_, last = run_study(store, study, settings, encoder=Letters())
        files = sorted(store.artifacts.root.glob("student/*/weights.safetensors"))
        weights = sorted(file.read_bytes() for file in files)
    assert isinstance(last, Studied)
    trials = [trial for some in last.ran[0].trials.values() for trial in some]
    assert len(weights) == len(trials) == 2
    ranks = np.concatenate([trial.evaluation.ranks for trial in trials]).tolist()
    return (weights, [trial.best for trial in trials]), ranks


@pytest.mark.parametrize("road", [distilled, studied])
def test_another_test_part_makes_the_same_students(
    road: Callable[[Path, Path], tuple[object, object]],
    tmp_path: Path,
    llama: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = []
    for name in ("true", "poisoned"):
        if name == "poisoned":
            monkeypatch.setattr("distill.ground.temporal_split", poisoned)
        home = tmp_path / name
        settings = Settings(data_dir=home)
        with Store.open(settings.db, settings.artifacts) as store:
            add_shop(store)
        found.append(road(home, llama))
    (learned, figures), (again, others) = found
    assert learned == again
    assert figures != others, "the poison is one"
