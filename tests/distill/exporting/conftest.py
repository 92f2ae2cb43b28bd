"""A teacher, a student cut from it, and the teacher as a GGUF file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from distill.exporting.probing import open_model
from distill.language.cutting import cut
from distill.language.training import save as save_student
from recommender.config import Settings
from storage.artifacts import Artifacts
from storage.store import Store
from tests.distill.exporting.llamas import save, write_file

KEPT = (0, 1, 3)


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 'teacher.gguf', and 'student', cut from what that file says."""
    folder = tmp_path_factory.mktemp("family")
    write_file(save(folder / "teacher", tie_word_embeddings=True), folder / "teacher.gguf", "q8_0")
    teacher = open_model(folder / "teacher.gguf", Artifacts(folder / "artifacts"))
    made = folder / "student"
    save_student(cut(teacher.model, KEPT), teacher, made)
    (made / "about.json").write_text(json.dumps({"teacher": teacher.describe().key}))
    return folder


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a data folder of this test's own, with a server that is not there."""
    return Settings(data_dir=tmp_path / "home", hosts=("127.0.0.1:9",))


@pytest.fixture
def shop(settings: Settings) -> Iterator[Store]:
    """Open the Store of those settings."""
    settings.data_dir.mkdir(parents=True)
    with Store.open(settings.db, settings.artifacts) as store:
        yield store
