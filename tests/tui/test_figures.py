"""The foot of the comparison keeps its columns apart at any width, whatever it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.app import App, ComposeResult
from textual.geometry import Size

from tests.tui.shop import text_of
from tui.comparing import Figures
from tui.widgets.figures import SPARKS, FigureLines, laid_out, sparkline

SLOW = Figures("teacher:smollm2-135m-instruct", 3599.0, 3599.0, 7_198_000.0, 0.9, -0.05, 120, 345,
               (1.0, 3599.0))  # fmt: skip
QUICK = Figures("student", 0.0005, 0.0005, 1.0, None, None, 0, 0, (0.0005,))
SILENT = Figures("popularity", None, None, None, None, None, 0, 0, ())


class Foot(App[None]):
    def compose(self) -> ComposeResult:
        yield FigureLines()


def drawn(size: tuple[int, int], figures: Sequence[Figures], says: str = "") -> list[str]:
    """Return the lines of the widget."""

    async def run() -> list[str]:
        app = Foot()
        async with app.run_test(size=size) as pilot:
            app.query_one(FigureLines).paint(figures, 10, says)
            await pilot.pause()
            await pilot.pause()
            return [line for line in text_of(app).splitlines()[1:] if line]

    return asyncio.run(run())


@pytest.mark.parametrize("width", [60, 72, 80, 100, 120, 200])
def test_everything_keeps_apart_and_stands_under_its_head(width: int) -> None:
    lines = drawn((width, 24), [QUICK, SLOW, SILENT])
    assert len(lines) == 4, "a line each"
    head, quick, slow, silent = lines
    assert all(len(line) <= width - 1 for line in lines)
    assert "59 min 59 s" in slow
    assert "7,198,000 ×" in slow
    assert slow.endswith(" 120 of 345")
    assert "1 ×" in quick.split("overlap")[0]
    assert silent.split()[0] == "popularity"
    columns = ["p50", "slower", "overlap@10", "hits"]
    for name in columns + (["last", "tau"] if width >= 80 else []):
        end = head.index(name) + len(name)
        assert all(line[end - 1 : end].strip() for line in (quick, slow, silent)), name
        assert all(line[end : end + 1].strip() == "" for line in (quick, slow, silent)), name


def test_room_is_used() -> None:
    narrow, wide = (drawn((width, 24), [QUICK, SLOW]) for width in (80, 200))
    assert "teacher:smoll… " in narrow[2]
    assert "latency" not in narrow[0]
    assert "teacher:smollm2-135m-instruct" in wide[2]
    assert "latency" in wide[0]
    assert "held-out hits" in wide[0]
    assert "▁█" in wide[2]


def test_a_sentence_stands_in_the_place_of_figures() -> None:
    (line,) = drawn((80, 24), [QUICK], "blind: 1 preference \x1b[31m[b]told[/b]")
    assert line.strip() == "blind: 1 preference [b]told[/b]"


def test_many_columns_leave_room_for_their_lists() -> None:
    async def run() -> int:
        app = Foot()
        async with app.run_test(size=(80, 24)) as pilot:
            app.query_one(FigureLines).paint([QUICK] * 30, 10)
            await pilot.pause()
            await pilot.pause()
            return app.query_one(FigureLines).outer_size.height

    assert asyncio.run(run()) <= 24 * 0.4


def test_it_is_drawn_anew_when_the_terminal_changes() -> None:
    async def run() -> tuple[str, str]:
        app = Foot()
        async with app.run_test(size=(80, 24)) as pilot:
            app.query_one(FigureLines).paint([SLOW], 10)
            await pilot.pause()
            before = text_of(app)
            await pilot.resize_terminal(160, 24)
            await pilot.pause()
            assert app.size == Size(160, 24)
            return before, text_of(app)

    before, after = asyncio.run(run())
    assert "latency" not in before
    assert "latency" in after


@given(width=st.integers(0, 400), longest=st.integers(0, 500), n=st.integers(1, 99))
def test_it_never_takes_more_than_there_is(width: int, longest: int, n: int) -> None:
    name, parts = laid_out(width, longest, n)
    if width >= 58:
        assert name + sum(part.cells for part in parts) <= width
    assert {"p50", "slower", f"overlap@{n}"} <= {part.head for part in parts}
    assert name >= 12


@given(values=st.lists(st.floats(0, 1e6), max_size=60), width=st.integers(1, 40))
def test_a_sparkline_is_as_wide_as_told_and_highest_at_the_highest(
    values: list[float], width: int
) -> None:
    line = sparkline(values, width)
    assert len(line) == width
    last = values[-width:]
    assert len(line.rstrip()) == len(last)
    if last and max(last) > 0:
        assert line[last.index(max(last))] == SPARKS[-1]
