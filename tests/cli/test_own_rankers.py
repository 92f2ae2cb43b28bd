"""A ranker of one's own, from `recsys.toml` to the screen."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli import shop
from tests.cli.conftest import Run

MODULE = "own_ranker_of_the_cli_test"
TEXT = """
import numpy as np
from recommender.ranking import rank_from_scores

class Shelf:
    name = "shelf"

    def __init__(self, shop):
        self.items = shop.log.items

    def score(self, histories):
        return np.tile(np.arange(self.items, dtype=np.float32), (len(histories), 1))

    def rank(self, history, *, candidates=None, n=10):
        scores = self.score([history])[0]
        return rank_from_scores(scores, history, name=self.name, candidates=candidates, n=n)
"""


@pytest.fixture
def own(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A shop, and settings elsewhere that name a class beside them."""
    shop.build(home)
    folder = home.parent / "settings"
    folder.mkdir()
    (folder / f"{MODULE}.py").write_text(TEXT)
    (folder / "recsys.toml").write_text(f'rankers = {{ mine = "{MODULE}:Shelf" }}\n')
    monkeypatch.setenv("RECSYS_CONFIG", str(folder / "recsys.toml"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield folder
    sys.modules.pop(MODULE, None)


def test_it_recommends(run: Run, own: Path) -> None:
    done = run("recommend", "--user", "u1", "--by", "mine", "--top-k", "3", "--json")
    assert (done.code, done.err) == (0, "")
    (answer,) = json.loads(done.out)
    assert answer["ranker"] == "shelf"
    scores = [item["score"] for item in answer["items"]]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    table = run("recommend", "--user", "u1", "--by", "mine", "--top-k", "3")
    assert table.out.splitlines()[0].startswith("shelf, in ")


def test_it_is_measured(run: Run, own: Path) -> None:
    done = run("evaluate", "--category", shop.NAME, "--by", "mine", "--by", "popularity", "--json")
    assert done.code == 0
    assert list(json.loads(done.out)) == ["mine", "popularity"]


def test_a_class_that_fails_is_one_line(run: Run, own: Path) -> None:
    (own / f"{MODULE}.py").write_text("import nothing_of_that_name")
    done = run("recommend", "--user", "u1", "--by", "mine")
    assert (done.code, done.out) == (1, "")
    (line,) = done.err.splitlines()
    assert line.startswith(f"error: the ranker '{MODULE}:Shelf' cannot be loaded: ModuleNotFound")
    assert line.endswith(f"next: look at {own / f'{MODULE}.py'}, line 1")


def test_the_help_speaks_of_them(run: Run) -> None:
    for command in ("recommend", "evaluate"):
        assert "of your own" in " ".join(run(command, "--help").out.replace("│", " ").split())
