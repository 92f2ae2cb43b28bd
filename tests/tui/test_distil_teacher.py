"""Whom a distillation asks: who is compared, who answers, and what is closed without a teacher."""

from __future__ import annotations

import asyncio

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Select

from tests.cli.shop import NAME
from tests.distill.jobs.conftest import MODEL, Registry
from tests.tui.distilling import begun, opened, ready, screen_of
from tests.tui.served import notices
from tests.tui.shop import Shop, compare_of, settled, text_of, until
from tests.tui.shop import opened as left_clean
from tui.distil_offers import Choice
from tui.screens.compare import Compare
from tui.screens.distil import Distil
from tui.widgets.distil_form import OF_TEACHER, STARTING, DistilForm
from tui.widgets.job_list import JobList

DOWN = ("127.0.0.1:9",)


pytestmark = pytest.mark.usefixtures("ended")


def form_of(pilot: Pilot[None]) -> DistilForm:
    return screen_of(pilot).query_one(DistilForm)


def teacher_of(pilot: Pilot[None]) -> str:
    return str(form_of(pilot).query_one("#teacher", Select).value)


async def to_form(pilot: Pilot[None]) -> None:
    """Go from the comparison to the form, where teachers are offered."""
    await pilot.press("2")
    await until(pilot, lambda: isinstance(pilot.app.screen, Distil), "the Distil screen")
    await until(pilot, lambda: "an Ollama server would add" in text_of(pilot.app), "offers")
    await pilot.pause()


async def to_columns(pilot: Pilot[None], *keys: str) -> None:
    await pilot.press("1")
    await until(pilot, lambda: isinstance(pilot.app.screen, Compare), "the Compare screen")
    await pilot.press(*keys)
    await pilot.pause()


