"""Jobs of whoever looks: started, found again, stopped, killed, resumed, removed; no torch."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from distill.jobs.codec import JobResult, Resumed
from distill.jobs.jobs import Jobs
from distill.jobs.records import Job, JobSpec
from recommender.config import Settings
from recommender.events import Progress, StageStarted
from storage.errors import BadSetting, StoreUnavailable, UnknownName
from tests.distill.jobs.conftest import Registry, a_pull, ended, heard, kill, until

QUICK = JobSpec("pull")
"""It has no name of a model, and fails at once."""


def test_one_that_is_killed_is_lost_and_goes_on(
    jobs: Jobs, pulling: Job, registry: Registry
) -> None:
    kill(pulling)
    lost = ended(jobs, pulling.id, "lost")
    assert (lost.pid, lost.ended_at, lost.error) == (0, "", "")
    before = heard(jobs, pulling.id)
    registry.hurry()
    resumed = jobs.resume(pulling.id)
    assert resumed.state == "running"
    assert (resumed.id, resumed.spec) == (pulling.id, pulling.spec)
    done = ended(jobs, pulling.id, "done")
    assert done.summary == (f"tiny:latest is on {registry.url}",)
    said = heard(jobs, pulling.id)
    assert said[: len(before)] == before
    assert said[len(before) :][:2] == [Resumed(), StageStarted("pull tiny:latest", 0, "MB")]
    assert said.count(Resumed()) == 1
    assert said[-1] == JobResult(done.summary)
    gone([pulling.pid, resumed.pid])


def gone(pids: Sequence[int]) -> None:
    """Wait until nothing is left of processes, not even a zombie."""
    end = time.monotonic() + 20
    while any(psutil.pid_exists(pid) for pid in pids):
        assert time.monotonic() < end, [psutil.Process(pid) for pid in pids]
        time.sleep(0.01)


def test_one_that_is_stopped_goes_on(jobs: Jobs, pulling: Job, registry: Registry) -> None:
    jobs.stop(pulling.id)
    assert jobs.get(pulling.id).state in ("stopping", "stopped")
    stopped = ended(jobs, pulling.id, "stopped")
    jobs.stop(pulling.id)
    assert jobs.get(pulling.id) == stopped
    assert isinstance(heard(jobs, pulling.id)[-1], Progress)
    registry.hurry()
    assert jobs.resume(pulling.id).state == "running"
    assert jobs.get(pulling.id).state == "running"
    ended(jobs, pulling.id, "done")


def test_one_that_is_stopped_before_it_begins_does_nothing(
    jobs: Jobs, settings: Settings, registry: Registry
) -> None:
    job = jobs.start(a_pull(registry), settings)
    jobs.stop(job.id)
    assert jobs.get(job.id).state == "stopping"
    ended(jobs, job.id, "stopped")
    assert jobs.events(job.id) == ([], 0)
    registry.hurry()
    jobs.resume(job.id)
    ended(jobs, job.id, "done")
    assert Resumed() not in heard(jobs, job.id)  # nobody had begun it


def test_one_that_runs_is_neither_resumed_nor_removed(jobs: Jobs, pulling: Job) -> None:
    with pytest.raises(BadSetting, match="is running and cannot be resumed"):
        jobs.resume(pulling.id)
    with pytest.raises(BadSetting, match="is running: stop it first"):
        jobs.remove(pulling.id)
    assert jobs.get(pulling.id) == pulling


def test_one_that_is_starting_is_neither_resumed_nor_removed(
    jobs: Jobs, settings: Settings
) -> None:
    job = jobs.start(QUICK, settings)
    with pytest.raises(BadSetting):
        jobs.resume(job.id)
    with pytest.raises(BadSetting):
        jobs.remove(job.id)
    ended(jobs, job.id, "failed")


def test_one_that_is_damaged_yet_runs_is_not_removed(jobs: Jobs, pulling: Job) -> None:
    (pulling.folder / "spec.json").write_text("?")
    assert jobs.get(pulling.id).state == "damaged"
    with pytest.raises(BadSetting, match="is running"):
        jobs.remove(pulling.id)
    kill(pulling)
    gone([pulling.pid])
    jobs.remove(pulling.id)
    assert jobs.list() == []


def test_of_many_who_resume_at_once_one_does(jobs: Jobs, pulling: Job, settings: Settings) -> None:
    kill(pulling)
    ended(jobs, pulling.id, "lost")
    answers: list[object] = []
    door = threading.Barrier(4)

    def resume() -> None:
        own = Jobs(jobs.folder)
        door.wait()
        try:
            answers.append(own.resume(pulling.id))
        except BadSetting as error:
            answers.append(error)

    threads = [threading.Thread(target=resume) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sum(isinstance(one, Job) for one in answers) == 1
    assert sum(isinstance(one, BadSetting) for one in answers) == 3


def test_it_is_removed_with_all_it_said(jobs: Jobs, settings: Settings) -> None:
    job = jobs.start(QUICK, settings)
    ended(jobs, job.id, "failed")
    jobs.remove(job.id)
    assert jobs.list() == []
    assert list(jobs.folder.iterdir()) == []
    for ask in (jobs.get, jobs.stop, jobs.resume, jobs.remove, jobs.events):
        with pytest.raises(UnknownName, match=f"no job '{job.id}'"):
            ask(job.id)


@pytest.mark.parametrize("name", ["", ".", "..", "../jobs", "a/b", "/tmp", ".new-x", "x\x00y"])
def test_what_is_no_id_is_no_job(jobs: Jobs, name: str) -> None:
    (jobs.folder / ".new-x").mkdir(parents=True)
    with pytest.raises(UnknownName):
        jobs.get(name)
    assert jobs.list() == []


PARENT = """
import sys, time
from pathlib import Path
from distill.jobs.jobs import Jobs
from distill.jobs.records import JobSpec
from recommender.config import Settings
home, host, then = sys.argv[1:]
spec = JobSpec("pull", arguments={"name": "tiny:latest", "host": host})
print(Jobs(Path(home, "jobs")).start(spec, Settings(data_dir=Path(home))).id, flush=True)
if then == "waits":
    time.sleep(60)
