"""What the process of a job writes down of what is said, and how it ends."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distill.jobs.codec import from_line
from distill.jobs.jobs import Jobs
from distill.jobs.records import Job, JobSpec, Kind
from distill.jobs.running import Written
from distill.training import Evaluated, StepDone
from recommender.config import Settings
from recommender.events import Event, Notice, Progress, StageDone, StageStarted
from tests.conftest import CLOSED
from tests.distill.jobs.conftest import ended, heard


class Clock:
    """Time that passes when it is told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def put_down(path: Path, said: list[tuple[float, Event]], *, close: bool = True) -> list[Event]:
    """Write events at their moments; return what is read back."""
    clock = Clock()
    with path.open("ab+") as file:
        written = Written(file, clock)
        for clock.now, event in said:
            written.write(event)
        if close:
            written.close()
    lines = path.read_bytes().splitlines()
    return [read[0] for read in map(from_line, lines) if read is not None]


def step(number: int) -> StepDone:
    return StepDone(number, 1.0, {})


def judged(epoch: int) -> Evaluated:
    return Evaluated(epoch, 0.5, 0.5, 1.0)


def test_steps_are_thinned_to_five_a_second(tmp_path: Path) -> None:
    said: list[tuple[float, Event]] = [(100 + n / 100, step(n)) for n in range(200)]
    kept = put_down(tmp_path / "events", said, close=False)
    assert 8 <= len(kept) <= 10
    assert kept[0] == step(0)


def test_the_last_step_before_an_evaluation_is_kept(tmp_path: Path) -> None:
    said: list[tuple[float, Event]] = [(100 + n / 1000, step(n)) for n in range(9)]
    said += [(100.01, judged(1)), (100.02, step(9)), (100.03, step(10)), (100.04, judged(2))]
    kept = put_down(tmp_path / "events", said)
    assert kept == [step(0), step(8), judged(1), step(10), judged(2)]


def test_a_step_is_said_before_the_stage_that_follows_it(tmp_path: Path) -> None:
    said = [(100.0, step(1)), (100.01, step(2)), (100.02, StageStarted("train another"))]
    assert put_down(tmp_path / "events", said)[-2:] == [step(2), StageStarted("train another")]


def test_progress_is_thinned_and_its_last_is_kept(tmp_path: Path) -> None:
    said: list[tuple[float, Event]] = [(100.0, StageStarted("pull", 500))]
    said += [(100 + n / 1000, Progress("pull", n, 500)) for n in range(1, 501)]
    said += [(100.6, StageDone("pull", 0.5)), (100.61, Progress("next", 1))]
    kept = put_down(tmp_path / "events", said)
    assert kept[0] == said[0][1]
    assert kept[1] == Progress("pull", 1, 500)
    assert kept[-3:] == [Progress("pull", 500, 500), StageDone("pull", 0.5), Progress("next", 1)]
    assert len(kept) <= 8


def test_progress_of_two_stages_by_turns_is_kept_apart(tmp_path: Path) -> None:
    said = [(100.0, Progress("a", 1)), (100.01, Progress("a", 2)), (100.02, Progress("b", 1))]
    assert put_down(tmp_path / "events", said) == [event for _, event in said]


def test_what_waits_is_put_down_at_the_end(tmp_path: Path) -> None:
    said = [(100.0, step(1)), (100.01, step(2)), (100.02, Progress("a", 1))]
    said += [(100.03, Progress("a", 2))]
    assert step(2) in put_down(tmp_path / "events", said)
    assert Progress("a", 2) in put_down(tmp_path / "events", said)


def test_a_clock_that_is_set_back_stops_nothing(tmp_path: Path) -> None:
    said = [(5000.0, step(1)), (100.0, step(2)), (100.5, step(3))]
    assert put_down(tmp_path / "events", said, close=False) == [step(1), step(2), step(3)]


@pytest.mark.parametrize("before", ["", '{"event":"Notice","at":1,"text":"whole"}\n'])
def test_a_half_written_line_takes_no_other_with_it(tmp_path: Path, before: str) -> None:
    path = tmp_path / "events"
    path.write_text(before + '{"event":"Notice","at":1,"te')
    kept = put_down(path, [(100.0, Notice("after"))])
    assert kept == [*([Notice("whole")] if before else []), Notice("after")]
    assert path.read_bytes().count(b"\n") == len(before.splitlines()) + 2


