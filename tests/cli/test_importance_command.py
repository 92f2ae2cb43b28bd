"""`recsys importance`, end to end: a real small Llama of random weights, and a shop."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from distill.importance.criteria import CRITERIA, DEFAULT
from storage.store import Store
from tests.cli.conftest import Outcome, Run
from tests.tiny import LAYERS, SHOP, Letters, add_shop
from tui.cli import importance as command
from tui.cli.importance import known_losses, quoted

OTHER = "Second shop"


@pytest.fixture
def data(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with a shop, and a text encoder that needs no fetched model."""
    monkeypatch.setattr("distill.profiling.embedded_encoder", lambda models: Letters())
    home.mkdir(exist_ok=True)
    with Store.open(home / "recsys.sqlite", home / "artifacts") as store:
        add_shop(store)
    return home


@pytest.fixture
def measure(run: Run, data: Path, llama: Path):
    """Measure the small Llama on a few requests of the shop."""

    def call(*more: str, category: str = SHOP, requests: str = "6") -> Outcome:
        return run(
            *("importance", "--category", category, "--weights", str(llama)),
            *("--candidates", "6", "--history-length", "4", "--device", "cpu"),
            *("--requests", requests, *more),
        )

    return call


def measured_nothing(data: Path) -> bool:
    with Store.open(data / "recsys.sqlite", data / "artifacts") as store:
        return all(store.layers.count(name) == 0 for name in ("one-pass", "removal", "greedy"))


def test_tables_bars_and_a_verdict(measure) -> None:
    done = measure("--criterion", "fisher-empirical", "--criterion", "loo-loss", "--null")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].startswith(f"{SHOP} (synthetic sample), tiny-llama, listwise: 6 requests of ")
    assert lines[0].endswith(f" tokens, {LAYERS} layers")
    assert lines[1].split()[0] == "criterion"
    assert "random twin" in lines[1]
    assert "tau loo-loss" in lines[1]
    [fisher] = [line for line in lines if line.startswith("fisher-empirical ")]
    assert "[" in fisher
    assert any(line.startswith("(depth alone)") for line in lines)
    bars = [line for line in lines if line.split()[:1] in (["0"], ["1"], ["2"])]
    assert len(bars) == LAYERS
    assert any("█" * 12 in line for line in bars)
    assert any(line.startswith("verdict: 'Upper layers matter more' is ") for line in lines)
    assert [line for line in lines if line][-1] == (
        "these are figures of a synthetic sample, and no results"
    )
    assert "next: recsys importance --category 'Tiny shop' --criterion fisher-empirical" in done.err
    assert "nan" not in done.out


def test_json_is_json_without_nan(measure) -> None:
    done = measure("--criterion", "default", "--criterion", "loo-ndcg", "--json")
    assert done.code == 0, done.err

    def refuse(word: str) -> float:
        raise AssertionError(f"{word} is no JSON")

    found = json.loads(done.out, parse_constant=refuse)
    [one] = found["each"]
    assert one["category"]["name"] == SHOP
    criteria = one["summary"]["criteria"]
    assert list(criteria) == [*DEFAULT, "loo-ndcg"]
    for name, criterion in criteria.items():
        assert len(criterion["profile"]["mean"]) == LAYERS, name
        assert all(math.isfinite(value) for value in criterion["profile"]["mean"])
        assert (
            criterion["ratios"]["quartiles"]["value"] is not None
            or (criterion["ratios"]["quartiles"]["reason"])
        )
    assert found["verdicts"]["listwise"]["answer"] in ("true", "false", "undecided")
    assert found["stability"] == {"listwise": {}}


def test_a_second_run_measures_nothing_and_says_the_same(measure) -> None:
    first = measure("--criterion", "gate-fisher", "--criterion", "loo-loss")
    again = measure("--criterion", "gate-fisher", "--criterion", "loo-loss")
    assert first.code == again.code == 0, first.err + again.err
    assert "removal: 6 requests …" in first.err
    assert "one-pass: 6 requests …" in first.err
    assert "removal:" not in again.err
    assert "one-pass:" not in again.err
    assert again.out == first.out


def test_the_next_command_adds_what_is_open(measure) -> None:
    done = measure("--criterion", "gate-fisher")
    [line] = [line for line in done.err.splitlines() if line.startswith("next:")]
    assert "--criterion gate-fisher" in line
    assert "--criterion loo-loss" in line
    assert "--requests 6" in line
    assert "--candidates 6" in line