"""


@pytest.mark.parametrize("then", ["waits", "goes"])
def test_it_outlives_whoever_started_it(
    jobs: Jobs, settings: Settings, registry: Registry, then: str
) -> None:
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", PARENT]
    with subprocess.Popen(
        [*command, str(settings.data_dir), registry.url, then],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as parent:
        assert parent.stdout is not None
        job = parent.stdout.readline().strip()
        if then == "waits":
            until(jobs, job, lambda: jobs.events(job)[0])
            os.killpg(parent.pid, signal.SIGHUP)
            os.killpg(parent.pid, signal.SIGKILL)
        _, complaint = parent.communicate(timeout=60)
    assert complaint == ""
    until(jobs, job, lambda: jobs.events(job)[0])
    found = jobs.get(job)
    assert found.state == "running"
    assert [one.id for one in Jobs(jobs.folder).list()] == [job]
    jobs.stop(job)
    ended(jobs, job, "stopped")


def test_a_relative_home_means_the_same_from_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: Registry
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    monkeypatch.chdir(there)
    jobs = Jobs(Path("home/jobs"))
    job = jobs.start(JobSpec("sample"), Settings(data_dir=Path("home")))
    monkeypatch.chdir(tmp_path)
    ended(jobs, job.id, "done")
    assert (there / "home" / "recsys.sqlite").is_file()
    (job.folder / "end.json").unlink()
    jobs.resume(job.id)
    ended(jobs, job.id, "done")
    assert not (tmp_path / "home").exists()


def test_the_folder_it_worked_in_is_gone(
    jobs: Jobs, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    monkeypatch.chdir(there)
    job = jobs.start(QUICK, settings)
    ended(jobs, job.id, "failed")
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(there)
    with pytest.raises(BadSetting, match="was started in is gone"):
        jobs.resume(job.id)
    assert jobs.get(job.id).state == "failed"


def test_ids_sort_by_time_and_are_unique(settings: Settings) -> None:
    moments = [
        datetime(2026, 11, 24, 19, 4, 55, 999_999, tzinfo=UTC),
        datetime(2026, 11, 24, 19, 4, 55, 999_999, tzinfo=UTC),
        datetime(2026, 11, 24, 19, 4, 56, 0, tzinfo=UTC),
        datetime(2026, 11, 24, 19, 4, 56, 17, tzinfo=UTC),
    ]
    jobs = Jobs(settings.data_dir / "jobs", now=lambda: moments.pop(0))
    made = [jobs.start(QUICK, settings).id for _ in range(4)]
    assert made[0] == "20261124-190455-f423"
    assert len(set(made)) == 4
    assert [job.id for job in jobs.list()] == sorted(made, reverse=True)
    assert made[0] < made[1]
    assert made[2] < made[3]
    for one in made:
        ended(jobs, one, "failed")


def test_to_start_one_is_quick(jobs: Jobs, settings: Settings) -> None:
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        jobs.start(QUICK, settings)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.05
    for job in jobs.list():
        ended(jobs, job.id, "failed")


def test_no_such_kind(jobs: Jobs, settings: Settings) -> None:
    with pytest.raises(BadSetting, match="no kind of job 'bake': distil, label, pull"):
        jobs.start(JobSpec("bake"), settings)  # type: ignore[arg-type]
    assert not jobs.folder.exists()


def test_arguments_are_plain_values(jobs: Jobs, settings: Settings) -> None:
    with pytest.raises(BadSetting, match="plain values"):
        jobs.start(JobSpec("pull", arguments={"name": Path("x")}), settings)
    assert not jobs.folder.exists()


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="cannot write to"):
        Jobs(tmp_path / "file" / "jobs").start(QUICK, settings)
    assert Jobs(tmp_path / "file" / "jobs").list() == []
    assert Jobs(tmp_path / "file").list() == []


def test_who_only_looks_loads_nothing_that_works() -> None:
    look = (
        "import sys\n"
        "import distill.jobs.jobs, distill.jobs.records, distill.jobs.codec\n"
        "from distill.config import DistilConfig\n"
        "heavy = ('torch', 'onnxruntime', 'scipy', 'typer', 'transformers', 'sqlalchemy',\n"
        "         'httpx', 'textual', 'pandas')\n"
        "assert not set(heavy) & set(sys.modules), set(heavy) & set(sys.modules)\n"
        "import distill.jobs.running\n"
        "assert not set(heavy) & set(sys.modules), set(heavy) & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", look], check=True, timeout=60)
