"""Rankings written out as JSON: read, mended by stated rules, or refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from string import ascii_uppercase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.asking.answering import Texts, address, ask_ranking, soft_label
from recommender.asking.orders import judge_orders, repeats_the_order, rotated, shifts
from recommender.asking.rankings import LIMIT_PER_LETTER, ReadRanking, ranking_schema, read_ranking
from recommender.asking.requests import Question
from recommender.backends import LEAST, Completion, ModelCard, Prompt, Refusing, example_card
from tests.ollama.replay import VERSIONS, cases

TEN = ascii_uppercase[:10]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from([*TEN, " A ", "AB", "a"]),
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=20,
)  # fmt: skip


class Saying(Refusing):
    """Writes one text, and keeps what it was asked for."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.asked: list[tuple[str, Mapping[str, object] | None, int]] = []

    def describe(self) -> ModelCard:
        return example_card("text", "json")

    def complete(
        self, turn: str, *, schema: Mapping[str, object] | None = None, limit: int = 200
    ) -> Completion:
        self.asked.append((turn, schema, limit))
        return Completion(self.text, 2.5, 40, details={"server": "one of a test"})


def said(version: str, name: str) -> str:
    text = cases(version)[name].exchanges[0].parsed["response"]
    assert isinstance(text, str)
    return text


def ranked(*letters: object) -> str:
    return json.dumps({"ranking": letters})


def check(read: ReadRanking, labels: str) -> None:
    """What holds of any answer: all labels once each, or nothing."""
    count = len(labels)
    if not read.order:
        assert read == ReadRanking(())
        return
    assert sorted(read.order) == list(range(count))
    assert sum(read.scores) == pytest.approx(count * (count - 1) / 2)
    assert read.order[count - len(read.left_out) :] == read.left_out
    named = [read.scores[n] for n in read.order[: count - len(read.left_out)]]
    assert named == sorted(named, reverse=True)
    assert len(set(named)) == len(named)
    assert len({read.scores[n] for n in read.left_out}) <= 1
    if named and read.left_out:
        assert min(named) > read.scores[read.left_out[0]]


@given(st.text(), st.integers(1, 10))
def test_no_text_breaks_it(text: str, count: int) -> None:
    check(read_ranking(text, TEN[:count]), TEN[:count])


@given(JSON, JSON, st.integers(1, 10))
def test_no_json_breaks_it(found: object, inside: object, count: int) -> None:
    for one in (found, {"ranking": inside}, {"ranking": [inside]}, [{"ranking": inside}]):
        check(read_ranking(json.dumps(one), TEN[:count]), TEN[:count])


@given(st.lists(st.sampled_from([*TEN, "Z", "", 3]), max_size=14))
def test_repairs_follow_their_rules(letters: list[object]) -> None:
    read = read_ranking(ranked(*letters), TEN)
    first = [one for one in dict.fromkeys(letters) if one in list(TEN)]
    check(read, TEN)
    if 2 * len(first) < 10:
        assert read.order == ()
        return
    absent = [label for label in TEN if label not in first]
    assert [TEN[n] for n in read.order] == [*first, *absent]
    assert [TEN[n] for n in read.left_out] == absent
    again = len([one for one in letters if one in list(TEN)]) - len(first)
    unknown = len(letters) - len(first) - again
    assert sum(text.endswith("came again") for text in read.repaired) == again
    assert sum(text.endswith("no letter offered") for text in read.repaired) == unknown
    assert list(read.repaired[len(read.repaired) - len(absent) :]) == [
        f"{label} was left out" for label in absent
    ]


@given(st.permutations(TEN))
def test_a_whole_ranking_needs_no_repair(letters: list[str]) -> None:
    read = read_ranking(ranked(*letters), TEN)
    assert (read.repaired, read.left_out) == ((), ())
    assert [TEN[n] for n in read.order] == letters
    for above, label in enumerate(letters):
        assert read.scores[TEN.index(label)] == 9 - above


