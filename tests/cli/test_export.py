"""`recsys export`: runs, directories and files in the forms other programs open."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from distill.exporting.gguf_head import read_head
from storage.records import Run as RunRecord
from storage.store import Store
from tests.cli import shop
from tests.cli.conftest import Run
from tests.distill.exporting.llamas import open_llama, save, write_file
from tests.distill.exporting.receiving import Receiving


@pytest.fixture(scope="module")
def llama_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("exported") / "student")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, llama_directory: Path) -> Path:
    """A shop with a sequential student, a Llama that takes its teacher's place, an adapter."""
    home = tmp_path_factory.mktemp("kept") / "home"
    home.mkdir()
    shop.build(home)
    shop.add_student(home)
    with Store.open(home / "recsys.sqlite", home / "artifacts") as store:
        category = store.catalogue.category(shop.NAME)
        with store.artifacts.writing("language-student", {"seed": 1}) as path:
            shutil.copytree(llama_directory, path, dirs_exist_ok=True)
        with store.artifacts.writing("adapter", {"seed": 1}) as path:
            (path / "adapter_config.json").write_text("{}")
        for kind, key in (("language-student", "llama-1"), ("adapter", "adapted-1")):
            store.runs.add(
                RunRecord(
                    id=key,
                    category_id=category.id,
                    kind="teacher",
                    name=key,
                    seed=0,
                    config={"teacher": {"spec": "embedded"}},
                    status="done",
                    created_at="2026-11-28T12:00:00+00:00",
                    artifact=store.artifacts.key(kind, {"seed": 1}),
                )
            )
    return home


@pytest.fixture
def data(home: Path, kept: Path) -> Path:
    """A data folder of this test's own with all of that."""
    return Path(shutil.copytree(kept, home))


def test_a_run_as_a_gguf_file(run: Run, data: Path) -> None:
    done = run("export", "llama-1", "--to", "gguf", "student.gguf", "--format", "f16")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].startswith("student.gguf, ")
    assert lines[1] == "tokenizer built from the directory's own, split as 'gpt-2'"
    assert lines[2].startswith("5 prompts, 50 next tokens, 0.00 nats apart as a rule")
    assert done.err.rstrip().endswith("next: recsys export student.gguf --to ollama NAME")
    assert read_head(Path("student.gguf")).layers == 4


def test_a_directory_with_the_tokenizer_of_a_teacher(run: Run, llama_directory: Path) -> None:
    write_file(llama_directory, Path("teacher.gguf"))
    done = run(
        *("export", str(llama_directory), "--to", "gguf", "a.gguf"),
        *("--teacher", "teacher.gguf", "--json"),
    )
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["form"] == "gguf"
    assert found["summary"][0] == "tokenizer copied from teacher.gguf"
    assert found["figures"]["compared"] == 50
    assert found["size"] == Path("a.gguf").stat().st_size


def test_a_run_as_a_directory(run: Run, data: Path, llama_directory: Path) -> None:
    done = run("export", "llama-1", "--to", "hf", "out")
    assert done.code == 0, done.err
    assert Path("out", "model.safetensors").is_file()
    assert not Path("out", "manifest.json").exists()


def test_back_on_a_server_and_asked_there(
    run: Run, data: Path, llama_directory: Path, tmp_path: Path
) -> None:
    (tmp_path / "blobs").mkdir()
    with Receiving(open_llama(llama_directory), tmp_path / "blobs", name="teacher") as server:
        done = run("export", "llama-1", "--to", "ollama", "my-student", "--host", server.url)
        assert done.code == 0, done.err
        assert done.out.splitlines()[0] == "my-student"
        assert done.err.rstrip().endswith(
            "next: recsys recommend --by teacher --teacher my-student --user …"
        )
        assert "my-student:latest" in server.pulled
        again = run("export", "llama-1", "--to", "ollama", "my-student", "--host", server.url)
        assert again.code == 1
        assert "has a model 'my-student' already; next: --force to replace it" in again.err


def test_without_a_server_the_file_and_one_command(run: Run, data: Path) -> None:
    done = run("export", "llama-1", "--to", "ollama", "my-student", "--host", "127.0.0.1:9")
    assert done.code == 0, done.err
    [command] = [one for one in done.err.splitlines() if one.startswith("next: ")]
    recipe = Path.cwd() / "my-student.Modelfile"
    assert command == f"next: ollama create my-student -f {recipe}"
    assert recipe.read_text() == "FROM ./my-student.gguf\n"
    assert read_head(Path("my-student.gguf")).layers == 4


def test_a_sequential_student_as_onnx(run: Run, data: Path) -> None:
    done = run("export", "distilled-1", "--to", "onnx", "a.onnx", "--int8")
    assert done.code == 0, done.err
    assert " as int8, " in done.out
    assert "paired, " in done.out
    assert "no results" in done.err  # a synthetic shop
    about = json.loads(Path("a.onnx.json").read_text())
    assert len(about["items"]) == shop.ITEMS


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("distilled-1", "--to", "hf", "out"),
            "is a sequential student, which reads item numbers and no text",
        ),
        (("distilled-1", "--to", "ollama", "x"), "has no form as a model of an Ollama server"),
        (("llama-1", "--to", "onnx", "x"), "is a language model: ONNX is the form of sequential"),
        (("adapted-1", "--to", "gguf", "x"), "is an adapter alone"),
        (("popularity-1", "--to", "gguf", "x"), "was only measured"),
        (("nothing", "--to", "gguf", "x"), "no run 'nothing'"),
        (("llama-1", "--to", "gguf", "x", "--int8"), "--int8 is of ONNX files alone"),
        (("llama-1", "--to", "gguf", "x", "--teacher", "absent.gguf"), "no teacher 'absent.gguf'"),
        (("llama-1", "--to", "gguf", "no/x"), "there is no folder 'no' to write 'x' into"),
        (("llama-1", "--to", "ollama", "¡"), "is no name of a model"),
    ],
)
def test_wrong_wishes_are_one_line(
    run: Run, data: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = run("export", *arguments)
    assert done.code == 1
    last = done.err.splitlines()[-1]
    assert last.startswith("error: ")
    assert said in last
    assert "Traceback" not in done.err
    assert not Path("x").exists()


def test_without_a_database_a_path_still_does(run: Run, llama_directory: Path) -> None:
    done = run("export", str(llama_directory), "--to", "hf", "out")
    assert done.code == 0, done.err
    missing = run("export", "llama-1", "--to", "hf", "out2")
    assert missing.code == 1
    assert "no run, directory or GGUF file 'llama-1'" in missing.err
