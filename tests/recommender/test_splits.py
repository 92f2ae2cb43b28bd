from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from recommender.splits import (
    TEST,
    TRAIN,
    VALID,
    Split,
    leave_last_out,
    positives,
    temporal_split,
    tiny_log,
)
from storage.errors import BadData
from storage.records import NO_PART, NO_TIME, PARTS, Log

rows = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 40), st.integers(0, 6)), min_size=10, max_size=80
)


def make_log(triples: list[tuple[int, int, int]], part: list[int] | None = None) -> Log:
    """Rows of (user, time, item), put in the order of a Log."""
    ordered = sorted(triples, key=lambda row: row[:2])
    user, time, item = (np.array(column, dtype=np.int64) for column in zip(*ordered, strict=True))
    return Log(
        user=user,
        item=item,
        time=time,
        rating=np.full(len(user), np.nan, dtype=np.float32),
        part=np.array(part or [NO_PART] * len(user), dtype=np.int8),
        people=6,
        items=7,
    )


def check_requests(split: Split) -> None:
    """The definition of a request, row by row."""
    log = split.log
    for part in PARTS:
        expected = []
        for row in range(len(log)):
            before = [r for r in range(row) if log.user[r] == log.user[row]]
            items = [int(log.item[r]) for r in before]
            assert split.history(row).tolist() == items
            wanted = PARTS[split.part[row]] == part
            if wanted and items and int(log.item[row]) not in items:
                expected.append(row)
        assert split.events(part).tolist() == expected


@given(rows)
def test_temporal_split_never_trains_on_the_future(triples: list[tuple[int, int, int]]) -> None:
    log = make_log(triples)
    cuts = np.sort(log.time)[[int(len(log) * 0.6), int(len(log) * 0.8)]]
    assume(log.time.min() < cuts[0] < cuts[1])
    split = temporal_split(log, valid=0.2, test=0.2)
    times = {p: log.time[split.part == p] for p in (TRAIN, VALID, TEST)}
    assert times[TRAIN].max() < times[VALID].min() <= times[VALID].max() < times[TEST].min()
    check_requests(split)


@given(rows)
def test_leave_last_out_takes_the_last_two(triples: list[tuple[int, int, int]]) -> None:
    log = make_log(triples)
    split = leave_last_out(log)
    split.assert_no_leak()
    check_requests(split)
    for user in range(log.people):
        parts = split.part[log.user == user].tolist()
        tail = [VALID, TEST] if len(parts) >= 3 else []
        assert parts == [TRAIN] * (len(parts) - len(tail)) + tail


def test_shares_are_as_asked() -> None:
    log = make_log([(row % 6, row, row % 7) for row in range(1000)])
    assert np.bincount(temporal_split(log).part).tolist() == [800, 100, 100]


def test_rows_of_one_moment_share_a_part() -> None:
    log = make_log([(row % 6, row // 10, row % 7) for row in range(100)])
    split = temporal_split(log, valid=0.25, test=0.25)
    for moment in range(10):
        assert len(np.unique(split.part[log.time == moment])) == 1


def test_sizes_add_up() -> None:
    rng = np.random.default_rng(0)
    log = make_log([(int(u), int(t), int(i)) for u, t, i in rng.integers(0, 6, size=(200, 3))])
    log = dataclasses.replace(log, time=log.time * 1000 + np.arange(200))
    split = leave_last_out(log)
    for name, size in split.sizes().items():
        assert size.rows == size.requests + size.repeats + size.without_history
        assert size.repeats == split.excluded_repeats[name]
    assert sum(size.rows for size in split.sizes().values()) == 200


def test_new_items_are_counted() -> None:
    assert leave_last_out(tiny_log()).sizes()["test"].new_items == 1


def test_train_sequences_hold_train_rows_only() -> None:
    split = leave_last_out(make_log([(0, 1, 1), (0, 2, 2), (0, 3, 3), (2, 1, 4)]))
    items, offsets = split.train_sequences()
    assert items.tolist() == [1, 4]
    assert offsets.tolist() == [0, 1, 1, 2, 2, 2, 2]


def test_a_first_row_is_a_request_only_when_asked() -> None:
    log = make_log([(0, 1, 1), (1, 2, 2), (1, 3, 3)], part=[0, 2, 2])
    split = temporal_split(log)
    assert split.events("test").tolist() == [2]
    assert split.events("test", min_history=0).tolist() == [1, 2]
    assert split.sizes()["test"].without_history == 1


def test_the_part_column_wins_over_times() -> None:
    log = make_log([(0, 1, 1), (0, 5, 2), (1, 2, 3)], part=[0, 1, 0])
    assert temporal_split(log).part.tolist() == [0, 1, 0]


def test_a_leaking_part_column_is_refused() -> None:
    with pytest.raises(BadData, match="after a 'test' row"):
        temporal_split(make_log([(0, 1, 1), (0, 2, 2)], part=[2, 0]))
    with pytest.raises(BadData, match="begins at"):
        temporal_split(make_log([(0, 1, 1), (0, 9, 2), (1, 5, 3)], part=[0, 0, 2]))


def test_a_part_column_with_gaps_is_refused() -> None:
    with pytest.raises(BadData, match="empty in some rows"):
        temporal_split(make_log([(0, 1, 1), (0, 2, 2)], part=[0, NO_PART]))


def test_without_times_the_error_names_the_other_split() -> None:
    log = dataclasses.replace(tiny_log(), time=np.full(6, NO_TIME, dtype=np.int64))
    with pytest.raises(BadData, match="leave-last-out"):
        temporal_split(log)


def test_one_moment_for_everything_is_too_coarse() -> None:
    with pytest.raises(BadData, match="too coarse"):
        temporal_split(dataclasses.replace(tiny_log(), time=np.zeros(6, dtype=np.int64)))


def test_positives_are_filtered_on_the_source_s_scale() -> None:
    log = tiny_log()
    assert positives(log, None) is log
    assert positives(log, 4.0).item.tolist() == [0, 2, 3, 2]
    with pytest.raises(BadData, match="highest is 5"):
        positives(log, 6.0)
    with pytest.raises(BadData, match="rows without"):
        positives(make_log([(0, 1, 1)]), 3.0)
