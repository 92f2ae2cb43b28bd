"""What every test of a job starts from: a folder of jobs, true processes, a server to pull from."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from distill.jobs.jobs import Jobs
from distill.jobs.records import Job, JobSpec, State
from recommender.config import Settings
from recommender.events import Event
from tests.ollama.loopback import Loopback, Reply, Seen

SECONDS = 90.0
"""A job that has not done what is waited for by then has failed."""
MODEL = "tiny:latest"
SHOWN = b'{"details":{},"model_info":{},"capabilities":["completion"]}'
TAGS = b'{"models":[{"name":"tiny:latest","model":"tiny:latest","digest":"abc","size":9}]}'
NDJSON = {"content-type": "application/x-ndjson"}
JSON = {"content-type": "application/json"}


class Registry(Loopback):
    """A server that brings one model, for as long as it is told to take over it."""

    def __init__(self) -> None:
        super().__init__()
        self.lines, self.pause = 2000, 0.02
        self.there = False

    def hurry(self) -> None:
        """Let what is pulled from now on be there at once."""
        self.lines = 3

    def answer(self, asked: Seen, reply: Reply) -> None:
        if asked.path == "/api/version":
            return reply.whole(200, b'{"version":"0.32.15"}', JSON)
        if asked.path == "/api/tags":
            return reply.whole(200, TAGS if self.there else b'{"models":[]}', JSON)
        if asked.path == "/api/show" and self.there:
            return reply.whole(200, SHOWN, JSON)
        if asked.path != "/api/pull":
            return reply.whole(404, b'{"error":"model not found"}', JSON)
        reply.start(200, NDJSON)
        for line in range(1, self.lines + 1):
            done, total = line << 20, self.lines << 20
            reply.chunk(
                b'{"status":"pulling","digest":"sha256:a","total":%d,"completed":%d}\n'
                % (total, done)
            )
            reply.wait(self.pause)
        self.there = True
        reply.chunk(b'{"status":"success"}\n')
        return reply.end()


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as server:
        yield server


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "home", device="cpu", precision="float32", threads=1)


@pytest.fixture
def jobs(settings: Settings) -> Iterator[Jobs]:
    """Return the jobs of this test; none outlives it."""
    jobs = Jobs(settings.data_dir / "jobs")
    yield jobs
    for job in jobs.list():
        if job.going and job.pid:
            kill(job)


@pytest.fixture
def pulling(jobs: Jobs, settings: Settings, registry: Registry) -> Job:
    """Return a job in the middle of its work, which it would go on with for most of a minute."""
    job = jobs.start(a_pull(registry), settings)
    until(jobs, job.id, lambda: jobs.events(job.id)[0])
    return jobs.get(job.id)


def a_pull(registry: Registry) -> JobSpec:
    return JobSpec("pull", arguments={"name": MODEL, "host": registry.url})


def kill(job: Job) -> None:
    with suppress(ProcessLookupError):
        os.kill(job.pid, signal.SIGKILL)


def until(jobs: Jobs, job: str, met: Callable[[], object]) -> None:
    """Wait until something is so; a job that ended otherwise is told whole."""
    end = time.monotonic() + SECONDS
    while not met():
        found = jobs.get(job)
        assert time.monotonic() < end, told(found)
        assert found.going or met(), told(found)
        time.sleep(0.01)


def ended(jobs: Jobs, job: str, state: State) -> Job:
    """Wait for a job's end, which must be this one."""
    end = time.monotonic() + SECONDS
    while (found := jobs.get(job)).going:
        assert time.monotonic() < end, told(found)
        time.sleep(0.01)
    assert found.state == state, told(found)
    return found


def told(job: Job) -> str:
    log = job.folder / "log.txt"
    return f"{job}\n{log.read_text() if log.exists() else 'no log'}"


def heard(jobs: Jobs, job: str) -> list[Event]:
    """Return all that a job said, read as somebody does who looks now and then."""
    events: list[Event] = []
    place = 0
    while True:
        new, behind = jobs.events(job, place)
        if behind == place:
            return events
        events += new
        place = behind
