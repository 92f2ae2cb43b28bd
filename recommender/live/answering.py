"""The process of a live ranker: it opens one, then answers until nobody asks any more.

Its standard output carries messages and nothing else. A thread of its own reads what comes in,
so that a question can be cancelled while the ranker is at work, and so that the process ends
with whoever asked, even in the middle of loading a model.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import time
import traceback
from collections.abc import Generator
from threading import Thread
from typing import BinaryIO, TypeVar

import numpy as np

from recommender.config import Settings
from recommender.live.messages import (
    Answered,
    Ask,
    Cancel,
    Ended,
    Explain,
    LiveItem,
    Message,
    Opened,
    Opening,
    Piece,
    Refused,
    Thinking,
    from_line,
    to_line,
)
from recommender.live.opening import Live, open_live
from recommender.ranking import Ranking
from storage.errors import RecsysError
from storage.records import Category
from storage.store import Store

T = TypeVar("T")

NICENESS = 5
"""Whoever draws the screen goes first."""
LONGEST = 2000
"""Characters of a title that are sent."""


def main() -> None:
    """Answer on this process's own pipes until they are closed, then end the process."""
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a library prints is no message
    os.nice(NICENESS)
    code = 1
    try:
        code = _serve(sys.stdin.buffer, out)
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        # Not the interpreter's way out: the reading thread stands in the middle of a read.
        sys.stderr.flush()
        os._exit(code)


def _serve(source: BinaryIO, out: BinaryIO) -> int:
    asked = json.loads(source.readline())
    settings = Settings.received(asked)
    inbox = _Inbox(source)
    try:
        with Store.open(settings.db, settings.artifacts) as store:
            category = store.catalogue.category(asked["category"])
            answerer = Answerer(store, category, asked["by"], settings, inbox, out)
            answerer.open()
            answerer.run()
    except RecsysError as error:
        _send(out, _refused(-1, error))
    return 0


class _Inbox:
    """What came in and is not answered, and which numbers are not wanted any more."""

    def __init__(self, source: BinaryIO) -> None:
        self.messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.cancelled: set[int] = set()
        self._source = source
        Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._source:
            message = from_line(line)
            if isinstance(message, Cancel):
                self.cancelled.add(message.number)
            else:
                self.messages.put(message)
        os._exit(0)  # nobody asks any more


class Answerer:
    """One open ranker that answers one message after the other."""

    def __init__(
        self,
        store: Store,
        category: Category,
        by: str,
        settings: Settings,
        inbox: _Inbox,
        out: BinaryIO,
    ) -> None:
        """Answer what comes into `inbox` by writing to `out`."""
        self._store, self._category, self._by = store, category, by
        self._settings, self._inbox, self._out = settings, inbox, out
        self._live: Live | None = None

    def open(self) -> None:
        """Open the ranker, and say what is done meanwhile.

        Raises:
            RecsysError: it cannot be opened.
        """
        started = time.perf_counter()
        live = open_live(
            self._store,
            self._category,
            self._by,
            self._settings,
            say=lambda note: _send(self._out, Opening(note)),
        )
        seconds = time.perf_counter() - started
        self._live = live
        told = Opened(self._by, live.about, seconds, live.sees_all, live.explains, live.notices)
        _send(self._out, told)

    def run(self) -> None:
        """Answer until the process ends."""
        while True:
            message = self._inbox.messages.get()
            number = getattr(message, "number", -1)
            try:
                for reply in self._replies(message):
                    _send(self._out, reply)
            except RecsysError as error:
                _send(self._out, _refused(number, error))
            self._inbox.cancelled.discard(number)

    def _replies(self, message: Message) -> Generator[Message, None, None]:
        match message:
            case Ask():
                yield from self._answer(message)
            case Explain():
                yield from self._explain(message)

    def _answer(self, ask: Ask) -> Generator[Message, None, None]:
        started = time.perf_counter()
        steps = self._steps(ask)
        tokens = 0
        while True:
            if ask.number in self._inbox.cancelled:
                steps.close()
                yield Ended(ask.number, cancelled=True)
                return
            try:
                thinking = next(steps)
            except StopIteration as stop:
                ranking = stop.value
                break
            tokens = thinking.tokens
            yield thinking
        seconds = time.perf_counter() - started
        yield self._answered(ask, ranking, seconds, tokens)

    def _steps(self, ask: Ask) -> Generator[Thinking, None, Ranking]:
        live = self._opened
        history = np.array(ask.history, dtype=np.int64)
        if not hasattr(live.ranker, "steps"):
            yield from ()
            return live.ranker.rank(history, n=ask.n)
        # Only a teacher has steps, and only a process with a teacher in it can know the class.
        from recommender.teacher import TeacherRanker

        assert isinstance(live.ranker, TeacherRanker)
        steps = live.ranker.steps(history, n=ask.n)
        while True:
            try:
                step = next(steps)
            except StopIteration as stop:
                ranking: Ranking = stop.value
                return ranking
            yield Thinking(ask.number, step.done, step.total, step.tokens, step.seconds)

    def _answered(self, ask: Ask, ranking: Ranking, seconds: float, tokens: int) -> Answered:
        found = self._store.catalogue.items_by_number(self._category.id, ranking.items)
        above = (None, *ranking.scores)
        items = tuple(
            LiveItem(
                item.number,
                item.id,
                (item.title or item.id)[:LONGEST],
                score,
                tied=last is not None and last - score < ranking.resolution,
            )
            for item, score, last in zip(found, ranking.scores, above, strict=False)
        )
        notices = ranking.notices
        if ranking.left_out:
            notices += (f"{ranking.left_out:,} items are newer than it and were left out",)
        return Answered(ask.number, ranking.name, items, seconds, tokens, notices)

    def _explain(self, asked: Explain) -> Generator[Message, None, None]:
        # Deferred: only a teacher gives reasons.
        from recommender.asking.explaining import explain, writer

        teacher = writer(self._by, self._opened.ranker)
        pieces = explain(teacher.backend, teacher.texts, asked.history, asked.item)
        for piece in pieces:
            if asked.number in self._inbox.cancelled:
                yield Ended(asked.number, cancelled=True)
                return
            yield Piece(asked.number, piece)
        yield Ended(asked.number)

    @property
    def _opened(self) -> Live:
        assert self._live is not None
        return self._live


def _refused(number: int, error: RecsysError) -> Refused:
    return Refused(number, error.what, error.next_step, type(error).__name__)


def _send(out: BinaryIO, message: Message) -> None:
    try:
        out.write(to_line(message).encode())
    except BrokenPipeError:
        os._exit(0)  # nobody listens any more
