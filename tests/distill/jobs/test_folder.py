"""Folders as they are found: half written, damaged, looked at by two, left by a process."""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distill.jobs.folder import STARTS_WITHIN, put
from distill.jobs.jobs import AT_ONCE, Jobs
from distill.jobs.lock import claimed, held
from distill.jobs.records import Job, JobSpec
from recommender.events import Notice
from storage.errors import BadSetting

ID = "20261124-190455-3fa9"
SPEC: dict[str, Any] = {
    "kind": "sample",
    "category": "",
    "title": "the sample",
    "arguments": {},
    "where": "/",
    "settings": {},
    "folder": None,
}
DONE = {"state": "done", "summary": ["one"], "run": "r", "ended_at": "2026-11-24T19:04:55+00:00"}


@pytest.fixture
def folder(jobs: Jobs) -> Path:
    """Return the folder of a job that a process was killed in."""
    folder = jobs.folder / ID
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text(json.dumps(SPEC))
    (folder / "lock").touch()
    (folder / "pid").write_text("4194305")  # more than any process has
    return folder


def line(text: str) -> bytes:
    return b'{"event":"Notice","at":1,"text":"%s"}\n' % text.encode()


def test_a_free_lock_without_an_end_is_lost(jobs: Jobs, folder: Path) -> None:
    (job,) = jobs.list()
    assert (job.id, job.state, job.spec.title, job.folder) == (ID, "lost", "the sample", folder)
    assert (job.pid, job.going, job.ended_at) == (0, False, "")
    assert job.started_at


def test_an_end_is_read(jobs: Jobs, folder: Path) -> None:
    (folder / "end.json").write_text(json.dumps(DONE))
    job = jobs.get(ID)
    assert (job.state, job.summary, job.run, job.ended_at) == (
        "done",
        ("one",),
        "r",
        "2026-11-24T19:04:55+00:00",
    )


def test_a_lock_that_is_held_is_a_job_that_runs(jobs: Jobs, folder: Path) -> None:
    with claimed(folder / "lock", 0) as mine:
        assert mine
        assert held(folder / "lock")
        assert jobs.get(ID).state == "running"
        (folder / "stop").touch()
        assert jobs.get(ID).state == "stopping"
        with claimed(folder / "lock", 0.02) as second:
            assert not second
    assert not held(folder / "lock")
    assert jobs.get(ID).state == "lost"


def test_one_that_ends_while_it_is_looked_at_is_not_lost(jobs: Jobs, folder: Path) -> None:
    over = threading.Event()

    def end_again_and_again() -> None:
        while not over.is_set():
            with claimed(folder / "lock", 1):
                (folder / "end.json").unlink(missing_ok=True)
                time.sleep(0.0001)
                put(folder / "end.json", json.dumps(DONE))
            time.sleep(0.001)

    put(folder / "end.json", json.dumps(DONE))
    process = threading.Thread(target=end_again_and_again)
    process.start()
    states = {jobs.get(ID).state for _ in range(3000)}
    over.set()
    process.join()
    assert states == {"running", "done"}


def test_whoever_looks_is_not_taken_for_the_job(jobs: Jobs, folder: Path) -> None:
    with (folder / "lock").open() as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert jobs.get(ID).state == "lost"
        assert [job.state for job in jobs.list()] == ["lost"]


def test_a_lock_is_waited_for_while_somebody_looks(folder: Path) -> None:
    with (folder / "lock").open() as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        began = time.monotonic()
        with claimed(folder / "lock", 0.1) as mine:
            assert not mine
        assert 0.1 <= time.monotonic() - began < 5
        fcntl.flock(other, fcntl.LOCK_UN)
        with claimed(folder / "lock", 0.1) as mine:
            assert mine


@pytest.mark.parametrize("pid", [str(os.getpid()), ""], ids=["it lives", "no number yet"])
def test_it_starts_for_a_while_and_not_for_ever(jobs: Jobs, folder: Path, pid: str) -> None:
    (folder / "pid").write_text(pid)
    (folder / "starting").touch()
    assert jobs.get(ID).state == "running"
    past = time.time() - STARTS_WITHIN - 1
    os.utime(folder / "starting", (past, past))
    assert jobs.get(ID).state == "lost"


@pytest.mark.parametrize("pid", ["4194305", "9" * 40])
def test_one_that_died_while_it_started_is_lost(jobs: Jobs, folder: Path, pid: str) -> None:
    (folder / "starting").touch()
    (folder / "pid").write_text(pid)
    assert jobs.get(ID).state == "lost"


def without(key: str) -> str:
    return json.dumps({name: value for name, value in SPEC.items() if name != key})


