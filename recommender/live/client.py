"""The asking end of a live ranker: its process, started, heard and ended from an event loop.

Apart from the answering end because it loads nothing that ranks.
"""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path

from recommender.config import Settings
from recommender.live.messages import (
    Ask,
    Cancel,
    Explain,
    Message,
    Refused,
    from_line,
    to_line,
)
from storage.errors import BadData

LINE = 1 << 24
"""Bytes a message may have."""
TAIL = 1 << 14
"""Bytes of a log that are read when a process died."""
LAST_WORDS = 200
"""Characters of its last line that are repeated."""
PATIENCE = (1.0, 1.0)
"""Seconds until a process whose pipe is closed is asked to end, and until it is made to."""


class LiveClient:
    """One live ranker in a process of its own."""

    def __init__(
        self, category: str, by: str, settings: Settings, *, log: Path | None = None
    ) -> None:
        """Ask `by` about the people of a category; what the process complains of goes to `log`."""
        self.category, self.by, self.settings, self.log = category, by, settings, log
        self._process: Process | None = None
        self._heard: asyncio.Queue[Message | None] = asyncio.Queue()
        self._pump: asyncio.Task[None] | None = None
        self._numbers = 0
        self._closing = False

    @property
    def pid(self) -> int | None:
        """The process, None before it is started."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start the process; it opens the ranker at once."""
        command = (sys.executable, "-P", "-m", "recommender.live")
        if self.log is None:
            self._process = await _started(command, DEVNULL)
        else:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("wb") as log:
                self._process = await _started(command, log.fileno())
        first = {"category": self.category, "by": self.by, **self.settings.carried()}
        self._write(json.dumps(first) + "\n")
        self._pump = asyncio.create_task(self._listen())
        if self._closing:  # it was closed while the process was being made, or before
            await self.close()

    def ask(self, history: Sequence[int], n: int = 10) -> int:
        """Ask for the best n for a history; return the number that replies will carry."""
        self._numbers += 1
        self._send(Ask(self._numbers, tuple(int(item) for item in history), n))
        return self._numbers

    def explain(self, history: Sequence[int], item: int) -> int:
        """Ask why an item might suit; return the number that replies will carry."""
        self._numbers += 1
        self._send(Explain(self._numbers, tuple(int(i) for i in history), int(item)))
        return self._numbers

    def cancel(self, number: int) -> None:
        """Let what was asked under a number be stopped."""
        self._send(Cancel(number))

    async def messages(self) -> AsyncIterator[Message]:
        """Yield what the process says until it ends.

        If it ends without being asked to, the last message is a `Refused` with the number -1.
        """
        while True:
            message = await self._heard.get()
            if message is None:
                return
            yield message

    async def close(self) -> None:
        """End the process, however busy it is."""
        self._closing = True
        if self._process is None or self._pump is None:
            self._heard.put_nowait(None)
            return
        if self._process.stdin is not None:
            self._process.stdin.close()
        for patience, end in zip(PATIENCE, ("terminate", "kill"), strict=True):
            try:
                await asyncio.wait_for(asyncio.shield(self._pump), patience)
                break
            except TimeoutError:
                with suppress(ProcessLookupError):
                    getattr(self._process, end)()
        await self._pump

    def _send(self, message: Message) -> None:
        self._write(to_line(message))

    def _write(self, line: str) -> None:
        # Lines are short and the process always reads: nothing piles up that had to be waited for.
        # Where it has ended, asyncio drops what is written, and `_listen` says that it ended.
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(line.encode())

    async def _listen(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        refused = False
        async for line in self._process.stdout:
            try:
                message = from_line(line)
            except BadData as error:
                message = Refused(-1, error.what, kind="BadData")
            refused = refused or (isinstance(message, Refused) and message.number < 0)
            self._heard.put_nowait(message)
        code = await self._process.wait()
        if not (refused or self._closing):
            self._heard.put_nowait(self._death(code))
        self._heard.put_nowait(None)

    def _death(self, code: int) -> Refused:
        how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
        said, step = "", ""
        if self.log is not None and (lines := _tail(self.log)):
            said, step = f": {lines[-1][:LAST_WORDS]}", f"look at {self.log}"
        return Refused(-1, f"the process of {self.by!r} {how}{said}", step, kind="Died")


def _tail(log: Path) -> list[str]:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL))
        return file.read().decode("utf-8", "replace").strip().splitlines()


async def _started(command: Sequence[str], errors: int) -> Process:
    return await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, stderr=errors, limit=LINE, start_new_session=True
    )
