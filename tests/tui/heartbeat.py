"""How long the app's event loop was ever held up: what a person feels as a frozen window."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

EVERY = 0.005


@dataclass
class Heartbeat:
    """Delays of a clock that ticks every 5 ms in the event loop, in seconds."""

    delays: list[float] = field(default_factory=list)

    @property
    def worst(self) -> float:
        return max(self.delays)

    @property
    def usual(self) -> float:
        return sorted(self.delays)[len(self.delays) // 2]


@asynccontextmanager
async def heartbeat() -> AsyncIterator[Heartbeat]:
    """Listen to the loop while the block runs."""
    found = Heartbeat()

    async def tick() -> None:
        while True:
            due = time.perf_counter() + EVERY
            await asyncio.sleep(EVERY)
            found.delays.append(time.perf_counter() - due)

    ticking = asyncio.create_task(tick())
    try:
        yield found
    finally:
        ticking.cancel()
