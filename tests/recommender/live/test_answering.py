"""The process of a live ranker, spoken to by its pipes: it answers, and it never stays behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from recommender.config import Settings
from recommender.live.messages import (
    Answered,
    Ask,
    Cancel,
    Ended,
    Message,
    Opened,
    Opening,
    Refused,
    Thinking,
    from_line,
    to_line,
)
from tests.recommender.live.conftest import HISTORY
from tests.tiny import SHOP

SOON = 3.0
"""Seconds in which a process ends that nobody asks any more; it takes a moment to start."""

Process = subprocess.Popen[bytes]


@contextmanager
def process() -> Iterator[Process]:
    """A live ranker that was not told yet which."""
    command = [sys.executable, "-P", "-m", "recommender.live"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as started:
        try:
            yield started
        finally:
            started.kill()


@contextmanager
def told(settings: Settings, by: str) -> Iterator[Process]:
    """A live ranker that was told which."""
    with process() as started:
        first = {"category": SHOP, "by": by, **settings.carried()}
        write(started, json.dumps(first).encode() + b"\n")
        yield started


def write(started: Process, line: bytes) -> None:
    assert started.stdin is not None
    started.stdin.write(line)
    started.stdin.flush()


def read(started: Process, kind: type[Message]) -> Message:
    """Return the first message of a kind."""
    assert started.stdout is not None
    for line in started.stdout:
        if isinstance(message := from_line(line), kind):
            return message
    raise AssertionError(f"it ended without {kind.__name__}")


def rest(started: Process) -> list[Message]:
    assert started.stdout is not None
    return [from_line(line) for line in started.stdout]


def errors(started: Process) -> str:
    assert started.stderr is not None
    return started.stderr.read().decode()


def ends(started: Process) -> int:
    assert started.stdin is not None
    started.stdin.close()
    return started.wait(SOON)


# --- what comes in


def test_nothing_at_all_is_no_error() -> None:
    with process() as started:
        assert ends(started) == 0
        assert (rest(started), errors(started)) == ([], "")


@pytest.mark.parametrize("first", [b"hello\n", b"[]\n", b"{}\n", b"\xff\n", b'{"settings":{}}\n'])
def test_a_first_line_that_names_no_ranker_is_a_bug(first: bytes) -> None:
    with process() as started:
        write(started, first)
        assert started.wait(SOON) == 1
        assert rest(started) == []
        assert "Traceback" in errors(started)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"hello\n", "no message of a live ranker: 'hello"),
        (b'{"says":"Ask","number":1}\n', "no message of a live ranker"),
        (b"\xff\xfe\n", "no message of a live ranker"),
        (to_line(Opening("x")).encode(), "a live ranker is not told 'Opening'"),
    ],
)
def test_a_line_that_asks_nothing_ends_it_with_a_word(
    home: Settings, line: bytes, said: str
) -> None:
    with told(home, "student") as started:
        read(started, Opened)
        write(started, line)
        assert started.wait(SOON) == 1
        (refused,) = rest(started)
        assert isinstance(refused, Refused)
        assert (refused.number, refused.kind) == (-1, "BadData")
        assert said in refused.what


@pytest.mark.parametrize(
    "ask",
    [
        Ask(3, (1, -1)),
        Ask(3, (10**6,)),
        Ask(3, (2**70,)),
        Ask(3, ("1",)),  # type: ignore[arg-type]
        Ask(3, (1.5,)),  # type: ignore[arg-type]
        Ask(3, (1,), n=0),
        Ask(3, (1,), n=-5),
    ],
)
@pytest.mark.parametrize("by", ["student", "popularity"])
def test_a_question_that_makes_no_sense_is_refused_and_the_next_one_answered(
    home: Settings, by: str, ask: Ask
) -> None:
    with told(home, by) as started:
        read(started, Opened)
        write(started, to_line(ask).encode())
        refused = read(started, Refused)
        assert isinstance(refused, Refused)
        assert (refused.number, refused.kind) == (3, "BadData")
        write(started, to_line(Ask(4, HISTORY)).encode())
        answered = read(started, Answered)
        assert isinstance(answered, Answered)
        assert answered.number == 4


def test_a_cancel_of_nothing_does_nothing(home: Settings) -> None:
    with told(home, "student") as started:
        for number in (7, -1):
            write(started, to_line(Cancel(number)).encode())
        write(started, to_line(Ask(1, HISTORY)).encode())
        read(started, Answered)
        write(started, to_line(Cancel(1)).encode() + to_line(Ask(2, HISTORY)).encode())
        assert ends(started) == 0
        assert not any(isinstance(one, Ended) for one in rest(started))


# --- how it ends


def test_it_ends_when_nobody_asks_any_more(home: Settings) -> None:
    with told(home, "student") as started:
        read(started, Opened)
        assert ends(started) == 0
        assert (rest(started), errors(started)) == ([], "")


def test_it_ends_when_nobody_listens(home: Settings) -> None:
    with told(home, "student") as started:
        read(started, Opened)
        assert started.stdout is not None
        started.stdout.close()
        write(started, to_line(Ask(1, HISTORY)).encode())
        assert started.wait(SOON) == 0


@pytest.mark.models
def test_it_ends_in_the_middle_of_an_answer(teachers: Settings) -> None:
    with told(teachers, "teacher:stuck") as started:
        read(started, Opened)
        write(started, to_line(Ask(1, HISTORY)).encode())
        time.sleep(0.2)
        assert started.poll() is None
        assert ends(started) == 0


def test_it_ends_in_the_middle_of_loading(home: Settings) -> None:
    with told(home, "teacher:loads") as started:
        said = read(started, Opening)
        while said != Opening("loading loads"):
            said = read(started, Opening)
        assert started.poll() is None
        assert ends(started) == 0


PARENT = """
import asyncio, json, sys
from recommender.config import Settings
from recommender.live.client import LiveClient
from recommender.live.messages import Opening

async def stay():
    client = LiveClient(sys.argv[2], "teacher:loads", Settings.received(json.loads(sys.argv[1])))
    await client.start()
    async for message in client.messages():
        if message == Opening("loading loads"):
            print(client.pid, flush=True)

asyncio.run(stay())
"""


def test_it_does_not_outlive_whoever_asked(home: Settings) -> None:
    command = [sys.executable, "-c", PARENT, json.dumps(home.carried()), SHOP]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert alive(child)
        parent.kill()
    until = time.monotonic() + SOON
    while alive(child) and time.monotonic() < until:
        time.sleep(0.02)
    assert not alive(child)


def alive(pid: int) -> bool:
    """Say whether a process runs; one that ended and that nobody waited for does not."""
    return state(pid) not in ("", "Z")


def state(pid: int) -> str:
    """Return 'R' or 'S' of a process that runs, 'T' of one that is stopped, '' of none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


# --- manners


def test_it_lets_others_go_first(home: Settings) -> None:
    with told(home, "student") as started:
        read(started, Opened)
        here = os.getpriority(os.PRIO_PROCESS, 0)
        assert os.getpriority(os.PRIO_PROCESS, started.pid) == min(19, here + 5)


@pytest.mark.models
def test_what_a_library_prints_is_no_message(teachers: Settings) -> None:
    with told(teachers, "teacher:loud") as started:
        write(started, to_line(Ask(1, HISTORY)).encode())
        read(started, Opened)
        thinking = read(started, Thinking)
        assert isinstance(thinking, Thinking)
        read(started, Answered)
        assert ends(started) == 0
        printed = errors(started)
    assert printed.startswith("made\n")
    assert printed.count('{"says":"Ended","number":1}\n') == 24
    assert printed.count("scored\n") == 12
