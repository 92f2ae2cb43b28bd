"""The leaderboard: what stands where, one run in detail, two against each other."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Static, Tabs

from recommender.comparison import ROWS_FILE
from recommender.config import Settings
from recommender.significance import mean_interval
from storage.records import LayerProfile, Measurement, Run
from storage.store import Store
from tests.cli.shop import NAME, build
from tests.tui.begun import app_at, play, text_of, until
from tui.screens.leaderboard import Leaderboard
from tui.standings import GATE, TEST, Standing, compare, ordered
from tui.widgets.figure_table import BAR_OF, FigureTable
from tui.widgets.missing import Missing
from tui.widgets.no_data import NoData
from tui.widgets.run_detail import RunDetail
from tui.widgets.versus import Versus

HOSTILE = "\x1b[31m[bold]evil[/bold]\u202e" + "x" * 10_000


def made(key: str, kind: str, name: str, **changes: object) -> Run:
    config = {
        "split": "temporal",
        "teacher": {"candidates": 10, "mix": "uniform", "history_length": 10},
        "student": {"network": {"blocks": 2}, "seed": 0},
        "layer_weights": [0.5, 1.5] if name == "distilled" else [],
        "profile": "fisher-1" if name == "distilled" else "",
    }
    one = Run(key, 1, kind, name, 0, config, "done", "2026-11-23T12:00:00+00:00")
    return replace(one, **changes)  # type: ignore[arg-type]


def keep(store: Store, one: Run, scope: str, rows: list[int], ranks: list[int]) -> None:
    """Keep a run with figures computed of these ranks, and the rows they are of."""
    store.runs.add(one)
    users = np.arange(len(rows))
    arrays = {"rows": np.array(rows), "users": users, "ranks": np.array(ranks, dtype=np.int32)}
    with store.artifacts.writing("evaluation", {"run": one.id, "scope": scope}) as path:
        store.artifacts.save_arrays(path / ROWS_FILE, arrays)
    key = store.artifacts.key("evaluation", {"run": one.id, "scope": scope})
    interval = mean_interval(1.0 / np.array(ranks), users, resamples=200)
    store.runs.add_measurements(
        [
            Measurement(
                one.id, scope, metric, interval.value, interval.low, interval.high, len(rows),
                len(rows), key,
            )
            for metric in ("ndcg@10", "hr@10", "mrr@10", "mrr", "ndcg@5", "hr@1")
        ]
    )  # fmt: skip


@pytest.fixture
def board(tmp_path: Path) -> Settings:
    """A shop with two baselines that were really measured, and runs of every kind."""
    folder = tmp_path / "shop"
    folder.mkdir()
    build(folder)
    settings = Settings(data_dir=folder)
    with Store.open(settings.db, settings.artifacts) as store:
        category = store.catalogue.category(NAME).id
        assert category == 1
        rows = list(range(100, 140))
        keep(
            store, made("distilled-1", "student", "distilled", selection=0.3), TEST, rows, [1] * 40
        )
        keep(store, made("plain-1", "student", "undistilled"), TEST, rows, [2] * 40)
        keep(store, made("other-1", "student", HOSTILE), TEST, list(range(40)), [3] * 40)
        store.runs.add(made("distilled-1-final", "student", "distilled", final=True))
        twin = made("distilled-2", "student", "distilled", seed=1)
        store.runs.add(replace(twin, config={**twin.config, "seed": 1}, status="failed"))
        keep(store, made("teacher-1", "teacher", "teacher tiny"), GATE, rows, [1, 2] * 20)
        keep(
            store,
            made("teacher-1", "teacher", "teacher tiny"),
            f"{GATE}/popularity",
            rows,
            [4] * 40,
        )
        store.runs.add_profile(
            LayerProfile(
                "fisher-1", category, "tiny@sha", "fisher-empirical-listwise", 32,
                (1.0, 1.0, 1.0, 3.0), (0.5,) * 4, (4.0,) * 4, "none",
            )
        )  # fmt: skip
    return settings


async def at_board(pilot: Pilot[None]) -> Leaderboard:
    await until(pilot, lambda: isinstance(pilot.app.screen, Leaderboard), "the leaderboard")
    screen = pilot.app.screen
    assert isinstance(screen, Leaderboard)
    await until(pilot, lambda: screen.table.shown or missing(screen), "rows, or why there are none")
    await pilot.pause(0.1)
    return screen


def missing(screen: Leaderboard) -> list[str]:
    return [one.says for one in screen.query(Missing) if one.display]


def names(screen: Leaderboard) -> list[str]:
    return [row.run.id for row in screen.table.shown]


async def go_to(pilot: Pilot[None], screen: Leaderboard, run_id: str) -> None:
    place = names(screen).index(run_id)
    screen.table.move_cursor(row=place)
    await pilot.pause()


def test_who_stands_where(board: Settings) -> None:
    async def flow(pilot: Pilot[None]) -> None:
        screen = await at_board(pilot)
        found = names(screen)
        assert found[0] == "distilled-1"
        # Neither the teacher nor what was measured beside it stands among full catalogues.
        assert "teacher-1" not in found
        # Without figures, last in either direction.
        assert set(found[-2:]) == {"distilled-1-final", "distilled-2"}
        await pilot.press("O")
        assert set(names(screen)[-2:]) == {"distilled-1-final", "distilled-2"}
        assert names(screen)[-3] == "distilled-1"
        screen_text = text_of(pilot.app)
        assert "distilled, final" in screen_text
        assert "distilled, failed" in screen_text
        assert "synthetic" in screen_text
        assert "[bold]evil[/bold]" in screen_text

        await pilot.press("g")
        await until(pilot, lambda: screen.table.scope == GATE, "the gate")
        assert {(r.run.id, r.beside) for r in screen.table.shown} == {
            ("teacher-1", ""),
            ("teacher-1", "popularity"),
        }
        assert "popularity (beside" in text_of(pilot.app)
        await pilot.press("g")
        await until(pilot, lambda: screen.table.scope == TEST, "the test again")

    play(app_at("leaderboard", board), flow)


def test_any_column_orders(board: Settings) -> None:
    async def flow(pilot: Pilot[None]) -> None:
        screen = await at_board(pilot)
        table = screen.table
        assert (table.by, table.falling) == ("ndcg@10", True)
        seen = [table.by]
        for _ in range(8):
            await pilot.press("o")
            seen.append(table.by)
            values = [row for row in table.shown if row.any_figure]
            assert values == ordered(values, table.by, reverse=table.falling)
        assert len(set(seen)) == 9
        await pilot.press("o")
        assert table.by == "ndcg@10"
        # By mouse: the head of the third column, then again for the other way round.
        columns = [column.key.value for column in table.ordered_columns]
        assert columns[:4] == ["mark", "name", "ndcg@10", f"{BAR_OF}ndcg@10"]
        width = sum(c.get_render_width(table) for c in table.ordered_columns[:1]) + 2
        await pilot.click(FigureTable, offset=(width, 0))
        await until(pilot, lambda: table.by == "name", "ordered by name")
        assert not table.falling
        await pilot.click(FigureTable, offset=(width, 0))
        await until(pilot, lambda: table.falling, "the other way round")

    play(app_at("leaderboard", board), flow, (200, 50))


def test_bars_share_a_scale(board: Settings) -> None:
    async def flow(pilot: Pilot[None]) -> None:
        screen = await at_board(pilot)
        place = [c.key.value for c in screen.table.ordered_columns].index(f"{BAR_OF}ndcg@10")
        drawn = {
            row.run.id: str(screen.table.get_cell_at((n, place)))  # type: ignore[arg-type]
            for n, row in enumerate(screen.table.shown)
        }
        assert drawn["distilled-1"].endswith("●")
        assert drawn["plain-1"].index("●") < drawn["distilled-1"].index("●")
        assert not drawn["distilled-1-final"].strip()
        await pilot.resize_terminal(100, 30)
        await until(pilot, lambda: len(screen.table.ordered_columns) == 5, "no bars")

    play(app_at("leaderboard", board), flow, (200, 50))


@pytest.mark.parametrize("width", [60, 80, 100, 120, 140, 240])
def test_no_head_is_cut_and_what_is_left_out_is_said(board: Settings, width: int) -> None:
    async def flow(pilot: Pilot[None]) -> None:
        screen = await at_board(pilot)
        table = screen.table
        columns = table.ordered_columns
        assert sum(column.get_render_width(table) for column in columns) < width
        assert [one.key.value for one in columns][:3] == ["mark", "name", "ndcg@10"]
        shown = text_of(pilot.app)
        for column in columns:
            assert column.label.plain in shown
        all_heads = {"hr@10", "mrr@10", "kind", "requests", "seed", "made", "run"}
        left = all_heads - {str(one.key.value) for one in columns}
        assert set(table.hidden) == left
        assert (f"{len(left)} more column" in shown) == bool(left)
        for name in left:
            assert name in shown.partition(" more column")[2]
        # What the rows are ordered by is always shown.
        for _ in range(9):
            await pilot.press("o")
            assert table.by in {str(one.key.value) for one in table.ordered_columns}

    play(app_at("leaderboard", board), flow, (width, 30))


@pytest.mark.parametrize("theme", ["textual-dark", "textual-light"])
def test_what_a_small_terminal_shows(board: Settings, theme: str) -> None:
    async def flow(pilot: Pilot[None]) -> None:
        await at_board(pilot)
        pilot.app.theme = theme
        await pilot.pause()
        first = next(line for line in text_of(pilot.app).splitlines() if "distilled" in line)
        assert first.count("1.000") >= 3  # all three metrics fit

    play(app_at("leaderboard", board), flow, (80, 24))


def test_a_run_in_detail(board: Settings) -> None:
    async def flow(pilot: Pilot[None]) -> None:
        screen = await at_board(pilot)
        await go_to(pilot, screen, "distilled-1")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunDetail), "the detail")
        found = str(pilot.app.screen.query_one("VerticalScroll Static", Static).content)
        assert "run distilled-1: student, done, seed 0" in found
        assert "the same with seed 1: distilled-2" in found
        assert "test, full catalogue (40 requests of 40 people" in found
        assert "hr@1 " in found  # every metric, not only the columns
        assert "0.500, 1.500" in found  # as the run keeps them
        assert "fisher-empirical-listwise, 32 requests" in found
        assert "teacher.candidates" in found
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is screen, "back")

    play(app_at("leaderboard", board), flow, (100, 50))


def test_two_marked_rows_are_compared(board: Settings) -> None:
    async def flow(pilot: Pilot[None]) -> None:
        screen = await at_board(pilot)
        versus = screen.query_one(Versus)
        await pilot.press("m")
        assert "mark two rows" in " ".join(n.message for n in pilot.app._notifications)
        await go_to(pilot, screen, "distilled-1")
        await pilot.press("space")
        assert screen.table.marked == [f"distilled-1 {TEST}"]
        assert "mark another row" in versus.said[0]
        await go_to(pilot, screen, "plain-1")
        await pilot.press("space")
        await until(pilot, lambda: len(versus.said) == 5, "the comparison")
        assert versus.said[0] == (
            "A distilled against B undistilled, on 40 shared requests of 40 people"
        )
        assert "ndcg@10    1.0000 −   0.6309 =  +0.3691" in versus.said[1]
        assert versus.said[-1].startswith("distilled is better than undistilled by ndcg@10")
        shown = text_of(pilot.app)
        assert "A is better" in shown
        # A third mark lets the first go; these two share no request.
        await go_to(pilot, screen, "other-1")
        await pilot.press("space")
        await until(pilot, lambda: "share no request" in " ".join(versus.said), "a sentence")
        assert len(screen.table.marked) == 2
        await pilot.press("space")
        assert "mark another" in versus.said[0]
        # What is final kept no rows.
        await go_to(pilot, screen, "distilled-1-final")
        await pilot.press("space")
        await until(pilot, lambda: "kept no rows" in " ".join(versus.said), "a sentence")
        await pilot.press("u")
        assert (screen.table.marked, versus.said) == ([], ())

    play(app_at("leaderboard", board), flow)


def test_marks_do_not_cross_scopes(board: Settings) -> None:
    async def flow(pilot: Pilot[None]) -> None:
        screen = await at_board(pilot)
        await pilot.press("space", "g")
        await until(pilot, lambda: screen.table.scope == GATE, "the gate")
        versus = screen.query_one(Versus)
        assert (screen.table.marked, versus.said) == ([], ())
        await pilot.press("space", "down", "space")
        await until(pilot, lambda: len(versus.said) == 5, "the comparison at the gate")
        assert versus.said[1].startswith("mrr ")
        assert "teacher tiny" in versus.said[0]

    play(app_at("leaderboard", board), flow)


def test_the_gates_of_other_questions_are_not_compared(board: Settings) -> None:
    with Store.open(board.db, board.artifacts) as store:
        one = store.runs.get("teacher-1")
        config = {**one.config, "teacher": {"candidates": 15}}
        a, b = (Standing(r, GATE) for r in (one, replace(one, id="teacher-2", config=config)))
        with pytest.raises(Exception, match="chose from different candidates"):
            compare(store, a, b)


def test_what_is_not_there(tmp_path: Path, board: Settings) -> None:
    async def no_data(pilot: Pilot[None]) -> None:
        screen = await at_board(pilot)
        assert screen.query_one(NoData).display
        assert missing(screen) == ["There is no data yet."]

    async def no_runs(pilot: Pilot[None]) -> None:
        screen = await at_board(pilot)
        assert missing(screen) == [f"Nothing was trained or measured on {NAME} yet."]
        with Store.open(board.db, board.artifacts) as store:
            store.runs.add(made("late-1", "student", "late"))
        await pilot.press("r")
        await until(pilot, lambda: names(screen) == ["late-1"], "the run that came late")

    async def offers_to_distil(pilot: Pilot[None]) -> None:
        await at_board(pilot)
        await pilot.click("Missing Button")
        await until(pilot, lambda: pilot.app.current_mode == "distil", "the distil screen")

    empty = Settings(data_dir=tmp_path / "empty")
    play(app_at("leaderboard", empty), no_data)
    _empty(board)
    play(app_at("leaderboard", board), no_runs)
    _empty(board)
    play(app_at("leaderboard", board), offers_to_distil)


def _empty(board: Settings) -> None:
    import sqlite3

    connection = sqlite3.connect(board.db)
    connection.execute("delete from measurements")
    connection.execute("delete from runs")
    connection.commit()
    connection.close()


def test_a_store_that_fails_is_said(board: Settings) -> None:
    async def flow(pilot: Pilot[None]) -> None:
        screen = await at_board(pilot)
        from storage.errors import StoreUnavailable

        async def locked(_question: object) -> None:
            raise StoreUnavailable("the database is locked", next_step="close the other")

        ask = screen.recsys.store.ask
        screen.recsys.store.ask = locked  # type: ignore[method-assign, assignment]
        await pilot.press("r")
        await until(pilot, lambda: missing(screen) == ["the database is locked"], "said")
        screen.recsys.store.ask = ask  # type: ignore[method-assign]
        await pilot.click("Missing Button")
        await until(pilot, lambda: screen.query_one("#board").display, "the rows again")

    play(app_at("leaderboard", board), flow)


def test_comparing_loads_nothing_heavy(board: Settings) -> None:
    script = (
        "import sys; from pathlib import Path; from storage.store import Store\n"
        "from tui.standings import compare, read_detail, read_standings\n"
        "import tui.screens.leaderboard\n"
        f"store = Store.open({board.db!r}, Path({str(board.artifacts)!r}))\n"
        "rows = read_standings(store, store.catalogue.category('Tiny shop'))['test/full']\n"
        "named = {row.run.id: row for row in rows}\n"
        "assert compare(store, named['distilled-1'], named['plain-1'])\n"
        "assert read_detail(store, named['distilled-1'].run).weights\n"
        "store.close()\n"
        "heavy = {'torch', 'scipy', 'transformers', 'onnxruntime', 'httpx'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_tabs_and_table_take_the_mouse(board: Settings) -> None:
    async def flow(pilot: Pilot[None]) -> None:
        screen = await at_board(pilot)
        await pilot.click("#scope-1")
        await until(pilot, lambda: screen.table.scope == GATE, "the gate")
        assert screen.query_one(Tabs).active == "scope-1"
        assert isinstance(screen.query_one(DataTable), FigureTable)

    play(app_at("leaderboard", board), flow)
