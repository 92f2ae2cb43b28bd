"""Blind sittings: a fair shuffle, a true count, and how likely it is by chance."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.blind import ENOUGH, Blind, chance_of_as_many

BY = ["student", "teacher", "popularity"]


def test_the_order_follows_from_the_seed_and_favours_nobody() -> None:
    assert Blind(BY, seed=4).order == Blind(BY, seed=4).order
    blind = Blind(BY, seed=0)
    orders: Counter[tuple[str, ...]] = Counter()
    for _ in range(6000):
        blind.shuffle(BY)
        orders[tuple(blind.order)] += 1
    assert len(orders) == 6
    # 1000 each, standard deviation 29: a fair shuffle fails this once in 10^6 seeds.
    assert all(abs(count - 1000) < 150 for count in orders.values())
    assert BY == ["student", "teacher", "popularity"], "the names that were given stay"


def test_letters_go_from_left_to_right() -> None:
    blind = Blind(BY, seed=3)
    assert [blind.name(by) for by in blind.order] == ["A", "B", "C"]


def test_what_is_preferred_is_counted_under_its_own_name() -> None:
    blind = Blind(["student", "teacher"], seed=1)
    assert blind.words() == []
    for by in ["teacher", "student", "teacher", "teacher", "teacher", "teacher"]:
        blind.shuffle(BY[:2])
        blind.prefer(by)
    (line,) = blind.words()
    assert line.startswith("blind: teacher 5 of 6, student 1 of 6; teacher would be preferred")
    assert line.endswith("with probability 0.219")  # 2 (6 + 1) / 2^6


def test_who_died_stays_in_the_tally() -> None:
    blind = Blind(BY, seed=1)
    blind.prefer("teacher")
    blind.shuffle(["student", "popularity"])
    assert sorted(blind.order) == ["popularity", "student"]
    assert blind.tally == {"student": 0, "teacher": 1, "popularity": 0}
    with pytest.raises(ValueError, match="not in list"):
        blind.name("teacher")


def test_who_joins_later_is_one_more_to_choose_from() -> None:
    blind = Blind(["student"], seed=1)
    blind.shuffle(["student", "teacher"])
    for _ in range(ENOUGH - 1):
        blind.prefer("student")
    (line,) = blind.words()
    assert line == "blind: student 4 of 4, teacher 0 of 4; too few to tell: 5 are the least"
    blind.prefer("student")
    (line,) = blind.words()
    assert "teacher 0 of 5" in line
    assert line.endswith("with probability 0.062")


@given(count=st.integers(1, 11), preferred=st.integers(0, 11))
def test_the_chance_for_two_is_counted_out(count: int, preferred: int) -> None:
    preferred = min(preferred, count)
    sittings = [sum(one) for one in product((0, 1), repeat=count)]
    extreme = sum(one >= preferred or count - one >= preferred for one in sittings)
    told = chance_of_as_many(preferred, count, 2)
    if preferred * 2 > count:
        assert told == pytest.approx(extreme / len(sittings))
    else:
        assert told == 1.0


@given(count=st.integers(1, 6), columns=st.integers(1, 4), preferred=st.integers(0, 6))
def test_for_several_it_is_never_too_small(count: int, columns: int, preferred: int) -> None:
    preferred = min(preferred, count)
    sittings = list(product(range(columns), repeat=count))
    extreme = sum(max(Counter(one).values()) >= preferred for one in sittings)
    told = chance_of_as_many(preferred, count, columns)
    assert extreme / len(sittings) <= told + 1e-12
    assert told <= 1.0
