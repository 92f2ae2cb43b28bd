"""Which of several measurements of the same layers counts."""

from __future__ import annotations

import pytest

from distill.language.profiles import RANDOM_TWIN, largest
from storage.records import LayerProfile


def profile(key: str, requests: int, *, weights: str = "w", category: int = 1) -> LayerProfile:
    return LayerProfile(key, category, weights, "taylor-listwise", requests, (), (), (), "")


@pytest.mark.parametrize("keys", ["ab", "ba"])
def test_of_as_many_requests_the_first_counts_or_the_one_at_hand(keys: str) -> None:
    """Regression: a hash decided, so another seed's measurement could change this one's student."""
    one, two = (profile(key, 8) for key in keys)
    found = largest([one, two], "taylor", "w".__eq__)
    assert found is one
    assert largest([one, two], "taylor", "w".__eq__, rather=two.key) is two
    more = profile("more", 9)
    assert largest([one, more, two], "taylor", "w".__eq__, rather=two.key) is more


def test_weights_that_were_drawn_are_nobodys() -> None:
    twin = profile("t", 99, weights=f"w{RANDOM_TWIN}0")
    assert largest([twin], "taylor", lambda weights: weights.startswith("w")) is None
