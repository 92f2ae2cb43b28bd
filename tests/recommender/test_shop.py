from __future__ import annotations

import numpy as np

from recommender.datasets.shop import Shop


def test_chunks_cover_everybody_in_order_and_know_only_the_catalogue() -> None:
    shop = Shop(people=500, items=900, seed=3)
    ids = [item.id for item in shop.item_rows()]
    assert len(ids) == len(set(ids)) == 900
    users: list[str] = []
    for chunk in shop.chunks(people_at_once=200):
        assert len(chunk.users) == len(chunk.items) == len(chunk.time) == len(chunk.rating)
        assert set(chunk.items) <= set(ids)
        same = np.array(chunk.users[1:]) == np.array(chunk.users[:-1])
        assert (np.diff(chunk.time)[same] >= 0).all()
        users += chunk.users
    assert users == sorted(users)
    assert len(set(users)) == 500
    counts = np.unique(users, return_counts=True)[1]
    assert counts.min() >= 5
    assert abs(counts.mean() - 9.7) < 1


def test_same_seed_same_chunks() -> None:
    one, two = (next(Shop(people=50, items=80, seed=2).chunks()) for _ in range(2))
    assert one.items == two.items
    np.testing.assert_array_equal(one.time, two.time)
