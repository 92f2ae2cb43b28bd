from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.backends import Prompt
from recommender.backends.embedded import EmbeddedBackend
from recommender.baselines import Popularity
from recommender.candidates import TextNeighbours
from recommender.datasets.sample_shoppers import sample_items
from recommender.labelling import Texts, address
from recommender.requests import Question
from recommender.scoring import WAYS, Evidence, Scoring, combine
from recommender.teacher import TeacherRanker, gather_evidence, similarity
from storage.records import SoftLabel
from tests.tiny import Counting, Letters, open_llama

TITLES = [row.title for row in sample_items()][:40]
VECTORS = Letters().encode(TITLES)
TEXTS = Texts(TITLES, "gadgets", 3)
HISTORY = [4, 8, 15, 16]
CANDIDATES = [23, 2, 30, 11]


@pytest.fixture(scope="module")
def model(llama: Path) -> EmbeddedBackend:
    return open_llama(llama)


def ranker(backend: EmbeddedBackend | Counting, way: str = "likelihood") -> TeacherRanker:
    counts = np.arange(len(TITLES))
    return TeacherRanker(
        backend,
        TEXTS,
        Scoring(way, 1.0, 0, {}),
        VECTORS,
        (Popularity(counts), TextNeighbours(VECTORS)),
        offered=6,
    )


def by_hand(model: EmbeddedBackend, way: str) -> np.ndarray:
    shown = tuple(TITLES[i] for i in HISTORY[-3:])
    offered = tuple(TITLES[i] for i in CANDIDATES)
    mean = VECTORS[HISTORY[-3:]].mean(axis=0)
    evidence = Evidence(
        target=-1,
        likelihood=np.array(model.likelihood(Prompt(shown, (), "gadgets"), offered).logprobs),
        unconditional=np.array(model.unconditional(offered, noun="gadgets").logprobs),
        letters=np.array(model.score(Prompt(shown, offered, "gadgets"), "ABCD").logprobs),
        cosine=VECTORS[CANDIDATES] @ mean / np.linalg.norm(mean),
    )
    return combine(way, evidence)


@pytest.mark.parametrize("way", WAYS)
def test_each_way_scores_what_the_model_says(model: EmbeddedBackend, way: str) -> None:
    expected = by_hand(model, way)
    one = ranker(model, way)
    np.testing.assert_allclose(one.score(HISTORY, CANDIDATES), expected, atol=1e-4)
    ranking = one.rank(np.array(HISTORY), candidates=np.array(CANDIDATES), n=3)
    order = np.argsort(-expected)[:3]
    assert ranking.items == tuple(CANDIDATES[c] for c in order)
    np.testing.assert_allclose(ranking.scores, expected[order], atol=1e-4)
    assert ranking.name == "teacher"


def test_the_history_is_never_offered_and_nothing_twice(model: EmbeddedBackend) -> None:
    backend = Counting(model)
    offered = np.array([*CANDIDATES, HISTORY[0], CANDIDATES[0], HISTORY[-1]])
    ranking = ranker(backend).rank(np.array(HISTORY), candidates=offered, n=20)
    assert sorted(ranking.items) == sorted(CANDIDATES)
    assert backend.prompts[0].candidates == tuple(TITLES[i] for i in CANDIDATES)


def test_nothing_left_to_offer_is_an_empty_answer(model: EmbeddedBackend) -> None:
    backend = Counting(model)
    ranking = ranker(backend).rank(np.array(HISTORY), candidates=np.array(HISTORY[:2]))
    assert ranking.items == ()
    assert backend.prompts == []


def test_without_candidates_the_sources_offer_by_turns(model: EmbeddedBackend) -> None:
    backend = Counting(model)
    ranking = ranker(backend).rank(np.array(HISTORY), n=4)
    (prompt,) = backend.prompts
    assert len(prompt.candidates) == 6
    assert prompt.candidates[0] == TITLES[39]  # the most popular one
    near = TextNeighbours(VECTORS).rank(np.array(HISTORY), n=1).items[0]
    assert TITLES[near] in prompt.candidates[:2]
    assert len(ranking.items) == 4
    assert not set(ranking.items) & set(HISTORY)