def test_a_picture_and_a_report_are_written(measure, tmp_path: Path) -> None:
    plot, page = tmp_path / "layers.png", tmp_path / "layers.md"
    some = ("--criterion", "gate-fisher", "--criterion", "loo-loss")
    done = measure(*some, "--plot", str(plot), "--report", str(page))
    assert done.code == 0, done.err
    assert plot.read_bytes().startswith(b"\x89PNG")
    text = page.read_text(encoding="utf-8")
    assert f"## Shape and truth: {SHOP} (synthetic sample)" in text
    again = text.split("```bash\n", 1)[1].split("\n```", 1)[0]
    assert again.startswith(f"recsys importance --category '{SHOP}' --criterion gate-fisher ")
    assert "--criterion loo-loss --requests 6" in again
    assert "--candidates 6" in again
    assert again.endswith(f" --report {page}")
    assert (tmp_path / "layers-removals.svg").exists()
    assert f"drawn: {plot}" in done.err
    assert f"written: {page}, " in done.err


def test_two_categories_and_all(measure, data: Path) -> None:
    with Store.open(data / "recsys.sqlite", data / "artifacts") as store:
        add_shop(store, people=120, name=OTHER)
    some = ("--criterion", "gate-fisher")
    both = measure(*some, "--category", OTHER)
    assert both.code == 0, both.err
    assert f"{OTHER} (synthetic sample), tiny-llama" in both.out
    assert "between categories, by listwise (mean tau of all pairs): gate-fisher" in both.out
    everything = measure(*some, category="all")
    assert everything.code == 0, everything.err
    for name in (SHOP, OTHER):
        assert f"{name} (synthetic sample), tiny-llama" in everything.out
    twice = measure(*some, "--category", SHOP)
    assert twice.out.count("tiny-llama, listwise") == 1


def test_losses_are_compared(measure) -> None:
    done = measure("--criterion", "gate-fisher", "--loss", "listwise", "--loss", "next-token")
    assert done.code == 0, done.err
    assert f"between losses, {SHOP}, gate-fisher: tau listwise and next-token" in done.out
    assert "verdict (next-token): " in done.out
    next_line = done.err.splitlines()[-1]
    assert "--loss listwise --loss next-token" in next_line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--plot", "layers.pdf"), "--plot 'layers.pdf' does not end in .png or .svg"),
        (("--plot", "nowhere/layers.png"), "there is no folder 'nowhere'"),
        (("--report", "layers.html"), "--report 'layers.html' does not end in .md"),
        (("--criterion", "fischer-empirical"), "did you mean 'fisher-empirical'?"),
        (("--criterion", "zzz"), "no criterion 'zzz': one of fisher-empirical, "),
        (("--loss", "hinge"), "no loss 'hinge': one of listwise, letters, next-token"),
        (("--criterion", "probe-information"), "needs 20 requests, not 6"),
        (("--criterion", "loo-ndcg", "--loss", "next-token"), "'loo-ndcg' needs candidates"),
        (("--category", "Bokos"), "no category 'Bokos'"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_measured(
    measure, data: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = measure(*arguments)
    assert done.code == 1
    assert said in done.err
    assert done.err.count("error:") == 1
    assert "Traceback" not in done.err
    assert done.out == ""
    assert measured_nothing(data)


def test_no_data_names_three_ways_to_get_some(run: Run, home: Path, llama: Path) -> None:
    done = run("importance", "--category", "all", "--weights", str(llama))
    assert done.code == 1
    assert "recsys data sample" in done.err
    assert "recsys data pull movielens-100k" in done.err


def test_no_weights_leave_nothing_to_measure(run: Run, data: Path) -> None:
    done = run("importance", "--category", SHOP, "--weights", "none")
    assert done.code == 1
    assert "--weights none leaves nothing to measure" in done.err


def test_help_names_every_option(run: Run, home: Path) -> None:
    done = run("importance", "--help")
    assert done.code == 0
    for option in ("--criterion", "--loss", "--null", "--plot", "--report", "--json"):
        assert option in done.out


def test_names_that_a_shell_would_read_otherwise() -> None:
    assert quoted("a; rm -rf b") == "'a; rm -rf b'"
    assert known_losses(["next-token"]) == ("next-token",)
    from distill.importance.requests import LOSSES

    assert command.LOSSES == LOSSES


def test_every_criterion_has_a_meaning_and_a_source() -> None:
    for name, one in CRITERIA.items():
        assert name == one.name
        assert one.meaning
        assert one.source
