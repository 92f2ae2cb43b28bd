"""The catalogue: what is written comes back, numbers stay, and an import is all or nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import columns
from storage.columns import positions
from storage.errors import BadData, UnknownName
from storage.records import (
    NO_PART,
    NO_TIME,
    Category,
    ImportData,
    ItemRow,
    LabelRequest,
    Log,
    Review,
    Run,
    SoftLabel,
)
from storage.store import Store

HOSTILE = ["'; DROP TABLE users; --", "100%_", "żółw 🐢", " ", "A", "a"]


def data(
    rows: list[tuple[int, int, int, float, int]],
    *,
    people: list[str] | None = None,
    things: list[ItemRow] | None = None,
    reviews: Any = None,
) -> ImportData:
    """Build an import from (user, item, time, rating, part), sorted by user."""
    user, item, at, rating, part = zip(*rows, strict=True) if rows else ((),) * 5
    return ImportData(
        user_ids=people or [f"u{n}" for n in range(max(user, default=-1) + 1)],
        items=things or [ItemRow(f"i{n}", f"Item {n}") for n in range(max(item, default=-1) + 1)],
        user=np.array(user, dtype=np.int64),
        item=np.array(item, dtype=np.int64),
        time=np.array(at, dtype=np.int64),
        rating=np.array(rating, dtype=np.float32),
        part=np.array(part, dtype=np.int8),
        reviews=reviews,
    )


def write(store: Store, new: ImportData, digest: str = "d1", **changes: Any) -> Category:
    about: dict[str, Any] = {
        "source": "test",
        "synthetic": False,
        "rating_low": 1.0,
        "rating_high": 5.0,
        "note": "",
        "digest": digest,
        "replace": False,
        "k_core": 0,
    }
    return store.catalogue.write("Pens", new, **{**about, **changes})


def same(log: Log, written: ImportData) -> bool:
    names = ("user", "item", "time", "rating", "part")
    return all(
        np.array_equal(getattr(log, name), getattr(written, name), equal_nan=name == "rating")
        for name in names
    )


PLAIN = data([(0, 0, 5, 4.0, 0), (0, 1, 6, np.nan, 1), (2, 1, NO_TIME, 2.0, NO_PART)])
LONGER = data(
    [
        (0, 0, 5, 4.0, 0),
        (0, 2, 5, 1.0, 0),
        (0, 1, 6, np.nan, 1),
        (2, 1, NO_TIME, 2.0, NO_PART),
        (3, 2, 9, 3.0, 2),
    ]
)


def test_a_category_comes_back_as_it_was_written(store: Store) -> None:
    category = write(store, PLAIN, note="free", k_core=5)
    assert store.catalogue.categories() == [category]
    assert store.catalogue.category("Pens") == category
    assert (category.people, category.items, category.interactions) == (3, 2, 3)
    assert (category.note, category.k_core, category.digest) == ("free", 5, "d1")
    log = store.catalogue.log(category.id)
    assert same(log, PLAIN)
    assert (log.people, log.items, len(log)) == (3, 2, 3)
    assert store.catalogue.history(category.id, 0).tolist() == [0, 1]
    assert store.catalogue.history(category.id, 1).tolist() == []
    assert store.catalogue.users(category.id) == 3


row = st.tuples(
    st.integers(0, 6),
    st.integers(0, 4),
    st.one_of(st.just(NO_TIME), st.integers(-(2**62), 2**62)),
    st.one_of(st.just(float("nan")), st.floats(width=32, allow_nan=False, allow_infinity=False)),
    st.integers(NO_PART, 2),
)


@settings(max_examples=30, deadline=None)
@given(rows=st.lists(row, max_size=30), at_once=st.integers(1, 7))
def test_any_log_comes_back_whatever_the_slices(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], at_once: int
) -> None:
    written = data(sorted(rows, key=lambda one: one[0]))
    with (
        pytest.MonkeyPatch.context() as patch,
        Store.open(tmp_path_factory.mktemp("any") / "s.sqlite", Path()) as store,
    ):
        patch.setattr(columns, "_SLICE", at_once)
        category = write(store, written)
        assert same(store.catalogue.log(category.id), written)
        for user in range(7):
            naive = [one[1] for one in sorted(rows, key=lambda one: one[0]) if one[0] == user]
            assert store.catalogue.history(category.id, user).tolist() == naive


@given(st.lists(st.integers(0, 5), max_size=30))
def test_positions_by_counting(users: list[int]) -> None:
    users.sort()
    naive = [users[:n].count(user) for n, user in enumerate(users)]
    assert positions(np.array(users, dtype=np.int64)).tolist() == naive


def test_items_come_back_with_all_their_texts(store: Store) -> None:
    things = [ItemRow("i0", "Pen", "Norvik", "Blue.", "Office | Pens", "2.99"), ItemRow("i1", "")]
    category = write(store, data([(0, 1, 1, 1.0, 0)], things=things))
    items = list(store.catalogue.items(category.id))
    assert [(i.number, i.id, i.title, i.brand, i.price) for i in items] == [
        (0, "i0", "Pen", "Norvik", "2.99"),
        (1, "i1", "", "", ""),
    ]
    assert store.catalogue.items_by_number(category.id, [1, 0, 1]) == [items[1], items[0], items[1]]
    assert store.catalogue.item_titles(category.id) == ["Pen", "i1"]
    assert store.catalogue.item_ids(category.id) == ["i0", "i1"]
    assert store.catalogue.find_item(category.id, "i9") is None
    assert store.catalogue.item_number(category.id, "i1") == 1


def test_an_iteration_that_is_left_holds_nothing(store: Store) -> None:
    category = write(store, PLAIN)
    stream = store.catalogue.items(category.id)
    next(stream)
    write(store, LONGER, "d2")  # a reader in the middle does not stand in the way
    stream.close()


def test_hostile_ids_are_only_ids(store: Store) -> None:
    category = write(store, data([(n, 0, 0, 1.0, 0) for n in range(6)], people=HOSTILE))
    for number, name in enumerate(HOSTILE):
        assert store.catalogue.user_number(category.id, name) == number
    assert store.catalogue.user_ids(category.id) == HOSTILE
    assert store.catalogue.user_ids(category.id, [5, 0]) == ["a", HOSTILE[0]]
    assert store.catalogue.find_users(category.id, "100%") == ["100%_"]
    assert store.catalogue.find_users(category.id, "a") == ["a"]
    assert store.catalogue.find_users(category.id, "", 2) == sorted(HOSTILE)[:2]
    assert store.catalogue.find_users(category.id, "z") == []
    assert [c.name for c in store.catalogue.categories_of_user("a")] == ["Pens"]
    assert store.catalogue.categories_of_user("b") == []


def test_many_numbers_at_once(store: Store) -> None:
    rows = [(n, n, 0, 1.0, 0) for n in range(1500)]
    category = write(store, data(rows))
    wanted = list(range(1499, -1, -1))
    assert store.catalogue.user_ids(category.id, wanted) == [f"u{n}" for n in wanted]
    found = store.catalogue.items_by_number(category.id, wanted)
    assert [item.number for item in found] == wanted


def test_what_is_not_there_is_named_with_what_is_near(store: Store) -> None:
    category = write(store, data([(0, 0, 0, 1.0, 0)], people=["AE22JQ"]))
    with pytest.raises(UnknownName, match=r"no category 'Pen'; did you mean 'Pens'\?"):
        store.catalogue.category("Pen")
    with pytest.raises(UnknownName, match=r"no user 'AE22J' in 'Pens'.*'AE22JQ'"):
        store.catalogue.user_number(category.id, "AE22J")
    with pytest.raises(UnknownName, match=r"no user 'AE99999999' in 'Pens'.*'AE22JQ'"):
        store.catalogue.user_number(category.id, "AE99999999")
    with pytest.raises(UnknownName, match=r"no item 'i7' in 'Pens'.*'i0'"):
        store.catalogue.item_number(category.id, "i7")
    with pytest.raises(UnknownName, match="number 7"):
        store.catalogue.items_by_number(category.id, [0, 7])
    for call in (store.catalogue.log, store.catalogue.drop):
        with pytest.raises(UnknownName, match="id 99"):
            call(99)


def test_the_same_digest_writes_nothing(store: Store) -> None:
    first = write(store, PLAIN)
    again = write(store, LONGER)  # would be more, were it looked at
    assert again == first
    assert len(store.catalogue.log(first.id)) == 3


def remember(store: Store, category: Category) -> None:
    store.runs.add(Run("r1", category.id, "student", "s", 0, {}, "done", "2026"))
    store.labels.add_requests(
        [LabelRequest("k", category.id, "train", 0, 1, (0,), (1,), 0, "t", "likelihood")]
    )
    store.labels.add(SoftLabel("k", (1.0,), (1,), "ok", 0.1))
    store.labels.add_unconditional("t", category.id, {0: (-1.0, 2), 1: (-2.0, 3)})


def test_a_longer_file_adds_rows_and_keeps_numbers_answers_and_runs(store: Store) -> None:
    first = write(store, PLAIN)
    remember(store, first)
    retitled = [ItemRow("i0", "Item 0", "Norvik"), ItemRow("i1", "Renamed"), ItemRow("i2", "New")]
    longer = replace(LONGER, items=retitled)
    second = write(store, longer, "d2")
    assert second.id == first.id
    assert same(store.catalogue.log(first.id), longer)
    assert store.catalogue.item_titles(first.id) == ["Item 0", "Renamed", "New"]
    assert store.catalogue.items_by_number(first.id, [0])[0].brand == "Norvik"
    assert store.catalogue.user_ids(first.id) == ["u0", "u1", "u2", "u3"]
    assert store.runs.get("r1").category_id == first.id
    assert list(store.labels.get(["k"])) == ["k"]
    assert store.labels.requests(first.id) == []  # they named rows that have moved
    assert store.labels.unconditional("t", first.id, [0, 1]) == {0: (-1.0, 2)}


@pytest.mark.parametrize("what", ["people", "things"])
def test_numbers_never_change(store: Store, what: str) -> None:
    first = write(store, PLAIN)
    moved = {
        "people": replace(PLAIN, user_ids=["u1", "u0", "u2"]),
        "things": replace(PLAIN, items=list(reversed(PLAIN.items))),
    }
    with pytest.raises(ValueError, match="would lose the number 0"):
        write(store, moved[what], "d2")
    with pytest.raises(ValueError, match="would lose the number"):
        write(store, data([]), "d2")
    assert store.catalogue.category("Pens") == first
    assert same(store.catalogue.log(first.id), PLAIN)


def test_another_category_of_the_same_name_starts_from_nothing(store: Store) -> None:
    remember(store, write(store, PLAIN, synthetic=True))
    with pytest.raises(BadData, match="synthetic sample data: invented and real data never mix"):
        write(store, LONGER, "d2")
    assert store.catalogue.category("Pens").synthetic
    real = write(store, data([(0, 0, 1, 1.0, 0)]), "d2", replace=True)
    assert (real.people, real.items, real.synthetic) == (1, 1, False)
    assert store.runs.list() == []
    assert store.labels.unconditional("t", real.id, [0, 1]) == {}
    with pytest.raises(BadData, match="holds real data"):
        write(store, PLAIN, "d3", synthetic=True)


def test_dropping_takes_everything_of_one_category_along(store: Store) -> None:
    kept = store.catalogue.write(
        "Ink",
        PLAIN,
        source="",
        synthetic=False,
        rating_low=None,
        rating_high=None,
        note="",
        digest="x",
    )
    first = write(store, replace(PLAIN, reviews=[(0, "Good", "Yes.")]))
    remember(store, first)
    store.catalogue.drop(first.id)
    assert [c.name for c in store.catalogue.categories()] == ["Ink"]
    assert same(store.catalogue.log(kept.id), PLAIN)
    with store.database.reading() as connection:
        for table in ("users", "items", "interactions"):
            count = connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar()
            assert count == len({"users": "123", "items": "12", "interactions": "123"}[table])
        for table in ("reviews", "runs", "label_requests", "unconditional_scores"):
            assert connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() == 0
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []


def test_an_import_that_breaks_leaves_what_was_there(store: Store) -> None:
    first = write(store, PLAIN)

    def torn() -> Iterator[tuple[int, str, str]]:
        yield 0, "Good", "Yes."
        raise EOFError("the file ends in the middle")

    for changes in ({}, {"replace": True}):
        with pytest.raises(EOFError):
            write(store, replace(LONGER, reviews=torn()), "d2", **changes)
        assert store.catalogue.categories() == [first]
        assert same(store.catalogue.log(first.id), PLAIN)
        assert store.catalogue.review_count(first.id) == 0


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (replace(PLAIN, item=np.array([0, 1])), "differ in length"),
        (replace(PLAIN, user=np.array([2, 0, 0])), "not sorted"),
        (replace(PLAIN, user=np.array([0, 0, 3])), "user number .* has no id"),
        (replace(PLAIN, item=np.array([0, -1, 1])), "item number .* has no item"),
    ],
)
def test_rows_that_could_not_be_read_back_are_refused(
    store: Store, broken: ImportData, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        write(store, broken)
    assert store.catalogue.categories() == []


def test_an_empty_category_is_one(store: Store) -> None:
    category = write(store, data([]))
    assert len(store.catalogue.log(category.id)) == 0
    assert list(store.catalogue.items(category.id)) == []


def test_reviews_are_kept_once_and_the_newest(store: Store) -> None:
    category = write(store, PLAIN)
    assert list(store.catalogue.reviews(category.id)) == []
    # Asked for later, of the same data: the digest is the same, and they are written.
    write(store, replace(PLAIN, reviews=[(0, "Good", "Old."), (2, "", "No time.")]))
    longer = replace(LONGER, reviews=[(0, "Good", "New."), (4, "Fine", "Late.")])
    write(store, longer, "d2")
    assert list(store.catalogue.reviews(category.id)) == [
        Review(0, 0, 5, "Good", "New."),
        Review(2, 1, NO_TIME, "", "No time."),
        Review(3, 2, 9, "Fine", "Late."),
    ]
    assert store.catalogue.review_count(category.id) == 3


def test_an_import_is_fast_enough(store: Store) -> None:
    """At least 100,000 interactions a second; processor time, since others may be running."""
    count, people, things = 200_000, 20_000, 5_000
    draw = np.random.default_rng(0)
    written = ImportData(
        user_ids=[f"A{n:013d}" for n in draw.permutation(people)],
        items=[ItemRow(f"B{n:09d}", f"A title of the usual length, {n}") for n in range(things)],
        user=np.sort(draw.integers(0, people, count)),
        item=draw.integers(0, things, count),
        time=draw.integers(0, 2**40, count),
        rating=draw.integers(1, 6, count).astype(np.float32),
        part=np.full(count, NO_PART, dtype=np.int8),
    )
    started = time.process_time()
    category = write(store, written)
    seconds = time.process_time() - started
    assert count / seconds > 100_000
    started = time.process_time()
    log = store.catalogue.log(category.id)
    # Alone it is a million; late in a run of everything, other threads' time is counted too.
    assert count / (time.process_time() - started) > 100_000
    assert same(log, written)