@pytest.mark.parametrize(
    "text",
    [
        "",
        "B, A, C",
        '{"ranking": "BAC"}',
        '{"ranking": {"A": 1}}',
        '{"order": ["B", "A", "C"]}',
        '["B", "A", "C"]',
        '{"ranking": []}',
        '{"ranking": ["A"]}',  # fewer than half of three
        '{"ranking": [["A", "B", "C"]]}',
        '{"ranking": ["A", "B", "C"]} and that is my answer',
        '{"ranking": ["A", "B"',
        "[" * 100_000,
        "1" * 5_000,
        '{"ranking": ' + "1" * 5_000 + "}",
        '{"ranking": ["\\ud800"]}',
    ],
)
def test_what_is_no_ranking_is_none(text: str) -> None:
    assert read_ranking(text, "ABC") == ReadRanking(())


def test_those_left_out_share_the_last_places() -> None:
    read = read_ranking(ranked("D", " B "), "ABCD")
    assert read.scores == (0.5, 2.0, 0.5, 3.0)


def test_the_schema_lets_through_letters_only_as_many_as_there_are() -> None:
    schema = ranking_schema("ABC")
    assert schema["properties"] == {
        "ranking": {
            "type": "array",
            "items": {"type": "string", "enum": ["A", "B", "C"]},
            "minItems": 3,
            "maxItems": 3,
        }
    }
    assert json.loads(json.dumps(schema)) == schema


# --- what was recorded


def test_a_recorded_ranking_with_a_letter_twice_is_mended_and_marked() -> None:
    read = read_ranking(said("0.24.0", "rank-json"), TEN)
    assert read.repaired == ("J came again", "F was left out")
    assert "".join(TEN[n] for n in read.order) == "ABCDEGHIJF"
    assert read.left_out == (5,)


def test_a_recorded_ranking_in_the_order_offered_is_whole_and_no_opinion() -> None:
    read = read_ranking(said("0.32.15", "rank-json"), TEN)
    assert (read.order, read.repaired) == (tuple(range(10)), ())
    assert repeats_the_order([read.scores] * 4)
    turns = [(shift, "ok", read.scores) for shift in shifts(10, 4)]
    assert judge_orders(turns).status == "no_opinion"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["rank-json-cut", "rank-json-plain"])
def test_recorded_text_that_is_not_the_form_asked_for_is_none(version: str, name: str) -> None:
    assert read_ranking(said(version, name), TEN) == ReadRanking(())


# --- asked through a backend


def test_it_is_asked_with_a_schema_and_room_for_all_letters() -> None:
    backend = Saying(ranked("B", "C", "A"))
    prompt = Prompt(("Pen",), ("Ink", "Nib", "Pad"), "things")
    scores = ask_ranking(backend, prompt, "ABC")
    ((turn, schema, limit),) = backend.asked
    assert schema == ranking_schema("ABC")
    assert limit > 3 * LIMIT_PER_LETTER
    assert "A. Ink\nB. Nib\nC. Pad\n" in turn
    assert (scores.logprobs, scores.status, scores.seconds) == ((0.0, 2.0, 1.0), "", 2.5)
    assert scores.details["repaired"] == []
    assert scores.details["server"] == "one of a test"


@pytest.mark.parametrize(
    ("text", "status", "repaired"),
    [
        (ranked("B", "A", "B"), "ok", ["B came again", "C was left out"]),
        ("no JSON", "wrong_format", []),
    ],
)
def test_the_record_says_what_was_mended(text: str, status: str, repaired: list[str]) -> None:
    question = Question(0, 0, (0,), (1, 2, 3), 0)
    texts = Texts(["a", "b", "c", "d"], "things", 5)
    asked = address(
        [question], texts, category_id=1, purpose="gate", teacher=example_card("json"),
        method="ranking", orders=2,
    )  # fmt: skip
    assert [request.candidates for request in asked] == [rotated((1, 2, 3), s) for s in (0, 1)]
    label = soft_label(asked[0], ask_ranking(Saying(text), texts.prompt(asked[0]), "ABC"))
    assert (label.status, label.details["repaired"]) == (status, repaired)
    assert label.details["text"] == text
    if status != "ok":
        assert label.scores == (LEAST,) * 3
