"""Replies are put to the question they belong to, and counted as the screen says they are."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.agreement import kendall_tau, overlap
from recommender.live.messages import (
    Answered,
    Ended,
    LiveItem,
    Opened,
    Opening,
    Piece,
    Refused,
    Thinking,
)
from recommender.people import Person
from storage.browsing import PastEvent
from tests.tui.hosting import item
from tui.comparing import KEPT, Comparison

BY = ("student", "teacher", "popularity")


def person(name: str, *numbers: int, held_out: bool = True) -> Person:
    events = tuple(PastEvent(item(n), n, None) for n in numbers)
    true = events[-1] if held_out else None
    return Person(name, 0, events, true, "" if held_out else "it is the only event")


def answer(number: int, *items: int, seconds: float = 0.5) -> Answered:
    return Answered(number, "r", tuple(LiveItem(i, f"i{i}", "", 1.0) for i in items), seconds)


def opened(by: str, *, sees_all: bool = False) -> Opened:
    return Opened(by, "run 1", 0.1, sees_all=sees_all)


def ready(*by: str, n: int = 3) -> Comparison:
    """Give a comparison whose rankers are all open."""
    comparison = Comparison(by or BY, n=n, clock=lambda: 7.0)
    for one in comparison.columns:
        comparison.hear(one.by, opened(one.by))
    return comparison


def visit(comparison: Comparison, who: Person, number: int, **lists: tuple[int, ...]) -> None:
    comparison.show(who)
    for by, items in lists.items():
        comparison.asked(by, number)
        assert comparison.hear(by, answer(number, *items))


def test_a_column_from_its_opening_to_its_answer() -> None:
    comparison = Comparison(["student"], clock=lambda: 7.0)
    column = comparison.column("student")
    assert column.state == "opening"
    assert comparison.hear("student", Opening("reads weights"))
    assert column.note == "reads weights"
    comparison.show(person("ann", 1, 2))
    comparison.asked("student", 1)
    assert column.state == "opening", "it cannot think before it is open"
    assert comparison.hear("student", opened("student"))
    assert (column.state, column.note, column.asked_at) == ("thinking", "", 7.0)
    assert comparison.hear("student", Thinking(1, 2, 5, 40, 0.1))
    assert column.thinking is not None
    assert comparison.hear("student", answer(1, 5, 6))
    assert (column.state, column.thinking, column.items) == ("answered", None, [5, 6])
    assert column.latencies == [0.5]
    comparison.asked("student", 2)
    assert (column.state, column.items) == ("thinking", [])
    assert comparison.hear("student", Refused(2, "no", "do", "BackendError"))
    assert (column.state, column.dead) == ("refused", False)
    comparison.asked("student", 3)
    assert (column.state, column.refused) == ("thinking", None)


def test_without_a_person_a_column_is_ready() -> None:
    comparison = ready("student")
    assert comparison.column("student").state == "ready"
    assert comparison.history == ()
    assert comparison.held_out is None


def test_replies_that_are_too_late_change_nothing() -> None:
    comparison = ready("student")
    visit(comparison, person("ann", 1, 2), 1)
    comparison.asked("student", 1)
    visit(comparison, person("bob", 3, 4), 2)
    comparison.asked("student", 2)
    late = (answer(1, 9), Thinking(1, 1, 2, 3, 0.1), Refused(1, "no"), Ended(1, cancelled=True))
    assert [comparison.hear("student", one) for one in late] == [False] * 4
    assert comparison.hear("student", Piece(2, "for whoever asked why")) is False
    assert comparison.hear("gone", answer(2, 9)) is False
    column = comparison.column("student")
    assert (column.state, column.items, column.hits, column.latencies) == ("thinking", [], {}, [])


def test_before_anybody_is_asked_again_an_old_answer_is_nobodys() -> None:
    comparison = ready("student")
    visit(comparison, person("ann", 1, 2), 1, student=(2, 5))
    comparison.show(person("bob", 3, 2))
    assert comparison.column("student").state == "ready"
    assert comparison.hear("student", answer(1, 2, 5)) is False
    assert comparison.hit("student") is None


def test_cancelled_is_cancelled() -> None:
    comparison = ready("student")
    visit(comparison, person("ann", 1, 2), 1)
    comparison.asked("student", 1)
    comparison.cancelled("student")
    assert comparison.column("student").state == "cancelled"
    assert comparison.hear("student", answer(1, 5)) is False, "it was under way already"
    comparison.asked("student", 2)
    comparison.hear("student", answer(2, 5))
    comparison.cancelled("student")
    assert comparison.column("student").state == "answered", "nothing is left to cancel"
    comparison.asked("student", 3)
    assert comparison.hear("student", Ended(3, cancelled=True))
    assert comparison.column("student").state == "cancelled"


def test_cancelled_while_it_is_opened_it_is_not_asked() -> None:
    comparison = Comparison(["teacher"])
    comparison.cancelled("teacher")
    assert comparison.column("teacher").state == "opening", "it was not asked anything"
    comparison.show(person("ann", 1, 2))
    comparison.asked("teacher", 1)
    comparison.cancelled("teacher")
    comparison.hear("teacher", opened("teacher"))
    assert comparison.column("teacher").state == "cancelled"


def test_who_cannot_be_opened_stays_so() -> None:
    comparison = ready("student")
    comparison.hear("student", Refused(-1, "no student", "recsys distill"))
    visit(comparison, person("ann", 1, 2), 1)
    comparison.asked("student", 1)
    comparison.cancelled("student")
    column = comparison.column("student")
    assert column.dead
    assert column.state == "refused"
    comparison.replace("student", "student")
    assert comparison.column("student").state == "opening"


def test_columns_come_and_go() -> None:
    comparison = Comparison(["student", "student", "teacher"])
    assert [one.by for one in comparison.columns] == ["student", "teacher"]
    assert comparison.add("teacher") is comparison.columns[1]
    assert comparison.add("popularity") is comparison.columns[2]
    comparison.remove("student")
    comparison.remove("gone")
    assert [one.by for one in comparison.columns] == ["teacher", "popularity"]
    with pytest.raises(KeyError):
        comparison.column("student")
    assert [one.by for one in Comparison([]).figures()] == []


def test_a_history_by_hand_has_nothing_held_out_and_is_not_counted() -> None:
    comparison = ready("student")
    visit(comparison, person("ann", 1, 2, 3), 1, student=(3, 9))
    assert [one.number for one in comparison.history] == [1, 2]
    assert comparison.hit("student") == 1
    comparison.edit([item(8)])
    assert [one.number for one in comparison.history] == [8]
    assert comparison.column("student").items == []
    comparison.asked("student", 2)
    comparison.hear("student", answer(2, 7))
    assert comparison.held_out is None
    assert comparison.column("student").hits == {"ann": True}, "the visit before stays"
    comparison.edit([])
    assert comparison.history == ()
    comparison.edit(None)
    assert [one.number for one in comparison.history] == [1, 2]
    comparison.edit([item(8)])
    comparison.show(person("bob", 4, held_out=False))
    assert [one.number for one in comparison.history] == [4], "an edit is one person's"


def test_each_person_counts_once_and_the_last_visit_is_what_counts() -> None:
    comparison = ready("student", "popularity")
    ann, bob = person("ann", 1, 2), person("bob", 3, 4)
    visit(comparison, ann, 1, student=(2, 5), popularity=(5, 6))
    visit(comparison, bob, 2, student=(5, 6), popularity=(5, 4))
    visit(comparison, person("cat", 7, held_out=False), 3, student=(7,), popularity=(7,))
    student, popularity = comparison.figures()
    assert (student.hits, student.visited) == (1, 2)
    assert (popularity.hits, popularity.visited) == (1, 2)
    visit(comparison, ann, 4, student=(5, 6))
    student, popularity = comparison.figures()
    assert (student.hits, student.visited) == (0, 2)
    assert (popularity.hits, popularity.visited) == (1, 2)


def test_who_was_trained_on_everything_never_hits() -> None:
    comparison = Comparison(["student:final", "student"])
    comparison.hear("student:final", opened("student:final", sees_all=True))
    comparison.hear("student", opened("student"))
    visit(comparison, person("ann", 1, 2), 1, **{"student:final": (2, 5), "student": (5, 2)})
    assert comparison.hit("student:final") is None
    assert comparison.hit("student") == 2
    final, student = comparison.figures()
    assert (final.hits, final.visited) == (0, 0)
    assert (student.hits, student.visited) == (1, 1)


def test_figures_are_against_the_first_column_and_the_fastest() -> None:
    comparison = ready(n=3)
    comparison.show(person("ann", 1, 2))
    for number, seconds in enumerate((0.004, 0.002, 0.003), start=1):
        for by, times in zip(BY, (1, 1000, 10), strict=True):
            comparison.asked(by, number)
            comparison.hear(by, answer(number, 5, 6, 7 + times, seconds=seconds * times))
    student, teacher, popularity = comparison.figures()
    assert student.latencies == (0.004, 0.002, 0.003)
    assert (student.last, student.p50, student.ratio) == (0.003, 0.003, 1.0)
    assert (student.overlap, student.tau) == (None, None)
    assert teacher.ratio == pytest.approx(1000)
    assert popularity.ratio == pytest.approx(10)
    assert teacher.overlap == overlap([5, 6, 8], [5, 6, 1007], 3) == pytest.approx(2 / 3)
    assert teacher.tau == kendall_tau([5, 6, 8], [5, 6, 1007], 3)
    assert comparison.movement("student") == [0, 0, 0]
    assert comparison.movement("popularity") == [0, 0, None]
    comparison.asked("student", 9)
    assert comparison.figures()[1].overlap is None, "the first has no answer now"
    assert (comparison.figures()[0].last, comparison.figures()[0].p50) == (0.003, 0.003)
    comparison.hear("student", Refused(-1, "it was killed", kind="Died"))
    student, teacher, popularity = comparison.figures()
    assert (student.last, student.p50, student.ratio, student.latencies) == (None, None, None, ())
    assert popularity.ratio == 1.0, "who is dead is no measure"
    assert teacher.ratio == pytest.approx(100)


def test_an_answer_in_no_time_has_no_ratio() -> None:
    comparison = ready("student")
    comparison.asked("student", 1)
    comparison.hear("student", answer(1, 5, seconds=0.0))
    assert comparison.figures()[0].ratio is None
    assert comparison.figures()[0].p50 == 0.0


def test_an_empty_answer_is_one() -> None:
    comparison = ready("student", "popularity")
    visit(comparison, person("ann", 1, 2), 1, student=(), popularity=(5,))
    assert comparison.movement("popularity") == [None]
    assert comparison.figures()[1].overlap == 0.0
    assert comparison.figures()[0].visited == 1


def test_latencies_are_not_kept_for_ever() -> None:
    comparison = ready("student")
    for number in range(1, KEPT + 51):
        comparison.asked("student", number)
        comparison.hear("student", answer(number, 5, seconds=float(number)))
    assert comparison.figures()[0].latencies == tuple(float(n) for n in range(51, KEPT + 51))


class Book:
    """The plainest bookkeeping there is, beside a comparison: who asked what last, for whom."""

    def __init__(self) -> None:
        self.comparison = ready("a", "b")
        self.people = [person(f"p{n}", n + 10, n, held_out=n < 3) for n in range(4)]
        self.at = self.number = 0
        self.asked, self.shown = {"a": 0, "b": 0}, dict[str, list[int]](a=[], b=[])
        self.hits = dict[str, dict[str, bool]](a={}, b={})
        self.seconds = dict[str, list[float]](a=[], b=[])
        self.visit("a", 0, 0)

    def visit(self, by: str, who: int, back: int) -> None:
        self.comparison.show(self.people[who])
        self.at, self.asked, self.shown = who, {"a": 0, "b": 0}, {"a": [], "b": []}

    def ask(self, by: str, who: int, back: int) -> None:
        self.number += 1
        self.comparison.asked(by, self.number)
        self.asked[by], self.shown[by] = self.number, []

    def cancel(self, by: str, who: int, back: int) -> None:
        self.comparison.cancelled(by)
        if self.asked[by] and not self.shown[by]:
            self.asked[by] = 0

    def reply(self, by: str, first: int, back: int) -> None:
        to = self.number - back
        heard = self.comparison.hear(by, answer(to, first, 9, seconds=to / 2))
        assert heard == (to == self.asked[by])
        if not heard:
            return
        self.shown[by] = [first, 9]
        self.seconds[by].append(to / 2)
        if self.at < 3:
            self.hits[by][f"p{self.at}"] = first == self.at


@given(
    st.lists(
        st.tuples(
            st.sampled_from([Book.visit, Book.ask, Book.ask, Book.cancel, Book.reply, Book.reply]),
            st.sampled_from(["a", "b"]),
            st.integers(0, 3),
            st.integers(0, 2),
        ),
        max_size=60,
    )
)
def test_whatever_comes_in_whatever_order_only_its_own_question_is_answered(
    steps: list[tuple[Callable[[Book, str, int, int], None], str, int, int]],
) -> None:
    book = Book()
    for step, by, who, back in steps:
        step(book, by, who, back)
        for one in ("a", "b"):
            assert book.comparison.column(one).items == book.shown[one]
    for figures in book.comparison.figures():
        hits, seconds = book.hits[figures.by], book.seconds[figures.by]
        assert (figures.hits, figures.visited) == (sum(hits.values()), len(hits))
        assert figures.p50 == (median(seconds) if seconds else None)
