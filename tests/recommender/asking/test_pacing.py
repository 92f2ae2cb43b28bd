"""How many questions are under way at once: found out on simulated servers, with their clock."""

from __future__ import annotations

import heapq
import random
import threading
import time
from collections.abc import Callable

import pytest

from recommender.asking.pacing import (
    ANSWERS_A_TRIAL,
    LEAST_ROUNDS,
    LONG_TRIAL,
    MOST_IN_FLIGHT,
    Pace,
)

Times = Callable[[], float]


class Simulated:
    """A server with some slots, and a client that always has as many questions there as allowed.

    Questions beyond the slots wait, as on a real server; `answer` is how long one takes.
    """

    def __init__(self, slots: int, answer: Times, fixed: int = 0) -> None:
        self.slots, self.answer = slots, answer
        self.now = 0.0
        self.looked = 0
        self.pace = Pace(fixed, clock=self.clock)
        self.history = [self.pace.allowed]

    def clock(self) -> float:
        self.looked += 1
        return self.now

    def run(self, answers: int) -> int:
        """Answer so many questions; return how many places are open in the end."""
        under_way: list[float] = []
        waiting = self.pace.allowed
        for _ in range(answers):
            while waiting and len(under_way) < self.slots:
                heapq.heappush(under_way, self.now + self.answer())
                waiting -= 1
            self.now = heapq.heappop(under_way)
            self.pace.answered()
            # Whoever was answered asks again if his place is open, and new places ask too.
            waiting = max(0, self.pace.allowed - len(under_way))
            if self.pace.allowed != self.history[-1]:
                self.history.append(self.pace.allowed)
        return self.pace.allowed


def steady() -> float:
    return 1.0


@pytest.mark.parametrize("slots", [1, 2, 4, 8])
@pytest.mark.parametrize("seconds", [0.001, 0.3, 5.0])
def test_it_settles_at_the_slots_of_a_server(slots: int, seconds: float) -> None:
    server = Simulated(slots, lambda: seconds)
    assert server.run(600) == slots
    # By way of the powers of two, and once beyond where there is a beyond.
    tried = [n for n in (1, 2, 4, 8) if n <= slots]
    if slots < MOST_IN_FLIGHT:
        tried += [2 * slots, slots]
    assert server.history == tried
    looked = server.looked
    server.run(100)
    assert (server.pace.allowed, server.looked) == (slots, looked)


@pytest.mark.parametrize("slots", [1, 2, 4, 8])
@pytest.mark.parametrize("seconds", [0.1, 5.0])
def test_answers_of_uneven_length_do_not_lead_it_far_astray(slots: int, seconds: float) -> None:
    found = []
    for seed in range(40):
        chance = random.Random(seed)
        found.append(Simulated(slots, lambda c=chance: seconds * c.uniform(0.7, 1.3)).run(600))
    assert all(slots / 2 <= allowed <= 2 * slots for allowed in found)
    assert sum(allowed == slots for allowed in found) >= 34


def test_between_two_powers_all_slots_are_kept_busy() -> None:
    assert Simulated(3, steady).run(600) == 4
    assert Simulated(6, steady).run(600) == 8
    assert Simulated(100, steady).run(600) == MOST_IN_FLIGHT


def test_a_server_that_slows_down_under_more_is_given_fewer() -> None:
    server = Simulated(8, steady)
    server.answer = lambda: float(server.pace.allowed)  # the machine is shared out
    assert server.run(600) == 1


def test_a_trial_on_a_slow_server_is_cut_short() -> None:
    server = Simulated(8, lambda: LONG_TRIAL)
    # Warming up, and then a few rounds, for each of four numbers.
    rounds = {n: max(LEAST_ROUNDS, ANSWERS_A_TRIAL // n) for n in (1, 2, 4, 8)}
    assert server.run(sum(n + n * rounds[n] for n in rounds)) == 8
    looked = server.looked
    server.run(20)
    assert server.looked == looked


@pytest.mark.parametrize("fixed", [1, 3, 8, 64])
def test_a_fixed_number_is_never_decided_about(fixed: int) -> None:
    server = Simulated(2, steady, fixed)
    assert server.run(2000) == fixed
    assert server.looked == 0


def test_a_place_waits_until_it_is_open() -> None:
    pace = Pace(2)
    came: list[int] = []

    def wait(place: int) -> None:
        pace.wait_for(place)
        came.append(place)

    # Also places beyond those that are ever found to pay, of who fixed a higher number.
    threads = [threading.Thread(target=wait, args=(place,)) for place in (0, 1, 2, 63)]
    for thread in threads:
        thread.start()
    for thread in threads[:2]:
        thread.join(5)
    time.sleep(0.02)
    assert sorted(came) == [0, 1]
    pace.open_up()
    for thread in threads:
        thread.join(5)
    assert sorted(came) == [0, 1, 2, 63]
    assert pace.allowed == 2


def test_a_place_that_is_closed_again_waits() -> None:
    server = Simulated(1, steady)
    assert server.run(600) == 1
    thread = threading.Thread(target=server.pace.wait_for, args=(1,), daemon=True)
    thread.start()
    thread.join(0.02)
    assert thread.is_alive()
    server.pace.open_up()
    thread.join(5)
    assert not thread.is_alive()


def test_doubling_lets_the_new_places_in() -> None:
    server = Simulated(8, steady)
    thread = threading.Thread(target=server.pace.wait_for, args=(7,), daemon=True)
    thread.start()
    server.run(400)
    thread.join(5)
    assert not thread.is_alive()


def test_many_threads_may_count_answers() -> None:
    pace = Pace()
    threads = [
        threading.Thread(target=lambda: [pace.answered() for _ in range(500)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert pace.allowed in (1, 2, 4, 8)
