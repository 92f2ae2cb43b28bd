"""The jobs of this machine, followed from the app: what is new, a few times a second.

Apart from `distill.jobs`, which starts, stops and reads them, because here a thread stands
between its files and the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from distill.jobs.jobs import Jobs
from distill.jobs.records import Job, JobSpec
from recommender.events import Event
from storage.errors import UnknownName

if TYPE_CHECKING:
    from recommender.config import Settings

EVERY = 0.3
"""Seconds between two looks."""


@dataclass(frozen=True, slots=True)
class JobNews:
    """A job as it is now, and what it said since the last news of it."""

    job: Job
    events: tuple[Event, ...]
    first: bool = False
    """The first news of this job in this app: `events` begin with its first."""


class JobWatch:
    """Starts, stops and follows jobs, each call in a thread."""

    def __init__(self, settings: Settings) -> None:
        """`settings` say where jobs are kept, and are what new jobs run with."""
        self.settings = settings
        self._jobs = Jobs(settings.data_dir / "jobs")
        self._read: dict[str, int] = {}
        self._seen: dict[str, Job] = {}

    async def all(self) -> list[Job]:
        """Return all jobs, newest first."""
        return await asyncio.to_thread(self._jobs.list)

    async def start(self, spec: JobSpec, settings: Settings | None = None) -> Job:
        """Start a job that outlives this app."""
        return await asyncio.to_thread(self._jobs.start, spec, settings or self.settings)

    async def stop(self, job: str) -> None:
        """Ask a job to stop at its next checkpoint."""
        await asyncio.to_thread(self._jobs.stop, job)

    async def resume(self, job: str) -> Job:
        """Let a job go on where it was."""
        return await asyncio.to_thread(self._jobs.resume, job)

    async def remove(self, job: str) -> None:
        """Forget a job that has ended."""
        await asyncio.to_thread(self._jobs.remove, job)

    async def events(self, job: str, since: int = 0) -> tuple[list[Event], int]:
        """Return what a job said behind a place in its file, and the place behind that."""
        return await asyncio.to_thread(self._jobs.events, job, since)

    async def news(self) -> AsyncIterator[JobNews]:
        """Yield what is new, for ever."""
        while True:
            for one in await asyncio.to_thread(self._look):
                yield one
            await asyncio.sleep(EVERY)

    def _look(self) -> list[JobNews]:
        found = []
        for job in self._jobs.list():
            first = job.id not in self._read
            try:
                events, self._read[job.id] = self._jobs.events(job.id, self._read.get(job.id, 0))
            except UnknownName:  # removed since the list was made
                continue
            if first or events or job != self._seen.get(job.id):
                found.append(JobNews(job, tuple(events), first))
            self._seen[job.id] = job
        return found
