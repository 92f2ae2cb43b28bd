"""`recsys adapt`, end to end: a real small Llama of random weights, and a shop."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from distill.adapting.config import AdaptConfig
from recommender.models import EMBEDDED
from storage.store import Store
from tests.cli.conftest import Outcome, Run
from tests.tiny import SHOP, Letters, add_shop, save_encoder
from tui.cli.adapt import adapt as command

SMALL = (
    *("--candidates", "5", "--history-length", "4", "--device", "cpu"),
    *("--requests", "40", "--epochs", "1", "--minutes", "0", "--rank", "2"),
    *("--prompt-tokens", "110", "--test-requests", "35"),
)
ROOT = Path(__file__).parents[2]

Adapt = Callable[..., Outcome]


@pytest.fixture
def data(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with a shop, and a text encoder that needs no fetched model."""
    monkeypatch.setattr("distill.adapting.adapt.embedded_encoder", lambda models: Letters())
    monkeypatch.setattr("recommender.serving.embedded_encoder", lambda models: Letters())
    home.mkdir(exist_ok=True)
    with Store.open(home / "recsys.sqlite", home / "artifacts") as store:
        add_shop(store)
    return home


@pytest.fixture
def adapt(run: Run, data: Path, llama: Path) -> Adapt:
    """Adapt the small Llama to the shop, in seconds."""

    def call(*more: str, category: str = SHOP, teacher: str = "") -> Outcome:
        return run(
            *("adapt", "--category", category, "--teacher", teacher or str(llama)), *SMALL, *more
        )

    return call


def test_the_curve_the_figures_and_a_teacher_that_recommends(adapt: Adapt, run: Run) -> None:
    done = adapt()
    assert done.code == 0, done.err
    title, heads, *rows = done.out.splitlines()
    assert title == f"{SHOP} (synthetic sample), validation, by letters"
    assert heads.split() == ["step", "mrr", "loss"]
    points = [row.split() for row in rows[:6]]
    assert [point[0] for point in points] == ["0", "1", "2", "3", "4", "5"]
    assert [point[-1] for point in points].count("kept") == 1
    assert all(0 < float(point[1]) <= 1 for point in points)
    assert "by letters, at most 110 tokens: MRR adapted 0." in done.out
    assert "difference" in done.out
    assert "chance MRR 0.457" in done.out
    assert "no results" in done.out  # a synthetic shop
    [line] = [one for one in done.err.splitlines() if one.startswith("next: ")]
    teacher = line.split()[-1]
    assert line == f"next: recsys distill --category '{SHOP}' --teacher {teacher}"

    listed = run("models", "list")
    assert teacher in listed.out
    shown = run("runs", "show", teacher)
    assert shown.code == 0
    assert "test/candidates/unadapted, by letters" in shown.out

    recommended = run(
        *("recommend", "--category", SHOP, "--user", "S001", "--by", "teacher"),
        *("--teacher", teacher, "--top-k", "3", "--json"),
    )
    assert recommended.code == 0, recommended.err
    assert f"teacher: {teacher} (" in recommended.err
    [answer] = json.loads(recommended.out)
    assert answer["ranker"] == "teacher"
    assert len({item["id"] for item in answer["items"]}) == 3


