"""What comes from outside, drawn by every widget that shows it: nothing of it reaches the terminal
but characters, each in its own cell, on a screen as wide as it was."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from textual.app import App
from textual.widget import Widget

from distill.jobs.codec import JobResult
from distill.jobs.records import Job, JobSpec
from recommender.events import Notice, StageDone, StageSkipped, StageStarted
from recommender.live.messages import Answered, LiveItem, Opened, Refused
from recommender.people import Person
from storage.browsing import PastEvent
from storage.errors import BadData
from storage.records import Category, Item
from tui.comparing import ColumnNow, Figures
from tui.job_story import Story
from tui.rows import Marks
from tui.screens.adding import AddColumn
from tui.screens.choosing import ChooseCategory
from tui.screens.finding import EditHistory
from tui.screens.leaving import Leaving
from tui.widgets.column import Look, RankerColumn
from tui.widgets.figures import FigureLines
from tui.widgets.job_list import JobList
from tui.widgets.missing import Missing, Offer
from tui.widgets.people import PeoplePanel
from tui.widgets.shown_job import ShownJob

HOSTILE = (
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x1b]52;c;ZXZpbA==\x07",
    "\x9b2J\x9b1;1H",
    "[bold red]markup[/]",
    "[/]",
    "[@click=app.quit]click[/]",
    "[link=https://evil.example]link[/link]",
    "\u202eevil\u2066",
    "a\u200bb\ufeffc",
    "a\nb\r\tc\x0bd\x85e\u2028f",
    "x" * 10_000,
    "宽" * 3_000,
    "e" + "\u0301" * 2_000,
    "👨‍👩‍👧‍👦 family",
    "\ud800 half",
    "\x00",
    "",
)
FOREIGN = st.text(max_size=80) | st.sampled_from(HOSTILE)
SIZE = (80, 24)
ACTIONS = ("click", "link")


def assert_harmless(app: App[Any]) -> None:
    """Hold what would be sent to the terminal against what may be."""
    for strip in app.screen._compositor.render_strips():
        assert strip.cell_length == SIZE[0]
        for segment in strip:
            assert not segment.control
            for character in segment.text:
                kind = unicodedata.category(character)
                assert character == "\u200d" or kind not in ("Cc", "Cf", "Cs", "Zl", "Zp")
            if segment.style is not None:
                assert segment.style.link is None
                assert not any("evil" in str(value) for value in segment.style.meta.values())
                assert "app.quit" not in str(segment.style.meta)


class Host(App[None]):
    """One widget, filled the screen with."""

    CSS = "Host > Screen > * { width: 1fr; height: 1fr; }"

    def __init__(self, widget: Widget) -> None:
        super().__init__()
        self.widget = widget

    def compose(self) -> Any:
        yield self.widget


def an_item(text: str, number: int = 0) -> Item:
    return Item(number, text, text, text, text, text, text)


def a_category(text: str) -> Category:
    return Category(1, text, text, False, None, None, 1, 1, 1, text, text, text)


def a_job(text: str, name: str = "j") -> Job:
    spec = JobSpec("distil", text, text, {})
    return Job(name, spec, "failed", Path("x"), "", "", 0, (text,), text, text, text)


def column(texts: Sequence[str]) -> tuple[Widget, Callable[[Any], None]]:
    items = tuple(LiveItem(n, t, t, 1.0 / (n + 1)) for n, t in enumerate(texts))
    answer = Answered(1, texts[0], items, 0.5, 3, (texts[0],))
    opened = Opened(texts[0], texts[0], 1.0, notices=(texts[0],))
    now = ColumnNow(texts[0], "answered", texts[0], 1, 0.0, opened, answer)
    widget = RankerColumn(texts[0])

    def fill(shown: RankerColumn) -> None:
        shown.reason = (0, texts[-1])
        shown.paint(now, Look(texts[0], Marks([None] * len(items))), 1.0)

    return widget, fill


def refused(texts: Sequence[str]) -> tuple[Widget, Callable[[Any], None]]:
    no = Refused(-1, texts[0], texts[-1], texts[0])
    now = ColumnNow(texts[0], "refused", refused=no)
    return RankerColumn(texts[0]), lambda shown: shown.paint(now, Look(texts[0]), 0.0)


def people(texts: Sequence[str]) -> tuple[Widget, Callable[[Any], None]]:
    events = tuple(PastEvent(an_item(t, n), 2**62, 4.5) for n, t in enumerate(texts))
    who = Person(texts[0], 0, events, events[-1], texts[0])
    return PeoplePanel(), lambda shown: shown.show_person(who, None)


def nobody(texts: Sequence[str]) -> tuple[Widget, Callable[[Any], None]]:
    return PeoplePanel(), lambda shown: shown.say(texts[0])


def figures(texts: Sequence[str]) -> tuple[Widget, Callable[[Any], None]]:
    some = [Figures(t, 0.1, 0.1, 2.0, 0.5, 0.5, 1, 2, (0.1, 0.2)) for t in texts]
    return FigureLines(), lambda shown: shown.paint(some, 10)


def missing(texts: Sequence[str]) -> tuple[Widget, Callable[[Any], None]]:
    error = BadData(texts[0], next_step=texts[-1])
    return Missing.of(error, [Offer("x", t) for t in texts[:3]]), lambda shown: None


def jobs(texts: Sequence[str]) -> tuple[Widget, Callable[[Any], None]]:
    return JobList(), lambda shown: shown.show(
        [a_job(text, str(n)) for n, text in enumerate(texts)]
    )


def one_job(texts: Sequence[str]) -> tuple[Widget, Callable[[Any], None]]:
    story = Story()
    for text in texts:
        story.hear(
            [
                StageStarted(text, 3, text),
                StageDone(text, 1.0, text),
                StageSkipped(text, text),
                Notice(text),
                JobResult((text,), text),
            ]
        )
    return ShownJob(), lambda shown: shown.show(a_job(texts[0]), story, 1.0)


WIDGETS = (column, refused, people, nobody, figures, missing, jobs, one_job)
MODALS: dict[str, Callable[[Sequence[str]], Any]] = {
    "adding": lambda texts: AddColumn([(t, t) for t in texts]),
    "choosing": lambda texts: ChooseCategory([a_category(t) for t in texts]),
    "finding": lambda texts: EditHistory(a_category(texts[0]), [an_item(t) for t in texts]),
    "leaving": lambda texts: Leaving([a_job(t) for t in texts]),
}
TEXTS = st.lists(FOREIGN, min_size=2, max_size=12)
FEW = settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize("made", WIDGETS, ids=lambda made: made.__name__)
@FEW
@given(texts=TEXTS)
def test_a_widget_draws_characters_only(made: Any, texts: list[str]) -> None:
    draw(made, texts)


@pytest.mark.parametrize("made", WIDGETS, ids=lambda made: made.__name__)
def test_a_widget_draws_all_that_is_known_to_be_bad(made: Any) -> None:
    draw(made, HOSTILE)


def draw(made: Any, texts: Sequence[str]) -> None:
    async def run() -> None:
        widget, fill = made(texts)
        app = Host(widget)
        async with app.run_test(size=SIZE) as pilot:
            await pilot.pause()
            fill(widget)
            await pilot.pause()
            assert_harmless(app)

    asyncio.run(run())


@pytest.mark.parametrize("name", MODALS)
def test_a_modal_draws_characters_only(name: str) -> None:
    async def run() -> None:
        app: App[None] = App()
        async with app.run_test(size=SIZE) as pilot:
            app.push_screen(MODALS[name](HOSTILE))
            await pilot.pause()
            assert_harmless(app)

    asyncio.run(run())


def test_the_check_can_fail() -> None:
    async def run() -> None:
        from textual.widgets import Static

        app = Host(Static("[@click=app.quit]evil[/]"))
        async with app.run_test(size=SIZE) as pilot:
            await pilot.pause()
            with pytest.raises(AssertionError):
                assert_harmless(app)

    asyncio.run(run())
