"""Answers that travel: what leaves one Store enters another whole, or is counted."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.errors import BadData, UnknownName
from storage.label_exchange import ImportedLabels, export_labels, import_labels
from storage.label_records import STATUSES
from storage.records import NO_PART, Category, ImportData, ItemRow, LabelRequest, SoftLabel
from storage.store import Store

HOSTILE = [
    "'; DROP TABLE users; --",
    '"},{"',
    "żółw 🐢",
    "two\nlines\u2028\x85\x1e",
    " ",
    "\\u0041",
]
THINGS = [*HOSTILE, "i6", "i7", "i8"]
HISTORIES = [[0, 1, 2, 3], [4], [5, 0, 6], [], [7, 8], [2, 1]]
FIRST_ROWS = [0, 4, 5, 8, 8, 10]


def shop(store: Store, *, first: int = 0, name: str = "Pens") -> Category:
    """Write six people and nine items with ids of the worst kind, numbered from `first` on."""
    order = [(n + first) % len(HOSTILE) for n in range(len(HOSTILE))]
    rows = [(u, i) for u, person in enumerate(order) for i in HISTORIES[person]]
    user, item = np.array(rows, dtype=np.int64).T
    data = ImportData(
        [HOSTILE[n] for n in order],
        [ItemRow(one, f"Title of {one}") for one in THINGS],
        user,
        item,
        np.arange(len(rows)),
        np.ones(len(rows), dtype=np.float32),
        np.full(len(rows), NO_PART, dtype=np.int8),
    )
    return store.catalogue.write(
        name, data, source="test", synthetic=False, rating_low=None, rating_high=None, note="",
        digest=f"d{first}",
    )  # fmt: skip


def key(number: int) -> str:
    return f"{number:032x}"


def request(number: int, person: int, before: int, category: Category, **new: Any) -> LabelRequest:
    """Ask about the row of a person that comes after `before` others."""
    had = HISTORIES[person]
    candidates = (8, had[before], 7)
    plain = LabelRequest(
        key(number), category.id, "train", person, FIRST_ROWS[person] + before,
        tuple(had[:before]), candidates, 1, "smol: żółw", "letters", "7/books", 2,
    )  # fmt: skip
    return replace(plain, **new)


def answer(number: int, **new: Any) -> SoftLabel:
    details = {"text": 'half a pair \ud83d "}\n', "outside": 0.1 + 0.2, "of": [None, True, {}]}
    plain = SoftLabel(key(number), (0.1 + 0.2, -1e-300, -3e22), (1, 2, 3), "ok", 0.25, details)
    return replace(plain, **new)


def filled(store: Store) -> Category:
    """Fill a Store with requests of every kind, and answers to all but one."""
    category = shop(store)
    asked = [
        request(3, 0, 3, category),
        request(1, 0, 0, category, shift=0, template=""),
        request(2, 2, 1, category, purpose="gate", method="ranking"),
        request(2, 0, 1, category),  # the same answer, for somebody else
        request(4, 1, 0, category, event=-1, target=-1),
        request(9, 4, 1, category),
    ]
    store.labels.add_requests(asked)
    store.labels.add_many([answer(n, status=STATUSES[n]) for n in range(1, 5)])
    return category


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "other.sqlite", tmp_path / "other") as store:
        yield store


def same(store: Store, other: Store, category: Category) -> bool:
    """Whether both hold the same answered requests of a category, in the same order."""
    return list(store.labels.answered(category.id)) == list(other.labels.answered(category.id))


def test_what_leaves_one_store_enters_another(store: Store, other: Store) -> None:
    category = filled(store)
    assert shop(other).id == category.id
    counts = import_labels(other, category.id, export_labels(store, category.id))
    assert counts == ImportedLabels(5, 0, 0, 0, 0, ())
    wanted = [r for r in store.labels.requests(category.id) if r.key != key(9)]
    assert other.labels.requests(category.id) == wanted
    keys = [key(n) for n in range(10)]
    assert other.labels.get(keys) == store.labels.get(keys)
    assert other.labels.pending(category.id) == []


def test_a_second_time_adds_nothing(store: Store, other: Store) -> None:
    category = filled(store)
    shop(other)
    lines = list(export_labels(store, category.id))
    assert astuple(import_labels(other, category.id, [*lines, lines[1]])) == (5, 1, 0, 0, 0, ())
    before = list(other.labels.answered(category.id))
    assert astuple(import_labels(other, category.id, lines)) == (0, 5, 0, 0, 0, ())
    assert astuple(import_labels(other, category.id, [*lines, *lines[1:]])) == (0, 10, 0, 0, 0, ())
    assert list(other.labels.answered(category.id)) == before
    assert list(export_labels(other, category.id)) == lines


def test_one_of_the_two_that_is_missing_is_added(store: Store, other: Store) -> None:
    category = filled(store)
    shop(other)
    lines = list(export_labels(store, category.id, purpose="gate"))
    own = answer(2, scores=(1.0, 2.0, 3.0))
    other.labels.add(own)  # the request is missing, and the answer is another one
    assert astuple(import_labels(other, category.id, [*lines, lines[1]])) == (1, 1, 0, 0, 0, ())
    ((kept, given),) = other.labels.answered(category.id)
    assert (kept.key, given) == (key(2), own)
    lines = list(export_labels(store, category.id, purpose="train"))
    other.labels.add_requests([store.labels.requests(category.id)[0]])  # the answer is missing
    assert import_labels(other, category.id, lines[:2]).added == 1
    assert other.labels.get([key(3)]) == store.labels.get([key(3)])


def test_numbers_and_rows_of_another_import(store: Store, other: Store) -> None:
    """The same shop, whose people have other numbers, and rows other places."""
    category = filled(store)
    turned = shop(other, first=2)
    import_labels(other, turned.id, export_labels(store, category.id))
    log = other.catalogue.log(turned.id)
    found = other.labels.requests(turned.id)
    assert len(found) == 5
    for (old, _), new in zip(store.labels.answered(category.id), found, strict=True):
        people = (store.catalogue.user_ids(1, [old.user]), other.catalogue.user_ids(1, [new.user]))
        assert people[0] == people[1]
        assert (new.event >= 0) == (old.event >= 0)
        if new.event >= 0:
            assert (new.user, new.event) != (old.user, old.event)
            assert log.user[new.event] == new.user
            assert log.item[new.event] == new.candidates[new.target]


@pytest.mark.parametrize("place", [0, 1])
def test_each_category_has_ids_of_its_own(store: Store, other: Store, place: int) -> None:
    """Two shops of the same ids, which mean other people in each."""
    category = filled(store)
    shop(other, name="Ink", first=1 - place)
    shop(other, name="Pens", first=place)
    pens = other.catalogue.category(["Pens", "Ink"][place])  # numbered as in the first Store
    lines = list(export_labels(store, category.id))
    assert import_labels(other, pens.id, lines).added == 5
    for (old, _), (new, _) in zip(
        store.labels.answered(category.id), other.labels.answered(pens.id), strict=True
    ):
        assert new == replace(old, category_id=pens.id)
    assert list(export_labels(other, pens.id))[1:] == lines[1:]
    assert list(other.labels.answered(3 - pens.id)) == []


@pytest.mark.parametrize(
    "change",
    [
        {"history": (1, 0, 2)},  # other rows before
        {"history": (0, 1)},  # a shorter one: the row after it holds something else
        {"history": (0, 1, 2, 3)},  # the person has no row after it
        {"target": 0},  # the row holds something else
        {"target": -1, "candidates": (8, 7, 3)},  # nobody knows what came next
        {"event": -1},  # it was no row to begin with
    ],
)
def test_a_row_that_is_not_the_same_is_none(
    store: Store, other: Store, change: dict[str, Any]
) -> None:
    category = shop(store)
    shop(other)
    asked = [request(1, 0, 3, category), request(2, 0, 3, category, **change)]
    store.labels.add_requests(asked)
    store.labels.add_many([answer(1), answer(2)])
    import_labels(other, category.id, export_labels(store, category.id))
    assert other.labels.requests(category.id) == [asked[0], replace(asked[1], event=-1)]


def test_only_what_is_asked_for_leaves(store: Store) -> None:
    category = filled(store)

    def keys(**narrowed: str) -> list[int]:
        lines = list(export_labels(store, category.id, **narrowed))
        return [int(json.loads(line)["key"], 16) for line in lines[1:]]

    assert keys() == [3, 1, 2, 2, 4]
    assert keys(purpose="gate") == keys(method="ranking") == [2]
    assert keys(teacher="smol: żółw", method="letters") == [3, 1, 2, 4]
    assert keys(teacher="smol") == []
    with pytest.raises(UnknownName, match="id 99"):
        next(export_labels(store, 99))


def test_a_line_survives_every_encoding_and_splitter(store: Store) -> None:
    category = filled(store)
    lines = list(export_labels(store, category.id))
    assert json.loads(lines[0]) == {"recsys_labels": 1, "category": "Pens", "digest": "d0"}
    assert "\n".join(lines).splitlines() == lines
    assert "".join(lines).isascii()
    asked = json.loads(lines[2])
    assert asked["user"] == HOSTILE[0]
    assert asked["candidates"] == ["i8", HOSTILE[0], "i7"]
    assert (asked["target"], asked["in_log"], asked["template"]) == (1, True, "")
    assert not {"number", "event", "category_id"} & asked.keys()


def test_lines_come_as_text_or_bytes_with_or_without_ends(store: Store, tmp_path: Path) -> None:
    category = filled(store)
    lines = list(export_labels(store, category.id))
    file = tmp_path / "labels.jsonl"
    file.write_text("\n\n".join(lines) + "\n\n")
    with file.open("rb") as raw:
        assert astuple(import_labels(store, category.id, raw)) == (0, 5, 0, 0, 0, ())
    with file.open() as text:
        assert astuple(import_labels(store, category.id, text)) == (0, 5, 0, 0, 0, ())


@pytest.mark.parametrize("cut", [1, 40, 300])
def test_a_file_that_is_cut_off(store: Store, other: Store, cut: int) -> None:
    category = filled(store)
    shop(other)
    lines = list(export_labels(store, category.id))
    content = "\n".join(lines).encode()[:-cut]
    counts = import_labels(other, category.id, content.splitlines(keepends=True))
    assert astuple(counts) == (4, 0, 0, 0, 1, ("line 6: it is not JSON",))
    assert astuple(import_labels(other, category.id, lines)) == (1, 4, 0, 0, 0, ())
    assert len(list(other.labels.answered(category.id))) == 5


def damaged(line: str, **changes: Any) -> str:
    return json.dumps({**json.loads(line), **changes})


def test_a_line_that_cannot_be_used_is_named_and_skipped(store: Store, other: Store) -> None:
    category = filled(store)
    shop(other)
    lines = list(export_labels(store, category.id))
    lines[2] = damaged(lines[2], scores=[1.0, math.nan, 2.0])
    lines[4] = "[]"
    counts = import_labels(other, category.id, lines)
    assert astuple(counts)[:-1] == (3, 0, 0, 0, 2)
    assert counts.first_bad[0] == "line 3: scores.1: Input should be a finite number"
    assert counts.first_bad[1].startswith("line 5: ")
    assert len(list(other.labels.answered(category.id))) == 3


def test_the_first_bad_lines_are_named_and_all_are_counted(store: Store) -> None:
    category = filled(store)
    lines = [next(export_labels(store, category.id)), *["?"] * 1_200]
    counts = import_labels(store, category.id, lines)
    assert counts.bad == 1_200
    assert counts.first_bad == tuple(f"line {n}: it is not JSON" for n in range(2, 7))


def test_whom_and_what_the_category_does_not_have(store: Store, other: Store) -> None:
    category = filled(store)
    shop(other)
    lines = list(export_labels(store, category.id))
    strangers = [
        damaged(lines[1], user="nobody"),
        damaged(lines[1], user="nobody", candidates=["?", "i7", "i8"]),
        damaged(lines[1], candidates=["?", "i7", "i8"]),
        damaged(lines[1], history=["i6", "?"]),
        damaged(lines[1], history=["I6"]),
    ]
    counts = import_labels(other, category.id, [lines[0], *strangers, *lines[1:]])
    assert astuple(counts) == (5, 0, 2, 3, 0, ())
    assert len(list(other.labels.answered(category.id))) == 5


@pytest.mark.parametrize(
    ("first", "says"),
    [
        ([], "these are no labels"),
        ([""], "these are no labels"),
        (["user,item,rating"], "these are no labels"),
        (["[]"], "these are no labels"),
        (['{"category": "Pens"}'], "these are no labels"),
        (['{"recsys_labels": "1"}'], "these are no labels"),
        (['{"recsys_labels": true}'], "these are no labels"),
        ([b"\x1f\x8b\x08\x00"], "these are no labels"),
        (['{"recsys_labels": 2}'], "newer recsys: their format is 2.*next: install the newer"),
    ],
)
def test_a_file_that_is_none_of_ours(store: Store, first: list[str | bytes], says: str) -> None:
    category = filled(store)
    lines = list(export_labels(store, category.id))[1:]
    with pytest.raises(BadData, match=says):
        import_labels(store, category.id, [*first, *lines] if first else [])
    with pytest.raises(UnknownName, match="id 99"):
        import_labels(store, 99, export_labels(store, category.id))


finite = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=()), max_size=20)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    scores=st.lists(finite, min_size=3, max_size=3),
    details=st.dictionaries(texts, st.none() | st.booleans() | st.integers() | finite | texts),
    status=st.sampled_from(STATUSES),
    seconds=finite,
    shift=st.integers(0, 2),
    number=st.integers(0, 2**128 - 1),
)
def test_any_answer_travels_exactly(
    store: Store,
    other: Store,
    scores: list[float],
    details: dict[str, Any],
    status: str,
    seconds: float,
    shift: int,
    number: int,
) -> None:
    category = shop(store)
    shop(other)
    asked = request(number, 2, 1, category, shift=shift)
    given_back = answer(
        number, scores=tuple(scores), status=status, seconds=seconds, details=details
    )
    new = store.labels.add_many([given_back])
    store.labels.add_requests([asked])
    counts = import_labels(other, category.id, export_labels(store, category.id))
    assert (counts.bad, counts.added) == (0, len(new))
    assert other.labels.get([asked.key]) == store.labels.get([asked.key])
    assert same(store, other, category)


def test_thousands_pass_in_batches(store: Store, other: Store) -> None:
    category = shop(store)
    shop(other)
    asked = [request(n, 0, n % 4, category, purpose=f"p{n % 3}") for n in range(3_000)]
    store.labels.add_requests(asked)
    store.labels.add_many([answer(n) for n in range(3_000)])
    started = time.process_time()
    lines = list(export_labels(store, category.id))
    assert import_labels(other, category.id, lines).added == 3_000
    assert 3_000 / (time.process_time() - started) > 1_000  # a second, there and back
    assert same(store, other, category)


def test_what_is_taken_in_before_the_source_breaks_is_kept(store: Store, other: Store) -> None:
    category = shop(store)
    shop(other)
    store.labels.add_requests([request(n, 0, 1, category) for n in range(1_200)])
    store.labels.add_many([answer(n) for n in range(1_200)])
    lines = list(export_labels(store, category.id))

    def torn() -> Iterator[str]:
        yield from lines[:1_101]
        raise EOFError("the compressed data ends early")

    with pytest.raises(EOFError):
        import_labels(other, category.id, torn())
    assert len(list(other.labels.answered(category.id))) == 1_000
    assert astuple(import_labels(other, category.id, lines)) == (200, 1_000, 0, 0, 0, ())


def test_an_export_that_is_left_holds_nothing(store: Store) -> None:
    category = filled(store)
    lines = export_labels(store, category.id)
    assert [len(next(lines)) > 0 for _ in range(2)] == [True, True]
    store.labels.add(answer(9))  # a reader in the middle does not stand in the way
    lines.close()  # type: ignore[attr-defined]
    assert len(list(export_labels(store, category.id))) == 7
