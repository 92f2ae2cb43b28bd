"""One line of JSON a message, whatever is in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.live.messages import (
    SAID,
    Answered,
    Ask,
    Cancel,
    Ended,
    Explain,
    LiveItem,
    Message,
    Opened,
    Opening,
    Piece,
    Refused,
    Thinking,
    from_line,
    to_line,
)
from storage.errors import BadData

WHOLE = st.integers(0, 2**53)
REAL = st.floats(allow_nan=False)
TEXT = st.text(st.characters())  # lone surrogates too
NUMBERS = st.lists(WHOLE, max_size=4).map(tuple)
TEXTS = st.lists(TEXT, max_size=3).map(tuple)
ITEMS = st.builds(LiveItem, WHOLE, TEXT, TEXT, REAL, st.booleans())
MESSAGES = st.one_of(
    st.builds(Ask, WHOLE, NUMBERS, WHOLE),
    st.builds(Explain, WHOLE, NUMBERS, WHOLE),
    st.builds(Cancel, WHOLE),
    st.builds(Opening, TEXT),
    st.builds(Opened, TEXT, TEXT, REAL, st.booleans(), st.booleans(), TEXTS),
    st.builds(Thinking, WHOLE, WHOLE, WHOLE, WHOLE, REAL),
    st.builds(
        Answered, WHOLE, TEXT, st.lists(ITEMS, max_size=3).map(tuple), REAL, WHOLE, notices=TEXTS
    ),
    st.builds(Piece, WHOLE, TEXT),
    st.builds(Ended, WHOLE, st.booleans()),
    st.builds(Refused, st.integers(-1), TEXT, TEXT, TEXT),
)


@given(MESSAGES)
def test_a_message_comes_back_as_it_went(message: Message) -> None:
    line = to_line(message)
    assert line.isascii()
    assert line.splitlines(keepends=True) == [line]
    assert from_line(line) == from_line(line.encode()) == message


def test_every_message_has_a_name() -> None:
    assert set(SAID) == {one.__name__ for one in Message.__subclasses__()}
    assert all(made.__name__ == name for name, made in SAID.items())


@pytest.mark.parametrize(
    "line",
    [
        "",
        "\n",
        "hello",
        "{",
        "[]",
        "3",
        "null",
        "{}",
        '{"says":"Nothing"}',
        '{"says":["Ask"]}',
        '{"says":"Ask"}',
        '{"says":"Ask","number":1,"history":[],"more":1}',
        '{"says":"Answered","number":1,"ranker":"x","items":[3],"seconds":1}',
        '{"says":"Answered","number":1,"ranker":"x","items":[{"no":3}],"seconds":1}',
        b"\xff\xfe\x00",
        "x" * 100_000,
    ],
)
def test_what_is_no_message_is_said_so_shortly(line: str | bytes) -> None:
    with pytest.raises(BadData, match="no message of a live ranker") as failed:
        from_line(line)
    assert len(failed.value.what) < 400
