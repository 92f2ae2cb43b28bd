"""A bulk job killed at any moment: no kept label is lost, asked again or doubled."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from recommender.backends.ollama.backend import OllamaBackend
from storage.store import Store
from tests.ollama import label_job
from tests.ollama.fixed import FixedServer
from tests.tiny import add_shop

ROOT = Path(__file__).parents[2]
IN_FLIGHT = 4
ALL = label_job.QUESTIONS * label_job.ORDERS


def prompts(server: FixedServer) -> Counter[str]:
    """How often each question was asked; the probe at opening is none of them."""
    # A request that was cut by a kill is no JSON.
    sent = (fields for fields in server.asked("/api/generate") if fields)
    asked = (fields["prompt"] for fields in sent if fields.get("prompt"))
    return Counter(text for text in asked if "Thing number" in text)


def run(database: Path, server: FixedServer, kill_after: float | None) -> tuple[set[str], bool]:
    """Run the job, kill it some time after its first answer; return what it said it kept."""
    command = [sys.executable, "-m", "tests.ollama.label_job", str(database), server.url]
    job = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert job.stdout is not None
    kept: set[str] = set()
    until = None
    for line in job.stdout:
        word = line.strip()
        if word == "done":
            break
        if line.endswith("\n"):
            kept.add(word)
        until = until or (time.monotonic() + kill_after if kill_after is not None else None)
        if until is not None and time.monotonic() >= until:
            job.send_signal(signal.SIGKILL)
            break
    rest = job.stdout.read()
    kept |= {line for line in rest.split("\n")[:-1] if line and line != "done"}
    job.wait(timeout=30)
    job.stdout.close()
    return kept, job.returncode == 0


@pytest.mark.parametrize(
    "kills", [5, pytest.param(50, marks=pytest.mark.slow)], ids=["5 times", "50 times"]
)
def test_killed_at_random_moments_it_goes_on(tmp_path: Path, kills: int) -> None:
    database, rng = tmp_path / "recsys.sqlite", random.Random(kills)
    with Store.open(database, tmp_path / "artifacts") as store:
        add_shop(store, people=4)
    said: set[str] = set()
    killed = 0
    with FixedServer(answer_seconds=0.02, slots=IN_FLIGHT) as server:
        while killed < kills:
            kept, finished = run(database, server, rng.uniform(0.0, 1.5 / kills))
            with Store.open(database, tmp_path / "artifacts") as store:
                there = store.labels.get(sorted(said | kept))
            assert set(there) == said | kept, "a kept label was lost"
            said |= kept
            if finished:
                break
            killed += 1
        _, finished = run(database, server, None)
        assert finished
        asked = prompts(server)
        backend = OllamaBackend.open("fixed:latest", host=server.url)
        requests, _ = label_job.requests(backend)
        backend.close()
    with Store.open(database, tmp_path / "artifacts") as store:
        answers = store.labels.get([r.key for r in requests])
        (row,) = store.labels.statistics(1)
    assert len(answers) == ALL == row.answers == row.requests
    assert killed == kills, "the job was over before it had been killed often enough"
    # What was under way at a kill, or had come and was not kept yet, is asked once more.
    again = sum(times - 1 for times in asked.values())
    assert len(asked) == ALL
    assert again <= 2 * IN_FLIGHT * killed
