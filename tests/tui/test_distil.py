"""The Distil screen: what is asked, jobs of this and of an earlier app, and what one shows."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import RichLog

from distill.jobs.records import Job, JobSpec
from recommender.config import Settings
from recommender.events import Notice, Progress, StageStarted
from recommender.models import FETCH
from tests.cli.shop import HOSTILE, HOSTILE_SHOWN, NAME
from tests.distill.conftest import configured as tiny
from tests.distill.jobs.conftest import MODEL, Registry
from tests.tui.distilling import begun, opened, ready, screen_of, side
from tests.tui.recorded import alive, distillation, record, say
from tests.tui.shop import Shop, text_of, until
from tui.widgets.shown_job import ShownJob

SIZES = [(60, 18), (80, 24), (100, 30), (200, 50)]


pytestmark = pytest.mark.usefixtures("ended")


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
                "Tiny shop: slow, fisher-ld, 24 requests",
                "✓ train distilled  40 steps, best epoch 4",
                "– title vectors  they are there",
                "loss 5",
                "NDCG@10 0.14",
                "layers by fisher-ld",
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


def test_each_job_has_its_own_log_however_often_one_goes_to_and_fro(settings: Settings) -> None:
    record(settings, "b", [Notice("b one"), Notice("b two")], end={"state": "done"})
    record(settings, "a", [Notice("a one")], end={"state": "done"})

    async def flow() -> None:
        async with opened(begun(settings)) as pilot:
            await ready(pilot, 2)
            for key, name in (("down", "b"), ("down", "a"), ("up", "b"), ("down", "a")):
                await pilot.press(key)
                await looking(pilot, name)
                lines = [line.strip() for line in log_of(pilot).splitlines()]
                expected = ["b one", "b two"] if name == "b" else ["a one"]
                assert lines == expected, name

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
            for text in ("distilled", "loss", "NDCG@10", "layers by fisher-ld", "gate: teacher"):
                await until(pilot, lambda seen=text: seen in text_of(app), text)

    asyncio.run(first())
    asyncio.run(second())


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
