"""How many questions a server should have before it at once: found out by trying.

A server does not say how many it answers side by side (`OLLAMA_NUM_PARALLEL` is not readable),
and more than that only wait. So the number is doubled while that pays, and put back when it
no longer does. The answers that the trial brings are answers like any other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

MOST_IN_FLIGHT = 8
PAYS = 1.15
"""Doubling must bring at least so many times the rate to be kept."""
ANSWERS_A_TRIAL = 12
"""Answers for each place, after which the rate is believed."""
LONG_TRIAL, LEAST_ROUNDS = 20.0, 4
"""After so many seconds, as many answers in all are enough, and so many for each place."""


class Pace:
    """The places of one host, of which some are open.

    >>> Pace(3).allowed
    3
    >>> Pace(0).allowed
    1
    """

    def __init__(self, fixed: int = 0, *, clock: Callable[[], float] = time.perf_counter) -> None:
        """`fixed` places are open from the start and stay so; 0 finds the number."""
        self.allowed = fixed or 1
        self._settled = bool(fixed)
        self._over = False
        self._clock = clock
        self._turn = threading.Condition()
        self._came = 0
        self._since: float | None = None
        self._best = 0.0

    def wait_for(self, place: int) -> None:
        """Wait until a place is open; places are counted from 0."""
        with self._turn:
            self._turn.wait_for(lambda: self._over or place < self.allowed)

    def answered(self) -> None:
        """Count one answer, and decide about the number where a trial is over."""
        with self._turn:
            if self._settled:
                return
            now = self._clock()
            self._came += 1
            if self._since is None:
                # The first answers of a trial were begun before it.
                if self._came >= self.allowed:
                    self._came, self._since = 0, now
                return
            seconds = now - self._since
            rounds, over = divmod(self._came, self.allowed)
            least = max(LEAST_ROUNDS, ANSWERS_A_TRIAL / self.allowed)
            # Answers come in bursts: half of one would count for more than it is.
            enough = rounds >= (least if seconds > LONG_TRIAL else ANSWERS_A_TRIAL)
            if enough and not over:
                self._decide(self._came / max(seconds, 1e-9))

    def open_up(self) -> None:
        """Let everybody through, for good: the host is not asked any more."""
        with self._turn:
            self._over = True
            self._turn.notify_all()

    def _decide(self, rate: float) -> None:
        if rate < PAYS * self._best:
            self.allowed, self._settled = self.allowed // 2, True
            return
        self._best, self._came, self._since = rate, 0, None
        if self.allowed >= MOST_IN_FLIGHT:
            self._settled = True
            return
        self.allowed *= 2
        self._turn.notify_all()
