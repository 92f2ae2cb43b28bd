"""Many questions under way at once: one queue, several hosts, answers as they come.

Threads ask, because a thread that waits for a server costs nothing; whoever consumes the
generator keeps the answers, on its own thread, so that one connection to the Store is enough.
There too, and nowhere else, it is decided what has failed and who is left alone. A backend in
this process is asked one question after the other instead.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from recommender.asking.patience import FIRST_PAUSE, Answered, Ask, Host, Silence, Turn
from recommender.backends import Backend
from recommender.backends.errors import BackendError
from recommender.backends.hosts import members_of
from recommender.events import Event, Notice
from storage.records import LabelFailure, LabelRequest

IDLE = 0.05
"""Seconds between two looks at an empty queue."""

Group = Sequence[LabelRequest]


@dataclass(frozen=True, slots=True)
class Batch:
    """What came since the last one."""

    answered: tuple[Answered, ...]
    failed: tuple[LabelFailure, ...] = ()
    in_flight: int = 1


@dataclass(slots=True)
class _News:
    """What some messages come to."""

    answered: list[Answered] = field(default_factory=list)
    failed: list[LabelFailure] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    end: BaseException | None = None


_Message = Answered | LabelFailure | Silence | BaseException


def ask_all(
    backend: Backend,
    groups: Sequence[Group],
    ask: Ask,
    *,
    in_flight: int = 0,
    first_pause: float = FIRST_PAUSE,
) -> Generator[Batch | Event, None, None]:
    """Ask every request of every group; yield what came, batch by batch, until none is left.

    A request that a host does not answer is a failure if that host answers others, and is put
    to another host if it does not.

    Args:
        backend: one, or `Hosts`.
        groups: requests that are asked one after the other on one connection.
        ask: what asks one.
        in_flight: groups under way at once on each host; 0 finds out how many pay.
        first_pause: seconds before the second attempt, on average.

    Raises:
        BackendError: one that asking again cannot help, or no host is left.
    """
    hosts = [
        Host(one, ask, in_flight=in_flight, first_pause=first_pause) for one in members_of(backend)
    ]
    crew = _Crew(hosts, groups)
    try:
        yield from crew.outcomes()
    finally:
        crew.stop()


class _Crew:
    """The threads of one job, and the queue they share."""

    def __init__(self, hosts: Sequence[Host], groups: Sequence[Group]) -> None:
        self._hosts = hosts
        self._waiting = deque(Turn(number, group) for number, group in enumerate(groups) if group)
        self._left = sum(len(group) for group in groups)
        self._came: queue.Queue[tuple[Host, _Message]] = queue.Queue()
        self._here = len(hosts) == 1 and not hosts[0].concurrent

    def outcomes(self) -> Generator[Batch | Event, None, None]:
        idle = self._here or not self._left
        # One place of each host first: a short job is for all of them.
        for place in range(0 if idle else max(host.places for host in self._hosts)):
            for host in self._hosts:
                if place < host.places:
                    self._start(host, place)
        while self._left:
            if self._here:
                rest = self._ask_first(self._hosts[0], self._waiting.popleft())
                self._waiting.extendleft([rest] if rest else [])
            messages = [self._came.get()]
            with suppress(queue.Empty):
                while True:
                    messages.append(self._came.get_nowait())
            yield from self._told(messages)

    def _start(self, host: Host, place: int) -> None:
        name = f"asking {host.name}, {place}"
        threading.Thread(target=self._work, args=(host, place), name=name, daemon=True).start()

    def stop(self) -> None:
        """Let no thread begin anything more. What is under way ends by itself, unheard."""
        for host in self._hosts:
            host.close()

    def _told(
        self, messages: Sequence[tuple[Host, _Message]]
    ) -> Generator[Batch | Event, None, None]:
        news = _News()
        for host, said in messages:
            self._hear(host, said, news)
        held = sum(len(host.silent) for host in self._hosts)
        if held and held == self._left - len(news.answered) - len(news.failed):
            self._decide_held(news)
        self._left -= len(news.answered) + len(news.failed)
        if news.answered or news.failed:
            under_way = sum(h.pace.allowed for h in self._hosts if not h.over.is_set())
            yield Batch(tuple(news.answered), tuple(news.failed), under_way)
        yield from news.notices
        if news.end is not None:
            raise news.end

    def _hear(self, host: Host, said: _Message, news: _News) -> None:
        if isinstance(said, Answered):
            news.answered.append(said)
            news.failed += host.let_go()
        elif isinstance(said, LabelFailure):
            news.failed.append(said)
        elif isinstance(said, BaseException):
            news.end = news.end or said
        elif host.over.is_set():
            self._waiting.append(said.turn)
        else:
            host.silent.append(said)
            if host.gives_up():
                self._leave_alone(host, news)

    def _leave_alone(self, host: Host, news: _News) -> None:
        """Close a host; others get what it did not answer, and without others it is the end."""
        host.close()
        last = host.silent[-1].error
        if all(one.over.is_set() for one in self._hosts):
            news.failed += host.let_go()
            news.end = news.end or nobody_left(last)
            return
        news.notices.append(Notice(f"{host.name} is left alone: {last.what}"))
        self._waiting.extend(one.turn for one in host.silent)
        host.silent.clear()

    def _decide_held(self, news: _News) -> None:
        """Nothing is left but what some hosts did not answer: others may try it, once."""
        others = any(not host.silent and not host.over.is_set() for host in self._hosts)
        for host in self._hosts:
            if host.silent and others:
                self._leave_alone(host, news)
            news.failed += host.let_go()

    def _work(self, host: Host, place: int) -> None:
        """Take groups off the queue, on one place of one host, until that is closed."""
        while not host.over.is_set():
            host.pace.wait_for(place)
            turn: Turn | None = None
            try:
                turn = self._waiting.popleft()
            except IndexError:
                # Another host may still give a group back.
                host.over.wait(IDLE)
            try:
                while turn and not host.over.is_set():
                    turn = self._ask_first(host, turn)
            except BaseException as error:  # noqa: BLE001 - raised where the job is consumed
                self._came.put((host, error))
                return
            if turn:
                self._waiting.appendleft(turn)

    def _ask_first(self, host: Host, turn: Turn) -> Turn | None:
        """Ask the first request of a turn, and return what is to be asked next."""
        said = host.ask_first(turn)
        if not isinstance(said, Silence):
            self._came.put((host, said))
            return turn.rest
        if host.over.is_set():
            return turn
        self._came.put((host, said))
        # Other groups first: this one may be what the model dies of.
        self._waiting.extend([turn.rest] if turn.rest else [])
        return None


def nobody_left(error: BackendError) -> BackendError:
    """Return the error that ends a job: what is kept, and how to go on.

    >>> from recommender.backends.errors import Lost
    >>> str(nobody_left(Lost("the connection failed")))
    'the connection failed; every answer so far is kept; next: the same command goes on from there'
    """
    end = type(error)(
        f"{error.what}; every answer so far is kept",
        next_step="the same command goes on from there",
    )
    end.__cause__ = error
    return end
