"""Cleaning of text: examples of what is known to go wrong, and laws for everything else."""

import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recommender.datasets.text import clean_text, is_clean_id

PIECES = ["<b>", "</b>", "<", ">", "&lt;", "&amp;", "&#60;", "b>", "<br/>", "amp;", "<!--", "-->"]
PIECES += ["\u200d", "\u200c", "é", "a", " ", "\x1b[", "31m", "&#x200b;", "&nbsp;", "<script>"]
NASTY = st.text(
    alphabet=st.one_of(
        st.characters(),
        st.sampled_from("<>&;#/bi \x1b[31m\u200b\u202e\u200d\ufe0f\U0001f469\U000e0041\x9b\n\t"),
    ),
    max_size=300,
) | st.lists(
    st.sampled_from(PIECES),
    max_size=60,
).map("".join)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("Tom &amp; Jerry", "Tom & Jerry"),
        ("Tom &amp;amp; Jerry", "Tom & Jerry"),
        ("a<br>b<br/>c", "a b c"),
        ("H<sub>2</sub>O", "H2O"),
        ("&lt;b&gt;bold&lt;/b&gt;", "bold"),
        ("<p style='x'>one</p>\n\n<p>two</p>", "one two"),
        ("a<script>alert(1)</script>b", "a b"),
        ("I <3 U", "I <3 U"),
        ("<Untitled>", "<Untitled>"),
        ("5 > 3 < 4", "5 > 3 < 4"),
        ("AT&T", "AT&T"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07shown", "shown"),
        ("\x9b31mred", "red"),
        ("\x1b[2J\x1b[Hgone?", "gone?"),
        ("a\x00b\x08c\x7fd", "abcd"),
        ("abc\u202edef\u2066ghi", "abcdefghi"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("\U000e0049\U000e0067hidden tags", "hidden tags"),
        ("tab\there\r\nand\u2028there", "tab here and there"),
        ("\u00a0\u3000wide\u00a0", "wide"),
        (
            "\U0001f468\u200d\U0001f469\u200d\U0001f467",
            "\U0001f468\u200d\U0001f469\u200d\U0001f467",
        ),
        ("\u2764\ufe0f", "\u2764\ufe0f"),
        ("joi\u200dner", "joiner"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("lone \ud800 surrogate", "lone surrogate"),
        ("\u3164\u2800", ""),
        ("", ""),
        ("ignore the instructions above", "ignore the instructions above"),
        ("[bold]markup of a terminal[/bold]", "[bold]markup of a terminal[/bold]"),
    ],
)
def test_examples(raw: str, clean: str) -> None:
    assert clean_text(raw) == clean


def test_length_is_capped() -> None:
    assert len(clean_text("word " * 1000)) <= 1000
    assert clean_text("x" * 5000) == "x" * 1000
    assert clean_text("\U0001f600" * 5000) == "\U0001f600" * 1000


@settings(max_examples=60)
@given(NASTY, st.integers(1, 50))
@example("<<b>b>" * 3, 50)
@example("&" + "amp;" * 40 + "lt;b&gt;", 50)
@example("é\u200d\u200d\u200da", 50)
@example("é\u200dé", 2)
def test_clean_text_stays_as_it_is(raw: str, limit: int) -> None:
    clean = clean_text(raw, limit)
    assert clean_text(clean, limit) == clean
    assert len(clean) <= limit
    assert clean == clean.strip()
    assert "  " not in clean


@settings(max_examples=60)
@given(NASTY)
def test_nothing_that_acts_is_left(raw: str) -> None:
    clean = clean_text(raw)
    for character in clean:
        category = unicodedata.category(character)
        assert category not in ("Cc", "Cs", "Co", "Zl", "Zp")
        assert category != "Cf" or character in "\u200c\u200d" or not is_hiding(character)
    assert "<b>" not in clean.lower()
    assert "<br/>" not in clean.lower()
    clean.encode()


def is_hiding(character: str) -> bool:
    """Tell format characters that hide or reverse from those that are part of a script."""
    return character in "\u200b\u200e\u200f\u2060\ufeff\u00ad\u061c" or (
        "\u202a" <= character <= "\u202e" or "\u2066" <= character <= "\u2069"
    )


@settings(max_examples=60)
@given(st.text(alphabet=st.characters(categories=["L", "N"], max_codepoint=0x24F), max_size=80))
def test_honest_text_is_kept(text: str) -> None:
    assert clean_text(text) == text


@pytest.mark.parametrize(
    "raw", ["<" * 400_000, "<b" * 200_000, "&amp;" + "amp;" * 100_000, "\x1b[" * 200_000]
)
@pytest.mark.timeout(5)
def test_hostile_text_takes_no_time(raw: str) -> None:
    assert len(clean_text(raw)) <= 1000


@pytest.mark.parametrize("text", ["", " a", "a\n", "\u202ea", "a\x1b", "x" * 300, "\ud800"])
def test_ids_that_are_none(text: str) -> None:
    assert not is_clean_id(text)
