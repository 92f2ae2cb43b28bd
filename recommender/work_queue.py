"""Many questions under way at once: one queue, several hosts, answers as they come.

Threads ask, because a thread that waits for a server costs nothing; whoever consumes the
generator keeps the answers, on its own thread, so that one connection to the Store is enough.
A backend in this process is asked one question after the other instead.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
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

from recommender.backends import Backend, Scores
from recommender.backends.errors import BackendError, ContextTooSmall, Transient
from recommender.backends.hosts import members_of
from recommender.events import Event, Notice
from recommender.pacing import MOST_IN_FLIGHT, Pace
from storage.records import LabelFailure, LabelRequest

ATTEMPTS = 6
"""A request that could not be answered is tried as often, with longer and longer pauses."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 20.0
GIVE_UP_AFTER = 3
"""Questions in a row that a host does not answer at all, before it is left alone."""

Ask = Callable[[Backend, LabelRequest], Scores]
Group = Sequence[LabelRequest]


@dataclass(frozen=True, slots=True)
class Answered:
    """A request and what came back."""

    request: LabelRequest
    scores: Scores


@dataclass(frozen=True, slots=True)
class Batch:
    """What came since the last one."""

    answered: tuple[Answered, ...]
    failed: tuple[LabelFailure, ...] = ()
    in_flight: int = 1


@dataclass(frozen=True, slots=True)
class _HostLost:
    name: str
    error: BackendError


_Message = Answered | LabelFailure | _HostLost | BaseException


def ask_all(
    backend: Backend,
    groups: Sequence[Group],
    ask: Ask,
    *,
    in_flight: int = 0,
    first_pause: float = FIRST_PAUSE,
) -> Generator[Batch | Event, None, None]:
    """Ask every request of every group; yield what came, batch by batch, until none is left.

    Args:
        backend: one, or `Hosts`.
        groups: requests that are asked one after the other on one connection.
        ask: what asks one.
        in_flight: groups under way at once on each host; 0 finds out how many pay.
        first_pause: seconds before the second attempt, on average.

    Raises:
        BackendError: one that asking again cannot help, or no host is left.
    """
    if not backend.describe().concurrent:
        for group in groups:
            for request in group:
                yield Batch((Answered(request, ask(backend, request)),))
        return
    crew = _Crew(members_of(backend), groups, ask, in_flight, first_pause)
    try:
        yield from crew.outcomes()
    finally:
        crew.stop()


class _Crew:
    """The threads of one job, and the queue they share."""

    def __init__(
        self,
        hosts: Sequence[Backend],
        groups: Sequence[Group],
        ask: Ask,
        in_flight: int,
        first_pause: float,
    ) -> None:
        self._ask, self._first_pause = ask, first_pause
        self._waiting = deque(groups)
        self._left = sum(len(group) for group in groups)
        self._came: queue.Queue[_Message] = queue.Queue()
        self._stopped = threading.Event()
        self._hosts = {host.describe().device: host for host in hosts}
        self._paces = {name: Pace(in_flight) for name in self._hosts}
        self._silent = dict.fromkeys(self._hosts, 0)
        self._gone: set[str] = set()
        self._threads = [
            threading.Thread(target=self._work, args=(name, place), daemon=True)
            for name in self._hosts
            for place in range(in_flight or MOST_IN_FLIGHT)
        ]

    def outcomes(self) -> Generator[Batch | Event, None, None]:
        for thread in self._threads:
            thread.start()
        while self._left:
            messages = [self._came.get()]
            with suppress(queue.Empty):
                while True:
                    messages.append(self._came.get_nowait())
            yield from self._sorted(messages)

    def stop(self) -> None:
        """Let no thread begin anything more. What is under way ends by itself, unheard."""
        self._stopped.set()
        for pace in self._paces.values():
            pace.open_up()

    def _sorted(self, messages: Sequence[_Message]) -> Generator[Batch | Event, None, None]:
        answered = tuple(m for m in messages if isinstance(m, Answered))
        failed = tuple(m for m in messages if isinstance(m, LabelFailure))
        self._left -= len(answered) + len(failed)
        if answered or failed:
            under_way = sum(p.allowed for n, p in self._paces.items() if n not in self._gone)
            yield Batch(answered, failed, under_way)
        for message in messages:
            if isinstance(message, BaseException):
                raise message
            if isinstance(message, _HostLost) and message.name not in self._gone:
                self._gone.add(message.name)
                if len(self._gone) == len(self._hosts):
                    raise nobody_left(message.error)
                yield Notice(f"{message.name} is left alone: {message.error.what}")

    def _work(self, name: str, place: int) -> None:
        """Take groups off the queue until it is empty, on one place of one host."""
        pace = self._paces[name]
        while not self._stopped.is_set() and name not in self._gone:
            pace.wait_for(place)
            try:
                group = self._waiting.popleft()
            except IndexError:
                # Another host may still give a group back.
                if self._stopped.wait(0.05) or not self._left:
                    return
                continue
            try:
                self._ask_group(name, group, pace)
            except BaseException as error:  # noqa: BLE001 - raised where the job is consumed
                self._came.put(error)
                return

    def _ask_group(self, name: str, group: Group, pace: Pace) -> None:
        for number, request in enumerate(group):
            if self._stopped.is_set() or name in self._gone:
                self._waiting.appendleft(group[number:])
                return
            started = time.perf_counter()
            try:
                scores = self._patiently(self._hosts[name], request)
            except (Transient, ContextTooSmall) as error:
                if self._stopped.is_set():
                    return
                self._silent[name] += 1
                if isinstance(error, Transient) and self._silent[name] >= GIVE_UP_AFTER:
                    self._waiting.appendleft(group[number:])
                    self._came.put(_HostLost(name, error))
                    return
                self._came.put(_failure(request, error, name, time.perf_counter() - started))
                continue
            self._silent[name] = 0
            pace.answered()
            self._came.put(Answered(request, scores))

    def _patiently(self, host: Backend, request: LabelRequest) -> Scores:
        """Ask, and ask again where that can help; a stop ends the pauses too."""
        retrying = Retrying(
            retry=retry_if_exception_type(Transient),
            stop=stop_after_attempt(ATTEMPTS) | stop_when_event_set(self._stopped),
            wait=wait_random_exponential(multiplier=self._first_pause, max=LONGEST_PAUSE),
            sleep=sleep_using_event(self._stopped),
            reraise=True,
        )
        return retrying(self._ask, host, request)


def nobody_left(error: BackendError) -> BackendError:
    """Return the error that ends a job: what is kept, and how to go on.

    >>> str(nobody_left(Lost("the connection failed")))
    'the connection failed; every answer so far is kept; next: the same command goes on from there'
    """
    return type(error)(
        f"{error.what}; every answer so far is kept",
        next_step="the same command goes on from there",
    )


def _failure(request: LabelRequest, error: BackendError, host: str, seconds: float) -> LabelFailure:
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return LabelFailure(request.key, at, error.status, error.what, host, seconds)
