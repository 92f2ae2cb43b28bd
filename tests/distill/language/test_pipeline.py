"""The road of a student that reads text, from a shop to its twin."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from distill.config import DistilConfig
from distill.config_files import overridden
from distill.language.classroom import _matches, _squares, open_classroom, train
from distill.language.pipeline import run_llama
from distill.matching import MovingScale
from distill.pipeline import Distilled
from recommender.config import Settings
from recommender.events import StageSkipped
from storage.store import Store
from tests.tiny import LAYERS, SHOP, Letters, add_shop, finished

SMALL = {
    "teacher": {
        "candidates": 5,
        "choose_requests": 12,
        "gate_requests": 12,
        "requests": 12,
        "history_length": 4,
        "fisher_requests": 4,
        "scoring": "likelihood",
        "device": "cpu",
        "precision": "float32",
        "ignore_gate": True,
    },
    "language": {
        "layers": 2,
        "hidden": 16,
        "heads": 2,
        "tokens": 800,
        "max_tokens": 48,
        "batch": 4,
        "evaluate_every": 3,
        "validation": 4,
        "test_requests": 10,
        "precision": "float32",
    },
}


def small(llama: Path, method: str) -> DistilConfig:
    made = overridden(DistilConfig(SHOP), {**SMALL, "method": method})
    return made.with_teacher(spec=str(llama))


def test_the_twin_of_layerdrop_drops_nothing(tmp_path: Path, llama: Path) -> None:
    """Regression: it was the same student, found under the same key."""
    settings = Settings(data_dir=tmp_path)
    with Store.open(settings.db, settings.artifacts) as store:
        add_shop(store)
        said, _ = finished(run_llama(store, small(llama, "layerdrop"), settings, encoder=Letters()))
        assert isinstance(said[-1], Distilled)
        made = {run.artifact for run in store.runs.list()}
    assert len(made) == 2


def test_weights_may_follow_the_teachers_fisher(tmp_path: Path, llama: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    with Store.open(settings.db, settings.artifacts) as store:
        add_shop(store)
        keys = []
        for changes in ({}, {"dynamic": "teacher", "eta": 1.0}):
            config = small(llama, "fisher-ld").with_loss(**changes)
            _, room = finished(open_classroom(store, config, settings, Letters()))
            _, one = finished(train(room, config, settings, name="one"))
            keys.append(one.artifact.key)
        _, squares = finished(_squares(room, config))
        assert squares.shape == (4, LAYERS)
        matches, moving = _matches(room, config, (2, 3), settings, squares)
    assert len(set(keys)) == 2
    assert moving is not None
    assert (moving.by, moving.eta, moving.ends) == ("teacher", 1.0, (2, 3))
    scale = MovingScale(moving, [one.weight for one in matches], seed=0)
    scale.follow([])
    carried = np.array([squares[:, :2].sum(), squares[:, 2].sum()])
    assert not np.allclose(scale.factors(), 1)  # a minibatch is not the mean
    many = MovingScale(replace(moving, eta=0.02), [one.weight for one in matches], seed=0)
    for _ in range(600):
        many.follow([])
    np.testing.assert_allclose(many.weights(), 2 * carried / carried.sum(), rtol=0.1)


def test_settings_that_only_judge_train_nothing_anew(tmp_path: Path, llama: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    with Store.open(settings.db, settings.artifacts) as store:
        add_shop(store)
        first = small(llama, "none")
        _, room = finished(open_classroom(store, first, settings, Letters()))
        _, one = finished(train(room, first, settings, name="one"))
        more = first.with_language(test_requests=11)
        _, room = finished(open_classroom(store, more, settings, Letters()))
        said, other = finished(train(room, more, settings, name="one"))
        assert len(room.questions) == 11
    assert StageSkipped("train one", "trained already") in said
    assert one.artifact.key == other.artifact.key
