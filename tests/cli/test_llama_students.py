"""`recsys distill` of students that read text, end to end: a real small Llama, and a shop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from storage.store import Store
from tests.cli.conftest import Outcome, Run
from tests.tiny import SHOP, Letters, add_shop

SMALL = ("--tokens", "1500", "--requests", "12", "--ignore-gate", "--seed", "3")
LIMITS = """
teacher: {candidates: 5, choose_requests: 12, gate_requests: 12, fisher_requests: 4,
  history_length: 4, scoring: likelihood}
language: {max_tokens: 64, batch: 4, evaluate_every: 4, validation: 8, test_requests: 20,
  precision: float32}
"""


@pytest.fixture
def data(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with a shop, and a text encoder that needs no fetched model."""
    monkeypatch.setattr("distill.consulting.embedded_encoder", lambda models: Letters())
    monkeypatch.setattr("distill.pipeline.embedded_encoder", lambda models: Letters())
    monkeypatch.setattr("recommender.serving.embedded_encoder", lambda models: Letters())
    home.mkdir(exist_ok=True)
    with Store.open(home / "recsys.sqlite", home / "artifacts") as store:
        add_shop(store)
    return home


@pytest.fixture
def distill(run: Run, data: Path, llama: Path):
    """Distil the small Llama for the shop, in seconds."""
    limits = Path("limits.yaml")
    limits.write_text(LIMITS, encoding="utf-8")

    def call(*more: str) -> Outcome:
        return run(
            *("distill", "--category", SHOP, "--teacher", str(llama), "--device", "cpu"),
            *("--config", str(limits), *SMALL, *more),
        )

    return call


FRESH = ("--student", "micro", "--layers", "2", "--hidden", "32", "--heads", "4")


def test_a_student_from_scratch_is_a_teacher_by_its_name(distill, run: Run) -> None:
    done = distill(*FRESH, "--method", "minilm")
    assert done.code == 0, done.err
    assert "distilled (minilm): 2×32, parameters" in done.out
    assert "undistilled" in done.out
    assert "popularity" in done.out
    assert "distilled (minilm) − teacher: MRR" in done.out
    [line] = [one for one in done.err.splitlines() if one.startswith("next: ")]
    teacher = line.rpartition("teacher:")[2]

    shown = run("runs", "show", teacher)
    assert shown.code == 0, shown.err
    assert "language.hidden" in shown.out
    assert "test/candidates" in shown.out
    assert "student_of.parameters.body" in shown.out

    asked = run("recommend", "--category", SHOP, "--user", "S001", "--teacher", teacher, "--json")
    assert asked.code == 0, asked.err


def test_a_cut_keeps_what_was_measured_and_is_found_again(distill) -> None:
    first = distill("--student", "cut-50", "--keep", "0", "--method", "uniform", "--json")
    assert first.code == 0, first.err
    again = distill("--student", "cut-50", "--keep", "0", "--method", "uniform", "--json")
    assert "trained already" in again.err
    assert json.loads(again.out)["run"] == json.loads(first.out)["run"]


def test_a_cut_that_reads_nothing_is_measured_as_it_was_made(distill) -> None:
    done = distill("--student", "cut-50", "--method", "none", "--tokens", "0")
    assert done.code == 0, done.err
    assert "trained in" not in done.out


def test_losses_are_written_for_tensorboard(distill, tmp_path: Path) -> None:
    done = distill(*FRESH, "--method", "none", "--tensorboard", str(tmp_path / "logs"))
    assert done.code == 0, done.err
    assert list((tmp_path / "logs" / "undistilled-same-text-same-budget").glob("events.*"))


def test_a_sequential_student_refuses_what_compares_tokens(run: Run, data: Path) -> None:
    done = run("distill", "--category", SHOP, "--student", "standard", "--method", "tinybert")
    assert done.code == 1
    assert "'tinybert' compares token by token" in done.err


def test_importance_is_measured_where_it_is_missing(distill) -> None:
    done = distill(*FRESH, "--method", "fisher-ld")
    assert done.code == 0, done.err
    assert "one-pass: done" in done.err
    assert "distilled: 2×32" in done.out


@pytest.mark.parametrize(
    ("more", "what"),
    [
        (("--student", "micr"), "no student 'micr'; did you mean 'micro'?"),
        (("--student", "micro", "--method", "tinybrt"), "did you mean 'tinybert'?"),
        (("--student", "micro", "--method", "labels-permuted"), "learns token by token"),
        (("--student", "micro", "--objective", "dros"), "--objective is for a sequential student"),
        (("--student", "standard", "--keep", "first"), "--keep is for a student that reads text"),
        (("--student", "micro", "--hidden", "100"), "not a multiple of 6 heads"),
        (("--student", "cut-50", "--keep", "frist"), "did you mean 'first'?"),
        (("--student", "cut-50", "--keep", "0,77"), "layer 77 cannot be kept"),
        (("--student", "micro", "--final"), "no final training"),
        ((*FRESH, "--method", "fisher-ld", "--weights", "none"), "--weights is 'none'"),
    ],
)
def test_what_cannot_be_is_one_sentence(distill, more: tuple[str, ...], what: str) -> None:
    done = distill(*more)
    assert done.code == 1, done.out
    assert what in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("more", "what"),
    [
        (("--student", "cut-75", "--layers", "5"), "--layers is for a student from scratch"),
        (("--student", "micro", "--keep", "first"), "--keep is for a cut"),
        (("--student", "micro", "--epochs", "1"), "next: --tokens"),
        (("--student", "gru4rec", "--heads", "4"), "which a GRU4Rec has none of"),
    ],
)
def test_flags_that_a_kind_of_student_has_no_use_for(
    run: Run, data: Path, more: tuple[str, ...], what: str
) -> None:
    done = run("distill", "--category", SHOP, *more)
    assert done.code == 1
    assert what in done.err
