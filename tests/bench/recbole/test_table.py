"""What the comparison with RecBole concludes from two curves. Its run takes 45 minutes."""

from __future__ import annotations

import pytest

from tests.bench.recbole.__main__ import Point, best, table

OWN = [Point(1, 2.0, 0.10), Point(2, 4.0, 0.20), Point(3, 6.0, 0.20)]


def test_the_first_of_the_best_epochs_counts() -> None:
    assert best(OWN) == Point(2, 4.0, 0.20)


@pytest.mark.parametrize(
    ("seconds", "ndcg", "said"),
    [
        (80.0, 0.15, "Its best, 0.1500, we reach after 4.0 s, 20 times faster (asked: 20, met)."),
        (79.0, 0.15, "20 times faster (asked: 20, missed)."),
        (40.0, 0.10, "we reach after 2.0 s, 20 times faster (asked: 20, met)."),
        (90.0, 0.21, "We never reach its best validation NDCG@10, 0.2100."),
    ],
)
def test_what_is_said_of_both(seconds: float, ndcg: float, said: str) -> None:
    made = table(OWN, [Point(1, 1.0, 0.0), Point(2, seconds, ndcg)])
    assert said in made
    assert "| `recsys` | 3 | 4.0 s | 0.2000 |" in made
