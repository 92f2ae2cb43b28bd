"""Rows of a list whatever the titles are: as wide as they should be, and nothing but text."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.content import Content

from recommender.live.messages import Answered, LiveItem, Opened, Refused, Thinking
from tests.cli.shop import HOSTILE, HOSTILE_SHOWN
from tui import mending
from tui.comparing import ColumnNow
from tui.rows import Marks, row, shares, with_reason
from tui.widgets.column import Look, state_line

NASTY = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        [
            HOSTILE,
            "x" * 10_000,
            "\x1b]0;title\x07\x9b31m",
            "a\u200bb\u2066c\u202ed\ufeff",
            "[link=https://x]y[/link]",
            "한국어 제목 한국어 제목 한국어 제목",
            "👨‍👩‍👧‍👦" * 20,
            "\r\n\t",
        ]
    ),
)


def harmless(text: str) -> bool:
    kept = (unicodedata.category(c) for c in text if c not in "\n\u200d")
    return not {"Cc", "Cf", "Cs"} & set(kept)


@given(NASTY, st.integers(24, 120), st.integers(0, 19), st.booleans(), st.booleans())
def test_a_row_is_as_wide_as_it_may_be(
    title: str, width: int, place: int, tied: bool, hidden: bool
) -> None:
    item = LiveItem(3, "i3", title, 1.0, tied=tied)
    marks = Marks(movement=(None,) * 20, hit=place + 1, opinions={3: -1}, hidden=hidden)
    line = row(place, item, 0.5, marks, width)
    assert harmless(line.plain)
    assert "\n" not in line.plain
    assert cell_len(line.plain) == width
    assert line.plain.endswith("✓−")


@given(NASTY, st.integers(10, 80))
def test_a_reason_is_text_under_its_row(reason: str, width: int) -> None:
    line = with_reason(Content("row"), reason, width)
    first, *further = line.plain.split("\n")
    assert first == "row"
    assert further
    assert harmless(line.plain)
    assert all(len(one) <= max(width, 12) for one in further)


@given(NASTY, NASTY)
def test_a_state_is_one_harmless_line(what: str, note: str) -> None:
    from tui.shown import shown

    refused = ColumnNow("teacher", state="refused", refused=Refused(-1, what, note))
    opening = ColumnNow("teacher", note=note)
    for now in (refused, opening):
        assert harmless(shown(state_line(now, Look("teacher"), 1.0)).plain)


@given(st.lists(st.floats(-1e6, 1e6), max_size=20))
def test_bars_fall_with_the_scores(scores: list[float]) -> None:
    found = shares([LiveItem(n, "", "", score) for n, score in enumerate(scores)])
    assert all(0 <= share <= 1 + 1e-9 for share in found)
    assert not found or max(found) == pytest.approx(1)
    order = sorted(range(len(scores)), key=lambda n: scores[n])
    assert [found[n] for n in order] == sorted(found)


def test_markup_is_shown_as_it_is() -> None:
    assert HOSTILE_SHOWN in row(0, LiveItem(0, "i0", HOSTILE, 0.0), 1.0, Marks(), 60).plain


def test_words_for_each_state() -> None:
    look, opened = Look("teacher"), Opened("teacher", "smol", 1.0, notices=("one",))
    thinking = Thinking(1, 3, 10, 600, 2.0)
    answer = Answered(1, "teacher", (), 2.5)
    now = ColumnNow("teacher", state="thinking", opened=opened, thinking=thinking)
    assert state_line(now, look, 4.2) == "… 4.2 s · 3/10 · 300 tok/s · x stops"
    now = ColumnNow("teacher", state="answered", opened=opened, answer=answer)
    assert state_line(now, look, 4.2) == "✓ 2.5 s · 1 notice (i) · smol"
    answer = Answered(1, "teacher", (), 2.0, tokens=600)
    now = ColumnNow("teacher", state="answered", answer=answer)
    assert state_line(now, look, 4.2) == "✓ 2.0 s · 300 tok/s · teacher"
    now = ColumnNow("teacher", note="loading smol")
    assert state_line(now, look, 4.2) == "… loading smol 4 s"
    assert state_line(now, Look("a", Marks(hidden=True), waiting=True), 4.2).startswith("… until")
    assert state_line(now, Look("a", Marks(hidden=True)), 4.2) == "! has no answer"
    refused = Refused(-1, "no ranker 'x'", "recsys models list", "BadSetting")
    now = ColumnNow("x", state="refused", refused=refused)
    assert state_line(now, look, 0.0) == "! no ranker 'x'; next: recsys models list"
    assert state_line(now, Look("x", mending="pull x · 4 %"), 0.0) == "… pull x · 4 %"


@pytest.mark.parametrize(
    ("by", "kind", "step", "actions"),
    [
        ("teacher", "ServerDown", "ollama serve", ["embedded", "again"]),
        ("teacher:qwen3:8b", "ModelMissing", "", ["pull", "embedded", "again"]),
        ("teacher:embedded", "Offline", "recsys models fetch", ["fetch", "again"]),
        ("teacher:embedded", "BadSetting", "", ["again"]),
        ("teacher", "StoreUnavailable", "", ["again"]),
        ("student", "UnknownName", "recsys distill", ["distil", "again"]),
        ("student", "Died", "", ["again"]),
        ("item-knn", "BadData", "", ["again"]),
    ],
)
def test_what_mends_what(by: str, kind: str, step: str, actions: list[str]) -> None:
    offered = mending.offers(by, Refused(-1, "no", step, kind))
    assert [offer.action for offer in offered] == actions
    assert mending.offers(by, None) == ()