def test_an_empty_history_has_an_answer(model: EmbeddedBackend) -> None:
    one = ranker(model, "likelihood+cosine")
    ranking = one.rank(np.array([], dtype=np.int64), n=3)
    assert len(ranking.items) == 3
    alone = model.likelihood(Prompt((), (), "gadgets"), [TITLES[i] for i in ranking.items])
    assert list(alone.logprobs) == sorted(alone.logprobs, reverse=True)  # cosine says nothing


def test_a_title_by_itself_is_asked_once(model: EmbeddedBackend) -> None:
    backend = Counting(model)
    one = ranker(backend, "minus")
    one.score(HISTORY, CANDIDATES)
    one.score(HISTORY[:2], [2, 30, 7])
    assert backend.titles == [TITLES[i] for i in [*CANDIDATES, 7]]


def test_equal_scores_are_shown_by_item_number(model: EmbeddedBackend) -> None:
    silent = TeacherRanker(
        model, Texts(["same"] * 9, "things", 3), Scoring("likelihood", 1.0, 0, {}), VECTORS[:9], ()
    )
    ranking = silent.rank(np.array([0]), candidates=np.array([7, 3, 5, 1]), n=3)
    assert ranking.items == (1, 3, 5)


def requests(count: int = 3) -> list[Question]:
    return [
        Question(n, n, tuple(HISTORY), tuple((c + n) % 20 + 20 for c in range(3)), 1)
        for n in range(count)
    ]


def test_evidence_is_gathered_in_the_order_of_the_requests() -> None:
    asked = address(requests(), TEXTS, category_id=1, purpose="gate", teacher="tiny")
    labels = {
        request.key: SoftLabel(request.key, (-1.0 - n, -2.0, -3.0), (1, 1, 1), "ok", 0.1)
        for n, request in enumerate(asked)
    }
    known = {item: (-float(item), 4) for item in (20, 21, 22, 23)}  # 24 was never asked
    found = gather_evidence(asked, labels, known, VECTORS, 3)
    for n, (evidence, request) in enumerate(zip(found, asked, strict=True)):
        assert evidence.target == 1
        assert evidence.letters is None
        np.testing.assert_array_equal(evidence.likelihood, [-1.0 - n, -2.0, -3.0])
        np.testing.assert_allclose(
            evidence.cosine, similarity(VECTORS, HISTORY, request.candidates, 3)
        )
    np.testing.assert_array_equal(found[0].unconditional, [-20, -21, -22])
    np.testing.assert_array_equal(found[1].unconditional, [-21, -22, -23])
    assert found[2].unconditional is None


@given(st.lists(st.integers(0, 39), max_size=6), st.lists(st.integers(0, 39), min_size=1))
def test_similarity_is_the_cosine_with_the_mean(history: list[int], candidates: list[int]) -> None:
    found = similarity(VECTORS, history, candidates, 4)
    for value, candidate in zip(found, candidates, strict=True):
        if not history:
            assert value == 0.0
            continue
        last = [VECTORS[i].astype(float) for i in history[-4:]]
        mean = sum(last[1:], last[0]) / len(last)
        dot = sum(a * b for a, b in zip(VECTORS[candidate], mean, strict=True))
        assert value == pytest.approx(dot / np.sqrt((mean**2).sum()), abs=1e-5)
        assert -1.00001 <= value <= 1.00001


def test_a_history_that_cancels_out_says_nothing() -> None:
    opposite = np.array([[1, 0], [-1, 0], [0, 1]], dtype=np.float32)
    assert similarity(opposite, [0, 1], [2, 0], 10).tolist() == [0.0, 0.0]