def test_json_has_the_curve_and_every_figure_of_an_adapter_alone(adapt: Adapt, run: Run) -> None:
    done = adapt("--json", "--no-merge")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["teacher"] == ""
    assert [point["step"] for point in found["curve"]] == [0, 1, 2, 3, 4, 5]
    assert {row["metric"] for row in found["rows"]} >= {"mrr", "ndcg@10"}
    kept = {file.name for file in Path(found["folder"]).iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors"} <= kept
    assert "model.safetensors" not in kept
    assert found["run"]["id"] not in run("models", "list").out
    assert run("runs", "show", found["run"]["id"]).code == 0
    assert "next: " not in done.err


def test_a_log_for_tensorboard_has_both_losses_and_every_validation(
    adapt: Adapt, home: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    done = adapt("--tensorboard", str(home / "log"), "--json")
    assert done.code == 0, done.err
    log = EventAccumulator(str(home / "log"))
    log.Reload()
    steps = [event.step for event in log.Scalars("loss/letters")]
    assert steps == [event.step for event in log.Scalars("loss/titles")] == [1, 2, 3, 4, 5]
    curve = json.loads(done.out)["curve"][1:]
    scores = log.Scalars("validation/score")
    assert [event.step for event in scores] == [point["step"] for point in curve]
    assert [event.value for event in scores] == pytest.approx([point["mrr"] for point in curve])


def test_a_log_that_cannot_be_written_costs_no_loading(adapt: Adapt, home: Path) -> None:
    (home / "file").write_text("a file, and no folder")
    done = adapt("--tensorboard", str(home / "file"))
    assert done.code == 1
    assert f"'{home / 'file'}' cannot be written" in done.err
    assert "adapted" not in done.err
    assert len(done.err.splitlines()) == 2  # who is adapted, and what is wrong


@pytest.mark.slow
def test_killed_and_gone_on_it_is_the_same_to_the_byte(home: Path, llama: Path) -> None:
    kept = []
    for name in ("whole", "killed"):
        folder = home / name
        [encoder] = [one for one in EMBEDDED if one.kind == "encoder"]
        save_encoder(folder / "models" / encoder.target)
        with Store.open(folder / "recsys.sqlite", folder / "artifacts") as store:
            add_shop(store)
        command = [sys.executable, "-m", "tui.cli", "adapt", "--category", SHOP]
        command += ["--teacher", str(llama), *SMALL, "--requests", "160", "--json"]
        env = {**os.environ, "RECSYS_HOME": str(folder), "OMP_NUM_THREADS": "1"}
        if name == "killed":
            kill_when_there_is(folder / "artifacts", command, env)
        done = subprocess.run(
            command, env=env, cwd=ROOT, capture_output=True, text=True, check=False, timeout=200
        )
        assert done.returncode == 0, done.stderr
        assert ("going on from step" in done.stderr) == (name == "killed")
        found = json.loads(done.stdout)
        weights = Path(found["folder"], "model.safetensors").read_bytes()
        kept.append((weights, found["curve"], found["run"]["id"]))
        assert not list((folder / "artifacts" / "scratch").glob("adapter-*")), "is cleaned up"
    assert kept[0] == kept[1]


def kill_when_there_is(artifacts: Path, command: list[str], env: dict[str, str]) -> None:
    """Start a command and kill it at its first checkpoint."""
    with subprocess.Popen(
        command, env=env, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while not list((artifacts / "scratch").glob("adapter-*/checkpoint.json")):
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


def test_a_flag_that_is_not_given_is_what_python_takes() -> None:
    flags = inspect.signature(command).parameters
    fields = {field.name: field.default for field in dataclasses.fields(AdaptConfig)}
    same = [name for name in fields if name in flags and flags[name].default is not None]
    assert {"minutes", "said_weight", "patience", "whole_requests"} < set(same)
    for name in same:
        if fields[name] is not dataclasses.MISSING:
            assert flags[name].default == fields[name], name


def test_a_flag_reaches_the_run(adapt: Adapt) -> None:
    kept = json.loads(adapt("--said-weight", "0.2", "--json").out)["run"]["config"]
    assert (kept["said_weight"], kept["letters_weight"]) == (0.2, 1.0)


@pytest.mark.parametrize(
    ("more", "what"),
    [
        (("--candidates", "30"), "30 candidates cannot be asked by letters"),
        (("--letters-weight", "0", "--lm-weight", "0"), "one must count"),
        (("--learning-rate", "0"), "learning_rate = 0.0 is out of its range: above 0"),
    ],
)
def test_bad_settings_are_one_sentence(adapt: Adapt, more: tuple[str, ...], what: str) -> None:
    done = adapt(*more)
    assert (done.code, done.out) == (1, "")
    *_, line = done.err.splitlines()
    assert line.startswith("error: ")
    assert what in line
    assert "Traceback" not in done.err


def test_a_learning_rate_that_diverges_is_one_sentence(adapt: Adapt) -> None:
    done = adapt("--learning-rate", "1e30")
    assert (done.code, done.out) == (1, "")
    *_, line = done.err.splitlines()
    assert line.startswith("error: the training diverged at step ")
    assert "try a learning rate below" in line


def test_a_mistyped_category_names_the_next(adapt: Adapt) -> None:
    done = adapt(category="Tiny shp")
    assert (done.code, SHOP in done.err) == (1, True)
    assert len(done.err.splitlines()) == 1


def test_an_encoder_and_a_server_that_is_not_there_are_refused(adapt: Adapt) -> None:
    encoder = adapt(teacher="minilm")
    assert encoder.code == 1
    assert "only a language model can be adapted; next: recsys adapt --teacher" in encoder.err
    server = adapt(teacher="llama3.1:8b")
    assert server.code == 1
    assert "next: " in server.err


def test_help_says_how_the_result_is_named(run: Run) -> None:
    done = run("adapt", "--help")
    assert "--teacher adapted-1a2b3c4d" in " ".join(done.out.split())
