"""Studies from beginning to end: a real small Llama, a shop, students of both families."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from distill.studies.files import Study, read_study
from distill.studies.running import Studied, run_study
from distill.studies.tables import differences_of, markdown, rows_of
from recommender.config import Settings
from recommender.events import Event, StageSkipped
from storage.store import Store
from tests.tiny import SHOP, Letters, add_shop
from tui.cli.study import show_studied

TEACHER = """
  teacher: {spec: LLAMA, candidates: 5, choose_requests: 12, gate_requests: 12, device: cpu,
    fisher_requests: 4, requests: 12, history_length: 4, scoring: likelihood, ignore_gate: true}
"""
SEQUENTIAL = """
question: does it run?
data: [Tiny shop]
seeds: [0, 1]
base:TEACHER
  student: {epochs: 8, learning_rate: 0.01, network: {blocks: 2, width: 16}}
arms:
  none: {method: none}
  layers: {method: layers-only}
against: [none]
"""
LANGUAGE = """
question: does it run?
data: [Tiny shop]
metric: mrr
base:TEACHER
  language: {layers: 2, hidden: 16, heads: 2, tokens: 800, max_tokens: 48, batch: 4,
    evaluate_every: 3, validation: 4, test_requests: 10, precision: float32}
arms:
  none: {method: none}
  minilm: {method: minilm}
  unread: {method: none, language: {tokens: 0}}
against: [none]
"""


def study_of(text: str, folder: Path, llama: Path) -> Study:
    path = folder / "mine.yaml"
    teacher = TEACHER.replace("LLAMA", str(llama))
    path.write_text(text.replace("TEACHER", teacher), encoding="utf-8")
    return read_study(path)


def ran(text: str, folder: Path, llama: Path) -> tuple[list[Event], Studied]:
    """Run a study on the shop in a folder."""
    settings = Settings(data_dir=folder)
    with Store.open(settings.db, settings.artifacts) as store:
        if not store.catalogue.categories():
            add_shop(store)
        study = study_of(text, folder, llama)
        *before, last = run_study(store, study, settings, encoder=Letters())
    assert isinstance(last, Studied)
    return before, last


def named(found: Studied, arm: str) -> Studied:
    """Return a study whose second arm is called something."""
    (one,) = found.ran
    renamed = dict(zip(("none", arm), one.trials.values(), strict=True))
    return replace(found, ran=(replace(one, trials=renamed),))


def test_sequential_students_and_what_was_finished_is_found_again(
    tmp_path: Path, llama: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, found = ran(SEQUENTIAL, tmp_path, llama)
    (one,) = found.ran
    assert one.category.name == SHOP
    assert [trial.seed for trial in one.trials["layers"]] == [0, 1]
    names = {row.name for row in rows_of(one, ["ndcg@10"])}
    assert names == {"none", "layers", "popularity", "item-knn"}
    taught, alone = (one.trials[name][0].evaluation for name in ("layers", "none"))
    assert not np.array_equal(taught.ranks, alone.ranks), "layers were not heard"
    assert [d.a for d in differences_of(one, ["none"], "ndcg@10")] == ["layers"]
    tables = markdown(found)
    assert "Teacher at the gate: scoring by likelihood" in tables
    assert "| layers − none |" in tables
    assert r"| a\|b &lt;i&gt; |" in markdown(named(found, "a|b <i>"))

    capsys.readouterr()
    show_studied(named(found, "a|b <i>"))
    shown = capsys.readouterr().out.splitlines()
    (row,) = (line for line in shown if line.startswith("a|b <i>  "))
    assert len(row.split()) >= 11, "a row of its own, of figures with intervals"
    assert [line.split("  ")[0] for line in shown].count("a|b <i> − none") == 1
    assert sum(line.startswith("Teacher at the gate") for line in shown) == 1

    events, again = ran(SEQUENTIAL, tmp_path, llama)
    skipped = {event.stage for event in events if isinstance(event, StageSkipped)}
    assert {"train none", "train layers"} <= skipped
    assert markdown(again) == tables


def test_students_that_read_text(tmp_path: Path, llama: Path) -> None:
    events, found = ran(LANGUAGE, tmp_path, llama)
    (here,) = found.ran
    assert {one.name for one in here.beside} == {"teacher", "popularity", "item-knn"}
    best = {name: trials[0].best for name, trials in here.trials.items()}
    assert best["minilm"] != best["none"], "the teacher was not heard"
    assert np.isnan(best["unread"])
    cost = here.trials["minilm"][0].cost
    assert cost["steps"] > 2
    assert cost["peak_bytes"] > 0
    assert "(test/candidates)" in markdown(found)
    assert "| MRR | NDCG@10 |" in markdown(found)
    again, _ = ran(LANGUAGE, tmp_path, llama)
    assert "train minilm" in {one.stage for one in again if isinstance(one, StageSkipped)}
    assert "train minilm" not in {one.stage for one in events if isinstance(one, StageSkipped)}
