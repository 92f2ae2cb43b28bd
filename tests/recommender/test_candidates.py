from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.baselines import ItemKNN, Popularity
from recommender.candidates import (
    CandidateSampler,
    Mix,
    TextNeighbours,
    retrieve,
    sample_candidates,
)

NONE = np.empty(0, dtype=np.int64)


@given(
    items=st.integers(3, 40),
    n=st.integers(2, 30),
    mix=st.sampled_from(["mixed", "retrieved", "uniform"]),
    targeted=st.booleans(),
    data=st.data(),
)
def test_lists_are_what_was_promised(
    items: int, n: int, mix: Mix, targeted: bool, data: st.DataObject
) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    order = rng.permutation(items)
    history = order[: data.draw(st.integers(0, items - 2))]
    target = int(order[-1]) if targeted else None
    retrieved = rng.permutation(items)[: data.draw(st.integers(0, items))]
    drawn = sample_candidates(
        target, history, n, items=items, retrieved=retrieved, rng=rng, mix=mix
    )
    assert len(drawn) == len(set(drawn.tolist())) == min(n, items - len(history))
    assert not set(drawn.tolist()) & set(history.tolist())
    assert target is None or target in drawn


def test_the_target_s_place_is_uniform() -> None:
    rng = np.random.default_rng(0)
    places = np.zeros(10)
    for _ in range(3000):
        drawn = sample_candidates(3, NONE, 10, items=50, retrieved=np.arange(20), rng=rng)
        places[drawn.tolist().index(3)] += 1
    chi2 = ((places - 300) ** 2 / 300).sum()
    assert chi2 < 21.7  # 99 % of chi-square with 9 degrees of freedom


def test_mixed_is_half_retrieved_and_weighted_to_the_top() -> None:
    rng = np.random.default_rng(0)
    retrieved = np.arange(100, 200)
    drawn = np.stack(
        [
            sample_candidates(0, NONE, 21, items=10_000, retrieved=retrieved, rng=rng)
            for _ in range(300)
        ]
    )
    near = (drawn >= 100) & (drawn < 200)
    assert near.sum(axis=1).mean() == pytest.approx(10, abs=0.3)  # and now and then a uniform one
    counts = np.bincount(drawn[near] - 100, minlength=100)
    assert counts[:10].sum() > 3 * counts[-10:].sum()


def test_same_generator_same_list() -> None:
    draws = [
        sample_candidates(
            1, NONE, 8, items=99, retrieved=np.arange(30), rng=np.random.default_rng(4)
        ).tolist()
        for _ in range(2)
    ]
    assert draws[0] == draws[1]


def test_nonsense_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="own history"):
        sample_candidates(1, np.array([1]), 5, items=9, retrieved=NONE, rng=rng)
    with pytest.raises(ValueError, match="at least 2"):
        sample_candidates(1, NONE, 1, items=9, retrieved=NONE, rng=rng)


def test_text_neighbours_score_the_recent_centre() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(20, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = TextNeighbours(vectors, recent=2).score([np.array([1, 2, 3]), NONE])
    centre = vectors[2] + vectors[3]
    expected = [float(v @ centre / np.linalg.norm(centre)) for v in vectors]
    np.testing.assert_allclose(scores[0], expected, rtol=1e-4, atol=1e-6)
    assert scores[1].tolist() == [0.0] * 20


def test_retrieval_takes_turns_and_offers_no_history_and_no_zero() -> None:
    items, offsets = np.array([0, 1, 0, 1, 2, 3, 4]), np.array([0, 2, 4, 7])
    sources = [Popularity.fit(items, 7), ItemKNN.fit(items, offsets, 7)]
    retrieved = retrieve(sources, np.array([0]), 10)
    assert retrieved.tolist() == [1, 2, 3, 4]  # 5 and 6 were never chosen by anybody
    assert retrieve(sources, np.array([2]), 2).tolist() == [0, 3]


@pytest.mark.parametrize("mix", ["mixed", "retrieved", "uniform"])
def test_sampler_asks_its_sources(mix: Mix) -> None:
    sampler = CandidateSampler([Popularity.fit(np.arange(60), 60)], items=60, n=20, mix=mix)
    rng = np.random.default_rng(0)
    assert len(sampler(np.array([1]), 7, rng)) == 20
    assert len(sampler(NONE, None, rng)) == 20
