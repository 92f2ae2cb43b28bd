"""The Distil screen: what is asked, jobs of this and of an earlier app, and what one shows."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Button, ContentSwitcher, Input, RichLog, Select

from distill.config import DistilConfig
from distill.jobs.jobs import Jobs
from distill.jobs.records import Job, JobSpec
from recommender.config import Settings
from recommender.events import Notice, Progress, StageStarted
from recommender.models import FETCH
from storage.errors import BadSetting
from tests.cli.shop import HOSTILE, HOSTILE_SHOWN, NAME
from tests.distill.conftest import configured as tiny
from tests.distill.jobs.conftest import MODEL, Registry
from tests.tui.begun import app_at
from tests.tui.recorded import alive, distillation, record, say
from tests.tui.shop import Shop, text_of, until
from tui.app import RecsysApp
from tui.distil_choices import Wanted, configured, teachers_here, title_of, weights_here
from tui.screens.distil import Distil
from tui.widgets.distil_form import DistilForm
from tui.widgets.job_list import JobList
from tui.widgets.shown_job import ShownJob

SIZES = [(60, 18), (80, 24), (100, 30), (200, 50)]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A folder without data."""
    return Settings(data_dir=tmp_path / "home", device="cpu", precision="float32", threads=1)


@pytest.fixture(autouse=True)
def ended(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """No job outlives its test."""
    yield
    for folder in tmp_path.glob("*/jobs"):
        jobs = Jobs(folder)
        for job in jobs.list():
            jobs.stop(job.id)


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as server:
        yield server


def begun(settings: Settings) -> RecsysApp:
    """The app, begun at this screen."""
    return app_at("distil", settings)


@asynccontextmanager
async def opened(app: RecsysApp, size: tuple[int, int] = (100, 30)) -> AsyncIterator[Pilot[None]]:
    """The app as it runs, with what it notifies of."""
    async with app.run_test(size=size, notifications=True) as pilot:
        yield pilot


def screen_of(pilot: Pilot[None]) -> Distil:
    assert isinstance(pilot.app.screen, Distil), pilot.app.screen
    return pilot.app.screen


def side(pilot: Pilot[None]) -> str:
    return str(screen_of(pilot).query_one("#beside", ContentSwitcher).current)


async def ready(pilot: Pilot[None], jobs: int) -> JobList:
    """Wait until so many jobs are listed, and give the keys to the list."""
    screen = screen_of(pilot)
    listed = screen.query_one(JobList)
    await until(pilot, lambda: listed.option_count == jobs + 1, f"{jobs} jobs")
    await until(pilot, lambda: screen.recsys.category or side(pilot) != "form", "the Store is read")
    if side(pilot) == "no-data":
        await until(pilot, lambda: isinstance(screen.focused, Button), "what brings data")
    listed.focus()
    await pilot.pause()
    return listed


async def looking(pilot: Pilot[None], name: str) -> Job:
    """Wait until a job is looked at and heard to its end, and return it."""
    screen = screen_of(pilot)
    await until(pilot, lambda: screen.job is not None and screen.job.id == name, name)
    await until(pilot, lambda: name in screen._places, f"{name} was read")
    await pilot.pause()
    assert screen.job is not None
    return screen.job


def log_of(pilot: Pilot[None]) -> str:
    return "\n".join(strip.text for strip in screen_of(pilot).query_one(RichLog).lines)


def test_what_an_earlier_app_left_is_found_and_shown_whole(settings: Settings) -> None:
    record(settings, "a", distillation(), end={"state": "done", "summary": ["it is better"]})

    async def flow() -> None:
        async with opened(begun(settings), (100, 40)) as pilot:
            await ready(pilot, 1)
            await pilot.press("down")
            await looking(pilot, "a")
            shown = text_of(pilot.app)
            for text in (
                "✓ done",
                "Tiny shop: slow, fisher, 24 requests",
                "✓ train distilled  40 steps, best epoch 4",
                "– title vectors  they are there",
                "loss 5",
                "NDCG@10 0.14",
                "layers by fisher",
                "1.500",
                "it is better",
            ):
                assert text in shown, text
            assert "undistilled" in shown
            assert "made by a test" in log_of(pilot)

    asyncio.run(flow())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("theme", ["textual-dark", "textual-light"])
def test_job_and_form_have_room_everywhere(
    settings: Settings, size: tuple[int, int], theme: str
) -> None:
    record(settings, "a", distillation(), end={"state": "done", "summary": ["it is better"]})

    async def flow() -> None:
        async with opened(begun(settings), size) as pilot:
            await ready(pilot, 1)
            pilot.app.theme = theme
            await pilot.press("down")
            await looking(pilot, "a")
            assert "✓ done" in text_of(pilot.app)
            assert "it is better" in text_of(pilot.app)
            for part in screen_of(pilot).query_one(ShownJob).query("#loss, #job-end, RichLog"):
                assert part.size.height >= 1, part
                assert part.region.bottom <= size[1], part

    asyncio.run(flow())


def test_a_job_of_an_earlier_app_goes_on_before_the_eyes(settings: Settings) -> None:
    folder = record(settings, "a", [StageStarted("labels", 100, "requests")])

    async def flow() -> None:
        async with opened(begun(settings)) as pilot:
            await ready(pilot, 1)
            await pilot.press("down")
            await looking(pilot, "a")
            assert "▶ running" in text_of(pilot.app)
            assert "0 of 100 requests" in text_of(pilot.app)
            for done in (20, 30):
                say(folder, [Progress("labels", done, 100), Notice(f"{done} it is")])
                await until(pilot, lambda n=done: f"{n} of 100 requests" in text_of(pilot.app))
                await pilot.pause(1.1)
            assert "━" in text_of(pilot.app)
            await until(pilot, lambda: " left" in text_of(pilot.app), "time left")
            assert "30 it is" in log_of(pilot)

    with alive(folder):
        asyncio.run(flow())


def test_its_end_is_seen(settings: Settings) -> None:
    folder = record(settings, "a", [StageStarted("labels", 100, "requests")])

    async def flow() -> None:
        async with opened(begun(settings)) as pilot:
            with alive(folder):
                await ready(pilot, 1)
                await pilot.press("down")
                assert (await looking(pilot, "a")).state == "running"
                (folder / "end.json").write_text(json.dumps({"state": "stopped"}))
            await until(pilot, lambda: "■ stopped" in text_of(pilot.app))
            await until(pilot, lambda: "r resumes it" in text_of(pilot.app))
            assert "■ labels  stopped" in text_of(pilot.app)

    asyncio.run(flow())


def test_what_failed_says_why_and_what_to_do(settings: Settings) -> None:
    says = {"error": f"no teacher {HOSTILE}", "next_step": FETCH}
    record(settings, "a", [Notice(HOSTILE)], end={"state": "failed", **says}, title=HOSTILE)

    async def flow() -> None:
        async with opened(begun(settings)) as pilot:
            await ready(pilot, 1)
            await pilot.press("down")
            await looking(pilot, "a")
            shown = text_of(pilot.app)
            assert "✗ failed" in shown
            assert f"no teacher {HOSTILE_SHOWN}" in shown
            assert f"next: {FETCH}" in shown
            assert "f Fetch models" in shown
            assert shown.count(HOSTILE_SHOWN) == 3  # in head and log too; the list breaks it

    asyncio.run(flow())


def test_only_what_a_job_allows_is_offered(settings: Settings) -> None:
    for name, end in (
        ("1", {"state": "done"}),
        ("2", {"state": "stopped"}),
        ("3", {"state": "failed", "next_step": FETCH}),
        ("4", None),
    ):
        record(settings, name, [StageStarted("labels")], end=end)
    (settings.data_dir / "jobs" / "0").mkdir()  # damaged
    going = record(settings, "5", [StageStarted("labels")])
    asked = ("stop", "resume", "remove", "fetch")
    expected = {
        "5": (True, False, False, False),
        "4": (False, True, True, False),
        "3": (False, True, True, True),
        "2": (False, True, True, False),
        "1": (False, False, True, False),
        "0": (False, False, True, False),
    }

    async def flow() -> None:
        async with opened(begun(settings)) as pilot:
            await ready(pilot, 6)
            screen = screen_of(pilot)
            assert not any(screen.check_action(one, ()) for one in asked)
            for name, allowed in expected.items():
                await pilot.press("down")
                await until(pilot, lambda n=name: screen.job is not None and screen.job.id == n)
                assert tuple(screen.check_action(one, ()) for one in asked) == allowed, name

    with alive(going):
        asyncio.run(flow())


def test_remove_forgets_a_job_and_keeps_the_highlight_in_the_list(settings: Settings) -> None:
    for name in ("a", "b"):
        record(settings, name, [Notice(f"{name} spoke")], end={"state": "done"})

    async def flow() -> None:
        async with opened(begun(settings)) as pilot:
            await ready(pilot, 2)
            await pilot.press("down")
            await looking(pilot, "b")
            await pilot.press("delete")
            await until(pilot, lambda: side(pilot) == "no-data", "nobody is looked at")
            await ready(pilot, 1)
            assert screen_of(pilot).job is None
            assert not (settings.data_dir / "jobs" / "b").exists()
            await pilot.press("down")
            await looking(pilot, "a")
            assert "a spoke" in log_of(pilot)
            assert "b spoke" not in log_of(pilot)

    asyncio.run(flow())


def test_a_new_job_leaves_the_highlight_where_it_was(settings: Settings) -> None:
    record(settings, "a", [Notice("first")], end={"state": "done"})

    async def flow() -> None:
        async with opened(begun(settings)) as pilot:
            listed = await ready(pilot, 1)
            await pilot.press("down")
            await looking(pilot, "a")
            record(settings, "b", [Notice("second")], end={"state": "done"})
            await ready(pilot, 2)
            assert listed.looked_at == "a"
            assert "first" in log_of(pilot)

    asyncio.run(flow())


def test_no_data_offers_some_and_what_it_brings_can_be_distilled(settings: Settings) -> None:
    async def flow() -> None:
        async with opened(begun(settings)) as pilot:
            await until(pilot, lambda: "There is no data yet" in text_of(pilot.app))
            assert side(pilot) == "no-data"
            screen_of(pilot).query("NoData Button")[1].focus()
            await pilot.press("enter")
            await until(pilot, lambda: side(pilot) == "form", "the sample is there")
            assert "Electronics (synthetic sample)" in text_of(pilot.app)
            await ready(pilot, 1)
            assert "✓ done" in text_of(pilot.app)

    asyncio.run(flow())


def test_a_form_starts_a_job_that_is_then_looked_at(shop: Shop) -> None:
    """The job itself is stopped as soon as it is there: others follow one to its end."""

    async def flow() -> None:
        async with opened(begun(shop.settings), (100, 30)) as pilot:
            await until(pilot, lambda: f"Distil {NAME}" in text_of(pilot.app))
            form = screen_of(pilot).query_one(DistilForm)
            await until(pilot, lambda: "no Ollama server" in text_of(pilot.app))
            form.query_one("#method", Select).value = "labels"
            form.query_one("#size", Select).value = "deep"
            form.query_one("#requests", Input).value = "32"
            form.query_one("#minutes", Input).value = ""
            await pilot.pause()
            assert "no weights are opened" in text_of(pilot.app)
            assert form.query_one("#weights", Select).disabled
            await pilot.click("#gate")
            await pilot.click("#start")
            await ready(pilot, 1)
            await until(pilot, lambda: side(pilot) == "job")
            job = screen_of(pilot).job
            assert job is not None
            assert job.spec.title == f"{NAME}: slow, labels, 32 requests"
            made = DistilConfig.from_dict(job.spec.arguments)
            assert (made.category, made.teacher.spec, made.teacher.requests) == (NAME, "slow", 32)
            assert (made.teacher.weights, made.loss.layer) == ("none", 0.0)
            assert made.student.network.blocks == 4
            assert made.teacher.ignore_gate
            assert not made.final
            await pilot.press("n")
            await pilot.click("#start")
            await until(pilot, lambda: "that runs already" in text_of(pilot.app))
            assert screen_of(pilot).query_one(JobList).option_count == 2

    asyncio.run(flow())


def test_a_number_that_is_none_starts_nothing(shop: Shop) -> None:
    async def flow() -> None:
        async with opened(begun(shop.settings)) as pilot:
            await until(pilot, lambda: f"Distil {NAME}" in text_of(pilot.app))
            epochs = screen_of(pilot).query_one("#epochs", Input)
            epochs.focus()
            await pilot.press("x", "0", "enter")
            assert epochs.value == "0"  # a letter does not go in
            await pilot.press("enter")
            await until(pilot, lambda: "no whole number of 1 or more" in text_of(pilot.app))
            assert not (shop.settings.data_dir / "jobs").exists()

    asyncio.run(flow())


def test_models_of_a_server_are_offered_and_its_absence_holds_nobody_up(
    shop: Shop, registry: Registry
) -> None:
    registry.there = True
    settings = shop.settings.model_copy(update={"hosts": ("127.0.0.1:9", registry.url)})

    async def flow() -> None:
        async with opened(begun(settings)) as pilot:
            await until(pilot, lambda: "and 1 of an Ollama server" in text_of(pilot.app))
            teacher = screen_of(pilot).query_one("#teacher", Select)
            assert teacher.value == "slow"
            teacher.value = MODEL
            await pilot.pause()
            assert MODEL in text_of(pilot.app)
            assert screen_of(pilot).query_one(DistilForm).wanted.teacher == MODEL

    asyncio.run(flow())


def test_a_damaged_list_of_models_is_said(shop: Shop) -> None:
    (shop.settings.models / "registered.json").write_text("{")

    async def flow() -> None:
        async with opened(begun(shop.settings)) as pilot:
            await until(pilot, lambda: "cannot read the registered models" in text_of(pilot.app))
            assert side(pilot) == "form"

    asyncio.run(flow())


def test_stop_and_resume_a_true_job(settings: Settings, registry: Registry) -> None:
    pull = JobSpec("pull", arguments={"name": MODEL, "host": registry.url}, title="pull tiny")

    async def flow() -> None:
        app = begun(settings)
        async with opened(app) as pilot:
            await until(pilot, lambda: app.loaded)
            await app.jobs.start(pull)
            listed = await ready(pilot, 1)
            listed.focus()
            await pilot.press("down")
            await until(pilot, lambda: "━" in text_of(app), "it is on its way")
            await pilot.press("s")
            await until(pilot, lambda: "■ stopped" in text_of(app))
            registry.hurry()
            await pilot.press("r")
            await until(pilot, lambda: "✓ done" in text_of(app))

    asyncio.run(flow())


@pytest.mark.slow
def test_a_true_distillation_to_its_end(shop: Shop, llama: Path) -> None:
    """Started, stopped in the middle, resumed, left to another app, and seen through there."""
    config = tiny(spec=str(llama)).with_student(epochs=150, patience=150)
    spec = JobSpec("distil", NAME, "the whole road", {**config.as_dict(), "category": NAME})

    async def first() -> None:
        app = begun(shop.settings)
        async with opened(app, (100, 40)) as pilot:
            await until(pilot, lambda: app.category is not None)
            await app.jobs.start(spec)
            (await ready(pilot, 1)).focus()
            await pilot.press("down")
            await until(pilot, lambda: "▶ train undistilled" in text_of(app))
            await pilot.press("s")
            await until(pilot, lambda: "■ stopped" in text_of(app))
            await pilot.press("r")
            await until(pilot, lambda: "▶ running" in text_of(app))

    async def second() -> None:
        app = begun(shop.settings)
        async with opened(app, (100, 40)) as pilot:
            await ready(pilot, 1)
            await pilot.press("down")
            await until(pilot, lambda: "✓ done" in text_of(app))
            for text in ("distilled", "loss", "NDCG@10", "layers by fisher", "gate: teacher"):
                await until(pilot, lambda seen=text: seen in text_of(app), text)

    asyncio.run(first())
    asyncio.run(second())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"minutes": "-1"}, "minutes: '-1' is no number"),
        ({"minutes": "nan"}, "minutes: 'nan' is no number"),
        ({"minutes": "soon"}, "minutes: 'soon' is no number"),
        ({"requests": "2.5"}, "requests: '2.5' is no whole number"),
        ({"requests": "-3"}, "requests: '-3' is no whole number"),
        ({"epochs": "0"}, "epochs: '0' is no whole number of 1"),
        ({"seed": "-1"}, "seed: '-1' is no whole number"),
        ({"method": "magic"}, "no method 'magic'"),
        ({"size": "huge"}, "no size 'huge'"),
        ({"start": "middle"}, "starts from 'text' or 'free'"),
    ],
)
def test_what_cannot_be_wanted(settings: Settings, changes: dict[str, str], says: str) -> None:
    with pytest.raises(BadSetting, match=says):
        configured(Wanted("Books", "embedded", **changes), settings)  # type: ignore[arg-type]


