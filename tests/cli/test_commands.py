"""Every command on a small real Store: what it prints, and what it says when it cannot."""

from __future__ import annotations

import json
import shutil
import sqlite3
import unicodedata
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from storage.records import LayerValues
from storage.store import Store
from tests.cli import shop
from tests.cli.conftest import Run


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    shop.build(folder)
    return folder


@pytest.fixture(scope="session")
def served(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "home"
    shutil.copytree(built, folder)
    shop.add_student(folder)
    return folder


@pytest.fixture
def data(built: Path, home: Path) -> Path:
    return Path(shutil.copytree(built, home))


@pytest.fixture
def student(served: Path, home: Path) -> Path:
    return Path(shutil.copytree(served, home))


def clean(text: str) -> bool:
    """Whether nothing in a text could change a screen."""
    return not [c for c in text if unicodedata.category(c) in {"Cc", "Cf"} and c != "\n"]


def test_without_data_the_ways_to_get_some_are_named(run: Run) -> None:
    done = run("data", "list")
    assert (done.code, done.out) == (0, "")
    for way in ("data sample", "data pull", "data import"):
        assert way in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("distill", "--category", "Electronics"),
        ("recommend", "--user", "1", "--category", "Electronics"),
        ("recommend", "--user", "1"),
    ],
)
def test_commands_without_data_name_the_ways_to_get_some(
    run: Run, arguments: tuple[str, ...]
) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (1, "")
    assert len(done.err.splitlines()) == 1
    for way in ("data sample", "data pull", "data import"):
        assert way in done.err


def test_data_list(run: Run, data: Path) -> None:
    done = run("data", "list")
    assert done.code == 0
    assert "Tiny shop (synthetic sample)" in done.out
    assert json.loads(run("data", "list", "--json").out)[0]["people"] == shop.PEOPLE


def test_data_stats(run: Run, data: Path) -> None:
    done = run("data", "stats", shop.NAME)
    assert done.code == 0
    assert "items with brand" in done.out
    assert "50.0 %" in done.out
    assert "mean 3.000" in done.out
    assert "temporal" in done.out
    assert "leave-last-out" in done.out
    found = json.loads(run("data", "stats", shop.NAME, "--json").out)
    assert found["density"] == pytest.approx(240 / (40 * 16))
    assert found["splits"]["leave-last-out"]["test"]["rows"] == shop.PEOPLE


def test_an_unknown_category_names_the_nearest(run: Run, data: Path) -> None:
    done = run("data", "stats", "Tiny shp")
    assert done.code == 1
    assert "'Tiny shop'" in done.err


@pytest.mark.parametrize("ranker", ["popularity", "item-knn"])
def test_recommend_by_a_baseline(run: Run, data: Path, ranker: str) -> None:
    done = run("recommend", "--user", "u1", "--by", ranker, "--top-k", "3")
    assert (done.code, done.err) == (0, "")
    assert clean(done.out)
    assert len(done.out.splitlines()) == 2 + 3


def test_hostile_titles_are_shown_as_they_are_written(run: Run, data: Path) -> None:
    done = run(
        "recommend",
        "--history",
        "i2",
        "--by",
        "popularity",
        "--top-k",
        "16",
        "--category",
        shop.NAME,
    )
    assert shop.HOSTILE_SHOWN in done.out
    assert clean(done.out)
    done = run("recommend", "--history", "i2", "--by", "popularity", "--top-k", "16", "--json")
    assert clean(done.out)
    assert shop.HOSTILE in [item["title"] for item in json.loads(done.out)[0]["items"]]


def test_recommend_by_the_student(run: Run, student: Path) -> None:
    done = run("recommend", "--user", "u1", "--top-k", "5")
    assert (done.code, done.err) == (0, "")
    assert len(done.out.splitlines()) == 2 + 5
    answer = json.loads(
        run("recommend", "--user", "u1", "--by", "student:distilled-1", "--json").out
    )
    assert len(answer[0]["items"]) == 10
    assert answer[0]["seconds"] < 0.5


def test_the_student_is_served_without_torch(recsys: Run, student: Path) -> None:
    code = (
        "import sys, tui.cli\n"
        "try: tui.cli.main(['recommend', '--user', 'u1'])\n"
        "except SystemExit as stop: assert stop.code in (0, None), stop.code\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("--user", "nobody"), "'nobody'"),
        (("--user", "nobody", "--category", "Tiny shop"), "'nobody'"),
        (("--user", "u1", "--category", "Books"), "'Books'"),
        (("--user", "u1", "--by", "magic"), "'magic'"),
        (("--user", "u1", "--by", "student:nope"), "'nope'"),
        (("--user", "u1", "--by", "teacher:nope"), "'nope'"),
        (("--history", "no such thing at all", "--by", "popularity"), "no such thing"),
        (("--user", "\x1b[2Jx\ny"), "user"),
    ],
)
def test_recommend_names_what_is_unknown(
    run: Run, data: Path, arguments: tuple[str, ...], what: str
) -> None:
    done = run("recommend", *arguments)
    assert (done.code, done.out) == (1, "")
    last = done.err.splitlines()[-1]
    assert last.startswith("error: ")
    assert what in last
    assert clean(done.err)


def test_an_empty_history_is_answered(run: Run, student: Path) -> None:
    done = run("recommend", "--history", "", "--category", shop.NAME)
    assert done.code == 0
    assert len(done.out.splitlines()) == 2 + 10


