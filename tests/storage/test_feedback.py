"""What people said of items: the newest word counts, and it goes where the category goes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import StoreUnavailable
from storage.feedback import Feedback, Opinions, Value
from storage.records import ImportData, ItemRow
from storage.store import Store

STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def write(store: Store, name: str = "Pens", digest: str = "d1", *, replace: bool = False) -> int:
    """Write a category of one person and three items and return its id."""
    data = ImportData(
        user_ids=["ann"],
        items=[ItemRow(f"i{n}", f"Item {n}") for n in range(3)],
        user=np.zeros(1, dtype=np.int64),
        item=np.zeros(1, dtype=np.int64),
        time=np.zeros(1, dtype=np.int64),
        rating=np.ones(1, dtype=np.float32),
        part=np.full(1, -1, dtype=np.int8),
    )
    about = {"source": "test", "synthetic": False, "rating_low": 1.0, "rating_high": 5.0}
    return store.catalogue.write(name, data, digest=digest, note="", replace=replace, **about).id


def minutes() -> Iterator[datetime]:
    """Yield one minute after the other."""
    now = STARTED
    while True:
        yield now
        now += timedelta(minutes=1)


def test_the_newest_word_counts(store: Store) -> None:
    pens = write(store)
    clock = minutes()
    opinions = Opinions(store.database, now=lambda: next(clock))
    opinions.set(pens, "ann", 2, 1)
    opinions.set(pens, "ann", 0, -1)
    opinions.set(pens, "ann", 2, -1)
    assert opinions.of(pens, "ann") == {0: -1, 2: -1}
    assert opinions.list(pens) == [
        Feedback(pens, "ann", 0, -1, "2026-01-02T03:05:05+00:00"),
        Feedback(pens, "ann", 2, -1, "2026-01-02T03:06:05+00:00"),
    ]
    assert opinions.count(pens) == 2


def test_people_and_categories_are_kept_apart(store: Store) -> None:
    pens, inks = write(store), write(store, "Inks")
    for category, user, item in ((pens, "ann", 0), (pens, "", 0), (inks, "ann", 0)):
        store.feedback.set(category, user, item, 1)
    store.feedback.clear(pens, "ann", 0)
    assert store.feedback.of(pens, "ann") == {}
    assert store.feedback.of(pens, "") == {0: 1}, "a history made by hand has no person"
    assert store.feedback.of(inks, "ann") == {0: 1}
    assert (store.feedback.count(pens), store.feedback.count(inks)) == (1, 1)
    assert [(one.user, one.item) for one in store.feedback.list(pens)] == [("", 0)]


def test_what_was_never_said_may_be_cleared(store: Store) -> None:
    pens = write(store)
    store.feedback.clear(pens, "nobody", 7)
    assert store.feedback.list(pens) == []


def test_the_stamp_is_the_present_in_utc(store: Store) -> None:
    pens = write(store)
    before = datetime.now(UTC).replace(microsecond=0)
    store.feedback.set(pens, "ann", np.int64(1), 1)
    (one,) = store.feedback.list(pens)
    assert before <= datetime.fromisoformat(one.said_at) <= datetime.now(UTC)
    assert type(one.item) is int


@pytest.mark.parametrize("value", [0, 2, -2, "1", None])
def test_an_opinion_is_liked_or_not(store: Store, value: Value) -> None:
    pens = write(store)
    store.feedback.set(pens, "ann", 0, 1)
    with pytest.raises(ValueError, match=r"1 or -1, not"):
        store.feedback.set(pens, "ann", 0, value)
    assert store.feedback.of(pens, "ann") == {0: 1}, "what was said before stays"


def test_it_stays_when_more_data_comes(store: Store) -> None:
    pens = write(store)
    store.feedback.set(pens, "ann", 0, 1)
    assert write(store, digest="d2") == pens
    assert store.feedback.of(pens, "ann") == {0: 1}


def test_it_goes_with_its_category(store: Store) -> None:
    pens, inks = write(store), write(store, "Inks")
    for category in (pens, inks):
        store.feedback.set(category, "ann", 0, 1)
    store.catalogue.drop(pens)
    assert (store.feedback.count(pens), store.feedback.count(inks)) == (0, 1)
    other = write(store, "Inks", digest="d2", replace=True)
    assert (store.feedback.count(inks), store.feedback.count(other)) == (0, 0)


def test_somebody_else_who_writes_is_named(tmp_path: Path) -> None:
    with (
        Store.open(tmp_path / "s.sqlite", tmp_path) as store,
        Store.open(tmp_path / "s.sqlite", tmp_path, busy_seconds=0.01) as other,
    ):
        pens = write(store)
        with store.database.writing(), pytest.raises(StoreUnavailable, match="is locked"):
            other.feedback.set(pens, "ann", 0, 1)
        assert other.feedback.of(pens, "ann") == {}


said = st.tuples(
    st.sampled_from(["ann", "bob", ""]), st.integers(0, 3), st.sampled_from([1, -1, 0])
)


@settings(max_examples=25, deadline=None)
@given(st.lists(said, max_size=25))
def test_it_is_a_dictionary(
    tmp_path_factory: pytest.TempPathFactory, words: list[tuple[str, int, Value]]
) -> None:
    naive: dict[tuple[str, int], int] = {}
    with Store.open(tmp_path_factory.mktemp("any") / "s.sqlite", Path()) as store:
        pens = write(store)
        for user, item, value in words:
            if value:
                store.feedback.set(pens, user, item, value)
                naive[user, item] = value
            else:
                store.feedback.clear(pens, user, item)
                naive.pop((user, item), None)
        kept = [(one.user, one.item, one.value) for one in store.feedback.list(pens)]
        assert kept == [(*key, naive[key]) for key in sorted(naive)]
        for user in ("ann", "bob", ""):
            of = {item: value for (who, item), value in naive.items() if who == user}
            assert store.feedback.of(pens, user) == of
