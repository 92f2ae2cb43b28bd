"""The bulk job's queue: everything asked once, whatever fails, and nothing left running."""

from __future__ import annotations

import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.asking.patience import ATTEMPTS, GIVE_UP_AFTER
from recommender.asking.work_queue import Batch, ask_all
from recommender.backends.errors import (
    BackendError,
    Busy,
    CannotTeach,
    ContextTooSmall,
    Died,
    Lost,
    ModelMissing,
    OutOfMemory,
    Refused,
    ServerDown,
    TooSlow,
)
from recommender.backends.hosts import Hosts
from tests.recommender.asking.queued import (
    Asking,
    Heard,
    asking_threads,
    ended,
    ends,
    groups,
    host,
    keys,
    run,
)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert ended(), asking_threads()


@pytest.mark.parametrize("hosts", [1, 2])
@pytest.mark.parametrize("in_flight", [0, 1, 4, 8, 12])
def test_everything_is_asked_exactly_once(in_flight: int, hosts: int) -> None:
    came = {f"box{n}": threading.Event() for n in range(hosts)}

    def wait_for_all(where: str, key: str) -> None:
        came[where].set()
        assert all(event.wait(10) for event in came.values()), "a host was never asked"

    several, ask = groups(40), Asking(wait_for_all)
    members = [host(name, delay=0.001) for name in came]
    heard = run(Hosts(members) if hosts > 1 else members[0], several, ask, in_flight=in_flight)
    assert sorted(ask.order()) == heard.keys() == sorted(keys(several))
    assert heard.failed == []
    assert heard.notices == []
    most = in_flight or 8
    assert all(count <= most for count in ask.most.values())
    for batch in heard.batches:
        assert 1 <= batch.in_flight <= hosts * most
    if in_flight:
        assert {batch.in_flight for batch in heard.batches} == {hosts * in_flight}


def test_as_many_as_are_allowed_are_under_way_at_once() -> None:
    together = threading.Barrier(4, timeout=10)

    def meet(where: str, key: str) -> None:
        together.wait()

    ask = Asking(meet)
    run(host("box"), groups(8, 2), ask, in_flight=4)
    assert ask.most["box"] == 4


@pytest.mark.parametrize("in_flight", [1, 4])
def test_the_requests_of_a_group_are_asked_in_order_on_one_thread(in_flight: int) -> None:
    several = groups(12, 4)
    by_thread: dict[str, set[threading.Thread]] = {}

    def note(where: str, key: str) -> None:
        by_thread.setdefault(key.partition(".")[0], set()).add(threading.current_thread())

    ask = Asking(note)
    run(host("box", delay=0.001), several, ask, in_flight=in_flight)
    for group in several:
        own = {request.key for request in group}
        assert [key for key in ask.order() if key in own] == [r.key for r in group]
    assert all(len(threads) == 1 for threads in by_thread.values())
    if in_flight == 1:
        assert ask.order() == keys(several)


def test_nothing_to_ask_starts_nothing() -> None:
    ask = Asking()
    assert list(ask_all(host("box"), [], ask)) == []
    assert list(ask_all(host("box"), [(), ()], ask)) == []
    assert run(host("box"), [(), *groups(2), ()], ask, in_flight=2).keys() == sorted(
        keys(groups(2))
    )


def test_a_scripted_failure_is_asked_again() -> None:
    failures = [Busy("the queue is full"), None, Lost("gone"), TooSlow("slow"), None]
    backend = host("box", failures=failures)
    heard = run(backend, groups(4, 1), Asking(), in_flight=1)
    assert heard.keys() == ["0.0", "1.0", "2.0", "3.0"]
    assert heard.failed == []
    assert backend.calls == 4 + 3


