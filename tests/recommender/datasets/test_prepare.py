"""Order, repeats and k-core against twins written from their definitions."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.datasets import prepare
from recommender.datasets.prepare import (
    Columns,
    counts,
    id_hashes,
    k_core,
    repeats,
    repeats_without_times,
    sorted_rows,
    tie_break,
)

Row = tuple[int, int, int, float]
ROWS = st.lists(
    st.tuples(
        st.integers(0, 6), st.integers(0, 5), st.integers(0, 3), st.sampled_from([1.0, 5.0, np.nan])
    ),
    max_size=60,
)


def columns(rows: list[Row], stored: list[bool] | None = None) -> Columns:
    return Columns(
        user=np.array([row[0] for row in rows], dtype=np.int32),
        item=np.array([row[1] for row in rows], dtype=np.int32),
        key=np.array([row[2] for row in rows], dtype=np.int64),
        rating=np.array([row[3] for row in rows], dtype=np.float32),
        part=np.zeros(len(rows), dtype=np.int8),
        stored=np.array(stored or [False] * len(rows), dtype=bool),
    )


def in_order(rows: list[Row]) -> list[tuple[object, ...]]:
    log = columns(rows)
    people, items = id_hashes("abcdefg", 7), id_hashes("uvwxyz", 6)
    log.select(sorted_rows(log, people, items))
    return [
        (int(u), int(i), int(t), None if np.isnan(r) else float(r))
        for u, i, t, r in zip(log.user, log.item, log.key, log.rating, strict=True)
    ]


@settings(max_examples=40)
@given(ROWS, st.randoms())
def test_order_depends_on_the_rows_and_not_on_the_file(rows: list[Row], random: object) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert in_order(shuffled) == in_order(rows)


@settings(max_examples=40)
@given(ROWS, st.integers(1, 9))
def test_order_is_the_naive_one_whatever_the_block(rows: list[Row], block: int) -> None:
    people, items = id_hashes("abcdefg", 7), id_hashes("uvwxyz", 6)

    def key(row: Row) -> tuple[object, ...]:
        user, item, time, rating = row
        tie = int(tie_break(people[user : user + 1], items[item : item + 1])[0])
        return user, time, tie, item, np.isnan(rating), 0.0 if np.isnan(rating) else rating

    naive = [(r[0], r[1], r[2], None if np.isnan(r[3]) else r[3]) for r in sorted(rows, key=key)]
    before, prepare.BLOCK = prepare.BLOCK, block
    try:
        assert in_order(rows) == naive
    finally:
        prepare.BLOCK = before


def test_equal_times_are_not_in_the_order_of_ids() -> None:
    """A hash decides, so that a file sorted by item says nothing about the future."""
    users = id_hashes((f"u{n}" for n in range(200)), 200)
    items = id_hashes(["a", "b"], 2)
    first = tie_break(users, np.full(200, items[0])) < tie_break(users, np.full(200, items[1]))
    assert 60 < first.sum() < 140


def naive_core(pairs: list[tuple[int, int]], k: int) -> list[bool]:
    kept = [True] * len(pairs)
    while True:
        people = Counter(pair[0] for pair, keep in zip(pairs, kept, strict=True) if keep)
        items = Counter(pair[1] for pair, keep in zip(pairs, kept, strict=True) if keep)
        now = [
            keep and people[pair[0]] >= k and items[pair[1]] >= k
            for pair, keep in zip(pairs, kept, strict=True)
        ]
        if now == kept:
            return kept
        kept = now


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=80), st.integers(0, 5))
def test_k_core_is_the_naive_one(pairs: list[tuple[int, int]], k: int) -> None:
    user = np.array([pair[0] for pair in pairs], dtype=np.int32)
    item = np.array([pair[1] for pair in pairs], dtype=np.int32)
    assert k_core(user, item, k, people=8, items=8).tolist() == naive_core(pairs, k)


@settings(max_examples=40)
@given(ROWS)
def test_repeats_leave_each_row_once(rows: list[Row]) -> None:
    log = columns(rows)
    log.select(sorted_rows(log, id_hashes("abcdefg", 7), id_hashes("uvwxyz", 6)))
    again, there = repeats(log)
    distinct = {(u, i, t, None if np.isnan(r) else r) for u, i, t, r in rows}
    assert int((~again).sum()) == len(distinct)
    assert there == 0


@settings(max_examples=40)
@given(ROWS)
def test_the_same_rows_again_are_all_known(rows: list[Row]) -> None:
    once = list({repr(row): row for row in rows}.values())
    log = columns(once + once, [True] * len(once) + [False] * len(once))
    log.select(sorted_rows(log, id_hashes("abcdefg", 7), id_hashes("uvwxyz", 6)))
    again, there = repeats(log)
    assert there == len(once)
    assert (again == ~log.stored).all()


def test_positions_of_the_store_need_not_be_those_of_the_file() -> None:
    """What the Store has, twice item 0 and once item 1, is known; the third of item 0 is new."""
    stored = [(0, 0, -30, 1.0), (0, 1, -20, 1.0), (0, 0, -10, 1.0)]
    file = [(0, 0, 0, 1.0), (0, 1, 4, 1.0), (0, 0, 5, 1.0), (0, 0, 9, 1.0)]
    log = columns(stored + file, [True] * 3 + [False] * 4)
    log.select(sorted_rows(log, id_hashes("a", 1), id_hashes("uv", 2)))
    again, there = repeats_without_times(log, ordered=True)
    assert there == 3
    assert log.key[~again].tolist() == [-30, -20, -10, 9]


def test_counts_leave_rows_out() -> None:
    values = np.array([0, 0, 2], dtype=np.int32)
    assert counts(values, 3, np.array([True, False, True])).tolist() == [1, 0, 1]


@pytest.mark.parametrize("empty", [[]])
def test_no_rows_are_no_error(empty: list[Row]) -> None:
    assert in_order(empty) == []
    assert repeats(columns(empty))[1] == 0
