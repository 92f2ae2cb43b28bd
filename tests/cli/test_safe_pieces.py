"""What a model writes is as safe to show piece by piece as it is whole, however it is cut."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.text import plain, safe_pieces

PARTS = [
    *("\x1b", "[", "]", "3", "1", ";", "m", "J", "\x07", "\\", "\x9b", "\x9d", "\x9c", "P", "X"),
    *(
        " ",
        "!",
        "0",
        "a",
        "é",
        "\u202e",
        "\u200b",
        "\u200d",
        "\ufeff",
        "\x00",
        "\r",
        "\t",
        "\ud800",
    ),
    *("\x1b[31m", "\x1b]0;title\x07", "\x1b]8;;http://example.org\x1b\\", "日本", "👨‍👩‍👧"),
]
ENDS = [
    ". ",
    ".",
    "! And",
    "? ",
    "\n",
    "\n\n",
    "Dr. Who",
    "1. It",
    ':"\n\n',
    "。",
    "It ",
    "…",
    '." The',
]
texts = st.lists(st.sampled_from(PARTS + ENDS) | st.text(max_size=3), max_size=30).map("".join)
wild = st.lists(st.sampled_from(PARTS) | st.text("abc \x1b[]\x9b\x07", max_size=3)).map("".join)


def split(text: str, cuts: list[int]) -> list[str]:
    places = sorted({cut % (len(text) + 1) for cut in cuts})
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


def shown(*pieces: str, most: int = 600) -> str:
    return "".join(safe_pieces(pieces, most=most))


@given(texts, st.lists(st.integers(0, 200), max_size=12))
def test_it_is_the_same_however_it_is_cut(text: str, cuts: list[int]) -> None:
    assert shown(*split(text, cuts)) == shown(text)


@given(wild, st.lists(st.integers(0, 200), max_size=12))
def test_without_an_end_in_it_it_is_what_plain_makes(text: str, cuts: list[int]) -> None:
    if not any(sign in text for sign in "\n.!?…。"):
        assert shown(*split(text, cuts)) == plain(text)


@given(texts, st.lists(st.integers(0, 200), max_size=12), st.integers(1, 40))
def test_nothing_in_it_acts_and_it_is_a_beginning(text: str, cuts: list[int], most: int) -> None:
    out = shown(*split(text, cuts), most=most)
    assert len(out) <= most
    assert not [c for c in out if unicodedata.category(c) in {"Cc", "Cf", "Cs"} and c != "\u200d"]
    whole = plain(text)
    assert whole.startswith(out) or (out[-1] == "…" and whole.startswith(out[:-1]))


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("It fits the camera. It is cheap too.", "It fits the camera."),
        ("It fits the camera.\nIt is cheap too.", "It fits the camera."),
        ("it fits\nthe camera.", "it fits the camera."),
        ("It fits the camera\n\nand is cheap", "It fits the camera"),
        ("\n\n It fits.", "It fits."),
        ('They said "it fits." Then they left.', 'They said "it fits."'),
        ("Is it cheap? It is.", "Is it cheap?"),
        ("Dr. Strange vs. Dr. No by J. Smith. More.", "Dr. Strange vs. Dr. No by J. Smith."),
        ("It has 16 GB vs. 8 GB, e.g. more. Buy it.", "It has 16 GB vs. 8 GB, e.g. more."),
        ("Version 2.0 came in 1999. It sold well.", "Version 2.0 came in 1999."),
        ("Because of this:\n\n1. It fits. More.", "Because of this: 1. It fits."),
        ("因为它合适。而且便宜。", "因为它合适。"),
        ("no end at all", "no end at all"),
        ("[bold]It fits[/bold] :warning:", "[bold]It fits[/bold] :warning:"),
        ("", ""),
    ],
)
def test_the_first_sentence_or_paragraph_is_shown(text: str, first: str) -> None:
    assert shown(text) == first
    assert shown(*text) == first  # a piece a character


def test_each_piece_is_shown_as_it_comes() -> None:
    given_out: list[str] = []

    def model() -> Iterator[str]:
        for piece in ("Fits ", "the\x1b", "[2", "J camera", "\x1b]0;", "title", "\x07 well", "."):
            given_out.append(piece)
            yield piece

    seen = [(piece, len(given_out)) for piece in safe_pieces(model())]
    # The space before a word comes with the word; what may be an escape sequence waits.
    assert seen == [("Fits", 1), (" the", 2), (" camera", 4), (" well", 7), (".", 8)]


@pytest.mark.parametrize(
    ("piece", "most", "out"),
    [("word ", 600, "word " * 119 + "word…"), ("No end ", 12, "No end No e…"), ("\x00", 10, "")],
)
def test_whoever_does_not_stop_is_stopped(piece: str, most: int, out: str) -> None:
    closed = []

    def model() -> Iterator[str]:
        try:
            while True:
                yield piece
        finally:
            closed.append(True)

    endless = model()
    assert "".join(safe_pieces(endless, most=most)) == out
    assert closed == [True]


def test_the_model_is_stopped_at_the_end_of_its_sentence() -> None:
    asked = []

    def model() -> Iterator[str]:
        for piece in ("It fits.", " And", " so", " on."):
            asked.append(piece)
            yield piece

    assert list(safe_pieces(model())) == ["It fits."]
    assert asked == ["It fits.", " And"]


def test_what_was_shown_stays_when_the_model_fails() -> None:
    def model() -> Iterator[str]:
        yield "It fits"
        raise ConnectionError("gone")

    pieces = safe_pieces(model())
    assert next(pieces) == "It fits"
    with pytest.raises(ConnectionError, match="gone"):
        next(pieces)


def test_a_reader_that_stops_stops_the_model() -> None:
    closed = []

    def model() -> Iterator[str]:
        try:
            yield "It"
            yield " fits"
        finally:
            closed.append(True)

    source = model()
    pieces = safe_pieces(source)
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    assert closed == [True]