def test_the_sample_is_imported(jobs: Jobs, settings: Settings) -> None:
    job = jobs.start(JobSpec("sample", title="the sample"), settings)
    assert job.state == "running"
    assert job.pid not in (0, os.getpid())
    assert job.going
    done = ended(jobs, job.id, "done")
    assert done.summary == ("Electronics: 600 people, 307 items",)
    assert (done.pid, done.error, done.next_step, done.run) == (0, "", "", "")
    assert done.started_at <= done.ended_at
    assert done.ended_at.endswith("+00:00")
    said = heard(jobs, job.id)
    assert isinstance(said[0], StageStarted)
    assert (done.folder / "log.txt").read_text() == ""


def test_a_server_that_is_not_there_is_a_sentence(jobs: Jobs, settings: Settings) -> None:
    spec = JobSpec("pull", arguments={"name": "tiny", "host": CLOSED})
    failed = ended(jobs, jobs.start(spec, settings).id, "failed")
    assert "127.0.0.1:9" in failed.error
    assert failed.next_step
    assert "Traceback" not in (failed.folder / "log.txt").read_text()


@pytest.mark.parametrize("kind", ["distil", "label"])
def test_a_category_that_is_not_there_is_a_sentence(
    jobs: Jobs, settings: Settings, kind: Kind
) -> None:
    spec = JobSpec(kind, category="Nowhere")
    failed = ended(jobs, jobs.start(spec, settings).id, "failed")
    assert failed.error.startswith("no category 'Nowhere'")
    assert failed.next_step.startswith("recsys ")


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        (JobSpec("pull"), "no name of a model to pull"),
        (
            JobSpec("distil", "Books", arguments={"lost": {}}),
            "no field 'lost' in a distillation; did you mean 'loss'?",
        ),
        (
            JobSpec("label", "Books", arguments={"teacher": {"candidates": 1}}),
            "1 candidates a request: between 2 and 100 can be asked",
        ),
        (
            JobSpec("distil", "Books", arguments={"seed": "x"}),
            "seed = 'x': input should be a valid integer, unable to parse string as an integer",
        ),
    ],
    ids=["no name", "unknown field", "out of range", "wrong type"],
)
def test_bad_arguments_are_a_sentence(
    jobs: Jobs, settings: Settings, spec: JobSpec, error: str
) -> None:
    assert ended(jobs, jobs.start(spec, settings).id, "failed").error == error


def test_a_bug_keeps_its_traceback(jobs: Jobs, settings: Settings) -> None:
    job = ended(jobs, jobs.start(JobSpec("pull"), settings).id, "failed")
    asked = json.loads((job.folder / "spec.json").read_text())
    (job.folder / "spec.json").write_text(json.dumps({**asked, "settings": None}))
    jobs.resume(job.id)
    failed = ended(jobs, job.id, "failed")
    assert failed.error.startswith("TypeError: ")
    assert failed.next_step == f"look into {job.folder / 'log.txt'}"
    log = (job.folder / "log.txt").read_text()
    assert log.count("Traceback") == 1
    assert log.rstrip().endswith(failed.error)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_it_at_its_next_event(
    jobs: Jobs, pulling: Job, number: signal.Signals
) -> None:
    os.kill(pulling.pid, number)
    stopped = ended(jobs, pulling.id, "stopped")
    assert (stopped.error, stopped.summary) == ("", ())
    assert stopped.ended_at
    assert math.isclose(time.time(), (stopped.folder / "end.json").stat().st_mtime, abs_tol=60)


def test_it_is_niced_and_holds_its_lock(jobs: Jobs, pulling: Job) -> None:
    assert os.getpriority(os.PRIO_PROCESS, pulling.pid) == os.getpriority(os.PRIO_PROCESS, 0) + 5
    assert os.getsid(pulling.pid) == pulling.pid
    assert int((pulling.folder / "pid").read_text()) == pulling.pid


def test_a_second_process_for_a_folder_refuses(pulling: Job) -> None:
    command = [sys.executable, "-P", "-m", "distill.jobs", str(pulling.folder)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert second.returncode == 1
    assert second.stderr == f"{pulling.id} runs already\n"
    assert int((pulling.folder / "pid").read_text()) == pulling.pid
    assert not (pulling.folder / "end.json").exists()


def test_a_process_whose_starter_died_at_once_can_be_stopped(jobs: Jobs, pulling: Job) -> None:
    os.kill(pulling.pid, signal.SIGKILL)
    ended(jobs, pulling.id, "lost")
    (pulling.folder / "pid").unlink()  # the starter writes it, if it lives so long
    command = [sys.executable, "-P", "-m", "distill.jobs", str(pulling.folder)]
    with subprocess.Popen(command) as process:
        end = time.monotonic() + 60
        while jobs.get(pulling.id).pid != process.pid:
            assert time.monotonic() < end
            time.sleep(0.01)
        jobs.stop(pulling.id)
    assert jobs.get(pulling.id).state == "stopped"
