"""One host of a bulk job: asked again where that can help, and what it did not answer.

Apart from the queue because here the only question is whether this host answers this request.
What follows from that, for the request and for the host, is decided where the job is consumed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tenacity import (
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_after_attempt,
    stop_when_event_set,
    wait_random_exponential,
)

from recommender.asking.pacing import MOST_IN_FLIGHT, Pace
from recommender.backends import Backend, Scores
from recommender.backends.errors import BackendError, ContextTooSmall, Transient
from storage.records import LabelFailure, LabelRequest

ATTEMPTS = 6
"""A request that could not be answered is tried as often, with longer and longer pauses."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 20.0
GIVE_UP_AFTER = 3
"""Groups in a row of which a host does not answer a request, before it is left alone."""

Ask = Callable[[Backend, LabelRequest], Scores]


@dataclass(frozen=True, slots=True)
class Answered:
    """A request and what came back."""

    request: LabelRequest
    scores: Scores


@dataclass(frozen=True, slots=True)
class Turn:
    """A group of requests, or what is left of it."""

    group: int
    requests: Sequence[LabelRequest]

    @property
    def rest(self) -> Turn | None:
        """What is left after the first request; None where that is nothing."""
        return Turn(self.group, self.requests[1:]) if len(self.requests) > 1 else None


@dataclass(frozen=True, slots=True)
class Silence:
    """A request that a host did not answer, however often it was asked."""

    turn: Turn
    """The request alone."""
    error: Transient
    failure: LabelFailure


class Host:
    """One machine of a job; its threads share it.

    `silent` is the consumer's alone: what was not answered since the last answer. Whether that
    is the fault of the host or of the questions shows when it answers another one.
    """

    def __init__(self, backend: Backend, ask: Ask, *, in_flight: int, first_pause: float) -> None:
        """`in_flight` questions at once, 0 finds out; one where the backend takes no more."""
        card = backend.describe()
        self.name = card.device or card.name
        self.concurrent = card.concurrent
        self.places = (in_flight or MOST_IN_FLIGHT) if card.concurrent else 1
        self.pace = Pace(in_flight if card.concurrent else 1)
        self.over = threading.Event()
        """Set when it is left alone, and when the job ends; ends pauses too."""
        self.silent: list[Silence] = []
        self._backend, self._ask = backend, ask
        self._retrying = Retrying(
            retry=retry_if_exception_type(Transient),
            stop=stop_after_attempt(ATTEMPTS) | stop_when_event_set(self.over),
            wait=wait_random_exponential(multiplier=first_pause, max=LONGEST_PAUSE),
            sleep=sleep_using_event(self.over),
            reraise=True,
        )

    def ask_first(self, turn: Turn) -> Answered | LabelFailure | Silence:
        """Ask the first request of a turn, again where that can help.

        Raises:
            BackendError: one that asking again cannot help.
        """
        request, started = turn.requests[0], time.perf_counter()
        try:
            scores = self._retrying(self._ask, self._backend, request)
        except ContextTooSmall as error:
            return self._failure(request, error, started)
        except Transient as error:
            failure = self._failure(request, error, started)
            return Silence(Turn(turn.group, (request,)), error, failure)
        self.pace.answered()
        return Answered(request, scores)

    def close(self) -> None:
        """Let no thread begin anything more here. What is under way ends by itself."""
        self.over.set()
        self.pace.open_up()

    def gives_up(self) -> bool:
        """Say whether it has not answered for so long that it is left alone."""
        return len({one.turn.group for one in self.silent}) >= GIVE_UP_AFTER

    def let_go(self) -> list[LabelFailure]:
        """Return what it did not answer as failures, and forget it."""
        failures = [one.failure for one in self.silent]
        self.silent.clear()
        return failures

    def _failure(self, request: LabelRequest, error: BackendError, started: float) -> LabelFailure:
        at = datetime.now(UTC).isoformat(timespec="seconds")
        seconds = time.perf_counter() - started
        return LabelFailure(request.key, at, error.status, error.what, self.name, seconds)
