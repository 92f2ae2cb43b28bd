"""A teacher that says after each request how far it is, and can be left in the middle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from recommender.asking.answering import Texts
from recommender.asking.tournament import meetings, tournament
from recommender.backends import Prompt, Scores
from recommender.backends.scripted import ScriptedBackend
from recommender.baselines import Popularity
from recommender.candidates import TextNeighbours
from recommender.ranking import Ranking
from recommender.scoring import Scoring
from recommender.teacher import Asked, TeacherRanker
from tests.recommender.live.own_classes import DOWN, by_length
from tests.tiny import Letters

TITLES = [f"{'long ' * (n % 7)}thing number {n}" for n in range(60)]
VECTORS = Letters().encode(TITLES)
HISTORY = np.array([3, 5, 8])


def teacher(
    backend: ScriptedBackend, way: str, orders: int = 4, offered: int = 20
) -> TeacherRanker:
    return TeacherRanker(
        backend,
        Texts(TITLES, "things", 5),
        Scoring(way, 1.0, 0, {}, orders=orders),
        VECTORS,
        (Popularity(np.arange(len(TITLES))), TextNeighbours(VECTORS)),
        offered=offered,
    )


def drained(ranker: TeacherRanker, **how: object) -> tuple[list[Asked], Ranking]:
    steps, said = ranker.steps(HISTORY, **how), []  # type: ignore[arg-type]
    while True:
        try:
            said.append(next(steps))
        except StopIteration as stop:
            return said, stop.value


@pytest.mark.parametrize(
    ("way", "offered", "requests"),
    [
        ("letters", 20, 12),
        ("letters+cosine", 20, 12),
        ("letters", 10, 4),
        ("letters", 3, 3),
        ("likelihood", 20, 1),
        ("minus+cosine", 20, 2),
    ],
)
def test_every_request_is_counted_and_the_ranking_is_the_same(
    way: str, offered: int, requests: int
) -> None:
    backend = ScriptedBackend(by_length)
    said, ranking = drained(teacher(backend, way, offered=offered), n=7)
    assert backend.calls == requests
    assert [one.done for one in said] == list(range(1, requests + 1))
    assert said[-1].total >= requests
    assert ranking == teacher(ScriptedBackend(by_length), way, offered=offered).rank(HISTORY, n=7)
    tokens = [one.tokens for one in said]
    assert tokens == sorted(tokens)
    assert tokens[0] > 0


def test_smaller_groups_need_fewer_requests_and_the_count_goes_on_by_groups() -> None:
    """Of 23, groups of 8, 8 and 7 in the first round: the third is asked in 7 orders, not in 8."""
    backend = ScriptedBackend(by_length)
    said, _ = drained(teacher(backend, "letters", orders=8), candidates=np.arange(20, 43))
    done = [one.done for one in said]
    assert {one.total for one in said} == {6 * 8}
    assert done[14:25] == [15, 16, 17, 18, 19, 20, 21, 22, 23, 25, 26]
    assert done == sorted(set(done))
    assert backend.calls == len(done) < 48


def test_left_in_the_middle_it_asks_no_more() -> None:
    backend = ScriptedBackend(by_length)
    steps = teacher(backend, "letters").steps(HISTORY)
    for _ in range(5):
        next(steps)
    assert backend.calls == 5
    steps.close()
    assert backend.calls == 5
    with pytest.raises(StopIteration):
        next(steps)


def test_nothing_to_offer_is_no_step() -> None:
    said, ranking = drained(teacher(ScriptedBackend(by_length), "letters"), candidates=HISTORY)
    assert (said, ranking.items) == ([], ())


def test_a_failure_comes_where_it_happens() -> None:
    backend = ScriptedBackend(by_length, failures=[None, None, DOWN])
    steps = teacher(backend, "letters").steps(HISTORY)
    assert [next(steps).done for _ in range(2)] == [1, 2]
    with pytest.raises(type(DOWN), match="nobody answers"):
        next(steps)


class Counted(ScriptedBackend):
    """Counts as a server does."""

    def score(self, prompt: Prompt, labels: Sequence[str]) -> Scores:
        found = super().score(prompt, labels)
        details = {"prompt_tokens": 100, "made_tokens": 1}
        return Scores(
            found.logprobs, found.tokens, 0.5, found.history_shown, found.outside, details=details
        )


def test_a_servers_own_count_of_tokens_goes_before_ours() -> None:
    said, _ = drained(teacher(Counted(by_length), "letters"))
    assert [one.tokens for one in said] == [101 * n for n in range(1, 13)]
    assert [one.seconds for one in said] == [0.5 * n for n in range(1, 13)]


def test_what_titles_are_worth_alone_is_counted_where_it_is_asked() -> None:
    backend = ScriptedBackend(by_length)
    one = teacher(backend, "minus")
    first, again = drained(one)[0], drained(one)[0]
    assert [asked.done for asked in first] == [asked.done for asked in again] == [1, 2]
    assert [asked.tokens for asked in first] == [first[0].tokens, 2 * first[0].tokens]
    assert [asked.tokens for asked in again] == [first[0].tokens] * 2
    assert backend.calls == 3


@pytest.mark.parametrize("entrants", [1, 2, 5, 6, 10, 23, 99])
def test_meetings_are_a_tournament_one_by_one(entrants: int) -> None:
    strength = np.random.default_rng(entrants).normal(size=entrants)
    meeting = meetings(entrants, size=5)
    group, asked = next(meeting), []
    while True:
        asked.append(list(group))
        try:
            group = meeting.send(strength[list(group)])
        except StopIteration as stop:
            found = stop.value
            break
    judged: list[list[int]] = []

    def judge(group: Sequence[int]) -> np.ndarray:
        judged.append(list(group))
        return strength[list(group)]

    np.testing.assert_array_equal(found, tournament(entrants, judge, size=5))
    assert asked == judged
