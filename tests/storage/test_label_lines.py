"""One line of answers that travel: whatever comes, it is read exactly or refused in words."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from storage.label_lines import BadLine, read_line, write_line
from storage.records import LabelRequest, SoftLabel

KEY = "0123456789abcdef" * 2
REQUEST = LabelRequest(KEY, 1, "train", 0, 7, (1,), (2, 3, 4), 1, "smol", "letters", "7/books", 2)
ANSWER = SoftLabel(KEY, (0.1 + 0.2, -1e-300, -3e22), (1, 2, 3), "ok", 0.25, {"of": [None, "ż"]})
LINE = write_line(REQUEST, ANSWER, {0: "ann"}, {n: f"i{n}" for n in range(1, 5)})


def test_what_is_written_is_read() -> None:
    line = read_line(LINE)
    assert (line.key, line.purpose, line.user, line.target) == (KEY, "train", "ann", 1)
    assert (line.history, line.candidates) == (["i1"], ["i2", "i3", "i4"])
    assert (line.teacher, line.method, line.template, line.shift) == (
        "smol",
        "letters",
        "7/books",
        2,
    )
    assert (tuple(line.scores), tuple(line.tokens)) == (ANSWER.scores, ANSWER.tokens)
    assert (line.status, line.seconds, line.details) == ("ok", 0.25, {"of": [None, "ż"]})
    assert line.in_log
    assert read_line(LINE.encode() + b"\r\n") == line


def test_whole_numbers_will_do_and_what_a_later_version_says_besides() -> None:
    line = read_line(damaged(scores=[1, 2, 3], seconds=1, weather="fine"))
    assert (line.scores, line.seconds) == ([1.0, 2.0, 3.0], 1.0)


def damaged(**changes: Any) -> str:
    return json.dumps({**json.loads(LINE), **changes})


def nested(depth: int) -> Any:
    return [nested(depth - 1)] if depth else 1


BAD: list[tuple[dict[str, Any], str]] = [
    ({"key": "k1"}, "key: String should match"),
    ({"key": "A" * 32}, "key: String should match"),
    ({"key": "0" * 32 + "\n"}, "key: String should match"),
    ({"purpose": ""}, "purpose: "),
    ({"user": 7}, "user: Input should be a valid string"),
    ({"user": "\ud800"}, "user: "),
    ({"teacher": "a\0"}, "teacher: "),
    ({"history": "i6"}, "history: "),
    ({"candidates": []}, "3 scores for 0 candidates"),
    ({"candidates": ["i6", None, "i7"]}, "candidates.1: "),
    ({"target": 3}, "target 3 of 3 candidates"),
    ({"target": -2}, "target -2 of 3 candidates"),
    ({"target": True}, "target: "),
    ({"in_log": 1}, "in_log: "),
    ({"shift": 3}, "shift 3 of 3 candidates"),
    ({"shift": -1}, "shift: "),
    ({"scores": [1.0, 2.0]}, "2 scores for 3 candidates"),
    ({"scores": [1.0, 2.0, math.nan]}, "scores.2: Input should be a finite number"),
    ({"scores": [1.0, -math.inf, 2.0]}, "scores.1: Input should be a finite number"),
    ({"scores": [1.0, 10**400, 2.0]}, "scores.1: "),
    ({"scores": [1.0, "2.0", 2.0]}, "scores.1: "),
    ({"tokens": [1, 1]}, "2 tokens for 3 candidates"),
    ({"tokens": [1, 1.5, 1]}, "tokens.1: "),
    ({"status": "fine"}, "status: Input should be 'ok', "),
    ({"seconds": None}, "seconds: "),
    ({"seconds": math.inf}, "seconds: Input should be a finite number"),
    ({"details": []}, "details: "),
    ({"details": {"a": nested(400)}}, "details.a: "),
]


@pytest.mark.parametrize(("changes", "says"), BAD)
def test_a_line_of_a_wrong_shape_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(BadLine) as caught:
        read_line(damaged(**changes))
    assert str(caught.value).startswith(says)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("name", json.loads(LINE))
def test_nothing_may_be_missing(name: str) -> None:
    line = json.loads(LINE)
    del line[name]
    with pytest.raises(BadLine, match=f"^{name}: Field required"):
        read_line(json.dumps(line))


DEEP = '{"details":' + '{"a":' * 100_000 + "1" + "}" * 100_001


@pytest.mark.parametrize(
    "line",
    ["[]", "7", "null", "{}", "{", LINE[:-1], b"\xff\xfe\xfa", "[" * 100_000, "1" * 5_000, DEEP],
)
def test_a_line_that_is_anything_is_refused(line: str | bytes) -> None:
    with pytest.raises(BadLine):
        read_line(line)
