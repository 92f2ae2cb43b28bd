"""Every study that comes with us runs, small: on a tiny shop, with a tiny Llama."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from distill.studies.files import read_study, studies
from distill.studies.running import Studied, run_study
from distill.studies.tables import markdown
from recommender.config import Settings
from storage.store import Store
from tests.tiny import SHOP, Letters, add_shop, save_llama

FAST = ("teaching", "truncation")
"""One of each family of students; the others take a minute each."""


class Wide(Letters):
    """An encoder as wide as a student's table needs at least."""

    name = "wide letters@1"

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Count letters, twice."""
        once = super().encode(texts)
        return np.ascontiguousarray(np.hstack([once, once[:, ::-1]]) / np.sqrt(2))


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama as deep as the one that the studies are about."""
    return save_llama(tmp_path_factory.mktemp("deep"), layers=30)


@pytest.mark.parametrize("name", studies())
def test_quick_makes_every_arm_small(name: str) -> None:
    """Regression: the arms of one study had tokens of their own, which quick did not reach."""
    study = read_study(name, quick=True, every=True)
    assert len(study.seeds) == 1
    for arm in study.arms:
        made = study.config(study.data[0], arm=arm)
        assert made.teacher.choose_requests <= 20
        if made.language is None:
            assert made.student.epochs == 1
            assert made.teacher.requests <= 60
        else:
            assert made.language.tokens <= 1200
            assert made.language.test_requests <= 10


@pytest.mark.parametrize(
    "name",
    [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in studies()],
)
def test_a_study_runs_and_makes_its_tables(name: str, tmp_path: Path, deep: Path) -> None:
    settings = Settings(data_dir=tmp_path, teacher=str(deep), device="cpu", precision="float32")
    study = replace(read_study(name, quick=True, settings=settings), data=(SHOP,))
    with Store.open(settings.db, settings.artifacts) as store:
        add_shop(store)
        *_, last = run_study(store, study, settings, encoder=Wide())
    assert isinstance(last, Studied)
    tables = markdown(last)
    for arm in study.arms:
        assert f"| {arm} |" in tables
    assert all(f" − {base} |" in tables for base in study.against)
