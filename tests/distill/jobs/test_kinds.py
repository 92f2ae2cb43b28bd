"""What each kind of job does: a distillation that is stopped and killed, labels, public data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from distill.jobs.codec import JobResult
from distill.jobs.jobs import Jobs
from distill.jobs.records import Job, JobSpec
from distill.training import Evaluated, LayersWeighed, StepDone
from recommender.config import Settings
from recommender.events import Event, Progress, StageDone, StageSkipped, StageStarted
from recommender.models import EMBEDDED
from storage.store import Store
from tests.distill.conftest import configured
from tests.distill.jobs.conftest import ended, heard, kill, until
from tests.tiny import SHOP, add_shop, save_encoder


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a small sentence encoder."""
    return save_encoder(tmp_path_factory.mktemp("encoder") / "tiny-encoder")


def a_home(home: Path, encoder: Path) -> Settings:
    """Make a data folder with a shop and an encoder in it."""
    settings = Settings(data_dir=home, device="cpu", precision="float32", threads=1)
    settings.models.mkdir(parents=True)
    (settings.models / "all-MiniLM-L6-v2").symlink_to(encoder)
    with Store.open(settings.db, settings.artifacts) as store:
        add_shop(store)
    return settings


def a_distillation(kind: str, llama: Path) -> JobSpec:
    config = configured(spec=str(llama)).as_dict()
    return JobSpec(kind, SHOP, arguments=config)  # type: ignore[arg-type]


def student(settings: Settings, run: str) -> tuple[str, bytes, list[float]]:
    """Return a student's key, its weights and its figures."""
    with Store.open(settings.db, settings.artifacts) as store:
        found = store.runs.get(run)
        path = Path(store.artifacts.open(found.artifact).path, "weights.safetensors")
        return found.artifact, path.read_bytes(), [m.value for m in store.runs.measurements(run)]


@dataclass(frozen=True)
class Whole:
    settings: Settings
    done: Job
    said: Sequence[Event]


@pytest.fixture(scope="module")
def whole(llama: Path, encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """A distillation that nobody disturbed."""
    settings = a_home(tmp_path_factory.mktemp("whole"), encoder)
    jobs = Jobs(settings.data_dir / "jobs")
    job = jobs.start(a_distillation("distil", llama), settings)
    return Whole(settings, ended(jobs, job.id, "done"), heard(jobs, job.id))


@pytest.mark.slow
def test_a_distillation_is_told_from_end_to_end(whole: Whole) -> None:
    said, done = whole.said, whole.done
    assert said[-1] == JobResult(done.summary, done.run)
    assert any("the undistilled one: NDCG@10" in one for one in done.summary)
    (weighed,) = [event for event in said if isinstance(event, LayersWeighed)]
    assert (weighed.step, weighed.by, len(weighed.weights)) == (0, "fisher", 2)
    assert sum(weighed.weights) == pytest.approx(2)
    evaluated = [place for place, event in enumerate(said) if isinstance(event, Evaluated)]
    assert [said[place].epoch for place in evaluated] == [1, 2, 1, 2]  # type: ignore[attr-defined]
    for place in evaluated:
        last = next(e for e in reversed(said[:place]) if isinstance(e, StepDone))
        assert last.step == 5 * said[place].epoch  # type: ignore[attr-defined]
        assert set(last.parts) >= {"task"}
    begun = [event.stage for event in said if isinstance(event, StageStarted)]
    assert begun == [event.stage for event in said if isinstance(event, StageDone)]
    key, weights, figures = student(whole.settings, done.run)
    assert key
    assert weights
    assert figures


@pytest.mark.slow
def test_killed_and_stopped_it_ends_with_the_same_student(
    whole: Whole, jobs: Jobs, llama: Path, encoder: Path, settings: Settings
) -> None:
    settings = a_home(settings.data_dir, encoder)
    job = jobs.start(a_distillation("distil", llama), settings).id

    def has_said(met: Callable[[Event], bool]) -> Callable[[], bool]:
        return lambda: any(met(event) for event in heard(jobs, job))

    until(jobs, job, has_said(lambda e: isinstance(e, Progress) and e.stage == "teacher: choose"))
    kill(jobs.get(job))
    ended(jobs, job, "lost")
    jobs.resume(job)
    until(jobs, job, has_said(lambda e: isinstance(e, LayersWeighed)))
    jobs.stop(job)
    ended(jobs, job, "stopped")
    jobs.resume(job)
    done = ended(jobs, job, "done")
    assert student(settings, done.run) == student(whole.settings, whole.done.run)
    weighed = [event for event in heard(jobs, job) if isinstance(event, LayersWeighed)]
    assert weighed == [event for event in whole.said if isinstance(event, LayersWeighed)] * 2


@pytest.mark.slow
def test_labels_are_told_in_a_line_a_teacher(
    jobs: Jobs, llama: Path, encoder: Path, settings: Settings
) -> None:
    settings = a_home(settings.data_dir, encoder)
    done = ended(jobs, jobs.start(a_distillation("label", llama), settings).id, "done")
    (row,) = done.summary
    assert row.startswith(f"{llama.name}: 24 labels of 24 questions, MRR 0.")
    assert "(chance 0.4" in row
    assert done.run == ""


def test_movielens_is_pulled_and_imported(jobs: Jobs, settings: Settings) -> None:
    folder = settings.downloads / "ml-100k"
    folder.mkdir(parents=True)
    (folder / "ml-100k.inter").write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n196\t242\t3\t881250949\n"
    )
    (folder / "ml-100k.item").write_text(
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        "242\tKolya\t1996\tComedy\n"
    )
    job = jobs.start(JobSpec("movielens-100k"), settings)
    done = ended(jobs, job.id, "done")
    assert done.summary == ("movielens-100k: 1 people, 1 items",)
    said = heard(jobs, job.id)
    assert sum("non-commercial use only" in str(event) for event in said) == 1
    assert StageSkipped("ml-100k", f"{folder} is there") in said
    assert any(isinstance(event, StageStarted) for event in said)


def test_models_are_fetched_where_they_are_missing(jobs: Jobs, settings: Settings) -> None:
    for model in EMBEDDED:
        (settings.models / model.target).mkdir(parents=True)
    done = ended(jobs, jobs.start(JobSpec("fetch"), settings).id, "done")
    assert done.summary == tuple(
        f"{model.name}: {settings.models / model.target}" for model in EMBEDDED
    )
