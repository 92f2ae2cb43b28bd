"""A mistyped `--db`: who only reads says that nothing is there, and makes nothing."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from threading import Timer

import pytest

from tests.cli.conftest import Run

READING = [
    ("data", "list"),
    ("data", "stats", "Electronics"),
    ("recommend", "--user", "1"),
    ("evaluate", "--category", "Electronics"),
    ("runs", "list"),
    ("runs", "show", "x"),
    ("labels", "stats", "--category", "Electronics"),
    ("labels", "export", "--category", "Electronics"),
    ("models", "list"),
    ("importance", "--category", "Electronics"),
    ("label", "--category", "Electronics"),
    ("distill", "--category", "Electronics"),
]
NEEDING = [one for one in READING if one[1] != "list" or one[0] == "runs"]
"""Those to which no data is no answer."""


def named(words: tuple[str, ...]) -> str:
    return " ".join(words[:2])


@pytest.mark.parametrize("arguments", READING, ids=named)
def test_who_reads_makes_nothing(run: Run, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    file = tmp_path / "typo" / "shop.db"
    done = run(*arguments, "--db", str(file))
    assert (done.code, done.out) == (1, "")
    assert f"there is no database {str(file)!r}" in done.err
    assert "; next: recsys data import" in done.err
    assert len(done.err.splitlines()) == 1
    assert not file.parent.exists()


@pytest.mark.parametrize("arguments", NEEDING, ids=named)
def test_where_it_usually_is_the_ways_to_get_data_are_named(
    run: Run, home: Path, arguments: tuple[str, ...]
) -> None:
    done = run(*arguments)
    assert (done.code, done.out) == (1, "")
    assert "data sample" in done.err
    assert not home.exists(), "nothing is made by looking"


def test_no_data_is_an_answer_to_what_there_is(run: Run, home: Path) -> None:
    done = run("data", "list", "--json")
    assert (done.code, done.out.strip()) == (0, "[]")
    done = run("models", "list", "--json")
    assert done.code == 0
    assert json.loads(done.out)["students"] == []
    assert not home.exists()


def test_the_doctor_says_so(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "typo" / "shop.db"
    done = run("doctor", "--db", str(file))
    assert "there is no database" in " ".join(done.out.split())
    assert not file.parent.exists()


def test_who_brings_data_makes_it(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "new" / "shop.db"
    (tmp_path / "log.csv").write_text("user,item,time\na,x,1\na,y,2\nb,x,3\nb,y,4\n")
    done = run("data", "import", str(tmp_path / "log.csv"), "--category", "Pens", "--db", str(file))
    assert done.code == 0, done.err
    assert file.exists()


@pytest.mark.parametrize("url", ["foo://bar", "foo+psycopg://bar/baz"])
def test_an_unknown_kind_of_database(run: Run, url: str) -> None:
    done = run("data", "list", "--db", url)
    assert done.code == 1
    assert "known are a path, sqlite:///PATH" in done.err
    assert "pip install" not in done.err


def in_terminal(*arguments: str) -> tuple[int, str]:
    """Run `recsys` on a terminal; return its code and all it wrote."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "tui.cli", *arguments], stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    late = Timer(30, child.kill)  # an app that was opened after all would wait for keys
    late.start()
    written = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # nobody holds the other end any more
            break
        if not piece:
            break
        written += piece
    os.close(ours)
    late.cancel()
    return child.wait(60), written.decode("utf-8", "replace")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--db", "nowhere/at/all.db"), "there is no folder"),
        (("--db", "sqlite:///nowhere/at/all.db"), "there is no folder"),
        (("--db", "foo://bar"), "no kind of database is called 'foo'"),
        (("--category", "nope"), "data sample"),
    ],
)
def test_the_app_is_not_opened(home: Path, arguments: tuple[str, ...], says: str) -> None:
    code, written = in_terminal("tui", *arguments)
    assert code == 1
    assert says in written
    assert "\x1b[?1049h" not in written, "the screen was not taken"
    assert not home.exists()
    assert not Path("nowhere").exists()


def test_an_unknown_category_names_the_nearest(run: Run, home: Path) -> None:
    assert run("data", "sample").code == 0
    code, written = in_terminal("tui", "--category", "electronic")
    assert code == 1
    assert "no category 'electronic'; did you mean 'Electronics'?" in written
    assert "\x1b[?1049h" not in written
