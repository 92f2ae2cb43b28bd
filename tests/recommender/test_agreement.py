from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.agreement import kendall_tau, movement, overlap

lists = st.lists(st.integers(0, 11), max_size=10, unique=True)
sizes = st.integers(1, 12)


def fagin(first: list[int], other: list[int], n: int) -> float:
    """K^(1/2) of the paper, by its four cases, rescaled by the number of pairs."""
    a, b = first[:n], other[:n]
    distance = pairs = 0.0
    for i, j in combinations(sorted({*a, *b}), 2):
        pairs += 1
        in_a, in_b = {i, j} & {*a}, {i, j} & {*b}
        if len(in_a) == len(in_b) == 2:  # case 1: both in both lists
            distance += (a.index(i) < a.index(j)) != (b.index(i) < b.index(j))
        elif {len(in_a), len(in_b)} == {1, 2}:  # case 2: both in one, one of them in the other
            full, lone = (a, in_b) if len(in_a) == 2 else (b, in_a)
            (kept,) = lone
            distance += full.index(kept) > full.index(j if kept == i else i)
        elif len(in_a) == len(in_b) == 1:  # case 3: one in each list alone
            distance += 1
        else:  # case 4: both in one list alone
            distance += 0.5
    return 1 - 2 * distance / pairs if pairs else 1.0


def correlation(first: list[int], other: list[int]) -> float:
    """Kendall's rank correlation of two orders of the same items."""
    pairs = list(combinations(first, 2))
    agree = sum(other.index(i) < other.index(j) for i, j in pairs)
    return (2 * agree - len(pairs)) / len(pairs)


@given(lists, lists, sizes)
def test_tau_is_the_papers_distance(first: list[int], other: list[int], n: int) -> None:
    tau = kendall_tau(first, other, n)
    assert tau == pytest.approx(fagin(first, other, n))
    assert tau == kendall_tau(other, first, n)
    assert -1 <= tau <= 1


@given(st.permutations(range(6)), st.permutations(range(6)))
def test_tau_of_the_same_items_is_rank_correlation(first: list[int], other: list[int]) -> None:
    assert kendall_tau(first, other, 6) == pytest.approx(correlation(first, other))
    assert kendall_tau(first, first, 6) == 1
    assert kendall_tau(first, first[::-1], 6) == -1


def test_tau_solved_by_hand() -> None:
    # Pairs of {1, 2, 3}: (1,2) agree; 3 is below both in the first list, but above 2 in the other.
    assert kendall_tau([1, 2], [1, 3], 2) == pytest.approx(1 - 2 * 1 / 3)
    # Nothing in common: 4 pairs across differ, 2 pairs within are unknown.
    assert kendall_tau([1, 2], [3, 4], 2) == pytest.approx(1 - 2 * 5 / 6)
    assert kendall_tau([7], [8], 1) == -1
    assert kendall_tau([7, 1], [7, 2], 1) == 1, "only the first place counts"


@given(lists, lists, sizes)
def test_overlap_counts_what_both_have(first: list[int], other: list[int], n: int) -> None:
    shared = sum(item in other[:n] for item in first[:n])
    longest = max(len(first[:n]), len(other[:n]))
    assert overlap(first, other, n) == (shared / longest if longest else 1.0)
    assert overlap(first, other, n) == overlap(other, first, n)


def test_overlap_solved_by_hand() -> None:
    assert overlap([1, 2, 3, 4], [4, 3, 9, 8], 4) == 0.5
    assert overlap([1, 2, 3, 4], [4, 3, 9, 8], 2) == 0
    assert overlap([1, 2, 3], [1], 3) == pytest.approx(1 / 3), "a short list does not fill n"
    assert overlap([], [1], 3) == 0


def test_lists_without_items_agree() -> None:
    assert (overlap([], [], 5), kendall_tau([], [], 5), movement([], [])) == (1, 1, [])


@given(lists, lists)
def test_movement_is_the_difference_of_places(first: list[int], other: list[int]) -> None:
    moved = movement(first, other)
    assert len(moved) == len(other)
    for place, (item, up) in enumerate(zip(other, moved, strict=True)):
        if up is None:
            assert item not in first
        else:
            assert first[place + up] == item
    assert movement(first, first) == [0] * len(first)


def test_movement_up_is_positive() -> None:
    assert movement([5, 6, 7], [7, 5, 9]) == [2, -1, None]