def test_runs_are_listed_shown_and_compared(run: Run, data: Path) -> None:
    assert "popularity-1" in run("runs", "list").out
    shown = run("runs", "show", "item-knn-1")
    assert "test/full" in shown.out
    assert "teacher.spec" in shown.out
    done = run("runs", "compare", "item-knn-1", "popularity-1", "--json")
    assert done.code == 0
    first = json.loads(done.out)[0]
    assert first["metric"] == "ndcg@10"
    assert first["difference"]["value"] == pytest.approx(first["a"] - first["b"])
    assert "ndcg@10" in run("runs", "compare", "item-knn-1", "popularity-1").out


def test_an_unknown_run_is_named(run: Run, data: Path) -> None:
    done = run("runs", "show", "popularity-2")
    assert done.code == 1
    assert "'popularity-1'" in done.err


def test_a_run_without_rows_cannot_be_compared(run: Run, student: Path) -> None:
    done = run("runs", "compare", "distilled-1", "popularity-1")
    assert done.code == 1
    assert "recsys runs show distilled-1" in done.err


def test_evaluate(run: Run, student: Path) -> None:
    done = run("evaluate", "--category", shop.NAME, "--max-users", "20")
    assert done.code == 0
    assert "synthetic sample" in done.out
    for ranker in ("student", "popularity", "item-knn"):
        assert f"\n{ranker} " in done.out


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("--by", "student"), "recsys distill"),
        (("--by", "teacher"), "gate"),
        (("--min-rating", "9"), "9"),
    ],
)
def test_evaluate_says_why_it_cannot(
    run: Run, data: Path, arguments: tuple[str, ...], what: str
) -> None:
    done = run("evaluate", "--category", shop.NAME, *arguments)
    assert done.code == 1
    assert what in done.err.splitlines()[-1]


def test_a_student_of_another_split_is_not_measured(run: Run, student: Path) -> None:
    done = run("evaluate", "--category", shop.NAME, "--by", "student", "--split", "leave-last-out")
    assert done.code == 1
    assert "was trained with" in done.err


def test_models_are_listed_and_registered(run: Run, data: Path, tmp_path: Path) -> None:
    assert "recsys models fetch" in run("models", "list").out
    model = tmp_path / "my.gguf"
    model.write_bytes(b"GGUF")
    assert run("models", "add", str(model), "--name", "mine").code == 0
    listed = {m["name"]: m for m in json.loads(run("models", "list", "--json").out)["models"]}
    assert listed["mine"]["spec"] == str(model)
    assert listed["mine"]["present"] is True
    model.unlink()
    done = run("doctor")
    assert done.code == 1
    assert "teacher mine" in done.err


@pytest.mark.parametrize(
    ("spec", "name", "what"),
    [("nowhere", "mine", "'nowhere'"), ("a/b", "embedded", "'embedded'"), ("a/b", "a/b", "'a/b'")],
)
def test_what_cannot_be_registered(run: Run, data: Path, spec: str, name: str, what: str) -> None:
    done = run("models", "add", spec, "--name", name)
    assert done.code == 1
    assert what in done.err


def test_doctor_finds_a_damaged_artifact_and_removes_it(run: Run, student: Path) -> None:
    assert run("doctor").code == 0
    damaged = next(student.glob("artifacts/student/*/student.onnx"))
    damaged.write_bytes(b"\0" * damaged.stat().st_size)
    done = run("doctor")
    assert done.code == 1
    assert "recsys doctor --repair" in done.err
    assert run("doctor", "--repair").code == 0
    assert not damaged.exists()
    assert run("doctor").code == 0


def test_doctor_finds_damaged_layer_values_and_removes_them(run: Run, data: Path) -> None:
    values = LayerValues("k1", "r1", "one-pass", {"layers": np.ones(3)}, 0.1)
    with Store.open(data / "recsys.sqlite", data / "artifacts") as store:
        store.layers.add(values)
    assert run("doctor").code == 0
    with closing(sqlite3.connect(data / "recsys.sqlite")) as database, database:
        database.execute("UPDATE layer_values SET arrays = x'00ff'")
    done = run("doctor")
    assert done.code == 1
    assert "1 cannot be read, the first is k1" in done.out + done.err
    assert run("doctor", "--repair").code == 0
    assert run("doctor").code == 0
    with Store.open(data / "recsys.sqlite", data / "artifacts") as store:
        assert store.layers.count("one-pass") == 0


def test_a_damaged_student_is_named_where_it_is_asked(run: Run, student: Path) -> None:
    damaged = next(student.glob("artifacts/student/*/student.onnx"))
    damaged.write_bytes(b"\0")
    done = run("recommend", "--user", "u1")
    assert done.code == 1
    assert "recsys doctor --repair" in done.err


def test_doctor_names_a_database_that_is_none(run: Run, home: Path) -> None:
    home.mkdir()
    (home / "recsys.sqlite").write_text("this is a diary")
    done = run("doctor")
    assert done.code == 1
    assert "database" in done.err
    assert (home / "recsys.sqlite").read_text() == "this is a diary"


def test_the_sample_is_made_listed_and_recommended_from(run: Run, home: Path) -> None:
    done = run("data", "sample")
    assert done.code == 0
    assert done.out.startswith("Electronics (synthetic sample): 600 people, 3")
    assert "recsys distill --category Electronics" in done.err
    assert "skipped" in run("data", "sample").err
    stats = run("data", "stats", "Electronics")
    assert "Electronics (synthetic sample)" in stats.out
    assert json.loads(run("data", "list", "--json").out)[0]["synthetic"] is True