def changed(**changes: object) -> str:
    return json.dumps({**SPEC, **changes})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "?",
        '{"kind": "sam',
        "null",
        "[]",
        "[" * 100_000,
        "\udcff",
        without("kind"),
        without("title"),
        without("category"),
        without("arguments"),
        changed(kind="bake"),
        changed(kind=5),
        changed(kind=["sample"]),
        changed(title=None),
        changed(category=7),
        changed(arguments=[]),
    ],
    ids=lambda text: ascii(text)[:60],
)
def test_a_damaged_file_is_listed_and_can_be_removed(jobs: Jobs, folder: Path, text: str) -> None:
    (folder / "spec.json").write_bytes(text.encode(errors="surrogateescape"))
    (job,) = jobs.list()
    assert job == Job(ID, JobSpec("sample", title="(cannot be read)"), "damaged", folder)
    with pytest.raises(BadSetting, match="is damaged and cannot be resumed"):
        jobs.resume(ID)
    jobs.stop(ID)
    assert not (folder / "stop").exists()
    jobs.remove(ID)
    assert jobs.list() == []


def test_a_folder_without_its_file_is_damaged(jobs: Jobs, folder: Path) -> None:
    (folder / "spec.json").unlink()
    assert jobs.get(ID).state == "damaged"
    assert jobs.events(ID) == ([], 0)


@pytest.mark.parametrize(
    "text", ["", "?", "[]", "{}", '{"state":"baked"}', '{"state":["done"]}', "\udcff"], ids=ascii
)
def test_an_end_that_cannot_be_read_says_nothing(jobs: Jobs, folder: Path, text: str) -> None:
    (folder / "end.json").write_bytes(text.encode(errors="surrogateescape"))
    assert jobs.get(ID).state == "lost"


def test_an_end_without_its_lines_is_an_end(jobs: Jobs, folder: Path) -> None:
    (folder / "end.json").write_text('{"state":"done","summary":null,"run":null}')
    assert jobs.get(ID).state == "done"
    assert jobs.get(ID).summary == ()


def test_files_beside_jobs_are_no_jobs(jobs: Jobs, folder: Path) -> None:
    (jobs.folder / "notes.txt").touch()
    (jobs.folder / ".20261124-190456-0000").mkdir()
    assert [job.id for job in jobs.list()] == [ID]


def test_a_half_written_line_is_left_for_the_next_reading(jobs: Jobs, folder: Path) -> None:
    one, two = line("one"), line("two")
    events = folder / "events.jsonl"
    for cut in range(len(two)):
        events.write_bytes(one + two[:cut])
        assert jobs.events(ID) == ([Notice("one")], len(one))
        assert jobs.events(ID, len(one)) == ([], len(one))
    events.write_bytes(one + two)
    assert jobs.events(ID, len(one)) == ([Notice("two")], len(one) + len(two))


def test_lines_that_are_none_are_passed_over(jobs: Jobs, folder: Path) -> None:
    data = line("one") + b'{"event":"No\n\xff\xfe\n\n{"event":"Shouted","at":1}\n' + line("two")
    (folder / "events.jsonl").write_bytes(data)
    assert jobs.events(ID) == ([Notice("one"), Notice("two")], len(data))


def test_a_long_file_is_read_a_piece_at_a_time(jobs: Jobs, folder: Path) -> None:
    data = b"".join(line(f"{number:06}" + "x" * 90) for number in range(20_000))
    (folder / "events.jsonl").write_bytes(data)
    places, events = [0], []
    while places[-1] < len(data):
        new, place = jobs.events(ID, places[-1])
        assert 0 < place - places[-1] <= AT_ONCE
        events += new
        places.append(place)
    assert len(places) == 1 + -(-len(data) // AT_ONCE)
    assert [int(event.text[:6]) for event in events] == list(range(20_000))  # type: ignore[attr-defined]


def test_a_line_longer_than_a_piece_is_read_whole(jobs: Jobs, folder: Path) -> None:
    long, cut = line("x" * (AT_ONCE + 5)), line("y" * (AT_ONCE + 5))[:-1]
    (folder / "events.jsonl").write_bytes(long + cut)
    events, place = jobs.events(ID)
    assert (events, place) == ([Notice("x" * (AT_ONCE + 5))], len(long))
    assert jobs.events(ID, place) == ([], place)


def test_a_place_behind_the_end_is_kept(jobs: Jobs, folder: Path) -> None:
    (folder / "events.jsonl").write_bytes(line("one"))
    assert jobs.events(ID, 10_000) == ([], 10_000)


def quickly(work: Callable[[], object], times: int = 50) -> float:
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def test_looking_is_cheap(jobs: Jobs, folder: Path) -> None:
    data = b"".join(line(f"{number:06}") for number in range(50_000))
    (folder / "events.jsonl").write_bytes(data)
    assert quickly(lambda: jobs.events(ID, len(data))) < 0.002
    assert quickly(jobs.list) < 0.005
