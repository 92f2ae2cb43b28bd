from __future__ import annotations

import collections
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from recommender.baselines import ItemKNN, Popularity
from recommender.datasets.sample import NAME, import_sample
from recommender.datasets.sample_kinds import BRANDS, KINDS
from recommender.datasets.sample_shoppers import products, sample_interactions, sample_items
from recommender.evaluation import evaluate
from recommender.events import StageSkipped
from recommender.splits import temporal_split
from storage.errors import BadData
from storage.records import ImportData, InteractionChunk
from storage.store import Store


@pytest.fixture(scope="module")
def chunk() -> InteractionChunk:
    return sample_interactions()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(str(tmp_path / "shop.sqlite"), tmp_path / "artifacts") as store:
        yield store


def baskets(chunk: InteractionChunk) -> dict[str, list[int]]:
    """Product numbers of everybody, in order."""
    numbers = {product.row.id: number for number, product in enumerate(products())}
    bought: dict[str, list[int]] = collections.defaultdict(list)
    for user, item in zip(chunk.users, chunk.items, strict=True):
        bought[user].append(numbers[item])
    return bought


def test_the_shop_has_the_size_it_says(chunk: InteractionChunk) -> None:
    assert len(products()) == len({product.row.title for product in products()}) == 307
    assert len(KINDS) == 51
    assert len(set(chunk.users)) == 600
    assert 5000 < len(chunk.users) < 7000
    ids = {item.id for item in sample_items()}
    assert set(chunk.items) <= ids
    assert len(set(chunk.items)) > 0.98 * len(ids)


def test_every_complement_is_a_kind_and_every_brand_is_in_the_title() -> None:
    names = {kind.name for kind in KINDS}
    for kind in KINDS:
        assert kind.complements
        assert set(kind.complements) <= names
        assert kind.department in BRANDS
    for item in sample_items():
        assert item.brand in item.title
        assert float(item.price) > 0


def test_same_seed_same_log_other_seed_other(chunk: InteractionChunk) -> None:
    again, other = sample_interactions(), sample_interactions(seed=1)
    assert (again.users, again.items) == (chunk.users, chunk.items)
    np.testing.assert_array_equal(again.time, chunk.time)
    assert other.items != chunk.items


def test_two_years_in_order(chunk: InteractionChunk) -> None:
    assert chunk.time.max() - chunk.time.min() < 730 * 86_400_000
    for (one, before), (two, after) in pairwise(zip(chunk.users, chunk.time, strict=True)):
        assert one < two or (one == two and before < after)


def test_complements_follow_far_more_often_than_by_chance(chunk: InteractionChunk) -> None:
    kinds = {kind.name: kind for kind in KINDS}
    share = collections.Counter(product.kind for product in products())
    follows, expected, steps = 0, 0.0, 0
    for bought in baskets(chunk).values():
        for one, two in pairwise(bought):
            complements = kinds[products()[one].kind].complements
            follows += products()[two].kind in complements
            expected += sum(share[kind] for kind in set(complements)) / len(products())
            steps += 1
    assert follows / steps > 4 * expected / steps


def test_systems_are_respected_but_for_noise(chunk: InteractionChunk) -> None:
    fitting, misfits = 0, 0
    for bought in baskets(chunk).values():
        owned: set[str] = set()
        for number in bought:
            product = products()[number]
            if product.system:
                fitting += product.system in owned
                misfits += product.system not in owned
            owned.add(f"{product.kind}/{product.row.brand}")
    assert fitting > 2 * misfits


def test_shoppers_are_loyal_to_brands(chunk: InteractionChunk) -> None:
    def sharing(sets: list[list[int]]) -> float:
        """How often two neighbouring purchases are of one brand."""
        pairs = [pair for bought in sets for pair in pairwise(bought)]
        return float(
            np.mean([products()[a].row.brand == products()[b].row.brand for a, b in pairs])
        )

    real = list(baskets(chunk).values())
    everything = np.random.default_rng(0).permutation(np.concatenate(real)).tolist()
    assert sharing(real) > 2.5 * sharing([everything])


def test_popularity_is_moderately_skewed(chunk: InteractionChunk) -> None:
    counts = sorted(collections.Counter(chunk.items).values(), reverse=True)
    top_tenth = sum(counts[: len(counts) // 10]) / sum(counts)
    assert 0.15 < top_tenth < 0.45


def test_import_marks_it_synthetic_and_does_it_once(store: Store) -> None:
    *_, last = import_sample(store)
    category = last.category
    assert category.synthetic
    assert (category.name, category.people, category.items) == (NAME, 600, 307)
    assert "none of its figures is a result" in category.note
    events = list(import_sample(store))
    assert isinstance(events[0], StageSkipped)
    assert events[-1].category == category
    *_, other = import_sample(store, seed=1)
    assert other.category.digest != category.digest
    assert len(store.catalogue.categories()) == 1


def test_it_never_replaces_real_data(store: Store) -> None:
    none = np.empty(0, dtype=np.int64)
    store.catalogue.write(
        NAME,
        ImportData([], [], none, none, none, none.astype(np.float32), none.astype(np.int8)),
        source="amazon-2023",
        synthetic=False,
        rating_low=1.0,
        rating_high=5.0,
        note="",
        digest="real",
    )
    with pytest.raises(BadData, match="never replaces"):
        list(import_sample(store))
    assert store.catalogue.category(NAME).digest == "real"


def test_there_is_something_to_learn(store: Store) -> None:
    *_, last = import_sample(store)
    split = temporal_split(store.catalogue.log(last.category.id))
    sizes = split.sizes()
    assert min(sizes["valid"].requests, sizes["test"].requests) > 300
    items, offsets = split.train_sequences()
    popularity = evaluate(Popularity.fit(items, 307), split, "test", resamples=200)
    knn = evaluate(ItemKNN.fit(items, offsets, 307), split, "test", resamples=200)
    assert knn.table["ndcg@10"].low > popularity.table["ndcg@10"].high
