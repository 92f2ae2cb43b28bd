"""Orders against loops written from their definitions, and against a bias that was put in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.asking.answering import Texts, address
from recommender.asking.orders import (
    audit_places,
    by_length,
    drawn,
    judge_orders,
    merged,
    place_prior,
    repeats_the_order,
    rotated,
    shifts,
)
from recommender.asking.requests import OPEN, Question, question_of
from recommender.backends import example_card

COUNTS = st.integers(1, 24)
LOGPROB = st.floats(-30, 0)


@st.composite
def answers(draw: st.DrawFn) -> tuple[list[list[float]], list[int], list[float]]:
    """Rows by place, the shift of each, and a prior."""
    count = draw(COUNTS)
    row = st.lists(LOGPROB, min_size=count, max_size=count)
    rows = draw(st.lists(row, min_size=1, max_size=6))
    turns = draw(st.lists(st.integers(0, count - 1), min_size=len(rows), max_size=len(rows)))
    return rows, turns, draw(row)


@given(COUNTS, st.integers(1, 30))
def test_shifts_are_different_spread_and_begin_with_none(count: int, orders: int) -> None:
    found = shifts(count, orders)
    assert found[0] == 0
    assert len(found) == len(set(found)) == min(orders, count)
    assert list(found) == sorted(found)
    assert max(found) < count
    gaps = np.diff([*found, count])
    assert gaps.max() - gaps.min() <= 1


@given(st.lists(st.integers(), min_size=1, max_size=24), st.integers(0, 60))
def test_rotated_and_drawn_undo_each_other(values: list[int], shift: int) -> None:
    turned = rotated(values, shift)
    count = len(values)
    assert list(turned) == [values[(place + shift) % count] for place in range(count)]
    assert list(turned) == values[shift % count :] + values[: shift % count]
    assert drawn(turned, shift) == tuple(values)
    assert rotated(drawn(values, shift), shift) == tuple(values)


@given(COUNTS, st.integers(1, 8), st.data())
def test_a_question_comes_back_from_each_of_its_orders(
    count: int, orders: int, data: st.DataObject
) -> None:
    target = data.draw(st.integers(OPEN, count - 1))
    items = tuple(data.draw(st.permutations(range(1, count + 1))))
    question = Question(3, 7, (0, 0), items, target)
    texts = Texts([f"title {n}" for n in range(25)], "things", 5)
    asked = address(
        [question], texts, category_id=1, purpose="gate",
        teacher=replace(example_card(), server="a server"), method="letters", orders=orders,
    )  # fmt: skip
    assert [r.shift for r in asked] == list(shifts(count, orders))
    for request in asked:
        assert question_of(request) == question
        assert request.candidates == rotated(items, request.shift)
        if target != OPEN:
            assert request.candidates[request.target] == items[target]


@given(answers())
def test_merging_is_the_mean_over_orders_of_what_each_says_of_a_candidate(
    found: tuple[list[list[float]], list[int], list[float]],
) -> None:
    rows, turns, prior = found
    count = len(prior)
    expected = np.zeros(count)
    for candidate in range(count):
        for row, shift in zip(rows, turns, strict=True):
            place = (candidate - shift) % count
            expected[candidate] += (row[place] - prior[place]) / len(rows)
    np.testing.assert_allclose(merged(rows, turns, prior), expected, atol=1e-9)
    np.testing.assert_allclose(merged(rows, turns), merged(rows, turns, [0.0] * count))


@given(answers())
def test_merging_undoes_the_rotation(
    found: tuple[list[list[float]], list[int], list[float]],
) -> None:
    # A model that sees no places says of each candidate the same wherever it stands.
    (opinion, *_), turns, _ = found
    rows = [rotated(opinion, shift) for shift in turns]
    np.testing.assert_allclose(merged(rows, turns), opinion, atol=1e-9)


@given(st.integers(2, 12), st.integers(0, 2**32 - 1))
def test_with_all_rotations_what_a_place_gets_cancels_exactly(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    opinion, bias = rng.normal(size=count), 5 * rng.normal(size=count)
    rows = [np.array(rotated(opinion, shift)) + bias for shift in range(count)]
    turns = list(range(count))
    np.testing.assert_allclose(merged(rows, turns), opinion + bias.mean(), atol=1e-9)
    prior = place_prior(rows)
    np.testing.assert_allclose(prior, bias - bias.mean(), atol=1e-9)
    # Taking the prior off changes nothing more: it adds to each candidate the same, its mean 0.
    np.testing.assert_allclose(merged(rows, turns, prior), merged(rows, turns), atol=1e-9)


def test_the_prior_is_the_mean_of_centred_answers() -> None:
    rows = np.random.default_rng(0).normal(size=(7, 5))
    expected = np.zeros(5)
    for row in rows:
        for place in range(5):
            expected[place] += (row[place] - sum(row) / 5) / 7
    found = place_prior(rows)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert found.sum() == pytest.approx(0)


def test_the_prior_finds_a_bias_that_was_put_in() -> None:
    rng = np.random.default_rng(0)
    bias = np.array([1.2, 0.3, 0.0, -0.2, -0.1, 0.1, -0.5, -0.4, -0.3, -0.1])
    knowledge = rng.normal(size=400)
    rows = []
    for _ in range(2000):
        items = rng.permutation(400)[:10]
        scores = knowledge[items] + bias + rng.normal(size=10) / 2
        rows.append(scores - np.log(np.exp(scores).sum()))
    # The error of each place is √(1 + 1/4) / √2000, about 0.025.
    np.testing.assert_allclose(place_prior(rows), bias - bias.mean(), atol=0.1)
    unbiased = [row - bias for row in rows]
    np.testing.assert_allclose(place_prior(unbiased), np.zeros(10), atol=0.1)


@pytest.mark.parametrize(
    ("rows", "repeats"),
    [
        ([[-1, -2, -3], [-0.1, -0.2, -0.3]], True),
        ([[-1, -2, -3]] * 4, True),
        ([[-1, -2, -3]], False),  # one order proves nothing
        ([], False),
        ([[-1, -2, -3], [-1, -3, -2]], False),  # one of them differs
        ([[-1, -1, -1], [-1, -1, -1]], False),  # all the same is no order either
        ([[-1, -2, -2], [-1, -2, -3]], False),
        ([[-3, -2, -1], [-3, -2, -1]], False),  # backwards is not what was offered
    ],
)
def test_repeating_the_order_is_falling_from_place_to_place(
    rows: list[list[float]], repeats: bool
) -> None:
    assert repeats_the_order(rows) is repeats


FALLING, OTHER = (-1.0, -2.0), (-2.0, -1.0)


@pytest.mark.parametrize(
    ("said", "status", "turns"),
    [
        ([], "declined", ()),
        ([(0, "ok", FALLING)], "ok", (0,)),
        ([(0, "ok", OTHER), (1, "ok", FALLING)], "ok", (0, 1)),
        ([(0, "ok", FALLING), (1, "ok", FALLING)], "no_opinion", (0, 1)),
        ([(0, "declined", OTHER)], "declined", ()),
        ([(0, "wrong_format", OTHER), (1, "wrong_format", OTHER)], "wrong_format", ()),
        # Half of them is enough, and only those count.
        ([(0, "declined", OTHER), (1, "ok", FALLING)], "ok", (1,)),
        ([(0, "declined", OTHER), (2, "ok", OTHER), (5, "ok", FALLING)], "ok", (2, 5)),
        ([(0, "declined", OTHER), (2, "ok", FALLING), (5, "ok", FALLING)], "no_opinion", (2, 5)),
        # Fewer than half is not; the commonest reason is named.
        ([(0, "declined", OTHER), (2, "declined", OTHER), (5, "ok", OTHER)], "declined", (5,)),
        (
            [(0, "truncated", OTHER), (2, "declined", OTHER), (5, "truncated", OTHER)],
            "truncated",
            (),
        ),
    ],
)
def test_half_of_the_orders_must_be_answers(
    said: list[tuple[int, str, tuple[float, ...]]], status: str, turns: tuple[int, ...]
) -> None:
    judged = judge_orders(said)
    assert (judged.status, judged.turns) == (status, turns)
    assert judged.answers == tuple(row for shift, _, row in said if shift in turns)


@given(st.integers(1, 6), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_the_audit_is_a_count(count: int, rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(rows, count)).tolist()
    targets = rng.integers(OPEN, count, size=rows).tolist()
    found = audit_places(table, targets)
    assert [one.place for one in found] == list(range(count))
    for one in found:
        share = true = hits = 0.0
        for row, target in zip(table, targets, strict=True):
            share += np.exp(row[one.place]) / sum(np.exp(value) for value in row) / rows
            true += target == one.place
            hits += target == one.place and max(row) == row[one.place]
        assert one.preference == pytest.approx(share)
        assert (one.true, one.hits) == (true, hits)
    assert sum(one.preference for one in found) == pytest.approx(1)


def test_answers_are_grouped_by_how_many_places_they_have() -> None:
    rows = [[0.0], [1.0, 2.0], [3.0], [4.0, 5.0], [6.0, 7.0, 8.0]]
    assert by_length(rows) == {1: [[0.0], [3.0]], 2: [rows[1], rows[3]], 3: [rows[4]]}
    assert by_length([]) == {}
