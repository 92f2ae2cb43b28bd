"""Directories exported as GGUF files and as directories: kept only where they answer alike."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from distill.exporting import llama_gguf
from distill.exporting.events import Exported
from distill.exporting.export import Wish, export
from distill.exporting.gguf_head import read_head
from distill.exporting.probing import NotTheSame
from distill.exporting.teachers import Teacher
from distill.exporting.to_directory import export_directory
from distill.exporting.to_gguf import export_gguf
from recommender.backends.weights import find_weights
from recommender.config import Settings
from recommender.events import Event
from recommender.models import EMBEDDED_TEACHER, resolve_model
from storage.artifacts import Artifacts
from storage.errors import BadData, BadSetting
from tests.distill.exporting.llamas import logits, open_llama, save, source


def exported(steps: object) -> Exported:
    *_, last = steps  # type: ignore[misc]
    assert isinstance(last, Exported)
    return last


def teacher_of(family: Path) -> Teacher:
    return Teacher(find_weights(family / "teacher.gguf"))


@pytest.mark.parametrize("format", ["f16", "q8_0"])
def test_a_student_with_its_teachers_tokenizer(family: Path, tmp_path: Path, format: str) -> None:
    model, target = source(family / "student"), tmp_path / "student.gguf"
    done = exported(export_gguf(model, teacher_of(family), target, format=format))  # type: ignore[arg-type]
    mine, theirs = read_head(target), read_head(family / "teacher.gguf")
    assert mine.layers == 3
    copied = {name: one.raw for name, one in theirs.fields.items() if name[:9] == "tokenizer"}
    assert {name: one.raw for name, one in mine.fields.items() if name[:9] == "tokenizer"} == copied
    assert done.summary[0] == "tokenizer copied from teacher.gguf"
    assert done.size == target.stat().st_size
    # The student's numbers are the teacher's de-quantised ones: to 8 bits again, they are equal.
    assert done.figures["typical"] == pytest.approx(0, abs=1e-3)
    here, there = logits(open_llama(family / "student")), logits(open_llama(target))
    assert torch.allclose(here, there, atol=0.01)
    assert [one.name for one in tmp_path.iterdir()] == ["student.gguf"]


def test_without_a_teacher_it_is_built_and_its_own_loss_is_allowed_for(
    family: Path, tmp_path: Path
) -> None:
    model = source(save(tmp_path / "a"))
    done = exported(export_gguf(model, Teacher(), tmp_path / "a.gguf", format="q8_0"))
    assert done.summary[0] == "tokenizer built from the directory's own, split as 'gpt-2'"
    assert done.figures["typical"] == pytest.approx(done.figures["teacher_typical"], abs=1e-4)
    assert done.figures["compared"] == 50


def test_a_file_that_answers_otherwise_is_not_kept(
    family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = save(tmp_path / "a", initializer_range=0.4)
    monkeypatch.setattr(llama_gguf, "permuted", lambda weight, heads: weight)
    with pytest.raises(NotTheSame, match="does not answer as the model it was made of"):
        exported(export_gguf(source(directory), Teacher(), tmp_path / "a.gguf", format="f16"))
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a"]


def test_another_models_file_is_no_teacher(family: Path, tmp_path: Path) -> None:
    directory = save(tmp_path / "a", vocab_size=640)
    with pytest.raises(BadData, match="has 600 tokens and the model 640: it is not its teacher's"):
        exported(export_gguf(source(directory), teacher_of(family), tmp_path / "b", format="f16"))


def test_a_tokenizer_that_cannot_be_named(tmp_path: Path) -> None:
    directory = save(tmp_path / "a")
    described = json.loads((directory / "tokenizer.json").read_text())
    described["pre_tokenizer"] = {"type": "Whitespace"}
    (directory / "tokenizer.json").write_text(json.dumps(described))
    with pytest.raises(BadData, match=r"a guess would be wrong in silence; next: --teacher FILE"):
        exported(export_gguf(source(directory), Teacher(), tmp_path / "b.gguf", format="f16"))


def test_refused_before_anything_is_opened(family: Path, tmp_path: Path) -> None:
    file = source(family / "teacher.gguf")
    with pytest.raises(
        BadSetting, match=r"is a GGUF file already; next: recsys export .* --to oll"
    ):
        exported(export_gguf(file, Teacher(), tmp_path / "a.gguf", format="f16"))
    (tmp_path / "a.gguf").write_text("mine")
    with pytest.raises(BadSetting, match="is there already"):
        exported(
            export_gguf(source(family / "student"), Teacher(), tmp_path / "a.gguf", format="f16")
        )


def test_a_loss_is_measured_once_for_all_students(family: Path, tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path / "artifacts")
    for name in ("a.gguf", "b.gguf"):
        model = source(family / "student")
        steps = export_gguf(
            model, teacher_of(family), tmp_path / name, format="f16", artifacts=artifacts
        )
        exported(steps)
    assert len(list((tmp_path / "artifacts" / "format-loss").iterdir())) == 1


class TestDirectories:
    def test_files_are_copied_as_they_are(self, family: Path, tmp_path: Path) -> None:
        student = shutil.copytree(family / "student", tmp_path / "student")
        (student / "manifest.json").write_text("{}")
        artifacts = Artifacts(tmp_path / "artifacts")
        done = exported(export_directory(source(student), tmp_path / "out", artifacts))
        names = {one.name for one in (family / "student").iterdir()}
        assert {one.name for one in (tmp_path / "out").iterdir()} == names
        for name in names:
            assert (tmp_path / "out" / name).read_bytes() == (student / name).read_bytes()
        assert done.next_step.endswith(f"--teacher {tmp_path / 'out'} --user …")

    def test_a_file_becomes_a_directory_of_its_numbers(self, family: Path, tmp_path: Path) -> None:
        artifacts = Artifacts(tmp_path / "artifacts")
        file = source(family / "teacher.gguf")
        exported(export_directory(file, tmp_path / "out", artifacts))
        made, opened = open_llama(tmp_path / "out"), open_llama(family / "teacher.gguf")
        assert torch.equal(logits(made), logits(opened))
        assert "lm_head.weight" not in load_file(tmp_path / "out" / "model.safetensors")

    def test_a_directory_of_something_else_is_not_replaced(
        self, family: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "out").mkdir()
        artifacts = Artifacts(tmp_path / "artifacts")
        with pytest.raises(BadSetting, match="no model's directory"):
            exported(
                export_directory(
                    source(family / "student"), tmp_path / "out", artifacts, force=True
                )
            )


class TestWishes:
    def refused(self, settings: Settings, said: str, **more: object) -> None:
        wish = Wish(**{"source": "x", "form": "gguf", "target": "a", **more})  # type: ignore[arg-type]
        with pytest.raises(BadSetting, match=said):
            list(export(wish, settings, None))

    def test_what_does_not_go_together(self, settings: Settings) -> None:
        self.refused(settings, "--int8 is of ONNX files alone", int8=True)
        for form in ("hf", "onnx"):
            self.refused(settings, f"--to {form} copies its own", form=form, teacher="embedded")

    def test_each_form(self, settings: Settings, family: Path, tmp_path: Path) -> None:
        for form, target in (("hf", tmp_path / "out"), ("gguf", tmp_path / "a.gguf")):
            wish = Wish(str(family / "student"), form, str(target), "f16")  # type: ignore[arg-type]
            steps: list[Event] = list(export(wish, settings, None))
            assert exported(steps).form == form
            assert target.exists()
        with pytest.raises(BadSetting, match="is a language model"):
            list(export(Wish(str(family / "student"), "onnx", "a"), settings, None))


@pytest.mark.models
@pytest.mark.slow
@pytest.mark.parametrize(("format", "typical"), [("f16", 0.01), ("q8_0", 0.1)])
def test_a_cut_of_the_embedded_model(
    models: Path, tmp_path: Path, format: str, typical: float
) -> None:
    from distill.exporting.probing import open_model
    from distill.language.cutting import cut
    from distill.language.training import save as save_student

    path, artifacts = Path(resolve_model(models, EMBEDDED_TEACHER)), Artifacts(tmp_path / "kept")
    teacher = open_model(path, artifacts)
    save_student(cut(teacher.model, [*range(22), 28, 29]), teacher, tmp_path / "student")
    steps = export_gguf(
        source(tmp_path / "student"),
        Teacher(find_weights(path)),
        tmp_path / "student.gguf",
        format=format,  # type: ignore[arg-type]
        artifacts=artifacts,
    )
    done = exported(steps)
    assert done.summary[0].startswith("tokenizer copied, with the chat template, from SmolLM2")
    assert done.figures["typical"] < typical  # measured 0.003 and 0.08
    assert done.figures["largest"] < 0.9  # measured 0.01 and 0.57
    made = read_head(tmp_path / "student.gguf")
    assert (made.layers, made.said("tokenizer.ggml.pre")) == (24, "smollm")
