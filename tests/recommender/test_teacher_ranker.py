from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.asking.answering import Texts
from recommender.asking.grounding import Grounder, generate
from recommender.asking.tournament import times_asked
from recommender.backends import Backend, Completion, ModelCard, Prompt, Refusing, example_card
from recommender.backends.embedded import EmbeddedBackend
from recommender.backends.embedding import EmbeddingBackend
from recommender.baselines import Popularity
from recommender.candidates import TextNeighbours
from recommender.datasets.sample_shoppers import sample_items
from recommender.scoring import METHODS, WAYS, Evidence, Scoring, combine
from recommender.teacher import GROUP, TeacherRanker, similarity
from tests.tiny import Counting, Letters, open_llama, spell

TITLES = [row.title for row in sample_items()][:40]
VECTORS = Letters().encode(TITLES)
TEXTS = Texts(TITLES, "gadgets", 3)
HISTORY = [4, 8, 15, 16]
CANDIDATES = [23, 2, 30, 11]


class Alphabetical(Refusing):
    """Ranks what it is offered by title, as JSON."""

    def describe(self) -> ModelCard:
        return example_card("text", "json")

    def complete(
        self, turn: str, *, schema: Mapping[str, object] | None = None, limit: int = 200
    ) -> Completion:
        offered = [line for line in turn.splitlines() if line[1:3] == ". "]
        letters = [line[0] for line in sorted(offered, key=lambda line: line[3:])]
        return Completion(json.dumps({"ranking": letters}), 0.1, 10)


@pytest.fixture(scope="module")
def model(llama: Path) -> EmbeddedBackend:
    return open_llama(llama)


@pytest.fixture(scope="module")
def spelling(llama: Path) -> EmbeddedBackend:
    return spell(open_llama(llama), "ABCDEF")


def ranker(backend: Backend, way: str = "likelihood", **changes: object) -> TeacherRanker:
    counts = np.arange(len(TITLES))
    made = TeacherRanker(
        backend,
        TEXTS,
        Scoring(way, 1.0, 0, {}),
        VECTORS,
        (Popularity(counts), TextNeighbours(VECTORS)),
        offered=6,
        grounder=Grounder(TITLES, VECTORS, Letters()),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def evidence_by_hand(model: EmbeddedBackend, spelling: EmbeddedBackend) -> Evidence:
    shown = tuple(TITLES[i] for i in HISTORY[-3:])
    offered = tuple(TITLES[i] for i in CANDIDATES)
    mean = VECTORS[HISTORY[-3:]].mean(axis=0)
    cosine = VECTORS[CANDIDATES] @ mean / np.linalg.norm(mean)
    prompt = Prompt(shown, offered, "gadgets")
    guess = generate(model, prompt, CANDIDATES, Grounder(TITLES, VECTORS, Letters()))
    assert guess.status == ""
    return Evidence(
        target=-1,
        likelihood=np.array(model.likelihood(prompt, offered).logprobs),
        unconditional=np.array(model.unconditional(offered, noun="gadgets").logprobs),
        letters=np.array(spelling.score(prompt, "ABCD").logprobs),
        ranking=np.array([float(sum(one < other for other in offered)) for one in offered]),
        generate=np.array(guess.logprobs),
        similarity=cosine,
        cosine=cosine,
    )


@pytest.mark.parametrize("way", WAYS)
def test_each_way_scores_what_the_model_says(
    model: EmbeddedBackend, spelling: EmbeddedBackend, way: str
) -> None:
    asked: dict[str, Backend] = {
        "letters": spelling,
        "ranking": Alphabetical(),
        "similarity": EmbeddingBackend(Letters()),
    }
    expected = combine(way, evidence_by_hand(model, spelling))
    one = ranker(asked.get(METHODS[way.partition("+")[0]], model), way)
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


# --- letters and rankings, in several orders and several groups


def lettered(way: str = "letters", *, prior: tuple[float, ...] = ()) -> Scoring:
    return Scoring(way, 1.0, 0, {}, prior=prior, orders=4)


def test_letters_are_averaged_over_orders_less_what_a_place_gets(
    spelling: EmbeddedBackend,
) -> None:
    prior, shown = (0.3, 0.1, -0.1, -0.3), tuple(TITLES[i] for i in HISTORY[-3:])
    total = np.zeros(4)
    for shift in range(4):
        turned = [CANDIDATES[(place + shift) % 4] for place in range(4)]
        prompt = Prompt(shown, tuple(TITLES[i] for i in turned), "gadgets")
        for place, logprob in enumerate(spelling.score(prompt, "ABCD").logprobs):
            total[CANDIDATES.index(turned[place])] += logprob - prior[place]
    backend = Counting(spelling)
    one = ranker(backend, scoring=lettered(prior=prior))
    np.testing.assert_allclose(one.score(HISTORY, CANDIDATES), total / 4, atol=1e-5)
    assert len(backend.prompts) == 4


def test_a_prior_of_longer_lists_is_left_alone(spelling: EmbeddedBackend) -> None:
    five = ranker(spelling, scoring=lettered(prior=(9.0, 0.0, 0.0, 0.0, -9.0)))
    none = ranker(spelling, scoring=lettered())
    np.testing.assert_array_equal(five.score(HISTORY, CANDIDATES), none.score(HISTORY, CANDIDATES))


@pytest.mark.parametrize("way", ["letters", "letters+cosine"])
def test_a_model_that_declines_scores_all_the_same(model: EmbeddedBackend, way: str) -> None:
    one = ranker(model, scoring=lettered(way))
    np.testing.assert_array_equal(one.score(HISTORY, CANDIDATES), np.zeros(4))
    ranking = one.rank(np.array(HISTORY), candidates=np.array(CANDIDATES))
    assert ranking.items == tuple(sorted(CANDIDATES))


def test_more_than_can_be_lettered_meet_in_groups() -> None:
    items = [i for i in range(len(TITLES)) if i not in HISTORY][:23]
    one = ranker(Alphabetical(), scoring=lettered("ranking"))
    scores = one.score(HISTORY, items)
    assert scores.shape == (23,)
    assert TITLES[items[int(scores.argmax())]] == min(TITLES[i] for i in items)
    ranking = one.rank(np.array(HISTORY), candidates=np.array(items), n=3)
    groups = times_asked(23, size=GROUP)
    assert ranking.notices == (
        f"23 candidates met in {groups} groups of at most 10, the better half going on, asked by "
        "ranking, in 4 orders each; scores are the round and the place reached",
    )
    assert ranking.resolution == 0.0


def test_what_is_asked_of_a_few_is_said_and_what_differs_too_little_too(
    spelling: EmbeddedBackend,
) -> None:
    offered = np.array(CANDIDATES)
    one = ranker(spelling, scoring=lettered(), floor=0.18)
    ranking = one.rank(np.array(HISTORY), candidates=offered)
    assert ranking.notices == ("4 candidates were asked by letters, in 4 orders each",)
    assert ranking.resolution == 0.18
    assert ranker(spelling, scoring=lettered()).rank(offered).resolution == 0.0
    likely = ranker(spelling, floor=0.18).rank(np.array(HISTORY), candidates=offered)
    assert (likely.notices, likely.resolution) == ((), 0.0)


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
