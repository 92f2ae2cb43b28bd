"""Foreign text in what the leaderboard and the teachers draw: plain, on its line, or nothing."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st
from textual.content import Content

from distill.jobs.records import Job, JobSpec
from recommender.backends.ollama.survey import HostState
from recommender.comparison import Difference
from recommender.significance import Interval
from storage.records import Measurement, NoiseFloor, Run
from tui.job_story import Story
from tui.screens.teachers import _host
from tui.shown import shown
from tui.standings import GATE, Detail, Standing
from tui.teacher_data import ModelRow
from tui.widgets.figure_table import FigureTable
from tui.widgets.label_counts import _cell
from tui.widgets.model_table import ModelTable, described
from tui.widgets.run_detail import lines
from tui.widgets.versus import compared
from tui.widgets.work_lines import work_content

FOREIGN = st.text(max_size=60) | st.sampled_from(
    [
        "\x1b[31mred\x1b[0m",
        "[bold red]markup[/]",
        "[/]",
        "[@click=app.quit]x[/]",
        "\u202eevil",
        "a\u200bb",
        "a\nb\r\tc",
        "x" * 10_000,
        "\x9b2J",
        "\ud800",
    ]
)


def assert_plain(text: str, *, lines: int = 1) -> None:
    assert text.count("\n") < lines
    for character in text.replace("\n", ""):
        assert character == "\u200d" or unicodedata.category(character) not in ("Cc", "Cf", "Cs")


@given(FOREIGN)
@example("[bold]evil[/bold]")
def test_the_leaderboard(text: str) -> None:
    run = Run(text, 1, text, text, 0, {text: {text: text}}, text, text, final=True)
    figure = Measurement(text, f"{GATE}/{text}", text, 0.1, 0.0, 0.2, 9, 9)
    row = Standing(run, f"{GATE}/{text}", text, {"mrr": figure})
    table = FigureTable()
    table.scope, table.standings = GATE, (row,)
    for column in table._columns():
        cell = column.cell(row)
        assert_plain(cell.plain)
        assert not cell.spans  # markup would have made some
        assert len(cell.plain) <= 100
    for line in lines(Detail(run, (figure,), None, (), ((1, text),))):
        assert_plain(line.plain)
        assert len(line.plain) <= 300
    one = Difference("mrr", 0.3, 0.2, Interval(0.1, 0.05, 0.15, 40, 20))
    for said in compared(row, row, [one]):
        assert_plain(said if isinstance(said, str) else said.plain)


@given(FOREIGN)
@example("[bold]evil[/bold]")
def test_the_teachers(text: str) -> None:
    row = ModelRow(
        text, text, text, text, text, host=text, key=text, abilities=(text,), quantisation=text
    )
    floor = NoiseFloor(text, text, text, text, 0.1, 0.0, 0, 9)
    table = ModelTable()
    table._floors = {text: floor}
    for cell in table._cells(row, 20):
        assert_plain(cell.plain)
        assert not cell.spans
    for line in described(row, floor):
        assert_plain(shown(line).plain)
    assert_plain(_host(HostState(text, text, text)).plain)
    assert_plain(_host(HostState(text, text, problem=text or "down", next_step=text)).plain)
    assert_plain(_cell("teacher", text).plain)
    for state in ("running", "done", "failed"):
        job = Job(
            "a", JobSpec("pull", title=text), state, Path("a"), summary=(text,), error=text
        )  # fmt: skip
        found = work_content(job, Story(), 80, 0.0)
        assert isinstance(found, Content)
        assert_plain(found.plain, lines=2)
        assert len(found.plain) < 500
