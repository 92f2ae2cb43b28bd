"""What can be exported, whose student it is, and what is refused before anything is opened."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from distill.exporting.sources import Llama, Student, find_source, require_llama, require_student
from distill.exporting.teachers import find_teacher
from recommender.config import Settings
from recommender.events import Notice
from recommender.models import register
from storage.errors import ArtifactDamaged, BadSetting, RecsysError, UnknownName
from storage.records import Run
from storage.store import Store
from tests.distill.exporting.llamas import open_llama, source
from tests.tiny import add_shop, finished


def run_of(
    store: Store,
    kind: str,
    files: Mapping[str, Path],
    *,
    run: str = "run-1",
    config: Mapping[str, object] | None = None,
) -> Run:
    """Keep a run with an artifact of these files."""
    category = next(iter(store.catalogue.categories()), None) or add_shop(store)
    with store.artifacts.writing(kind, {"run": run}) as path:
        for name, file in files.items():
            shutil.copyfile(file, path / name)
    made = Run(
        id=run,
        category_id=category.id,
        kind="teacher",
        name=kind,
        seed=0,
        config=config or {},
        status="done",
        created_at="2026-11-28T12:00:00+00:00",
        artifact=store.artifacts.key(kind, {"run": run}) if files else "",
    )
    store.runs.add(made)
    return made


def files_of(folder: Path) -> dict[str, Path]:
    return {one.name: one for one in folder.iterdir()}


class TestFound:
    @pytest.mark.parametrize("kind", ["language-student", "adapted"])
    def test_a_run_of_a_llama(
        self, shop: Store, settings: Settings, family: Path, kind: str
    ) -> None:
        config = {"base_model": "smol@sha256:ab/float32", "teacher": {"spec": "embedded"}}
        run_of(shop, kind, files_of(family / "student"), run="distilled-llama-12", config=config)
        found = find_source("distilled-ll", settings, shop)
        assert isinstance(found, Llama)
        assert (found.name, found.place.kind) == ("distilled-llama-12", "directory")
        assert (found.base, found.teacher) == ("smol@sha256:ab/float32", "embedded")
        assert require_llama(found, "a GGUF file") is found
        with pytest.raises(BadSetting, match="is a language model: ONNX is the form of"):
            require_student(found)

    def test_the_teacher_of_an_adaptation_is_named_otherwise(
        self, shop: Store, settings: Settings, family: Path
    ) -> None:
        run_of(shop, "adapted", files_of(family / "student"), config={"teacher": "llama3.1:8b"})
        found = find_source("run-1", settings, shop)
        assert isinstance(found, Llama)
        assert found.teacher == "llama3.1:8b"

    def test_directories_files_and_registered_names(self, settings: Settings, family: Path) -> None:
        directory = find_source(str(family / "student"), settings, None)
        file = find_source(str(family / "teacher.gguf"), settings, None)
        assert isinstance(directory, Llama)
        assert isinstance(file, Llama)
        assert (directory.place.kind, file.place.kind) == ("directory", "gguf")
        assert directory.base == open_llama(family / "teacher.gguf").describe().key
        register(settings.models, "mine", str(family / "student"))
        named = find_source("mine", settings, None)
        assert isinstance(named, Llama)
        assert named.name == "mine"


class TestRefused:
    def test_what_is_not_there(self, shop: Store, settings: Settings) -> None:
        with pytest.raises(UnknownName, match="no run, directory or GGUF file 'embeded'; did you"):
            find_source("embeded", settings, None)
        with pytest.raises(UnknownName, match="no run 'nothing'"):
            find_source("nothing", settings, shop)

    def test_a_run_without_a_model(self, shop: Store, settings: Settings) -> None:
        run_of(shop, "evaluation", {})
        with pytest.raises(BadSetting, match="was only measured"):
            find_source("run-1", settings, shop)

    def test_a_run_of_something_else(self, shop: Store, settings: Settings, tmp_path: Path) -> None:
        (tmp_path / "rows").write_text("1")
        run_of(shop, "evaluation", {"rows": tmp_path / "rows"})
        with pytest.raises(BadSetting, match="no model, but an artifact 'evaluation'"):
            find_source("run-1", settings, shop)

    def test_an_adapter_alone(self, shop: Store, settings: Settings, tmp_path: Path) -> None:
        (tmp_path / "adapter_config.json").write_text("{}")
        run_of(shop, "adapter", {"adapter_config.json": tmp_path / "adapter_config.json"})
        for name in ("run-1", str(tmp_path)):
            with pytest.raises(BadSetting, match=r"an adapter alone.* merged; next: recsys adapt"):
                find_source(name, settings, shop)

    def test_a_damaged_model(self, shop: Store, settings: Settings, family: Path) -> None:
        run = run_of(shop, "adapted", files_of(family / "student"))
        weights = Path(shop.artifacts.open(run.artifact).path, "model.safetensors")
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.write_bytes(data)
        with pytest.raises(ArtifactDamaged):
            find_source("run-1", settings, shop)

    def test_a_sequential_student_in_a_form_for_text(
        self, shop: Store, settings: Settings, tmp_path: Path
    ) -> None:
        (tmp_path / "student.onnx").write_bytes(b"x")
        run_of(shop, "student", {"student.onnx": tmp_path / "student.onnx"})
        found = find_source("run-1", settings, shop)
        assert isinstance(found, Student)
        assert require_student(found) is found
        with pytest.raises(
            BadSetting, match=r"has no form as a Hugging Face directory; next: .* --"
        ):
            require_llama(found, "a Hugging Face directory")
        with pytest.raises(BadSetting, match="name its run"):
            find_source(str(tmp_path), settings, shop)


class TestTeachers:
    def test_known_by_its_digest(self, settings: Settings, family: Path) -> None:
        register(settings.models, "other", str(family / "student"))
        register(settings.models, "theirs", str(family / "teacher.gguf"))
        key = open_llama(family / "teacher.gguf").describe().key
        said, found = finished(find_teacher(source(family / "student", base=key), settings))
        assert said == []
        assert found.place is not None
        assert found.place.path == family / "teacher.gguf"

    def test_named_by_its_run(self, settings: Settings, family: Path) -> None:
        key = open_llama(family / "teacher.gguf").describe().key
        model = source(family / "student", base=key, teacher=str(family / "teacher.gguf"))
        _, found = finished(find_teacher(model, settings))
        assert found.place is not None
        assert found.place.path == family / "teacher.gguf"

    def test_one_of_another_digest_is_not_taken(self, settings: Settings, family: Path) -> None:
        key = "a@sha256:0123456789abcdef01234567/float32"
        model = source(family / "student", base=key, teacher=str(family / "teacher.gguf"))
        said, found = finished(find_teacher(model, settings))
        assert found.place is None
        [notice] = said
        assert isinstance(notice, Notice)
        assert notice.text == f"the weights it was made of ({key}) are not on this machine"

    def test_one_that_is_gone_is_said(self, settings: Settings, family: Path) -> None:
        model = source(family / "student", teacher="llama3.1:8b")
        said, found = finished(find_teacher(model, settings))
        assert found.place is None
        assert [one.text for one in said if isinstance(one, Notice)] == [
            "the teacher 'llama3.1:8b' is not looked at: no Ollama server answers at "
            "http://127.0.0.1:9"
        ]

    def test_one_that_the_user_names_has_to_be_there(
        self, settings: Settings, family: Path
    ) -> None:
        _, found = finished(
            find_teacher(source(family / "student"), settings, str(family / "teacher.gguf"))
        )
        assert found.place is not None
        for name in ("llama3.1:8b", "minilm", str(family / "absent.gguf")):
            with pytest.raises(RecsysError):
                finished(find_teacher(source(family / "student"), settings, name))


def test_an_odd_about_file_says_nothing(settings: Settings, family: Path, tmp_path: Path) -> None:
    made = shutil.copytree(family / "student", tmp_path / "student")
    for content in ("[1]", "{", json.dumps({"seed": int(np.int64(1))})):
        (made / "about.json").write_text(content)
        found = find_source(str(made), settings, None)
        assert isinstance(found, Llama)
        assert found.base == ""
