"""`recsys data import` and `pull` from the command's side: what they print and how they fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """A folder in the MovieTweetings form, with one bad row."""
    folder = tmp_path / "films"
    folder.mkdir()
    titles = [f"{n:07d}::Film {n} (20{n:02d})::Drama|Comedy" for n in range(10)]
    (folder / "movies.dat").write_text("\n".join(titles) + "\n", encoding="utf-8")
    rows = [
        f"{u}::{(u + step) % 10:07d}::{5 + step}::{1_400_000_000 + u * 9 + step * 1000}"
        for u in range(1, 9)
        for step in range(4)
    ]
    (folder / "ratings.dat").write_text("\n".join([*rows, "9::broken"]) + "\n", encoding="utf-8")
    return folder


def test_an_import_is_counted_and_a_second_one_adds_nothing(run: Run, films: Path) -> None:
    done = run("data", "import", str(films), "--category", "films")
    assert done.code == 0, done.err
    assert "films: 8 people, 10 items, 32 interactions" in done.out
    assert "bad rows" in done.out
    assert "skipped: " in done.err
    again = json.loads(run("data", "import", str(films), "--category", "films", "--json").out)
    assert again["counts"]["rows_new"] == 0
    assert again["category"]["interactions"] == 32


def test_strict_stops_at_the_first_bad_row_and_keeps_nothing(run: Run, films: Path) -> None:
    done = run("data", "import", str(films), "--category", "films", "--strict")
    assert done.code == 1
    assert "33" in done.err.splitlines()[-1]
    assert json.loads(run("data", "list", "--json").out) == []


@pytest.mark.parametrize("name", ["nowhere.csv", "nowhere"])
def test_a_file_that_is_not_there_is_named(run: Run, name: str) -> None:
    done = run("data", "import", name, "--category", "films")
    assert done.code == 1
    assert repr(name) in done.err


def test_an_unknown_data_set_names_the_nearest(run: Run) -> None:
    done = run("data", "pull", "Electronic")
    assert done.code == 1
    assert "'Electronics'" in done.err
