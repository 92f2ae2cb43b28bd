"""The teachers' screen before servers of `tests.ollama`: a small Llama behind the protocol."""

from __future__ import annotations

from collections.abc import Callable

from textual.pilot import Pilot
from textual.widgets import Static

from recommender.config import Settings
from tests.ollama.serving import Serving
from tests.tui.begun import until
from tui.screens.teachers import Teachers
from tui.teacher_data import ModelRow
from tui.widgets.model_table import ModelTable
from tui.widgets.work_lines import WorkLine, WorkLines

Serve = Callable[..., Serving]
DOWN = "127.0.0.1:9"


def with_servers(settings: Settings, *hosts: str) -> Settings:
    return settings.model_copy(update={"hosts": hosts})


def teachers(pilot: Pilot[None]) -> Teachers:
    screen = pilot.app.screen
    assert isinstance(screen, Teachers)
    return screen


def hosts_said(screen: Teachers) -> str:
    return str(screen.query_one("#hosts", Static).content)


def models(screen: Teachers) -> list[str]:
    return [row.name for row in screen.query_one(ModelTable).models]


def lines(screen: Teachers) -> list[WorkLine]:
    return screen.query_one(WorkLines).lines


async def highlight(pilot: Pilot[None], screen: Teachers, name: str) -> ModelRow:
    await until(pilot, lambda: name in models(screen), f"{name} in the list")
    screen.table.move_cursor(row=models(screen).index(name))
    await pilot.pause()
    assert screen.table.current is not None
    return screen.table.current


def notices(pilot: Pilot[None]) -> str:
    return " ".join(one.message for one in pilot.app._notifications)
