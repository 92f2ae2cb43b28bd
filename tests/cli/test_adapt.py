"""`recsys adapt`, end to end: a real small Llama of random weights, and a shop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from storage.store import Store
from tests.cli.conftest import Outcome, Run
from tests.tiny import SHOP, Letters, add_shop


@pytest.fixture
def data(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with a shop, and a text encoder that needs no fetched model."""
    monkeypatch.setattr("distill.adapting.adapt.embedded_encoder", lambda models: Letters())
    home.mkdir(exist_ok=True)
    with Store.open(home / "recsys.sqlite", home / "artifacts") as store:
        add_shop(store)
    return home


@pytest.fixture
def adapt(run: Run, data: Path, llama: Path):
    """Adapt the small Llama to the shop, in seconds."""

    def call(*more: str, category: str = SHOP, teacher: str = "") -> Outcome:
        return run(
            *("adapt", "--category", category, "--teacher", teacher or str(llama)),
            *("--candidates", "5", "--history-length", "4", "--device", "cpu"),
            *("--requests", "40", "--epochs", "1", "--minutes", "0", "--rank", "2"),
            *("--prompt-tokens", "110", "--test-requests", "35", *more),
        )

    return call


def test_the_curve_the_figures_and_the_next_command(adapt, run: Run) -> None:
    done = adapt()
    assert done.code == 0, done.err
    assert "by letters, at most 110 tokens: MRR adapted 0." in done.out
    assert "difference" in done.out
    assert "chance MRR 0.457" in done.out
    assert "kept" in done.out
    assert "no results" in done.out  # a synthetic shop
    [line] = [one for one in done.err.splitlines() if one.startswith("next: ")]
    teacher = line.split()[-1]
    assert line == f"next: recsys distill --category {SHOP} --teacher {teacher}"

    listed = run("models", "list")
    assert teacher in listed.out
    shown = run("runs", "show", teacher)
    assert "test/candidates/unadapted, by letters" in shown.out
    recommended = run("recommend", "--category", SHOP, "--user", "S00001", "--teacher", teacher)
    assert recommended.code in (0, 1)


def test_json_has_the_curve_and_every_figure(adapt) -> None:
    done = adapt("--json", "--adapter")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["teacher"] == ""
    assert found["curve"][0]["step"] == 0
    assert {row["metric"] for row in found["rows"]} >= {"mrr", "ndcg@10"}
    assert Path(found["folder"], "adapter_model.safetensors").is_file()


@pytest.mark.parametrize(
    ("more", "what"),
    [
        (("--candidates", "30"), "30 candidates cannot be asked by letters"),
        (("--letters-weight", "0", "--lm-weight", "0"), "one must count"),
        (("--learning-rate", "0"), "must be above 0"),
    ],
)
def test_bad_settings_are_one_line(adapt, more: tuple[str, ...], what: str) -> None:
    done = adapt(*more)
    assert done.code == 1
    assert what in done.err
    assert "Traceback" not in done.err


def test_a_mistyped_category_names_the_next(adapt) -> None:
    done = adapt(category="Tiny shp")
    assert (done.code, SHOP in done.err) == (1, True)


def test_an_encoder_and_a_server_that_is_not_there_are_refused(adapt) -> None:
    encoder = adapt(teacher="minilm")
    assert encoder.code == 1
    assert "only a language model can be adapted; next: recsys adapt --teacher" in encoder.err
    server = adapt(teacher="llama3.1:8b")
    assert server.code == 1
    assert "next: " in server.err


def test_help_says_how_the_result_is_named(run: Run) -> None:
    done = run("adapt", "--help")
    assert "--teacher adapted-1a2b3c4d" in " ".join(done.out.split())
