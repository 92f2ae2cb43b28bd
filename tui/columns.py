"""The live rankers of a comparison: one process a column, started, asked and ended together.

Apart from the screen, which draws what they say: here is who is asked what, and what becomes
of their processes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from recommender.live.client import LiveClient
from recommender.live.messages import Message
from tui.comparing import Comparison

if TYPE_CHECKING:
    from recommender.config import Settings


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason that is being written."""

    number: int
    """Of the question."""
    item: int
    shown_in: str
    """The column whose item it is about; a student has its items explained by a teacher."""


class LiveColumns:
    """The processes behind the columns of one comparison."""

    def __init__(self, comparison: Comparison, category: str, settings: Settings) -> None:
        """Nothing is started yet."""
        self.comparison, self.category, self.settings = comparison, category, settings
        self.clients: dict[str, LiveClient] = {}
        self.explaining: dict[str, Reason] = {}
        """Column -> the reason that it writes."""
        self._starting: dict[LiveClient, asyncio.Task[None]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def listen(self, by: str) -> AsyncIterator[Message]:
        """Start a column's process, ask it what is shown, and yield what it says."""
        client = LiveClient(self.category, by, self.settings, log=self._log(by))
        self.clients[by] = client
        self.comparison.column(by).asked_at = self.comparison.clock()
        self._starting[client] = asyncio.create_task(client.start())
        # Shielded: who stops listening in the middle of it leaves a process that must be ended.
        await asyncio.shield(self._starting[client])
        self.ask(by)
        async with aclosing(client.messages()) as messages:  # type: ignore[type-var]
            async for message in messages:
                if self.clients.get(by) is not client:
                    return
                yield message

    def ask(self, by: str) -> None:
        """Ask a column about the history that is shown, and about nothing else any more."""
        client, column = self.clients.get(by), self.comparison.column(by)
        if client is None or client.pid is None or column.dead:
            return
        self.stop(by)
        if self.comparison.person is None and self.comparison.edited is None:
            return
        history = [item.number for item in self.comparison.history]
        self.comparison.asked(by, client.ask(history, self.comparison.n))

    def ask_all(self) -> None:
        """Ask every column."""
        for column in self.comparison.columns:
            self.ask(column.by)

    def stop(self, by: str) -> None:
        """Cancel what a column is at."""
        client, column = self.clients.get(by), self.comparison.column(by)
        if client is None:
            return
        if by in self.explaining:
            client.cancel(self.explaining.pop(by).number)
        if column.number and column.answer is None:
            client.cancel(column.number)
            self.comparison.cancelled(by)

    def explain(self, by: str, item: int, shown_in: str) -> None:
        """Ask a column why an item of another, or of its own, might suit."""
        client = self.clients.get(by)
        if client is None:
            return
        if by in self.explaining:
            client.cancel(self.explaining.pop(by).number)
        history = [one.number for one in self.comparison.history]
        self.explaining[by] = Reason(client.explain(history, item), item, shown_in)

    def end(self, by: str) -> None:
        """End a column's process, without waiting for it."""
        client = self.clients.pop(by, None)
        self.explaining.pop(by, None)
        if client is not None:
            task = asyncio.create_task(self._end(client))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """End all processes, and wait for it."""
        for by in list(self.clients):
            self.end(by)
        await asyncio.gather(*self._closing)

    async def _end(self, client: LiveClient) -> None:
        starting = self._starting.pop(client, None)
        if starting is not None:
            await starting
        await client.close()

    def _log(self, by: str) -> Path:
        name = "".join(c if c.isalnum() else "-" for c in by)[:60]
        return self.settings.data_dir / "live" / f"{name}.log"
