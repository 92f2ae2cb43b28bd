"""What is held out of one person is what the split of the whole log makes a request."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.people import Person, person, protocol_of
from recommender.protocol import Protocol, SplitKind
from recommender.splits import positives, split_as
from storage.errors import BadData, UnknownName
from storage.records import NO_PART, NO_TIME, Category, ImportData, ItemRow, Run
from storage.store import Store

PEOPLE, THINGS = 5, 6
Row = tuple[int, int, int, float]
"""Person, time, item, rating."""

rows = st.lists(
    st.tuples(
        st.integers(0, PEOPLE - 1),
        st.integers(0, 25),
        st.integers(0, THINGS - 1),
        st.sampled_from([1.0, 4.1, 4.2, 5.0]),
    ),
    min_size=1,
    max_size=40,
)
lows = st.sampled_from([None, 4.1, 4.2])


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Open one Store for all random logs: each takes the place of the one before."""
    with Store.open(tmp_path_factory.mktemp("shop") / "s.sqlite", Path()) as store:
        yield store


def write(store: Store, log: list[Row], parts: list[int] | None = None) -> Category:
    """Write rows, put in the order of a Log, in place of those before."""
    ordered = sorted(log, key=lambda row: row[:2])
    user, time, item, rating = zip(*ordered, strict=True) if ordered else ((),) * 4
    data = ImportData(
        user_ids=[f"u{n}" for n in range(PEOPLE)],
        items=[ItemRow(f"i{n}", f"Item {n}") for n in range(THINGS)],
        user=np.array(user, dtype=np.int64),
        item=np.array(item, dtype=np.int64),
        time=np.array(time, dtype=np.int64),
        rating=np.array(rating, dtype=np.float32),
        part=np.array([NO_PART] * len(ordered) if parts is None else parts, dtype=np.int8),
    )
    return store.catalogue.write(
        "Pens", data, source="test", synthetic=False, rating_low=1.0, rating_high=5.0, note="",
        digest=f"{ordered}{parts}", replace=True,
    )  # fmt: skip


def everybody(store: Store, category: Category, protocol: Protocol) -> list[Person]:
    return [person(store, category, f"u{n}", protocol) for n in range(PEOPLE)]


def requested(store: Store, category: Category, protocol: Protocol) -> list[int | None]:
    """Each person's held-out item, from the split of the whole log.

    None where the last row of all is no request of the test part, or is of an item they had.
    """
    whole = store.catalogue.log(category.id)
    log = positives(whole, protocol.min_rating)
    split = split_as(log, protocol.split)
    tests = {int(row) for row in split.events("test")}
    wanted: list[int | None] = []
    for user in range(PEOPLE):
        had = whole.item[whole.user == user].tolist()
        ratings = whole.rating[whole.user == user]
        low = protocol.min_rating
        counts = len(ratings) > 0 and (low is None or bool(ratings[-1] >= low))
        request = counts and int(split.starts[user + 1]) - 1 in tests
        wanted.append(had[-1] if request and had[-1] not in had[:-1] else None)
    return wanted


def check(store: Store, category: Category, protocol: Protocol) -> None:
    try:
        wanted = requested(store, category, protocol)
    except BadData:  # no row is rated so high, or the times are too coarse: nobody is trained
        return
    for one, item in zip(everybody(store, category, protocol), wanted, strict=True):
        assert (one.held_out.item.number if one.held_out else None) == item
        assert (one.why == "") == (item is not None)
        had = store.catalogue.history(category.id, one.number).tolist()
        assert [event.item.number for event in one.events] == had
        kept = had if item is None else had[:-1]
        assert [event.item.number for event in one.history] == kept


@settings(max_examples=150, deadline=None)
@given(rows, lows)
def test_in_time_it_is_the_temporal_split(shop: Store, log: list[Row], low: float | None) -> None:
    check(shop, write(shop, log), Protocol(min_rating=low))


@settings(max_examples=100, deadline=None)
@given(rows, lows)
def test_without_time_it_is_leave_last_out(shop: Store, log: list[Row], low: float | None) -> None:
    timeless = [(user, NO_TIME, item, rating) for user, _, item, rating in log]
    for some in (log, timeless):
        check(shop, write(shop, some), Protocol(split="leave-last-out", min_rating=low))


@settings(max_examples=100, deadline=None)
@given(rows, lows, st.data())
def test_with_parts_it_is_the_datas_own(
    shop: Store, log: list[Row], low: float | None, draw: st.DataObject
) -> None:
    parts: list[int] = []
    for user in range(PEOPLE):
        count = sum(row[0] == user for row in log)
        some = st.lists(st.integers(0, 2), min_size=count, max_size=count)
        parts += sorted(draw.draw(some))
    timeless = [(user, NO_TIME, item, rating) for user, _, item, rating in log]
    check(shop, write(shop, timeless, parts), Protocol(min_rating=low))


