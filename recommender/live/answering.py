"""The process of a live ranker: it opens one, then answers until nobody asks any more.

Its standard output carries messages and nothing else: what a library prints goes with the
errors.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Generator, Sequence
from typing import BinaryIO

import numpy as np

from recommender.config import Settings
from recommender.live.messages import (
    Answered,
    Ask,
    Ended,
    Explain,
    LiveItem,
    Message,
    Opened,
    Opening,
    Piece,
    Thinking,
)
from recommender.live.opening import Live, open_live
from recommender.live.pipes import Inbox, Outbox, refused
from recommender.ranking import Ranking
from storage.errors import BadData, RecsysError
from storage.records import Category
from storage.store import Store

Replies = Generator[Message, None, None]

NICENESS = 5
"""Whoever draws the screen goes first."""
LONGEST = 2000
"""Characters of a title that are sent."""


def main() -> None:
    """Answer on this process's own pipes until they are closed, then end the process."""
    out = Outbox(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)  # what a library prints is no message
    sys.stdout = sys.stderr  # which is not buffered either
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


def _serve(source: BinaryIO, out: Outbox) -> int:
    first = source.readline()
    if not first:
        return 0  # nobody asks any more
    asked = json.loads(first)
    settings = Settings.received(asked)
    inbox = Inbox(source, out)
    try:
        with Store.open(settings.db, settings.artifacts, create=False) as store:
            category = store.catalogue.category(asked["category"])
            answerer = Answerer(store, category, asked["by"], settings, inbox, out)
            answerer.open()
            answerer.run()
    except RecsysError as error:
        out.send(refused(-1, error))
    return 0


class Answerer:
    """One open ranker that answers one message after the other."""

    def __init__(
        self,
        store: Store,
        category: Category,
        by: str,
        settings: Settings,
        inbox: Inbox,
        out: Outbox,
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
            say=lambda note: self._out.send(Opening(note)),
        )
        seconds = time.perf_counter() - started
        self._live = live
        told = Opened(self._by, live.about, seconds, live.sees_all, live.explains, live.notices)
        self._out.send(told)

    def run(self) -> None:
        """Answer until the process ends."""
        while True:
            question = self._inbox.questions.get()
            try:
                for reply in self._replies(question):
                    self._out.send(reply)
            except RecsysError as error:
                self._out.send(refused(question.number, error))
            self._inbox.cancelled.discard(question.number)

    def _replies(self, question: Ask | Explain) -> Replies:
        """Answer; where it is cancelled the work is left where it is."""
        told = question.history if isinstance(question, Ask) else (*question.history, question.item)
        self._refuse_unknown(told)
        replies = self._answer(question) if isinstance(question, Ask) else self._explain(question)
        while question.number not in self._inbox.cancelled:
            reply = next(replies)
            yield reply
            if isinstance(reply, (Answered, Ended)):
                return
        replies.close()
        yield Ended(question.number, cancelled=True)

    def _refuse_unknown(self, items: Sequence[int]) -> None:
        """Refuse numbers that no item has, as where the category was imported anew meanwhile."""
        known = self._category.items
        for item in items:
            if not isinstance(item, int) or not 0 <= item < known:
                raise BadData(f"{self._category.name!r} has {known:,} items, and none is {item!r}")

    def _answer(self, ask: Ask) -> Replies:
        if ask.n < 1:
            raise BadData(f"a ranking has at least 1 item, not {ask.n}")
        started = time.perf_counter()
        live, tokens = self._opened, 0
        history = np.array(ask.history, dtype=np.int64)
        if live.teacher is None:
            ranking = live.ranker.rank(history, n=ask.n)
        else:
            steps = live.teacher.steps(history, n=ask.n)
            while True:
                try:
                    step = next(steps)
                except StopIteration as stop:
                    ranking = stop.value
                    break
                tokens = step.tokens
                yield Thinking(ask.number, step.done, step.total, tokens, step.seconds)
        seconds = time.perf_counter() - started
        yield self._answered(ask, ranking, seconds, tokens)

    def _answered(self, ask: Ask, ranking: Ranking, seconds: float, tokens: int) -> Answered:
        # A class of the user's own may answer in numpy's numbers.
        numbers, scores = [int(i) for i in ranking.items], [float(s) for s in ranking.scores]
        found = self._store.catalogue.items_by_number(self._category.id, numbers)
        above = (None, *scores)
        items = tuple(
            LiveItem(
                item.number,
                item.id,
                (item.title or item.id)[:LONGEST],
                score,
                tied=last is not None and last - score < ranking.resolution,
            )
            for item, score, last in zip(found, scores, above, strict=False)
        )
        notices = ranking.notices
        if ranking.left_out:
            notices += (f"{ranking.left_out:,} items are newer than it and were left out",)
        return Answered(ask.number, ranking.name, items, seconds, tokens, notices)

    def _explain(self, asked: Explain) -> Replies:
        # Deferred: only a teacher gives reasons.
        from recommender.asking.explaining import explain, writer

        teacher = writer(self._by, self._opened.teacher)
        pieces = explain(teacher.backend, teacher.texts, asked.history, asked.item)
        for piece in pieces:
            yield Piece(asked.number, piece)
        yield Ended(asked.number)

    @property
    def _opened(self) -> Live:
        assert self._live is not None
        return self._live
