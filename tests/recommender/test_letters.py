"""Letters read out of alternatives: by the formula, and out of what two servers said."""

from __future__ import annotations

import math
from string import ascii_uppercase

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.asking.answering import Texts, address, soft_label
from recommender.asking.requests import Question
from recommender.backends import LEAST, Scores, example_card
from recommender.letters import (
    COMFORTABLE,
    DECLINED_OUTSIDE,
    MOST,
    ROUNDING,
    TOP,
    nothing_read,
    read_letters,
)
from tests.ollama.replay import VERSIONS, cases

TEN, TWENTY = ascii_uppercase[:10], ascii_uppercase[:20]
Top = list[tuple[str, float]]


def logs(**named: float) -> Top:
    return [(token, math.log(p)) for token, p in named.items()]


TOKENS = st.one_of(
    st.sampled_from([form for label in "ABCD" for form in (label, f" {label}", f"{label}\n")]),
    st.text(max_size=3),
)


@st.composite
def tops(draw: st.DrawFn) -> Top:
    """Alternatives that hold at most all of the probability, in any order, maybe twice."""
    tokens = draw(st.lists(TOKENS, max_size=TOP))
    weights = [draw(st.floats(1e-6, 1)) for _ in tokens]
    held = draw(st.floats(0.01, 1))
    return [(t, math.log(held * w / sum(weights))) for t, w in zip(tokens, weights, strict=True)]


@given(tops(), st.integers(1, 4))
def test_reading_is_its_definition(top: Top, count: int) -> None:
    labels = "ABCD"[:count]
    read = read_letters(top, labels)
    found = {}
    for label in labels:
        own = [math.exp(logprob) for token, logprob in top if token.strip() == label]
        found[label] = sum(own) if own else None
    missing = [label for label in labels if found[label] is None]
    left = max(0.0, 1 - sum(math.exp(logprob) for _, logprob in top))
    last = min((math.exp(logprob) for _, logprob in top), default=0.0)
    for label, logprob, gone in zip(labels, read.logprobs, read.missing, strict=True):
        assert gone is (label in missing)
        # Probabilities that come rounded may add up to 1 where they do not quite.
        bound = min(last, max(left, ROUNDING) / len(missing)) if missing else None
        expected = bound if gone else found[label]
        assert expected is not None
        assert math.exp(logprob) == pytest.approx(expected, rel=1e-6, abs=1e-9)
        assert logprob >= LEAST
    named = sum(p for p in found.values() if p is not None)
    assert read.outside == pytest.approx(max(0.0, 1 - named), abs=1e-9)
    assert read.coverage == pytest.approx(1 - len(missing) / count)


def test_a_letter_counts_with_a_space_before_it_and_without() -> None:
    top = [(" A", math.log(0.4)), ("A", math.log(0.2)), ("\nB", math.log(0.1)), (" a", -2.0)]
    read = read_letters(top, "AB")
    np.testing.assert_allclose(np.exp(read.logprobs), [0.6, 0.1])
    assert read.outside == pytest.approx(0.3)


def test_a_token_that_is_named_twice_counts_twice_and_never_more_than_all() -> None:
    # Two tokens may be written alike; a server lists what they are written as.
    read = read_letters(logs(A=0.3) * 2 + logs(B=0.2), "AB")
    np.testing.assert_allclose(np.exp(read.logprobs), [0.6, 0.2])
    crowded = read_letters(logs(A=0.7) * 2, "A")
    assert crowded.outside == 0.0


def test_a_missing_letter_has_at_most_what_the_last_one_named_has() -> None:
    # 0.1 is left for one letter, but then it would have been named before x.
    read = read_letters(logs(A=0.85, x=0.05), "AB")
    assert math.exp(read.logprobs[1]) == pytest.approx(0.05)
    assert read.missing == (False, True)


def test_missing_letters_share_what_is_left() -> None:
    # 0.06 is left for three letters, less than the last one named.
    read = read_letters(logs(A=0.7, x=0.24), "ABCD")
    np.testing.assert_allclose(np.exp(read.logprobs), [0.7, 0.02, 0.02, 0.02])
    # A bound from above is no answer: only what was named is inside.
    assert read.outside == pytest.approx(0.3)
    assert read.coverage == 0.25


def test_where_nothing_is_left_a_missing_letter_has_what_rounding_hides() -> None:
    assert read_letters(logs(A=1.0), "AB").logprobs == (0.0, pytest.approx(math.log(ROUNDING)))
    # A server's float32 may add up to more than 1; the least that was named is the bound then.
    top = [(" A", math.log(0.9999)), (" B", math.log(1.02e-4)), ("x", math.log(6e-8))]
    assert read_letters(top, "ABC").logprobs[2] == pytest.approx(math.log(6e-8))


