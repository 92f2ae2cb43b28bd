"""`recsys adapt`, end to end: a real small Llama of random weights, and a shop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from recommender.models import EMBEDDED
from storage.store import Store
from tests.cli.conftest import Outcome, Run
from tests.tiny import SHOP, Letters, add_shop, save_encoder

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
    assert title == f"{SHOP} (synthetic), validation, by letters"
    assert heads.split() == ["step", "mrr", "loss"]
    steps = [row.split() for row in rows[: rows.index("") if "" in rows else 6]]
    assert [cells[0] for cells in steps] == ["0", "1", "2", "3", "4", "5"]
    assert [cells[-1] for cells in steps].count("kept") == 1
    assert all(0 < float(cells[1]) <= 1 for cells in steps)
    assert "by letters, at most 110 tokens: MRR adapted 0." in done.out
    assert "difference" in done.out
    assert "chance MRR 0.457" in done.out
    assert "no results" in done.out  # a synthetic shop
    [line] = [one for one in done.err.splitlines() if one.startswith("next: ")]
    teacher = line.split()[-1]
    assert line == f"next: recsys distill --category {SHOP} --teacher {teacher}"

    listed = run("models", "list")
    assert teacher in listed.out
    shown = run("runs", "show", teacher)
    assert shown.code == 0
    assert "test/candidates/unadapted, by letters" in shown.out

    recommended = run(
        *("recommend", "--category", SHOP, "--user", "S00001", "--by", "teacher"),
        *("--teacher", teacher, "--top-k", "3", "--json"),
    )
    assert recommended.code == 0, recommended.err
    print(recommended.out, recommended.err)
    [answer] = json.loads(recommended.out)
    assert len(answer["items"]) == 3
