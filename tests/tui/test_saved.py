"""A saved comparison says what the screen says, and no title in it is more than text."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from recommender.live.messages import Answered, LiveItem, Opened, Refused
from recommender.people import Person
from storage.browsing import PastEvent
from storage.records import NO_TIME, Item
from tests.tui.hosting import item
from tui.comparing import Comparison
from tui.saved import LONGEST, as_json, as_markdown
from tui.text import plain

AT = datetime(2026, 11, 24, 9, 5, 7)
HOSTILE = (
    "a|b|c",
    "\\|",
    "\\\\|",
    "ends with \\",
    "# head",
    "| - | - |",
    "---",
    "1. one",
    "2) two",
    "> quoted",
    "* * *",
    "    code",
    "`code` ~~gone~~ **bold** _slanted_",
    "```",
    "[a](https://evil.example) ![b](x.png) <b>c</b> <!-- d",
    "https://evil.example www.evil.example me@evil.example",
    "&lt;b&gt; &amp;",
    "$x^2$ :smile: [^1] [x]: y",
    "a\nb\r\n\n# c\u2028d",
    "\x1b[31mred\x1b[0m \u202eevil a\u200bb",
    "x" * 10_000,
    "\ud800 half",
    " ",
    "",
)
FOREIGN = st.text(max_size=60) | st.text("\\|`*_[]()<>#-+.!&~:=$^ \n1ax", max_size=20)
EVENTS = (
    PastEvent(item(1, "Heat", "Warner"), 978_302_109_000, 4.5),
    PastEvent(item(2, "Ronin"), NO_TIME, None),
    PastEvent(item(3, "Alien"), NO_TIME, None),
)


def compared(*titles: str, name: str = "ann", score: float = 1.0) -> Comparison:
    """Give a comparison of two columns, the first of which lists these titles."""
    comparison = Comparison(["student", "popularity"], n=3, clock=lambda: 0.0)
    comparison.show(Person(name, 0, EVENTS, EVENTS[-1]))
    listed = tuple(LiveItem(n, f"i{n}", t, score) for n, t in enumerate(titles, start=10))
    comparison.hear("student", Opened("student", "run 3fa9", 0.1, notices=("an old export",)))
    comparison.asked("student", 1)
    comparison.hear("student", Answered(1, "student", listed, 0.002, notices=("two ties",)))
    comparison.hear("popularity", Opened("popularity", "192 rows", 0.1))
    comparison.asked("popularity", 1)
    comparison.hear(
        "popularity", Answered(1, "popularity", (LiveItem(3, "i3", "Alien", 2.0),), 0.001)
    )
    return comparison


def parsed(page: str) -> list[Token]:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(page)


def rows_of(tokens: list[Token]) -> list[list[str]]:
    """Return the rows of the first table as what a reader sees; any markup in them fails."""
    rows: list[list[str]] = []
    for before, token in pairwise(tokens):
        if before.type == "tr_open":
            rows.append([])
        if before.type in ("th_open", "td_open"):
            assert {one.type for one in token.children or ()} <= {"text"}
            rows[-1].append("".join(one.content for one in token.children or ()))
        if token.type == "table_close":
            break
    return rows


def structure(tokens: list[Token]) -> list[str]:
    return [one.type for one in tokens]


def test_the_page_says_it_all() -> None:
    page = as_markdown(compared("Heat", "Alien"), "Films", AT)
    assert page.startswith("# ann of Films\n\nCompared 2026-11-24 09:05.\n")
    assert "1. Heat (Warner, 2000\\-12\\-31, rated 4\\.5)\n1. Ronin\n\n" in page
    assert "Held out: Alien\n" in page
    assert rows_of(parsed(page)) == [
        ["rank", "student", "popularity"],
        ["1", "Heat", "Alien ✓"],
        ["2", "Alien", ""],
    ]
    assert "| student | 2.0 ms | 2.0 ms | 2.0 × |  |  | 0 of 1 |" in page
    assert "| popularity | 1.0 ms | 1.0 ms | 1.0 × | 0.00 |" in page
    assert page.endswith(
        "- student: answered; run 3fa9\n  - an old export\n  - two ties\n"
        "- popularity: answered; 192 rows\n"
    )


def test_why_nothing_is_held_out() -> None:
    comparison = compared("Heat")
    comparison.edit([item(8, "Tenet")])
    page, said = as_markdown(comparison, "F", AT), json.loads(as_json(comparison, "F", AT))
    assert (
        "(made by hand):\n\n1. Tenet\n\nNothing is held out: the history was made by hand" in page
    )
    assert said["edited"] is True
    assert said["held_out"] is None
    assert said["not_held_out_because"] == "the history was made by hand"
    assert said["history"] == [{"id": "i8", "title": "Tenet", "brand": ""}]

    comparison.show(Person("bob", 1, EVENTS[:1], None, "it is the only event"))
    assert "Nothing is held out: it is the only event" in as_markdown(comparison, "F", AT)
    comparison.edit([])
    assert "(empty)" in as_markdown(comparison, "F", AT)


def test_a_ranker_that_refuses_is_in_it_with_its_reason() -> None:
    comparison = compared("Heat")
    comparison.hear("student", Refused(-1, "no | student", "recsys distill"))
    page = as_markdown(comparison, "F", AT)
    assert "- student: refused; run 3fa9; no \\| student\n" in page
    assert rows_of(parsed(page))[1] == ["1", "", "Alien ✓"]
    column = json.loads(as_json(comparison, "F", AT))["columns"][0]
    assert (column["state"], column["refused"], column["answer"]) == (
        "refused", "no | student", None,
    )  # fmt: skip


def test_before_anybody_is_shown() -> None:
    comparison = Comparison(["student"])
    assert as_markdown(comparison, "F", AT).startswith("# nobody of F\n")
    said = json.loads(as_json(comparison, "F", AT))
    assert said["person"] is None
    assert said["not_held_out_because"] == "nobody is shown"
    assert json.loads(as_json(Comparison([]), "F", AT))["columns"] == []
    assert as_markdown(Comparison([]), "F", AT)


def test_json_says_it_all() -> None:
    said = json.loads(as_json(compared("Heat", "Alien"), "Films", AT))
    assert (said["category"], said["at"], said["person"]) == ("Films", "2026-11-24T09:05:07", "ann")
    assert said["history"][0] == {
        "id": "i1", "title": "Heat", "brand": "Warner",
        "milliseconds": 978_302_109_000, "rating": 4.5,
    }  # fmt: skip
    assert said["history"][1]["milliseconds"] is None
    assert said["held_out"] == {"id": "i3", "title": "Alien"}
    student, popularity = said["columns"]
    assert student["notices"] == ["an old export", "two ties"]
    assert student["answer"]["seconds"] == 0.002
    assert [one["title"] for one in student["answer"]["items"]] == ["Heat", "Alien"]
    assert (student["hit"], popularity["hit"]) == (None, 1)
    assert popularity["movement"] == [None]
    assert [one["by"] for one in said["figures"]] == ["student", "popularity"]
    assert said["figures"][0]["latencies"] == [0.002]


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_null(score: float) -> None:
    def refuse(name: str) -> Any:
        raise AssertionError(name)

    text = as_json(compared("Heat", score=score), "F", AT)
    said = json.loads(text, parse_constant=refuse)
    assert said["columns"][0]["answer"]["items"][0]["score"] is None


@given(titles=st.lists(FOREIGN, min_size=1, max_size=6), name=FOREIGN)
@example(titles=list(HOSTILE), name="# a\n| b |")
def test_foreign_text_stays_text(titles: list[str], name: str) -> None:
    comparison = compared(*titles, name=name)
    comparison.edit([replace(item(n), title=title) for n, title in enumerate(titles)])
    comparison.asked("student", 2)
    listed = tuple(LiveItem(n, f"i{n}", t, 1.0) for n, t in enumerate(titles))
    comparison.hear("student", Answered(2, "student", listed, 0.1, notices=tuple(titles)))
    tokens = parsed(as_markdown(comparison, name, AT))

    harmless = compared(*["x"] * len(titles))
    harmless.edit([item(n, "x") for n in range(len(titles))])
    harmless.asked("student", 2)
    listed = tuple(replace(one, title="x") for one in listed)
    told = tuple("x" for title in titles if plain(title))
    harmless.hear("student", Answered(2, "student", listed, 0.1, notices=told))
    assert structure(tokens) == structure(parsed(as_markdown(harmless, "x", AT)))

    rows = rows_of(tokens)
    assert len(rows) == 1 + len(titles), "one row an item"
    shown = [plain(title, LONGEST) or f"i{n}" for n, title in enumerate(titles)]
    assert [row[1] for row in rows[1:]] == shown
    inline = [one for one in tokens if one.type == "inline"]
    assert all({child.type for child in one.children or ()} <= {"text"} for one in inline)
    head = "".join(child.content for child in inline[0].children or ())
    assert head == f"{plain(name, LONGEST)} of {plain(name, LONGEST)}".strip()


@given(titles=st.lists(FOREIGN, min_size=1, max_size=6), name=FOREIGN)
@example(titles=list(HOSTILE), name="\ud800")
def test_json_gives_foreign_text_back_as_it_came(titles: list[str], name: str) -> None:
    text = as_json(compared(*titles, name=name), name, AT)
    assert text.isascii()
    said = json.loads(text)
    assert [one["title"] for one in said["columns"][0]["answer"]["items"]] == titles
    assert (said["person"], said["category"]) == (name, name)


def test_opinions_are_in_both() -> None:
    comparison = compared("Heat")
    said = [(Item(7, "m7", "[b]Heat[/b]|", ""), 1), (Item(8, "m8", "", ""), -1)]
    page = as_markdown(comparison, "F", AT, said)
    assert "no ranker learns from it yet" in page
    lines = page.splitlines()
    assert lines[-2:] == ["- \\+ \\[b\\]Heat\\[/b\\]\\|", "- − m8"]
    assert json.loads(as_json(comparison, "F", AT, said))["opinions"] == [
        {"id": "m7", "title": "[b]Heat[/b]|", "value": 1},
        {"id": "m8", "title": "", "value": -1},
    ]
    assert "liked" not in as_markdown(comparison, "F", AT)
