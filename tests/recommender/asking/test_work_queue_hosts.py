"""The bulk job's queue over several hosts: who dies leaves what it held to the others."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from recommender.asking.patience import GIVE_UP_AFTER
from recommender.backends.errors import (
    BackendError,
    Lost,
)
from recommender.backends.hosts import Hosts
from tests.recommender.asking.queued import (
    Asking,
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


@pytest.mark.parametrize("in_flight", [1, 4])
@pytest.mark.parametrize("after", [0, 10])
def test_a_host_that_dies_leaves_its_groups_to_the_other(in_flight: int, after: int) -> None:
    several = groups(60)
    answers = Counter[str]()
    dead = threading.Event()

    def fail(where: str, key: str) -> BackendError | None:
        answers[where] += 1
        if where == "box0":
            assert dead.wait(10)
            return None
        if answers[where] <= after:
            return None
        dead.set()
        return Lost("connection refused")

    ask = Asking(fail)
    members = [host("box0", delay=0.001), host("box1")]
    heard = run(Hosts(members), several, ask, in_flight=in_flight)
    assert heard.keys() == sorted(keys(several))
    assert heard.failed == []
    assert heard.notices == ["box1 is left alone: connection refused"]
    assert Counter(one.request.key for one in heard.answered).most_common(1)[0][1] == 1
    assert heard.batches[-1].in_flight in (in_flight, 2 * in_flight)


def test_what_a_dead_host_held_at_the_end_is_put_to_the_other() -> None:
    # One question each is left when box1 dies: too few in a row to give it up for.
    gate = threading.Event()

    def fail(where: str, key: str) -> BackendError | None:
        if where == "box1":
            gate.set()
            return Lost("connection refused")
        assert gate.wait(10)
        return None

    ask = Asking(fail)
    heard = run(Hosts([host("box0"), host("box1")]), groups(2, 1), ask, in_flight=1)
    assert heard.keys() == ["0.0", "1.0"]
    assert heard.failed == []
    assert heard.notices == ["box1 is left alone: connection refused"]


@pytest.mark.parametrize("in_flight", [1, 4])
def test_when_the_only_host_dies_every_answer_is_kept(in_flight: int) -> None:
    answers = Counter[str]()

    def fail(where: str, key: str) -> BackendError | None:
        answers[where] += 1
        return None if answers[where] <= 10 else Lost("connection refused")

    ask = Asking(fail)
    heard = ends(host("box"), groups(40), ask, Lost, in_flight=in_flight)
    assert "connection refused; every answer so far is kept" in str(heard.error)
    assert "the same command goes on from there" in str(heard.error)
    assert isinstance(heard.error, Lost)
    assert isinstance(heard.error.__cause__, Lost)
    assert len(heard.answered) == 10
    silent = {one.key.partition(".")[0] for one in heard.failed}
    # Beside others an answer may still come after the first that did not.
    assert len(silent) == GIVE_UP_AFTER if in_flight == 1 else len(silent) >= GIVE_UP_AFTER
    assert not set(heard.keys()) & set(heard.failures())


def test_when_both_hosts_die_the_second_ends_the_job() -> None:
    ask = Asking(lambda where, key: Lost(f"{where} refused"))
    backend = Hosts([host("box0"), host("box1")])
    heard = ends(backend, groups(20), ask, Lost, in_flight=2)
    assert len(heard.notices) == 1
    assert heard.answered == []
    assert "every answer so far is kept" in str(heard.error)


def test_two_hosts_of_one_name_are_two_hosts() -> None:
    members = [host("", delay=0.01), host("", delay=0.01)]
    heard = run(Hosts(members), groups(20), Asking(), in_flight=1)
    assert heard.keys() == sorted(keys(groups(20)))
    assert all(member.calls for member in members)
