from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recommender import baselines
from recommender.baselines import ItemKNN, Popularity
from recommender.evaluation import evaluate
from recommender.splits import Split, temporal_split
from storage.records import NO_TIME, PARTS, Log

OFFICE = Path(__file__).parents[3] / "shared" / "data" / "amazon-office-products-2018"


@pytest.fixture
def sequences() -> tuple[np.ndarray, np.ndarray, int]:
    """200 people, 30 items, some bought twice, some never bought at all."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 9, size=200)
    items = (rng.integers(0, 28, size=lengths.sum()) * rng.random(lengths.sum())).astype(np.int64)
    return items, np.concatenate([[0], np.cumsum(lengths)]), 30


def naive_similarity(
    items: np.ndarray, offsets: np.ndarray, n_items: int, k: int, shrinkage: float
) -> np.ndarray:
    """The formula, pair by pair."""
    people = [set(items[a:b].tolist()) for a, b in pairwise(offsets)]
    having = [{u for u, own in enumerate(people) if i in own} for i in range(n_items)]
    similarity = np.zeros((n_items, n_items))
    for i in range(n_items):
        for j in range(n_items):
            both = len(having[i] & having[j])
            if i != j and both:
                norm = math.sqrt(len(having[i]) * len(having[j])) + shrinkage
                similarity[i, j] = both / norm
        for j in np.lexsort((np.arange(n_items), -similarity[i]))[k:]:
            similarity[i, j] = 0
    return similarity


@pytest.mark.parametrize("k", [3, 200])
def test_similarity_is_the_formula(sequences: tuple[np.ndarray, np.ndarray, int], k: int) -> None:
    knn = ItemKNN.fit(*sequences, k=k, shrinkage=4.0)
    expected = naive_similarity(*sequences, k=k, shrinkage=4.0)
    np.testing.assert_allclose(knn.similarity.toarray(), expected, rtol=1e-6)


def test_blocks_do_not_change_the_model(
    sequences: tuple[np.ndarray, np.ndarray, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ItemKNN.fit(*sequences, k=5).similarity.toarray()
    monkeypatch.setattr(baselines, "BLOCK_ENTRIES", 40)
    assert (ItemKNN.fit(*sequences, k=5).similarity.toarray() == whole).all()


def test_scores_sum_over_the_history(sequences: tuple[np.ndarray, np.ndarray, int]) -> None:
    knn = ItemKNN.fit(*sequences)
    table = knn.similarity.toarray()
    histories = [np.array([3, 7]), np.empty(0, dtype=np.int64), np.array([7])]
    scores = knn.score(histories)
    np.testing.assert_allclose(scores[0], table[3] + table[7], rtol=1e-5)
    assert scores[1].max() == 0.0
    np.testing.assert_allclose(scores[2], table[7], rtol=1e-6)


def test_recency_weighs_the_last_most(sequences: tuple[np.ndarray, np.ndarray, int]) -> None:
    knn = ItemKNN.fit(*sequences, recency=0.5)
    table = knn.similarity.toarray()
    scores = knn.score([np.array([1]), np.array([3, 7, 2])])
    np.testing.assert_allclose(scores[1], table[3] / 4 + table[7] / 2 + table[2], rtol=1e-5)


def test_neighbours_come_most_similar_first(
    sequences: tuple[np.ndarray, np.ndarray, int],
) -> None:
    knn = ItemKNN.fit(*sequences, k=4)
    items, values = knn.neighbours(0)
    assert len(items) == 4
    assert (np.diff(values) <= 0).all()
    assert 0 not in items


def test_popularity_counts_and_masks() -> None:
    popularity = Popularity.fit(np.array([1, 1, 3, 3, 3]), 5)
    assert popularity.rank(np.array([3]), n=2).items == (1, 0)
    assert popularity.score([np.array([0])] * 2).tolist() == [[0, 2, 0, 3, 0]] * 2


def office_split() -> Split:
    frame = pd.read_csv(OFFICE / "interactions.csv").sort_values(
        ["user_id", "position"], kind="stable"
    )
    users, _ = pd.factorize(frame["user_id"])
    items = len(pd.read_csv(OFFICE / "items.csv", usecols=["item_id"]))
    return temporal_split(
        Log(
            user=users.astype(np.int64),
            item=frame["item_id"].to_numpy(dtype=np.int64),
            time=np.full(len(frame), NO_TIME),
            rating=np.full(len(frame), np.nan, dtype=np.float32),
            part=frame["part"].map(PARTS.index).to_numpy(dtype=np.int8),
            people=int(users.max()) + 1,
            items=items,
        )
    )


@pytest.mark.realdata
@pytest.mark.skipif(not OFFICE.exists(), reason="shared/data is not beside this checkout")
def test_popularity_on_amazon_office_is_where_others_measured_it() -> None:
    split = office_split()
    sizes = split.sizes()
    assert split.excluded_repeats == {"train": 859, "valid": 281, "test": 119}
    assert (sizes["train"].rows, sizes["valid"].rows, sizes["test"].rows) == (12715, 4866, 4866)
    items, offsets = split.train_sequences()
    popularity = evaluate(Popularity.fit(items, split.log.items), split, "test")
    assert 0.015 < popularity.table["ndcg@10"].value < 0.021
    knn = evaluate(ItemKNN.fit(items, offsets, split.log.items), split, "test")
    assert knn.table["ndcg@10"].value > popularity.table["ndcg@10"].value