def spread(*last: Row) -> list[Row]:
    """Sixty rows of person 4 at the times 0 to 59, of items 0 to 2, and some more."""
    return [(4, at, at % 3, 4.0) for at in range(60)] + list(last)


TIMED, LAST = Protocol(), Protocol(split="leave-last-out")


@pytest.mark.parametrize(
    ("events", "protocol", "why"),
    [
        ([], TIMED, "there is no event"),
        ([(0, 59, 0, 4.0)], TIMED, "it is the only event"),
        ([(0, 1, 0, 4.0), (0, 2, 1, 4.0)], TIMED, "the last event is in the training part"),
        ([(0, 1, 0, 4.0), (0, 59, 0, 4.0)], TIMED, "the person had the last item before"),
        ([(0, 1, 0, 4.0), (0, 59, 1, 4.0)], TIMED, ""),
        ([(0, 1, 0, 4.0), (0, 2, 1, 4.0)], LAST, "fewer than three events"),
        ([(0, 1, 0, 4.0), (0, 2, 1, 4.0), (0, 3, 2, 4.0)], LAST, ""),
        ([(0, 1, 0, 4.0), (0, 59, 1, 2.0)], Protocol(min_rating=4), "the last event is rated b"),
        ([(0, 1, 0, 2.0), (0, 59, 1, 4.0)], Protocol(min_rating=4), "no other event is rated 4"),
        (
            [(0, 1, 1, 2.0), (0, 2, 0, 4.0), (0, 59, 1, 4.0)],
            Protocol(min_rating=4),
            "the person had the last item before",
        ),
    ],
)
def test_it_is_said_why(store: Store, events: list[Row], protocol: Protocol, why: str) -> None:
    found = person(store, write(store, spread(*events)), "u0", protocol)
    assert found.why.startswith(why)
    assert bool(found.why) == bool(why) == (found.held_out is None)
    assert len(found.events) == len(events)
    assert len(found.history) == len(events) - (not why)


def test_a_low_rating_before_is_had_before(store: Store) -> None:
    """What `positives` forgets, rankers still leave out, so that a hit could never be."""
    log = spread((0, 1, 1, 2.0), (0, 2, 0, 4.0), (0, 59, 1, 4.0))
    category = write(store, log)
    liked = positives(store.catalogue.log(category.id), 4.0)
    split = split_as(liked, "temporal")
    assert 1 in split.events("test"), "the split makes it a request"
    assert person(store, category, "u0", Protocol(min_rating=4.0)).held_out is None


def test_nobody_is_found_by_that_id(store: Store) -> None:
    category = write(store, spread())
    for text in ("u9", "", "\ud800"):
        with pytest.raises(UnknownName):
            person(store, category, text, TIMED)


def test_a_log_without_times_is_not_cut_in_time(store: Store) -> None:
    category = write(store, [(0, NO_TIME, 0, 4.0), (0, NO_TIME, 1, 4.0)])
    with pytest.raises(BadData, match="rows without a time"):
        person(store, category, "u0", TIMED)


def run(category: Category, **config: object) -> Run:
    return Run(
        "r1", category.id, "student", "distilled", 0, config, "done", "2026", "key", selection=0.5
    )


@pytest.mark.parametrize("split", ["temporal", "leave-last-out"])
@pytest.mark.parametrize("low", [None, 4, 3.5])
def test_the_best_student_decides(store: Store, split: SplitKind, low: float | None) -> None:
    category = write(store, spread())
    best = run(category, split=split, min_rating=low)
    store.runs.add(best)
    other = {"split": "temporal", "min_rating": 1.0}
    store.runs.add(replace(best, id="r2", selection=0.1, config=other))
    store.runs.add(replace(best, id="r3", selection=0.9, config=other, final=True))
    assert protocol_of(store, category) == Protocol(split=split, min_rating=low)


def test_without_a_student_the_data_decides(store: Store) -> None:
    assert protocol_of(store, write(store, spread())).split == "temporal"
    holed = [*spread(), (0, NO_TIME, 0, 4.0)]
    assert protocol_of(store, write(store, holed)).split == "leave-last-out"
    parts = [0] * 60 + [0]
    assert protocol_of(store, write(store, holed, parts)).split == "temporal"
    assert protocol_of(store, write(store, [])).split == "leave-last-out"