def test_the_form_follows_the_teacher_that_is_compared(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (shop.folder / "recsys.toml").open("a") as file:
        file.write('second = "slow_teacher:Slow"\n')
    monkeypatch.setattr(Compare, "COLUMNS", ("student", "teacher", "teacher:second"))

    async def flow() -> None:
        async with left_clean(shop.app()) as pilot:
            await settled(pilot)
            await to_form(pilot)
            assert teacher_of(pilot) == "second"  # nobody turned to one: the last
            await to_columns(pilot, "right")
            await to_form(pilot)
            assert teacher_of(pilot) == "slow"
            form_of(pilot).query_one("#teacher", Select).value = "minilm"
            await to_columns(pilot)
            await to_form(pilot)
            assert teacher_of(pilot) == "minilm"  # chosen here, and nothing else compared
            await to_columns(pilot, "right")
            await to_form(pilot)
            assert teacher_of(pilot) == "second"
            assert form_of(pilot).wanted.teacher == "second"

    asyncio.run(flow())


def test_a_blind_comparison_tells_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    with (shop.folder / "recsys.toml").open("a") as file:
        file.write('second = "slow_teacher:Slow"\n')
    monkeypatch.setattr(Compare, "COLUMNS", ("teacher", "teacher:second"))

    async def flow() -> None:
        async with left_clean(shop.app()) as pilot:
            await settled(pilot)
            await to_form(pilot)
            assert teacher_of(pilot) == "slow"
            await to_columns(pilot, "b", "right")
            assert compare_of(pilot.app).blind is not None
            for key in ("left", "right"):
                await to_form(pilot)
                assert teacher_of(pilot) == "slow"
                await to_columns(pilot, key)

    asyncio.run(flow())


def test_a_teacher_that_is_compared_is_offered_wherever_it_is(shop: Shop) -> None:
    async def flow() -> None:
        async with opened(begun(shop.settings)) as pilot:
            await until(pilot, lambda: "an Ollama server would add" in text_of(pilot.app))
            form = form_of(pilot)
            form.follow("ollama:far:1b")
            await pilot.pause()
            assert teacher_of(pilot) == "ollama:far:1b"
            assert "ollama:far:1b · of the Compare screen" in text_of(pilot.app)
            form.offer_teachers([Choice("slow", "slow"), Choice("other:1b", "other")], "more came")
            await pilot.pause()
            assert teacher_of(pilot) == "ollama:far:1b"

    asyncio.run(flow())


def test_a_server_that_does_not_answer_starts_nothing_and_is_named(shop: Shop) -> None:
    settings = shop.settings.model_copy(update={"teacher": "qwen3:8b", "hosts": DOWN})

    async def flow() -> None:
        async with opened(begun(settings), (120, 40)) as pilot:
            await until(pilot, lambda: "an Ollama server would add" in text_of(pilot.app))
            assert "no Ollama server" not in text_of(pilot.app)  # nobody has asked for one yet
            assert teacher_of(pilot) == "qwen3:8b"
            await pilot.click("#start")
            await until(pilot, lambda: notices(pilot), "it is said")
            assert notices(pilot) == (
                "nothing was started: no Ollama server answers at http://127.0.0.1:9, and "
                "'qwen3:8b' is asked there\nnext: ollama serve, or another teacher: embedded needs "
                "no server"
            )
            assert screen_of(pilot).query_one(JobList).option_count == 1
            assert not (settings.data_dir / "jobs").exists()
            start = form_of(pilot).query_one("#start")
            await until(pilot, lambda: not start.disabled, "it can be started again")
            assert STARTING not in text_of(pilot.app)

    asyncio.run(flow())


def test_a_server_that_answers_starts_the_job(shop: Shop, registry: Registry) -> None:
    registry.there = True
    settings = shop.settings.model_copy(update={"teacher": MODEL, "hosts": (registry.url,)})

    async def flow() -> None:
        async with opened(begun(settings), (120, 40)) as pilot:
            await until(pilot, lambda: "1 model of Ollama servers" in text_of(pilot.app))
            await pilot.click("#start")
            await ready(pilot, 1)
            job = screen_of(pilot).job
            assert job is not None
            assert job.spec.title == f"{NAME}: {MODEL}, fisher-ld, 10 min"

    asyncio.run(flow())


def test_without_a_teacher_its_fields_are_closed_and_its_server_is_not_asked(shop: Shop) -> None:
    settings = shop.settings.model_copy(update={"teacher": "qwen3:8b", "hosts": DOWN})

    async def flow() -> None:
        async with opened(begun(settings), (120, 40)) as pilot:
            await until(pilot, lambda: "an Ollama server would add" in text_of(pilot.app))
            form = form_of(pilot)
            fields = [form.query_one(f"#{name}") for name in (*OF_TEACHER, "weights")]
            assert not any(one.disabled for one in fields)
            form.query_one("#method", Select).value = "none"
            await pilot.pause()
            assert all(one.disabled for one in fields)
            assert "no weights are opened" not in text_of(pilot.app)
            form.query_one("#epochs", Input).value = "1"
            await pilot.click("#start")
            await ready(pilot, 1)
            job = screen_of(pilot).job
            assert job is not None
            assert job.spec.title == f"{NAME}: no teacher, 1 epoch"
            await pilot.press("n")
            form.query_one("#method", Select).value = "uniform"
            await pilot.pause()
            assert not any(one.disabled for one in fields)

    asyncio.run(flow())


def test_one_request_is_refused_in_the_form(shop: Shop) -> None:
    async def flow() -> None:
        async with opened(begun(shop.settings), (120, 40)) as pilot:
            await until(pilot, lambda: f"Distil {NAME}" in text_of(pilot.app))
            form_of(pilot).query_one("#requests", Input).value = "1"
            await pilot.click("#start")
            await until(pilot, lambda: "does not differ from itself" in notices(pilot), "why not")
            assert not (shop.settings.data_dir / "jobs").exists()

    asyncio.run(flow())