@pytest.mark.parametrize("sentinel", [-3.4e38, -3.4028234663852886e38, -math.inf, -1e6])
def test_the_servers_word_for_impossible_becomes_the_least(sentinel: float) -> None:
    top = [(" A", math.log(0.5)), (" B", sentinel), ("x", sentinel)]
    read = read_letters(top, "ABC")
    np.testing.assert_allclose(read.logprobs, [math.log(0.5), LEAST, LEAST])
    assert read.missing == (False, False, True)
    assert read.outside == pytest.approx(0.5)


@pytest.mark.parametrize("labels", ["A", TEN])
def test_no_alternatives_are_no_answer(labels: str) -> None:
    assert read_letters([], labels) == nothing_read(labels)
    assert nothing_read(labels).coverage == 0.0


# --- what was recorded


def recorded(version: str, name: str, number: int = 0) -> Top:
    """The alternatives for the first token of a recorded answer."""
    said = cases(version)[name].exchanges[number].parsed.get("logprobs")
    return [(t["token"], t["logprob"]) for t in said[0]["top_logprobs"]] if said else []


def status_of(top: Top, labels: str) -> str:
    """What the record of such an answer says."""
    question = Question(0, 0, (0,), tuple(range(len(labels))), 0)
    request = address(
        [question], Texts(["x"] * 20, "things", 5), category_id=1, purpose="gate",
        teacher=example_card(), method="letters",
    )[0]  # fmt: skip
    read = read_letters(top, labels)
    scores = Scores(read.logprobs, (1,) * len(labels), outside=read.outside)
    return soft_label(request, scores).status


@pytest.mark.parametrize("version", VERSIONS)
def test_ten_recorded_letters_hold_most_of_the_mass(version: str) -> None:
    read = read_letters(recorded(version, "score-letters"), TEN)
    assert not any(read.missing)
    assert 0.73 <= round(1 - read.outside, 2) <= 0.80
    # A small model looks at places: A and D first, whoever stands there, and E is true.
    assert {int(n) for n in np.argsort(read.logprobs)[-3:]} == {0, 3, 4}
    assert 0.14 <= math.exp(read.logprobs[0]) <= 0.20
    assert status_of(recorded(version, "score-letters"), TEN) == "ok"


@pytest.mark.parametrize(("version", "named"), [("0.24.0", 14), ("0.32.15", 13)])
def test_of_twenty_recorded_letters_some_are_missing(version: str, named: int) -> None:
    top = recorded(version, "score-20-candidates")
    assert len(top) == TOP
    read = read_letters(top, TWENTY)
    assert 20 - sum(read.missing) == named
    assert COMFORTABLE < named < MOST
    absent = [p for p, gone in zip(read.logprobs, read.missing, strict=True) if gone]
    present = [p for p, gone in zip(read.logprobs, read.missing, strict=True) if not gone]
    assert len(set(absent)) == 1
    assert absent[0] <= min(logprob for _, logprob in top) <= min(present)
    # What is left beside the twenty named is less than these would have together.
    rest = 1 - math.fsum(math.exp(logprob) for _, logprob in top)
    assert len(absent) * math.exp(absent[0]) <= rest + 1e-9
    assert status_of(top, TWENTY) == "ok"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_recorded_answer_in_words_is_declined(version: str) -> None:
    top = recorded(version, "score-declined")
    read = read_letters(top, TEN)
    assert read.outside > 0.8 > DECLINED_OUTSIDE
    assert status_of(top, TEN) == "declined"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_recorded_end_is_declined(version: str) -> None:
    assert cases(version)["score-eos"].exchanges[0].parsed["response"] == ""
    assert recorded(version, "score-eos") == []
    assert status_of([], TEN) == "declined"


@pytest.mark.parametrize("version", VERSIONS)
def test_temperature_and_penalty_do_not_move_what_is_read(version: str) -> None:
    for name in ("score-letters-hot", "score-letters-penalty"):
        first, second = (read_letters(recorded(version, name, n), TEN) for n in (0, 1))
        assert first == second


@pytest.mark.parametrize("version", VERSIONS)
def test_only_alternatives_are_read_never_the_token_that_was_drawn(version: str) -> None:
    assert cases(version)["score-top0"].exchanges[0].parsed["response"] == " A"
    said = cases(version)["score-top0"].exchanges[0].parsed["logprobs"][0]
    assert "top_logprobs" not in said or said["top_logprobs"] == []