@pytest.mark.parametrize(
    ("error", "status"),
    [(TooSlow("no answer in time"), "timeout"), (Died("it ended"), "error"), (Busy("b"), "error")],
)
@pytest.mark.parametrize("in_flight", [1, 4])
def test_what_is_never_answered_is_a_failure_and_the_job_goes_on(
    error: BackendError, status: str, in_flight: int
) -> None:
    ask = Asking(lambda where, key: error if key == "3.1" else None)
    several = groups(9)
    heard = run(host("box", delay=0.001), several, ask, in_flight=in_flight)
    assert heard.keys() == sorted(set(keys(several)) - {"3.1"})
    (failure,) = heard.failed
    assert (failure.key, failure.status, failure.host) == ("3.1", status, "box")
    assert failure.message == error.what
    assert failure.at.endswith("+00:00")
    assert failure.seconds >= 0
    assert Counter(ask.order())["3.1"] == ATTEMPTS
    assert heard.notices == []


@pytest.mark.parametrize("concurrent", [True, False])
def test_a_question_the_model_dies_of_does_not_end_the_job(concurrent: bool) -> None:
    # All its orders fail, one place asks, and nobody else could say that the host is well.
    several, ask = (
        groups(5, 4),
        Asking(lambda where, key: Died("it ended") if key.startswith("2.") else None),
    )
    heard = run(host("box", concurrent=concurrent), several, ask, in_flight=1)
    assert heard.failures() == ["2.0", "2.1", "2.2", "2.3"]
    assert heard.keys() == sorted(key for key in keys(several) if not key.startswith("2."))


def test_a_prompt_that_does_not_fit_is_not_asked_again_and_says_nothing_of_the_host() -> None:
    def fail(where: str, key: str) -> BackendError | None:
        return ContextTooSmall("too long", needed=9, given=8) if key.endswith(".0") else None

    ask = Asking(fail)
    several = groups(GIVE_UP_AFTER + 3, 2)
    heard = run(host("box"), several, ask, in_flight=1)
    assert heard.failures() == [key for key in sorted(keys(several)) if key.endswith(".0")]
    assert heard.keys() == [key for key in sorted(keys(several)) if key.endswith(".1")]
    assert max(Counter(ask.order()).values()) == 1
    assert heard.notices == []


@pytest.mark.parametrize("kind", [Refused, ModelMissing, ServerDown, OutOfMemory, CannotTeach])
@pytest.mark.parametrize("hosts", [1, 2])
def test_what_cannot_be_helped_ends_the_job_at_once(kind: type[BackendError], hosts: int) -> None:
    ask = Asking(lambda where, key: kind("no", next_step="do this") if key == "2.1" else None)
    members = [host(f"box{n}", delay=0.002) for n in range(hosts)]
    backend = Hosts(members) if hosts > 1 else members[0]
    heard = ends(backend, groups(200), ask, kind, in_flight=4)
    assert str(heard.error) == "no; next: do this"
    assert Counter(ask.order())["2.1"] == 1
    assert ended()
    assert len(ask.asked) < 600  # and not to the end first
    # What had come is told before the error.
    assert set(heard.keys()) >= {"2.0"}


def test_a_bug_keeps_its_traceback() -> None:
    def broken_on_purpose(where: str, key: str) -> None:
        if key == "1.0":
            raise ZeroDivisionError("a bug")

    heard = ends(host("box"), groups(3), Asking(broken_on_purpose), ZeroDivisionError, in_flight=2)
    assert heard.error is not None
    frames = traceback.extract_tb(heard.error.__traceback__)
    assert "broken_on_purpose" in [frame.name for frame in frames]


@pytest.mark.parametrize("in_flight", [0, 1, 4, 8, 16])
def test_closing_it_ends_the_threads_and_loses_nothing_that_was_told(in_flight: int) -> None:
    told: list[str] = []
    ask = Asking()
    with closing(ask_all(host("box", delay=0.005), groups(100), ask, in_flight=in_flight)) as job:
        for batch in job:
            assert isinstance(batch, Batch)
            told += [one.request.key for one in batch.answered]
            if len(told) >= 20:
                break
    assert ended()
    asked = len(ask.asked)
    time.sleep(0.05)
    assert len(ask.asked) == asked
    assert set(told) <= set(ask.order())


