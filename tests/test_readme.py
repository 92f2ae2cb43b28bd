"""The README is true: its commands exist, its Python works, its layout is the tree's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from distill.importance.criteria import CRITERIA
from recommender.config import resolve
from recommender.datasets import import_data
from storage.store import Store

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def blocks(language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(README) if kind == language]


def commands() -> list[list[str]]:
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    found = [re.sub(r".*?\brecsys ", "", line) for line in lines if "bin/recsys " in line]
    return [line.split("#")[0].split() for line in found]


def helped(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tui.cli", *words, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "", "COLUMNS": "200", "TERM": "dumb", "HOME": str(ROOT)},
    )
    return done.stdout


def test_every_command_of_the_table_is_in_the_help() -> None:
    named = set(re.findall(r"^\| `recsys ([a-z]+)", README, re.MULTILINE))
    listed = set(re.findall(r"^\s{1,4}([a-z]+)\s{2,}", helped(), re.MULTILINE))
    assert listed == named


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_option_of_the_examples_exists(words: list[str]) -> None:
    group = [w for w in words[:2] if re.fullmatch("[a-z]+", w)]
    group = group if words[0] in ("data", "models", "runs") else group[:1]
    text = helped(*group)
    for option in (word for word in words if word.startswith("--")):
        assert option in text, option


def test_the_criteria_are_those_there_are() -> None:
    [shown] = re.findall(r"<!-- criteria -->\n(.*?)\n<!-- end of criteria -->", README, re.DOTALL)
    _, _, *rows = shown.splitlines()
    made = [
        f"| `{name}` | {one.meaning.replace('|', chr(92) + '|')} | {one.source} |"
        for name, one in CRITERIA.items()
    ]
    assert rows == made


def test_every_make_verb_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for verb in re.findall(r"^make ([a-z-]+)", "\n".join(blocks("bash")), re.MULTILINE):
        assert re.search(rf"^{verb}:", makefile, re.MULTILINE), verb


def test_the_python_lines_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
    for user in (196, 7):
        log += [f"{user}\t{1 + (user + k) % 9}\t4\t{100 * user + k}" for k in (0, 1)]
    titles = ["item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq"]
    titles += [f"{n}\tFilm {n}\t1990\tDrama" for n in range(1, 10)]
    (tmp_path / "ml-100k.inter").write_text("\n".join(log) + "\n")
    (tmp_path / "ml-100k.item").write_text("\n".join(titles) + "\n")
    settings = resolve().settings
    with Store.open(settings.db, settings.artifacts) as store:
        list(import_data(store, tmp_path, category="movielens-100k"))
    [lines] = blocks("python")
    exec(lines, {})
    assert "Film" in capsys.readouterr().out
