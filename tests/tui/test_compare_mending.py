"""Offers of a column that need a job: the column says how far it is, and tries again after it."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace

import pytest

from distill.jobs.records import Job, JobSpec
from recommender.events import Progress
from tests.tui.shop import Shop, compare_of, opened, settled, text_of, until
from tui.job_watch import JobNews
from tui.screens.compare import Compare
from tui.widgets.column import RankerColumn


def test_a_model_that_is_missing_is_pulled(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Compare, "COLUMNS", ("student", "teacher"))
    shop.turn("opening", "ModelMissing")

    async def flow() -> None:
        app = shop.app()
        async with opened(app) as pilot:
            await settled(pilot)
            assert "▸ pull the model" in text_of(app)
            await pilot.press("right", "enter")
            await until(pilot, lambda: "… pull slow" in text_of(app), "it is pulled")
            # Nobody listens where models would come from, so it ends with what is wrong.
            await until(pilot, lambda: app._notifications, "it says why not")
            told = " ".join(note.message for note in app._notifications)
            assert told.startswith("pull slow failed: ")
            assert "recsys models pull slow" in told
            assert "--teacher" not in told
            await until(pilot, lambda: "▸ pull the model" in text_of(app), "it can be tried again")
            (job,) = await app.jobs.all()
            assert job.spec.arguments["name"] == "slow"
            assert job.state == "failed"

    asyncio.run(flow())


def test_how_far_a_job_is_and_what_follows_it(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Compare, "COLUMNS", ("teacher", "popularity"))
    shop.turn("opening", "ServerDown")

    async def flow() -> None:
        app = shop.app()
        async with opened(app) as pilot:
            screen = compare_of(app)
            await settled(pilot)
            spec = JobSpec("fetch", title="fetch the models that come along")
            job = Job("1", spec, "running", shop.folder)
            screen.mending["teacher"] = spec.named
            screen.job_news(JobNews(job, (Progress("layers", 3, 12),)))
            await pilot.pause()
            assert screen.mending["teacher"].endswith("· 25 %")
            shop.turn("opening", "")
            screen.job_news(JobNews(replace(job, state="done"), ()))
            await until(
                pilot, lambda: screen.comparison.column("teacher").state == "answered", "mended"
            )
            assert [one.by for one in screen.side.columns] == ["teacher", "popularity"]

    asyncio.run(flow())


def test_a_student_that_was_distilled_meanwhile_appears(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.cli.shop import add_student

    monkeypatch.setattr(Compare, "COLUMNS", ("student", "popularity"))
    shop = Shop.filled(tmp_path_factory.mktemp("bare") / "shop", student=False)

    async def flow() -> None:
        app = shop.app()
        async with opened(app) as pilot:
            screen = compare_of(app)
            await settled(pilot)
            assert screen.comparison.column("student").dead
            current = screen.side.current
            assert isinstance(current, RankerColumn)
            await asyncio.to_thread(add_student, shop.folder)
            done = Job("1", JobSpec("distil"), "done", shop.folder)
            screen.job_news(JobNews(done, (), first=True))  # an old one is no news
            await pilot.pause(0.2)
            assert screen.comparison.column("student").dead
            screen.job_news(JobNews(done, ()))
            await until(
                pilot, lambda: screen.comparison.column("student").state == "answered", "there"
            )

    asyncio.run(flow())


def test_a_killed_column_is_started_again_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Compare, "COLUMNS", ("student", "popularity"))

    async def flow() -> None:
        app = shop.app()
        async with opened(app, (140, 30)) as pilot:
            await settled(pilot)
            screen = compare_of(app)
            live = screen.live
            assert live is not None

            async def kill() -> None:
                pid = live.clients["student"].pid
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
                await until(pilot, lambda: screen.comparison.column("student").dead, "it is dead")
                await pilot.pause()

            await kill()
            dead, alive = screen.comparison.figures()
            assert (dead.last, dead.p50, dead.ratio, dead.latencies) == (None, None, None, ())
            assert alive.ratio == 1.0, "who is dead is no measure of who is not"
            visited = dead.visited
            await pilot.press("n")
            await settled(pilot)
            student = screen.comparison.column("student")
            assert student.state == "answered"
            assert "· restarted" in text_of(app)
            assert screen.comparison.figures()[0].visited > visited, "what was counted is kept"

            await kill()
            await pilot.press("n")
            await settled(pilot)
            assert screen.comparison.column("student").dead, "not for ever"
            shown = " ".join(text_of(app).split())
            assert "after a restart:" in shown
            assert "try again (r)" in shown
            await pilot.press("r")
            await until(
                pilot, lambda: screen.comparison.column("student").state == "answered", "by hand"
            )
            assert "restarted" not in text_of(app)

    asyncio.run(flow())
