"""Studies from beginning to end: a real small Llama, a shop, students of both families."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from distill.studies.files import Study, read_study
from distill.studies.running import Studied, run_study
from distill.studies.tables import differences_of, markdown, rows_of
from recommender.config import Settings
from recommender.events import Event, StageSkipped
from storage.store import Store
from tests.tiny import SHOP, Letters

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
  fisher-ld: {method: fisher-ld}
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


@pytest.fixture
def run(shop: Store, tmp_path: Path, llama: Path):
    def call(text: str) -> tuple[list[Event], Studied]:
        study = study_of(text, tmp_path, llama)
        settings = Settings(data_dir=tmp_path)
        *before, last = run_study(shop, study, settings, encoder=Letters())
        assert isinstance(last, Studied)
        return before, last

    return call


def test_sequential_students(run) -> None:
    _, found = run(SEQUENTIAL)
    (ran,) = found.ran
    assert ran.category.name == SHOP
    assert [trial.seed for trial in ran.trials["fisher-ld"]] == [0, 1]
    names = {row.name for row in rows_of(ran, ["ndcg@10"])}
    assert names == {"none", "fisher-ld", "layers", "popularity", "item-knn"}
    taught, alone = (ran.trials[name][0].evaluation for name in ("layers", "none"))
    assert not np.array_equal(taught.ranks, alone.ranks), "layers were not heard"
    assert [one.a for one in differences_of(ran, ["none"], "ndcg@10")] == ["fisher-ld", "layers"]
    tables = markdown(found)
    assert "Teacher at the gate: scoring by likelihood" in tables
    assert "| fisher-ld − none |" in tables


def test_what_was_finished_is_found_again(run) -> None:
    _, first = run(SEQUENTIAL)
    events, again = run(SEQUENTIAL)
    skipped = {event.stage for event in events if isinstance(event, StageSkipped)}
    assert {"train none", "train fisher-ld", "train layers"} <= skipped
    assert markdown(first) == markdown(again)


def test_students_that_read_text(run) -> None:
    events, found = run(LANGUAGE)
    (ran,) = found.ran
    assert {one.name for one in ran.beside} == {"teacher", "popularity", "item-knn"}
    best = {name: trials[0].best for name, trials in ran.trials.items()}
    assert best["minilm"] != best["none"], "the teacher was not heard"
    assert np.isnan(best["unread"])
    cost = ran.trials["minilm"][0].cost
    assert cost["steps"] > 2
    assert cost["peak_bytes"] > 0
    assert "(test/candidates)" in markdown(found)
    assert "| MRR | NDCG@10 |" in markdown(found)
    again, _ = run(LANGUAGE)
    assert "train minilm" in {one.stage for one in again if isinstance(one, StageSkipped)}
    assert "train minilm" not in {one.stage for one in events if isinstance(one, StageSkipped)}
