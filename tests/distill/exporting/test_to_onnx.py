"""Sequential students as ONNX files, whole and with 8-bit weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from distill.exporting.events import Exported
from distill.exporting.sources import Student, find_source
from distill.exporting.to_onnx import METRIC, export_onnx, quantise
from recommender.config import Settings
from recommender.evaluation import evaluate
from recommender.sequential.export import write_student
from recommender.sequential.networks import make_network
from recommender.sequential.shape import NetworkConfig
from recommender.sequential.student import StudentRanker
from recommender.splits import temporal_split
from storage.errors import BadSetting
from storage.records import Run
from storage.store import Store
from tests.tiny import SHOP, add_shop

RUN = "distilled-1"
CONFIG = NetworkConfig(width=32, blocks=1, heads=2, max_len=20)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student of random weights, as it serves; writing it takes a while."""
    folder = tmp_path_factory.mktemp("written")
    with Store.open(folder / "shop.sqlite", folder / "artifacts") as store:
        items = add_shop(store).items
    network = make_network(items, CONFIG, seed=1)
    weights = {name: weight.numpy() for name, weight in network.state_dict().items()}
    (folder / "student").mkdir()
    write_student(folder / "student", weights, CONFIG, np.arange(items), {"name": "distilled"})
    return folder / "student"


def register(
    store: Store, written: Path, *, final: bool = False, split: str = "temporal"
) -> Student:
    category = add_shop(store)
    inputs = {"final": final}
    with store.artifacts.writing("student", inputs) as path:
        for file in written.iterdir():
            (path / file.name).write_bytes(file.read_bytes())
    run = Run(
        id=RUN,
        category_id=category.id,
        kind="student",
        name="distilled",
        seed=0,
        config={"split": split, "min_rating": None},
        status="done",
        created_at="2026-11-28T12:00:00+00:00",
        artifact=store.artifacts.key("student", inputs),
        final=final,
    )
    store.runs.add(run)
    return Student(run, store.artifacts.open(run.artifact))


def exported(store: Store, student: Student, target: Path, **more: bool) -> Exported:
    *_, last = export_onnx(store, student, target, **more)
    assert isinstance(last, Exported)
    return last


def test_the_file_is_the_one_that_serves(
    shop: Store, settings: Settings, written: Path, tmp_path: Path
) -> None:
    register(shop, written)
    student = find_source(RUN, settings, shop)
    assert isinstance(student, Student)
    done = exported(shop, student, tmp_path / "a.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (written / "student.onnx").read_bytes()
    assert done.figures == {}
    assert sorted(p.name for p in tmp_path.glob("a.*")) == ["a.onnx", "a.onnx.json"]


def test_the_description_is_enough_to_call_it(shop: Store, written: Path, tmp_path: Path) -> None:
    student = register(shop, written)
    exported(shop, student, tmp_path / "a.onnx")
    about = json.loads((tmp_path / "a.onnx.json").read_text())
    session = onnxruntime.InferenceSession(str(tmp_path / "a.onnx"))
    history = np.array([3, 5, 8])
    ids = np.zeros((1, about["longest"]), dtype=np.int64)
    ids[0, -3:] = history + 1
    [scores] = session.run(None, {"ids": ids})
    ranker = StudentRanker.open(written)
    assert np.allclose(scores, ranker.score([history]), atol=1e-5)
    assert len(about["items"]) == scores.shape[1] == ranker.items
    category = shop.catalogue.category(SHOP)
    assert about["items"] == shop.catalogue.item_ids(category.id)
    assert (about["run"], about["category"], about["weights"]) == (RUN, SHOP, "float32")


def test_eight_bits_with_what_they_cost(shop: Store, written: Path, tmp_path: Path) -> None:
    student = register(shop, written)
    done = exported(shop, student, tmp_path / "a.onnx", int8=True)
    split = temporal_split(shop.catalogue.log(student.run.category_id))
    (tmp_path / "eight").mkdir()
    for name in ("student.json", "popularity.safetensors"):
        (tmp_path / "eight" / name).write_bytes((written / name).read_bytes())
    (tmp_path / "eight" / "student.onnx").write_bytes((tmp_path / "a.onnx").read_bytes())
    before, after = (
        evaluate(StudentRanker.open(folder), split, "test", resamples=100)
        for folder in (written, tmp_path / "eight")
    )
    assert done.figures["ndcg@10 float32"] == before.table[METRIC].value
    assert done.figures["ndcg@10"] == after.table[METRIC].value
    mean = float(np.mean(after.per_request(METRIC) - before.per_request(METRIC)))
    assert done.figures["n"] == len(before.ranks)
    assert done.figures["low"] <= done.figures["difference"] <= done.figures["high"]
    assert abs(done.figures["difference"] - mean) < 0.01
    assert "NDCG@10" in done.summary[1]
    assert f"paired, {len(before.ranks)} test requests of" in done.summary[1]
    assert "int8" in json.loads((tmp_path / "a.onnx.json").read_text())["weights"]


def test_eight_bits_are_smaller_and_score_nearly_alike(written: Path, tmp_path: Path) -> None:
    quantise(written / "student.onnx", tmp_path / "a.onnx")
    assert (tmp_path / "a.onnx").stat().st_size < 0.8 * (written / "student.onnx").stat().st_size
    ids = np.random.default_rng(0).integers(1, 100, (20, CONFIG.max_len))
    whole, eight = (
        onnxruntime.InferenceSession(str(path)).run(None, {"ids": ids})[0]
        for path in (written / "student.onnx", tmp_path / "a.onnx")
    )
    assert not np.array_equal(whole, eight)
    assert np.corrcoef(whole.ravel(), eight.ravel())[0, 1] > 0.98


class TestRefusals:
    def test_trained_on_everything(self, shop: Store, written: Path, tmp_path: Path) -> None:
        student = register(shop, written, final=True)
        with pytest.raises(BadSetting, match="nothing is held out to measure 8 bits on"):
            exported(shop, student, tmp_path / "a.onnx", int8=True)
        exported(shop, student, tmp_path / "a.onnx")

    def test_what_is_there(self, shop: Store, written: Path, tmp_path: Path) -> None:
        student = register(shop, written)
        (tmp_path / "a.onnx.json").write_text("mine")
        with pytest.raises(BadSetting, match=r"a\.onnx\.json' is there already"):
            exported(shop, student, tmp_path / "a.onnx")
        assert not (tmp_path / "a.onnx").exists()
        exported(shop, student, tmp_path / "a.onnx", force=True)
        assert (tmp_path / "a.onnx").exists()
