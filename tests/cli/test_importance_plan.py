"""`recsys importance --plan`: what it would take, said before any weight is read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from distill.importance.planning import read_config
from recommender.models import EMBEDDED_TEACHER, resolve_model
from tests.cli import shop
from tests.cli.conftest import Run

ASKED = ("importance", "--category", shop.NAME, "--plan")


@pytest.fixture
def settings_only(llama: Path, tmp_path: Path) -> Path:
    """A model's directory with its settings, and not one weight."""
    folder = tmp_path / "bare"
    folder.mkdir()
    shutil.copy(llama / "config.json", folder)
    return folder


def test_says_what_a_model_and_llama_3_8b_take(run: Run, home: Path, settings_only: Path) -> None:
    shop.build(home)
    done = run(*ASKED, "--teacher", str(settings_only), "--candidates", "10")
    assert done.code == 0, done.err
    here, there = done.out.split("\n\n")
    assert here.startswith("bare on this machine (")
    assert "llama, 0.06 million weights" in here
    assert "a request: 523 tokens, 251 of them predict, 10 candidates" in here
    assert "it fits," in here
    assert there.startswith("Llama-3-8B on a card of 24 GB")
    assert "8.03 billion weights in bfloat16" in there
    heads = ("one request", "weights", "together", "most side by side")
    rows = [line for line in here.splitlines() if line.startswith(heads)]
    assert len({len(row) for row in rows}) == 1, rows
    assert "16.061 GB" in there
    assert "24.0 GB are there: it fits" in there


def test_weights_beside_a_server_are_what_is_planned_for(
    run: Run, home: Path, settings_only: Path
) -> None:
    shop.build(home)
    teacher = ("--teacher", "ollama:llama3.1:8b")
    done = run(*ASKED, *teacher, "--weights", str(settings_only), "--json")
    assert done.code == 0, done.err
    here, there = json.loads(done.out).values()
    assert here["name"] == "llama"
    assert here["verdict"] == "fits"
    assert there["parameters"]["embedding"] == 128_256 * 4096
    alone = run(*ASKED, *teacher)
    assert alone.code == 1
    assert "no weights that could be measured" in alone.err


def test_what_is_no_model_is_said_in_a_sentence(run: Run, home: Path, tmp_path: Path) -> None:
    shop.build(home)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text('{"model_type": "no-such-kind"}')
    for name, said in (
        (str(broken), "settings that cannot be read"),
        ("org/absent", "'org/absent' are not on this machine"),
        (str(tmp_path / "nowhere"), "nowhere"),
    ):
        done = run(*ASKED, "--teacher", name)
        assert done.code == 1
        assert said in done.err
        assert len(done.err.strip().splitlines()) == 1
        assert "Traceback" not in done.err


@pytest.mark.models
def test_the_embedded_model_is_read_from_the_head_of_its_file(models: Path) -> None:
    found = read_config(resolve_model(models, EMBEDDED_TEACHER))
    assert (found.num_hidden_layers, found.hidden_size, found.vocab_size) == (30, 576, 49_152)
    assert found.tie_word_embeddings
