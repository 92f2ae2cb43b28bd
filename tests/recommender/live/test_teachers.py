"""Teachers in a process of their own: how far they are, cancelled, failing, giving reasons."""

from __future__ import annotations

import time

import pytest

from recommender.config import Settings
from recommender.live.messages import Answered, Ended, Opened, Opening, Piece, Refused, Thinking
from tests.recommender.live.conftest import HISTORY, opened, run, starting
from tests.recommender.live.own_classes import WORDS

pytestmark = pytest.mark.models


def test_a_teacher_says_how_far_it_is(teachers: Settings) -> None:
    async def talk() -> None:
        async with starting(teachers, "teacher:quick") as ranker:
            opening = await ranker.until(Opened)
            assert [one.note for one in opening if isinstance(one, Opening)] == [
                "reading the log",
                "loading quick",
            ]
            number = ranker.client.ask(HISTORY, n=5)
            *thinking, answered = await ranker.until(Answered)
        assert isinstance(answered, Answered)
        assert answered.number == number
        assert all(isinstance(one, Thinking) and one.number == number for one in thinking)
        counts = [(one.done, one.total) for one in thinking if isinstance(one, Thinking)]
        assert counts == [(done, 12) for done in range(1, 13)]
        tokens = [one.tokens for one in thinking if isinstance(one, Thinking)]
        assert 0 < tokens[0] < tokens[-1] == answered.tokens
        assert len(answered.items) == 5
        assert "20 candidates met in 3 groups" in answered.notices[0]
        assert answered.seconds > 12 * 0.01

    run(talk)


def test_cancelled_in_the_middle_it_stops_soon_and_answers_the_next(teachers: Settings) -> None:
    async def talk() -> None:
        async with opened(teachers, "teacher:slow") as ranker:
            number = ranker.client.ask(HISTORY)
            await ranker.until(Thinking)
            ranker.client.cancel(number)
            started = time.perf_counter()
            *between, last = await ranker.until(Ended)
            assert last == Ended(number, cancelled=True)
            assert time.perf_counter() - started < 1.0  # of the 3.3 s that were left
            assert len(between) <= 1
            again = ranker.client.ask(HISTORY)
            first = await ranker.next()
            assert isinstance(first, Thinking)
            assert (first.number, first.done) == (again, 1)

    run(talk)


def test_what_is_asked_behind_can_be_cancelled_before_it_begins(teachers: Settings) -> None:
    async def talk() -> None:
        async with opened(teachers, "teacher:quick") as ranker:
            first, second = ranker.client.ask(HISTORY), ranker.client.ask(HISTORY)
            reason, third = ranker.client.explain(HISTORY, 3), ranker.client.ask(HISTORY)
            ranker.client.cancel(second)
            ranker.client.cancel(reason)
            said = [one for one in await ranker.until(Answered) if not isinstance(one, Thinking)]
            assert [getattr(one, "number", None) for one in said] == [first]
            *ends, last = await ranker.until(Answered)
            assert ends[:2] == [Ended(second, cancelled=True), Ended(reason, cancelled=True)]
            assert isinstance(last, Answered)
            assert last.number == third

    run(talk)


def test_a_failure_is_refused_with_what_to_do_and_the_next_is_answered(teachers: Settings) -> None:
    async def talk() -> None:
        async with opened(teachers, "teacher:fails") as ranker:
            number = ranker.client.ask(HISTORY)
            *thinking, refused = await ranker.until(Refused)
            assert len(thinking) == 2
            assert refused == Refused(
                number, "nobody answers at 'there'", "start it", kind="ServerDown"
            )
            again = ranker.client.ask(HISTORY)
            answered = (await ranker.until(Answered))[-1]
            assert isinstance(answered, Answered)
            assert answered.number == again

    run(talk)


def test_a_bug_ends_the_process_and_its_last_words_are_repeated(teachers: Settings) -> None:
    async def talk() -> None:
        async with opened(teachers, "teacher:breaks") as ranker:
            ranker.client.ask(HISTORY)
            *_, died = await ranker.rest()
            assert isinstance(died, Refused)
            assert (died.number, died.kind) == (-1, "Died")
            words = "ZeroDivisionError: a bug of \x1b[31mtheirs"
            assert died.what == f"the process of 'teacher:breaks' ended with code 1: {words}"
            log = ranker.client.log
            assert log is not None
            assert died.next_step == f"look at {log}"
            assert "Traceback" in log.read_text()

    run(talk)


def test_a_reason_comes_piece_by_piece(teachers: Settings) -> None:
    async def talk() -> None:
        async with opened(teachers, "teacher:quick") as ranker:
            number = ranker.client.explain(HISTORY, 3)
            *pieces, last = await ranker.until(Ended)
        assert last == Ended(number)
        assert all(isinstance(one, Piece) and one.number == number for one in pieces)
        assert len(pieces) > 3
        assert "".join(one.text for one in pieces if isinstance(one, Piece)) == WORDS

    run(talk)


def test_a_reason_that_is_cancelled_stops_the_model(teachers: Settings) -> None:
    async def talk() -> None:
        async with opened(teachers, "teacher:slow") as ranker:
            number = ranker.client.explain(HISTORY, 3)
            await ranker.until(Piece)
            ranker.client.cancel(number)
            *between, last = await ranker.until(Ended)
            assert last == Ended(number, cancelled=True)
            assert len(between) <= 2
            assert ranker.client.log is not None
            assert ranker.client.log.read_text() == "the reason is over\n"

    run(talk)


@pytest.mark.slow
def test_the_embedded_teacher_ranks_and_explains(teachers: Settings) -> None:
    async def talk() -> None:
        async with starting(teachers, "teacher:embedded") as ranker:
            ready = (await ranker.until(Opened, Refused))[-1]
            assert isinstance(ready, Opened), ready
            assert ready.explains
            assert ready.about.lower().startswith("smollm2-135m")
            number = ranker.client.ask(HISTORY)
            *thinking, answered = await ranker.until(Answered)
            assert isinstance(answered, Answered)
            assert len(thinking) >= 1
            assert answered.tokens > 0
            assert len(answered.items) == 10
            reason = ranker.client.explain(HISTORY, answered.items[0].item)
            *pieces, last = await ranker.until(Ended)
            assert last == Ended(reason)
            assert "".join(one.text for one in pieces if isinstance(one, Piece)).strip()
            assert number < reason

    run(talk)