def test_what_is_wanted_is_what_the_command_line_would_do(settings: Settings) -> None:
    from tui.cli import distill

    here = settings.model_copy(update={"candidates": 7, "weights": "mine", "seed": 5})
    made = configured(Wanted("Books", "embedded", weights="mine", minutes="3"), here)
    asked = distill.configured("Books", here, minutes=3, requests=0, epochs=None)
    assert made == asked
    assert title_of(made, "fisher") == "Books: embedded, fisher, 3 min"


def test_own_backends_and_weights_of_the_settings_are_offered(settings: Settings) -> None:
    here = settings.model_copy(update={"backends": {"mine": "a:B"}, "weights": "org/model"})
    assert [one.value for one in teachers_here(here)] == ["embedded", "minilm", "mine"]
    assert [one.value for one in weights_here(here)] == ["org/model", "", "none", "embedded"]


def test_a_folder_of_jobs_that_goes_away_is_an_empty_list(settings: Settings) -> None:
    record(settings, "a", [Notice("hello")], end={"state": "done"})

    async def flow() -> None:
        async with opened(begun(settings)) as pilot:
            await ready(pilot, 1)
            await pilot.press("down")
            await looking(pilot, "a")
            shutil.rmtree(settings.data_dir / "jobs" / "a")
            await pilot.press("delete")
            await until(pilot, lambda: "no job 'a'" in text_of(pilot.app))

    asyncio.run(flow())
