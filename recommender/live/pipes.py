"""What a live ranker's process hears and says, by its pipes.

Apart from answering because a thread of its own reads what comes in: a question can be cancelled
while the ranker is at work, and the process ends with whoever asked, even in the middle of
loading a model.
"""

from __future__ import annotations

import os
import queue
import sys
import traceback
from threading import Lock, Thread
from typing import BinaryIO

from recommender.live.messages import Ask, Cancel, Explain, Message, Refused, from_line, to_line
from storage.errors import BadData, RecsysError


class Outbox:
    """Where replies go, one whole line at a time, whichever thread says them."""

    def __init__(self, out: BinaryIO) -> None:
        self._out, self._lock = out, Lock()

    def send(self, message: Message) -> None:
        """Say something, and end the process if nobody listens any more."""
        try:
            with self._lock:
                self._out.write(to_line(message).encode())
                self._out.flush()
        except BrokenPipeError:
            os._exit(0)


class Inbox:
    """What came in and is not answered, and which numbers are not wanted any more."""

    def __init__(self, source: BinaryIO, out: Outbox) -> None:
        self.questions: queue.SimpleQueue[Ask | Explain] = queue.SimpleQueue()
        self.cancelled: set[int] = set()
        self._source, self._out = source, out
        Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        code = 1  # also where reading fails: whoever is not heard must not be waited for
        try:
            for line in self._source:
                self._put(from_line(line))
            code = 0  # nobody asks any more
        except BadData as error:
            self._out.send(refused(-1, error))
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _put(self, message: Message) -> None:
        match message:
            case Cancel(number):
                self.cancelled.add(number)
            case Ask() | Explain():
                self.questions.put(message)
            case _:
                raise BadData(f"a live ranker is not told {type(message).__name__!r}")


def refused(number: int, error: RecsysError) -> Refused:
    """Return an error as the answer to a question; -1 is the ranker itself.

    >>> refused(3, BadData("no"))
    Refused(number=3, what='no', next_step='', kind='BadData')
    """
    return Refused(number, error.what, error.next_step, type(error).__name__)
