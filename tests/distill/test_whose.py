"""Whose weights are measured: the teacher's own, those that were named, or nobody's."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.whose import open_weights
from recommender.backends import Backend
from recommender.backends.embedded import EmbeddedBackend
from recommender.backends.embedding import EmbeddingBackend
from recommender.config import Settings
from recommender.events import Event, Notice
from storage.errors import UnknownName
from storage.store import Store
from tests.distill.conftest import configured
from tests.tiny import Counting, Letters, finished, open_llama, save_llama


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A Llama of other weights, on disk."""
    return save_llama(tmp_path / "other", seed=1)


def opened(
    store: Store, backend: Backend, tmp_path: Path, **teacher: object
) -> tuple[list[Event], EmbeddedBackend | None]:
    return finished(
        open_weights(store, configured(**teacher), Settings(data_dir=tmp_path), backend)
    )


def test_a_teacher_in_this_process_is_its_own(
    store: Store, model: EmbeddedBackend, tmp_path: Path
) -> None:
    assert opened(store, model, tmp_path) == ([], model)
    assert opened(store, model, tmp_path, spec="tiny", weights="tiny") == ([], model)


def test_nobodys_weights_are_nobodys(store: Store, model: EmbeddedBackend, tmp_path: Path) -> None:
    assert opened(store, model, tmp_path, weights="none") == ([], None)
    assert opened(store, Counting(model), tmp_path, weights="none") == ([], None)


def test_other_weights_that_were_named_are_opened_and_it_is_said(
    store: Store, model: EmbeddedBackend, tmp_path: Path, other: Path
) -> None:
    said, weights = opened(store, model, tmp_path, weights=str(other))
    assert weights is not None
    key = weights.describe().key
    assert key == open_llama(other).describe().key != model.describe().key
    assert said == [Notice(f"layers are those of another build: {key}")]


def test_a_teacher_without_weights_is_said_to_have_none(
    store: Store, tmp_path: Path, other: Path
) -> None:
    backend = EmbeddingBackend(Letters())
    said, weights = opened(store, backend, tmp_path)
    assert weights is None
    assert said == [
        Notice(
            "letters has no weights that could be measured: the student learns from labels alone"
        )
    ]
    said, weights = opened(store, backend, tmp_path, weights=str(other))
    assert said == []
    assert weights is not None
    assert weights.describe().key == open_llama(other).describe().key


def test_weights_that_are_not_there_are_named(
    store: Store, model: EmbeddedBackend, tmp_path: Path
) -> None:
    with pytest.raises(UnknownName, match="no teacher 'nobodys'"):
        opened(store, model, tmp_path, weights="nobodys")
