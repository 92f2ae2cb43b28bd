from __future__ import annotations

import numpy as np
import pytest

from recommender.matching import match_items
from storage.errors import UnknownName
from storage.records import NO_PART, Category, ImportData, ItemRow
from storage.store import Store

ITEMS = {
    "m1": "Alien (1979)",
    "m2": "Aliens (1986)",
    "m3": "Heat (1995)",
    "m4": "Heat (1995)",
    "m5": "The Big Blue Garden Hose",
    "m6": "the big blue garden hose!",
    "m7": "",
    "Up": "Something Else Entirely",
    "m9": "Up",
    "m10": "\x1bRed Planet",
    "m11": "😀😀😀",
}


@pytest.fixture
def films(store: Store) -> Category:
    some = np.zeros(1, dtype=np.int64)
    data = ImportData(
        user_ids=["ann"],
        items=[ItemRow(key, title) for key, title in ITEMS.items()],
        user=some,
        item=some,
        time=some,
        rating=some.astype(np.float32),
        part=np.full(1, NO_PART, dtype=np.int8),
    )
    return store.catalogue.write(
        "Films",
        data,
        source="table",
        synthetic=True,
        rating_low=None,
        rating_high=None,
        note="",
        digest="1",
    )


def match(store: Store, films: Category, *wanted: str) -> tuple[list[str], tuple[str, ...]]:
    numbers, notices = match_items(store.catalogue, films, wanted)
    return [list(ITEMS)[number] for number in numbers], notices


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("m2", "m2"),  # an id
        ("Up", "Up"),  # an id before a title that reads the same
        ("Alien (1979)", "m1"),  # a title as it is, whatever else is alike
        ("The Big Blue Garden Hose", "m5"),
        ("the big blue garden hose!", "m6"),
        ("m7", "m7"),  # no title, so its id
        ("😀😀😀", "m11"),
    ],
)
def test_what_is_exact_needs_no_remark(
    store: Store, films: Category, text: str, taken: str
) -> None:
    assert match(store, films, text) == ([taken], ())


def test_what_was_understood_is_said(store: Store, films: Category) -> None:
    found, notices = match(store, films, "alien 1979", "m3", "BIG BLUE GARDEN HOSE")
    assert found[:2] == ["m1", "m3"]
    assert found[2] in ("m5", "m6")
    assert notices[0] == "'alien 1979' was taken as 'Alien (1979)'"
    assert len(notices) == 2


def test_two_items_of_one_title_are_both_shown(store: Store, films: Category) -> None:
    found, notices = match(store, films, "Heat (1995)")
    assert found == ["m3"]
    assert notices == (
        "'Heat (1995)' was taken as 'Heat (1995)' (m3); it could also be 'Heat (1995)' (m4)",
    )


def test_titles_that_are_equally_alike_are_shown(store: Store, films: Category) -> None:
    found, notices = match(store, films, "the BIG blue garden hose")
    assert found == ["m5"]
    assert "'the big blue garden hose!' (m6)" in notices[0]


def test_what_is_not_there_is_an_error_with_the_nearest(store: Store, films: Category) -> None:
    with pytest.raises(UnknownName, match=r"no item 'Gardening for two' in 'Films'.*Garden Hose"):
        match(store, films, "m1", "Gardening for two")


def test_escapes_of_a_title_do_not_reach_a_message(store: Store, films: Category) -> None:
    _, notices = match(store, films, "red planet")
    assert "Planet" in notices[0]
    assert "\x1b" not in notices[0]
    with pytest.raises(UnknownName) as error:
        match(store, films, "\x1b[2Jplanets of another kind")
    assert "\x1b" not in str(error.value)


@pytest.mark.parametrize("text", ["", "   ", "!!!"])
def test_nothing_is_no_title(store: Store, films: Category, text: str) -> None:
    with pytest.raises(UnknownName, match="nearest"):
        match(store, films, text)


def test_an_empty_history_is_empty(store: Store, films: Category) -> None:
    assert match(store, films) == ([], ())