def test_closing_it_ends_a_pause_too() -> None:
    # Only one question is answered; all others wait for minutes, as far as they know.
    ask = Asking(lambda where, key: None if key == "0.0" else Busy("the queue is full"))
    job = ask_all(host("box"), groups(9, 1), ask, in_flight=4, first_pause=600)
    assert isinstance(next(job), Batch)
    time.sleep(0.05)
    job.close()
    assert ended()


def test_an_error_in_the_consumer_ends_the_threads_too() -> None:
    def consume() -> None:
        with closing(ask_all(host("box", delay=0.005), groups(99), Asking(), in_flight=8)) as job:
            for _ in job:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        consume()
    assert ended()


def test_a_slow_consumer_loses_nothing() -> None:
    several, ask = groups(10), Asking()
    answered = []
    for batch in ask_all(host("box"), several, ask, in_flight=4):
        time.sleep(0.01)
        assert isinstance(batch, Batch)
        answered += [one.request.key for one in batch.answered]
    assert sorted(answered) == sorted(keys(several))


def test_a_backend_in_this_process_is_asked_here_one_by_one() -> None:
    several, ask = groups(4), Asking()
    job = ask_all(host("here", concurrent=False), several, ask, in_flight=8)
    first = next(job)
    assert isinstance(first, Batch)
    assert ask.order() == ["0.0"]  # nothing is asked ahead of what is kept
    heard = Heard(job)
    assert ask.order() == keys(several)
    assert ask.threads == {threading.current_thread()}
    assert all(len(batch.answered) == 1 for batch in heard.batches)


def test_in_this_process_the_same_is_done_about_failures() -> None:
    ask = Asking(lambda where, key: TooSlow("slow") if key == "1.0" else None)
    heard = run(host("here", concurrent=False), groups(3, 1), ask)
    assert (heard.keys(), heard.failures()) == (["0.0", "2.0"], ["1.0"])
    ask = Asking(lambda where, key: Lost("gone"))
    assert "kept" in str(ends(host("here", concurrent=False), groups(9), ask, Lost).error)
    ask = Asking(lambda where, key: Refused("no"))
    assert str(ends(host("here", concurrent=False), groups(9), ask, Refused).error) == "no"
    assert len(ask.asked) == 1


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(0, 12),
    st.integers(1, 4),
    st.integers(1, 5),
    st.randoms(use_true_random=False),
)
def test_whatever_fails_every_request_is_told_of_once(
    hosts: int, count: int, size: int, in_flight: int, chance: object
) -> None:
    several = groups(count, size)
    draw = chance.random  # type: ignore[attr-defined]
    poisoned = {key for key in keys(several) if draw() < 0.1}
    dies_after = {f"box{n}": int(draw() * 60) if draw() < 0.4 else 10**6 for n in range(hosts)}
    answers = Counter[str]()

    def fail(where: str, key: str) -> BackendError | None:
        answers[where] += 1
        if key in poisoned or answers[where] > dies_after[where]:
            return Lost("gone")
        return Busy("full") if answers[where] % 7 == 0 else None

    members = [host(name) for name in dies_after]
    backend = Hosts(members) if hosts > 1 else members[0]
    job, heard = ask_all(backend, several, Asking(fail), in_flight=in_flight, first_pause=0), None
    try:
        heard = Heard(job)
    except Lost:
        assert poisoned or min(dies_after.values()) < 10**6
        return
    assert sorted([*heard.keys(), *heard.failures()]) == sorted(keys(several))
    assert not set(heard.keys()) & poisoned
    if not any(after < 10**6 for after in dies_after.values()):
        assert set(heard.failures()) == poisoned
