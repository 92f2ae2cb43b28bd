from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np
import pytest

from recommender import embeddings
from recommender.embeddings import SentenceEncoder, item_text, text_vectors, title_vectors
from recommender.events import Event, Progress, StageDone
from recommender.models import EMBEDDED_ENCODER, resolve_model
from storage.artifacts import Artifacts
from storage.errors import BadData, UnknownName
from storage.records import FloatArray, Item


class Letters:
    """A true, tiny encoder: counts of letters, scaled to length 1."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @property
    def name(self) -> str:
        return "letters@1"

    def encode(self, texts: Sequence[str]) -> FloatArray:
        self.seen += texts
        rows = np.array([[text.count(c) for c in "abcdefgh"] for text in texts], dtype=np.float32)
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def run(job: Generator[Event, None, FloatArray]) -> tuple[list[Event], FloatArray]:
    events = []
    while True:
        try:
            events.append(next(job))
        except StopIteration as stop:
            return events, stop.value


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path / "artifacts")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "SHARD", 4)
    monkeypatch.setattr(embeddings, "BATCH", 3)


TEXTS = ["ab", "cde", "ab", "f", "ggh", "a", "hh", "cde", "bcd", "e"]


def test_rows_are_in_the_order_of_the_texts(artifacts: Artifacts) -> None:
    events, vectors = run(text_vectors(TEXTS, Letters(), artifacts))
    np.testing.assert_array_equal(vectors, Letters().encode(TEXTS))
    progress = [event for event in events if isinstance(event, Progress)]
    assert [event.done for event in progress] == [3, 4, 7, 8]
    assert isinstance(events[-1], StageDone)


def test_equal_texts_are_encoded_once_and_nothing_twice(artifacts: Artifacts) -> None:
    encoder = Letters()
    _, first = run(text_vectors(TEXTS, encoder, artifacts))
    assert sorted(encoder.seen) == sorted(set(TEXTS))
    events, second = run(text_vectors(TEXTS, encoder, artifacts))
    assert events == []
    assert len(encoder.seen) == len(set(TEXTS))
    np.testing.assert_array_equal(first, second)


def test_appended_texts_cost_the_last_shard_and_themselves(artifacts: Artifacts) -> None:
    run(text_vectors(TEXTS[:7], Letters(), artifacts))  # six different: one full shard, two more
    encoder = Letters()
    run(text_vectors(TEXTS, encoder, artifacts))
    assert sorted(encoder.seen) == sorted(["a", "hh", "bcd", "e"])


def test_a_stopped_job_goes_on_at_its_shard(artifacts: Artifacts) -> None:
    job = text_vectors(TEXTS, Letters(), artifacts)
    for event in job:
        if isinstance(event, Progress) and event.done > 4:
            job.close()
            break
    encoder = Letters()
    _, vectors = run(text_vectors(TEXTS, encoder, artifacts))
    assert len(encoder.seen) == 4
    np.testing.assert_array_equal(vectors, Letters().encode(TEXTS))


def test_titles_are_cleaned_first(artifacts: Artifacts) -> None:
    encoder = Letters()
    run(title_vectors(["a\x1b[31mb\n", "ab"], encoder, artifacts))
    assert encoder.seen == ["ab"]


def test_no_text_is_an_error(artifacts: Artifacts) -> None:
    with pytest.raises(BadData, match="no item"):
        run(text_vectors([], Letters(), artifacts))


def test_item_text_leaves_out_what_is_empty() -> None:
    item = Item(0, "a1", "Radio", brand="", description="Loud.", categories="Audio")
    assert item_text(item, ("title", "brand", "description")) == "Radio. Loud."
    with pytest.raises(ValueError, match="colour"):
        item_text(item, ("colour",))


def test_what_is_no_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownName):
        _ = SentenceEncoder(str(tmp_path / "absent")).name
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BadData, match="safetensors"):
        SentenceEncoder(str(tmp_path)).encode(["a"])
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(BadData, match=r"modules\.json"):
        SentenceEncoder(str(tmp_path)).encode(["a"])


@pytest.mark.models
def test_the_embedded_encoder_knows_what_is_alike(models: Path) -> None:
    spec = resolve_model(models, EMBEDDED_ENCODER, kind="encoder")
    encoder = SentenceEncoder(spec, device="cpu")
    vectors = encoder.encode(["digital camera", "camera lens", "garden hose"])
    assert vectors.shape == (3, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2
    assert encoder.name.startswith("all-MiniLM-L6-v2@sha256:")
