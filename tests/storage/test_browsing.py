"""One person and one item at a time, and the moment a log is cut at."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, insert, select, update

from storage.browsing import PastEvent
from storage.errors import StoreUnavailable, UnknownName
from storage.records import NO_PART, NO_TIME, Category, ImportData, Item, ItemRow
from storage.store import Store
from storage.tables import interactions, moments

NAN = float("nan")


def write(
    store: Store,
    rows: list[tuple[int, int, int, float, int]],
    things: list[ItemRow] | None = None,
    *,
    digest: str = "d1",
    name: str = "Pens",
) -> Category:
    """Write a category of rows of (user, item, time, rating, part), sorted by user."""
    user, item, at, rating, part = zip(*rows, strict=True) if rows else ((),) * 5
    data = ImportData(
        user_ids=[f"u{n}" for n in range(max(user, default=-1) + 1)],
        items=things or [ItemRow(f"i{n}", f"Item {n}") for n in range(max(item, default=-1) + 1)],
        user=np.array(user, dtype=np.int64),
        item=np.array(item, dtype=np.int64),
        time=np.array(at, dtype=np.int64),
        rating=np.array(rating, dtype=np.float32),
        part=np.array(part, dtype=np.int8),
    )
    return store.catalogue.write(
        name, data, source="test", synthetic=False, rating_low=1.0, rating_high=5.0, note="",
        digest=digest,
    )  # fmt: skip


def titled(store: Store, *titles: str) -> Category:
    """Write a category whose items have these titles and the ids i0, i1 …"""
    return write(store, [], [ItemRow(f"i{n}", title) for n, title in enumerate(titles)])


def found(store: Store, category: Category, text: str, limit: int = 20) -> list[int]:
    return [item.number for item in store.browsing.find_items(category.id, text, limit)]


def test_a_timeline_is_the_persons_rows_with_their_items(store: Store) -> None:
    pen = ItemRow("i0", "Pen", "Norvik", "Blue.", "Office | Pens", "2.99")
    rows = [(0, 1, 5, 4.0, 0), (0, 0, 6, NAN, 2), (0, 1, NO_TIME, 2.5, NO_PART), (2, 0, 1, 3.0, 1)]
    category = write(store, rows, [pen, ItemRow("i1", "")])
    write(store, [(0, 0, 99, 1.0, 0)], name="Inks")
    first = Item(0, "i0", "Pen", "Norvik", "Blue.", "Office | Pens", "2.99")
    second = Item(1, "i1", "")
    assert store.browsing.timeline(category.id, 0) == [
        PastEvent(second, 5, 4.0, 0),
        PastEvent(first, 6, None, 2),
        PastEvent(second, NO_TIME, 2.5, NO_PART),
    ]
    assert store.browsing.timeline(category.id, 1) == []
    assert store.browsing.timeline(category.id, np.int64(2)) == [PastEvent(first, 1, 3.0, 1)]
    assert store.browsing.timeline(category.id, 77) == []


def test_people_are_walked_through_by_number(store: Store) -> None:
    category = write(store, [(0, 0, 1, 1.0, 0), (1, 0, 1, 1.0, 0)])
    assert [store.browsing.user_at(category.id, n) for n in (1, 0)] == ["u1", "u0"]
    for beyond in (2, -1):
        with pytest.raises(UnknownName, match=f"nobody has the number {beyond}") as caught:
            store.browsing.user_at(category.id, beyond)
        assert caught.value.next_step


def test_the_likest_items_come_first(store: Store) -> None:
    category = titled(store, "An open pen", "Pens of gold", "A blue pen", "Pen", "i2 pen", "Spent")
    assert found(store, category, "PEN") == [3, 1, 4, 2, 0, 5], "inside a word comes last"
    assert found(store, category, "pen", 2) == [3, 1]
    assert found(store, category, "  of gold ") == [1]
    assert found(store, category, "i2") == [4, 2], "a title and an id that begin so: shorter first"
    assert found(store, category, "2") == [4], "an id that only holds it does not count"
    assert found(store, category, "blue  pen") == []


def test_signs_of_patterns_are_letters_like_others(store: Store) -> None:
    category = titled(store, "100% wool", "100 sheets", "a_b", "axb", "c\\d", 'e\'f {} "g"')
    assert found(store, category, "100%") == [0]
    assert found(store, category, "_") == [2]
    assert found(store, category, "\\") == [4]
    assert found(store, category, "' OR 1=1 --") == []
    assert found(store, category, '{} "g"') == [5]


def test_case_is_none_beyond_ascii_either(store: Store) -> None:
    category = titled(store, "Étui noir", "ÉTUI", "un étui", "Etui", "Żółw 🐢", "ŻÓŁW")
    assert found(store, category, "étui") == [1, 0, 2]
    assert found(store, category, "ÉTUI") == [1, 0, 2]
    assert found(store, category, "żÓŁW") == [5, 4]
    assert found(store, category, "żółw") == [5, 4]
    assert found(store, category, "🐢") == [4]


@pytest.mark.parametrize("text", ["", " \t\n", "\0", "\ud800", "half \udfff", "nothing of it"])
def test_what_nothing_can_be_called_finds_nothing(store: Store, text: str) -> None:
    category = titled(store, "Pen", "")
    assert found(store, category, text) == []


def test_the_beginning_of_a_very_long_text_is_searched_for(store: Store) -> None:
    category = titled(store, "é" * 5000, "b" * 5000, "b")
    assert found(store, category, "é" * 60_000) == [0]
    assert found(store, category, "b" * 60_000) == [1]


def test_ids_that_no_database_takes_are_nobodys(store: Store) -> None:
    category = write(store, [(0, 0, 1, 1.0, 0)])
    for text in ("\ud800", "u\0"):
        assert store.catalogue.find_users(category.id, text) == []
        with pytest.raises(UnknownName):
            store.catalogue.user_number(category.id, text)


def likeness(title: str, item_id: str, text: str) -> int | None:
    """How well an item fits, 0 best; None if it does not."""
    title, item_id, text = title.lower(), item_id.lower(), text.lower()
    if title.startswith(text) or item_id.startswith(text):
        return 0
    if f" {text}" in title:
        return 1
    return 2 if text in title else None


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.text("aAi1 _%\\", max_size=5), min_size=1, max_size=12),
    st.text("aAi1_%\\", min_size=1, max_size=2),
    st.integers(1, 5),
)
def test_finding_is_reading_every_title(
    tmp_path_factory: pytest.TempPathFactory, titles: list[str], text: str, limit: int
) -> None:
    fits = {n: likeness(title, f"i{n}", text) for n, title in enumerate(titles)}
    ordered = sorted((fit, len(titles[n]), n) for n, fit in fits.items() if fit is not None)
    with Store.open(tmp_path_factory.mktemp("any") / "s.sqlite", Path()) as store:
        category = titled(store, *titles)
        assert found(store, category, text, limit) == [n for _, _, n in ordered][:limit]


rated = st.tuples(st.integers(0, 9), st.sampled_from([1.0, 4.1, 4.2, 5.0]))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(rated, min_size=1, max_size=40),
    st.sampled_from([0.0, 0.1, 0.5, 0.8, 0.9, 0.99]),
    st.sampled_from([None, 1.0, 4.1, 4.2, 5.0]),
)
def test_a_moment_is_a_place_among_sorted_times(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[int, float]],
    share: float,
    low: float | None,
) -> None:
    times = np.array([at for at, _ in rows])
    if low is not None:
        times = times[np.array([rating for _, rating in rows], dtype=np.float32) >= low]
    wanted = int(np.sort(times)[int(len(times) * share)]) if len(times) else None
    with Store.open(tmp_path_factory.mktemp("any") / "s.sqlite", Path()) as store:
        category = write(store, [(n, 0, at, rating, -1) for n, (at, rating) in enumerate(rows)])
        write(store, [(0, 0, 10**6, 5.0, -1)] * 50, name="Inks")
        for _ in range(2):  # worked out, then remembered
            assert store.browsing.moment(category, share, low) == wanted


def test_no_moment_without_every_time(store: Store) -> None:
    category = write(store, [(0, 0, 5, 5.0, -1), (1, 0, NO_TIME, 1.0, -1)])
    assert store.browsing.moment(category, 0.9) is None
    assert store.browsing.moment(category, 0.9, 4.0) == 5, "the row without a time is left out"
    assert store.browsing.moment(category, 0.9, 6.0) is None
    assert store.browsing.moment(write(store, [], name="Inks"), 0.9) is None


def kept(store: Store) -> int:
    with store.database.reading() as connection:
        return connection.execute(select(func.count()).select_from(moments)).scalar_one()


def test_a_moment_is_remembered_for_its_data_only(store: Store) -> None:
    category = write(store, [(0, 0, at, 5.0, -1) for at in range(10)])
    assert store.browsing.moment(category, 0.9) == 9
    with store.database.writing() as connection:
        connection.execute(update(interactions).values(time=1))
    assert store.browsing.moment(category, 0.9) == 9, "nothing was sorted again"
    assert store.browsing.moment(category, 0.5) == 1, "another share is another moment"
    later = write(store, [(0, 0, at, 5.0, -1) for at in range(20)], digest="d2")
    assert store.browsing.moment(later, 0.9) == 18
    store.catalogue.drop(category.id)
    assert kept(store) == 0


def test_a_moment_of_data_that_changed_meanwhile_is_not_remembered(store: Store) -> None:
    category = write(store, [(0, 0, 5, 5.0, -1)])
    write(store, [(0, 0, 7, 5.0, -1)], digest="d2")
    assert store.browsing.moment(category, 0.9) == 7
    assert kept(store) == 0
    store.catalogue.drop(category.id)
    assert store.browsing.moment(category, 0.9) is None
    assert kept(store) == 0


def test_somebody_else_may_remember_the_moment_first(store: Store) -> None:
    category = write(store, [(0, 0, at, 5.0, -1) for at in range(1000)])
    store.browsing.moment(category, 0.9)
    with store.database.writing() as connection:
        (row,) = connection.execute(select(moments)).mappings().all()
        connection.execute(delete(moments))
    answers: list[int | None] = []
    asks = threading.Thread(target=lambda: answers.append(store.browsing.moment(category, 0.9)))
    with store.database.writing() as connection:
        asks.start()
        asks.join(0.3)  # it has looked, and now waits to write
        connection.execute(insert(moments), dict(row))
    asks.join()
    assert answers == [900]
    assert kept(store) == 1


def test_somebody_else_who_writes_is_named(tmp_path: Path) -> None:
    with (
        Store.open(tmp_path / "s.sqlite", tmp_path) as store,
        Store.open(tmp_path / "s.sqlite", tmp_path, busy_seconds=0.01) as other,
    ):
        category = write(store, [(0, 0, 5, 5.0, -1)])
        with store.database.writing(), pytest.raises(StoreUnavailable, match="is locked"):
            other.browsing.moment(category, 0.9)
