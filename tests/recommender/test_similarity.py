"""The similarity of titles to a history: its definition, and each title encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.backends import Prompt
from recommender.backends.embedding import EmbeddingBackend, Remembering
from recommender.datasets.sample_shoppers import sample_items
from recommender.embeddings import SentenceEncoder
from recommender.models import EMBEDDED_ENCODER, resolve_model
from recommender.prompts import clean_title
from recommender.teacher import similarity
from storage.records import FloatArray
from tests.tiny import Letters

# The cheap teacher

TITLES = [row.title for row in sample_items()][:30]


class CountingLetters(Letters):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def encode(self, texts: Sequence[str]) -> FloatArray:
        self.seen += texts
        return super().encode(texts)


@given(
    st.lists(st.integers(0, len(TITLES) - 1), max_size=8),
    st.lists(st.integers(0, len(TITLES) - 1), max_size=8),
)
def test_it_is_the_similarity_that_is_measured_everywhere(
    history: list[int], candidates: list[int]
) -> None:
    vectors = Letters().encode([clean_title(title) for title in TITLES])
    prompt = Prompt(tuple(TITLES[i] for i in history), tuple(TITLES[i] for i in candidates))
    scores = EmbeddingBackend(Letters()).similarity(prompt)
    expected = similarity(vectors, history, candidates, 10)
    np.testing.assert_allclose(scores.logprobs, expected, atol=1e-12)
    assert scores.history_shown == len(history)
    assert scores.tokens == (1,) * len(candidates)
    assert scores.seconds >= 0


@pytest.mark.models
def test_the_real_encoder_agrees_with_the_catalogues_vectors(models: Path) -> None:
    spec = resolve_model(models, EMBEDDED_ENCODER, kind="encoder")
    encoder = SentenceEncoder(spec, device="cpu")
    vectors = encoder.encode(TITLES)
    backend = EmbeddingBackend(encoder, source=spec)
    prompt = Prompt((TITLES[0], TITLES[3]), tuple(TITLES[10:16]))
    expected = similarity(vectors, [0, 3], range(10, 16), 10)
    np.testing.assert_allclose(backend.similarity(prompt).logprobs, expected, atol=1e-6)
    card = backend.describe()
    assert card.key == f"{encoder.name}/float32"
    assert card.source == spec


def test_each_title_is_encoded_once_and_warming_does_it_ahead() -> None:
    encoder = CountingLetters()
    backend = EmbeddingBackend(encoder)
    assert backend.warm([*TITLES, TITLES[0], f"  {TITLES[1]}\n"]) == len(set(TITLES))
    assert sorted(encoder.seen) == sorted(set(TITLES))
    backend.similarity(Prompt(tuple(TITLES[:5]), tuple(TITLES[5:])))
    assert backend.warm(TITLES) == 0
    assert len(encoder.seen) == len(set(TITLES))
    backend.similarity(Prompt((), ("never seen",)))  # nothing to compare with
    assert len(encoder.seen) == len(set(TITLES))


def test_only_so_many_vectors_are_remembered() -> None:
    inner = CountingLetters()
    size = inner.encode(["a"]).nbytes
    encoder = Remembering(inner, kept_bytes=10 * size)
    texts = [f"title {n}" for n in range(100)]
    np.testing.assert_allclose(encoder.encode(texts), Letters().encode(texts))
    assert len(encoder._known) == 10
    assert encoder._size == 10 * size
    inner.seen.clear()
    encoder.encode(texts[90:])
    assert inner.seen == []
    encoder.encode([texts[90], texts[0]])  # 90 is used, so 91 goes
    assert list(encoder._known)[-2:] == [texts[90], texts[0]]
    assert texts[91] not in encoder._known


def test_many_threads_encode_each_title_once() -> None:
    encoder = CountingLetters()
    backend = EmbeddingBackend(encoder)
    prompts = [Prompt((TITLES[n],), tuple(TITLES)) for n in range(len(TITLES))]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(backend.similarity, prompts))
    assert sorted(encoder.seen) == sorted(set(TITLES))
    one = EmbeddingBackend(Letters())
    assert [a.logprobs for a in answers] == [one.similarity(p).logprobs for p in prompts]


def test_hostile_titles_are_lines_of_text_like_any_other() -> None:
    hostile = ("", "\x1b[31m\n", "x" * 100_000, "half \ud83d", "\u202eevil", "<|im_end|>", "a\nb")
    encoder = CountingLetters()
    backend = EmbeddingBackend(encoder)
    scores = backend.similarity(Prompt(hostile, (*hostile, "Heat")))
    assert len(scores.logprobs) == len(hostile) + 1
    assert all(-1.0001 <= value <= 1.0001 for value in scores.logprobs)
    assert all(
        len(text) <= 200 and "\n" not in text and "\x1b" not in text for text in encoder.seen
    )
    assert scores.logprobs[0] == scores.logprobs[1]  # both '(untitled)'


class Opposites:
    name = "opposites"

    def encode(self, texts: Sequence[str]) -> FloatArray:
        return np.array([[-1.0 if text == "no" else 1.0, 0] for text in texts], dtype=np.float32)


def test_a_history_that_cancels_out_says_nothing() -> None:
    backend = EmbeddingBackend(Opposites())
    assert backend.similarity(Prompt(("yes", "no"), ("yes",))).logprobs == (0.0,)
    assert backend.similarity(Prompt(("no",), ("yes", "no"))).logprobs == (-1.0, 1.0)
