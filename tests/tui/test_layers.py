"""The Layers screen: a map of criteria by layers, one of them in detail, and what a cut keeps."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from textual.pilot import Pilot
from textual.widgets import ContentSwitcher, Select

from distill.importance.profile import layer_profile
from distill.importance.statistics.selection import kept_layers
from recommender.config import Settings
from storage.records import LayerProfile
from storage.store import Store
from tests.cli.shop import HOSTILE, HOSTILE_SHOWN, NAME, build
from tests.tui.begun import app_at
from tests.tui.recorded import alive, record
from tests.tui.shop import text_of, until
from tui.app import RecsysApp
from tui.layer_data import CUTS, Row, kept_by, measured, ratio_words, rows_of, shares_of
from tui.screens.layers import Layers
from tui.widgets.heat import Grid, HeatList, cell_text, numbers_line
from tui.widgets.profile_bars import chart, cut_line

MODEL = "smol@sha256:ab/float32"
RISING = tuple(float(n) for n in range(1, 9))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A shop whose layers were never measured."""
    home = tmp_path / "home"
    home.mkdir()
    build(home)
    return Settings(data_dir=home)


def profile(
    means: Sequence[float],
    criterion: str = "fisher-empirical-listwise",
    *,
    weights: str = MODEL,
    artifact: str = "one",
    requests: int = 12,
) -> LayerProfile:
    """A profile as the road makes it, of requests that differ by a tenth or so."""
    noise = np.random.default_rng(0).uniform(0.8, 1.2, (requests, 1)) if requests > 1 else 1.0
    values = np.array([means]) * noise
    return layer_profile(
        values, category_id=1, weights=weights, criterion=criterion, artifact=artifact
    )


def keep(settings: Settings, *profiles: LayerProfile) -> None:
    with Store.open(settings.db, settings.artifacts) as store:
        for one in profiles:
            store.runs.add_profile(one)


@asynccontextmanager
async def opened(
    settings: Settings, size: tuple[int, int] = (100, 30), *, measured: bool = True
) -> AsyncIterator[Pilot[None]]:
    """The app begun at this screen, once it knows what was measured."""
    app = app_at("layers", settings)
    async with app.run_test(size=size, notifications=True) as pilot:
        if measured:
            await until(pilot, lambda: screen_of(pilot).rows, "profiles")
            await pilot.pause()
        yield pilot


def screen_of(pilot: Pilot[None]) -> Layers:
    assert isinstance(pilot.app.screen, Layers), pilot.app.screen
    return pilot.app.screen


def line_of(pilot: Pilot[None], begins: str) -> str:
    """The line that begins so, without its name."""
    lines = text_of(pilot.app).splitlines()
    found = next(line for line in lines if line.strip().startswith(begins))
    return found.strip().removeprefix(begins).strip()


def app_of(pilot: Pilot[None]) -> RecsysApp:
    assert isinstance(pilot.app, RecsysApp)
    return pilot.app


def test_the_map_the_figures_and_what_a_cut_keeps(settings: Settings) -> None:
    falling = tuple(reversed(RISING))
    keep(settings, profile(RISING), profile(falling, "taylor-listwise"))

    async def flow() -> None:
        async with opened(settings) as pilot:
            shown = text_of(pilot.app)
            assert MODEL in shown
            assert line_of(pilot, "fisher-empirical ").split() == [
                *("12", "25", "38", "50", "62", "75", "88", "100")
            ]
            assert line_of(pilot, "taylor ").split()[0] == "100"
            assert "squared gradient of the loss at the observed choice" in shown
            assert "last quarter over first 5.00 [5.00, 5.00]" in shown
            assert "12 requests, listwise" in shown
            assert "70-100 %" in shown
            assert line_of(pilot, "cut 50 %:").split() == ["4", *"····KKKK"]
            assert line_of(pilot, "cut 75 %:").split() == ["2", *"······KK"]
            assert "K stays when 50 or 75 % are cut" in shown
            await pilot.press("down")
            assert line_of(pilot, "cut 75 %:").split() == ["2", *"KK······"]
            assert "sum of |w" in text_of(pilot.app)

    asyncio.run(flow())


def test_arrows_go_along_the_layers(settings: Settings) -> None:
    keep(settings, profile(RISING))

    async def flow() -> None:
        async with opened(settings) as pilot:
            assert "layer 0: 1.0" in text_of(pilot.app)
            await pilot.press("right", "right")
            assert "layer 2: 3.0" in text_of(pilot.app)
            await pilot.press("left", "left", "left")
            assert "layer 7: 8.0" in text_of(pilot.app)

    asyncio.run(flow())


def test_weights_are_chosen_and_random_twins_come_last(settings: Settings) -> None:
    twin = f"{MODEL} random-init 0"
    keep(settings, profile(RISING), profile(RISING[:4], "taylor-listwise", weights=twin))
    keep(settings, profile(RISING[:4], weights=twin))

    async def flow() -> None:
        async with opened(settings) as pilot:
            weights = screen_of(pilot).query_one("#of", Select)
            assert weights.value == MODEL
            await pilot.press("right", "w")
            await pilot.pause()
            assert weights.value == twin
            assert [row.name for row in screen_of(pilot).rows] == ["fisher-empirical", "taylor"]
            assert "layer 0:" in text_of(pilot.app)
            await pilot.press("w")
            await pilot.pause()
            assert weights.value == MODEL

    asyncio.run(flow())


@pytest.mark.parametrize("size", [(60, 18), (80, 24), (100, 30), (200, 50)])
@pytest.mark.parametrize("theme", ["textual-dark", "textual-light"])
def test_thirty_layers_fit_everywhere(
    settings: Settings, size: tuple[int, int], theme: str
) -> None:
    means = [1 + (7 * n) % 30 for n in range(30)]
    names = ("fisher-empirical", "gradient-norm", "block-influence", "taylor", "loo-loss")
    keep(settings, *(profile(means, f"{name}-listwise") for name in names))

    async def flow() -> None:
        async with opened(settings, size) as pilot:
            pilot.app.theme = theme
            await pilot.pause()
            heat = screen_of(pilot).query_one(HeatList)
            assert heat.virtual_size.height == len(names)  # no line is broken
            cells = line_of(pilot, "fisher-empir").split()[-1 if size[0] == 60 else -30 :]
            assert len("".join(cells)) >= 30
            assert "fit" not in text_of(pilot.app)
            assert screen_of(pilot).query_one("#bars").region.bottom <= size[1]

    asyncio.run(flow())


def test_more_layers_than_columns_are_counted(settings: Settings) -> None:
    keep(settings, profile([1.0] * 80))

    async def flow() -> None:
        async with opened(settings, (60, 24)) as pilot:
            assert "47 of 80 layers fit" in text_of(pilot.app)
            await pilot.resize_terminal(120, 30)
            await until(pilot, lambda: "layers fit" not in text_of(pilot.app))

    asyncio.run(flow())


def test_nothing_measured_names_the_command_and_offers_to_distil(settings: Settings) -> None:
    async def flow() -> None:
        async with opened(settings, measured=False) as pilot:
            await until(pilot, lambda: "no layers were measured" in text_of(pilot.app))
            assert f"recsys importance --category '{NAME}'" in text_of(pilot.app)
            await until(pilot, lambda: screen_of(pilot).focused is not None)
            await pilot.press("enter")
            await until(pilot, lambda: app_of(pilot).current_mode == "distil")

    asyncio.run(flow())


def test_no_data_offers_some(tmp_path: Path) -> None:
    async def flow() -> None:
        async with opened(Settings(data_dir=tmp_path / "new"), measured=False) as pilot:
            await until(pilot, lambda: "There is no data yet" in text_of(pilot.app))
            switcher = screen_of(pilot).query_one("#beside", ContentSwitcher)
            assert switcher.current == "no-data"

    asyncio.run(flow())


def test_what_a_distillation_measures_appears_once_it_is_done(settings: Settings) -> None:
    folder = record(settings, "a")

    async def flow() -> None:
        async with opened(settings, measured=False) as pilot:
            with alive(folder):
                await until(pilot, lambda: "no layers were measured" in text_of(pilot.app))
                await pilot.pause(0.5)
                keep(settings, profile(RISING))
                (folder / "end.json").write_text('{"state": "done"}')
            await until(pilot, lambda: "last quarter over first" in text_of(pilot.app))

    asyncio.run(flow())


def test_names_from_outside_are_only_names(settings: Settings) -> None:
    keep(settings, profile(RISING, HOSTILE, weights=HOSTILE + "x" * 10_000))

    async def flow() -> None:
        async with opened(settings) as pilot:
            shown = text_of(pilot.app)
            assert shown.count(HOSTILE_SHOWN) == 3
            assert "\x1b" not in shown

    asyncio.run(flow())


def test_the_latest_profile_of_a_criterion_counts(settings: Settings) -> None:
    keep(settings, profile(RISING, artifact="old"))
    keep(settings, profile(RISING[::-1], artifact="new"))
    with Store.open(settings.db, settings.artifacts) as store:
        found = measured(store, 1)
    assert [row.profile.artifact for row in found[MODEL]] == ["new"]
    assert found[MODEL][0].shares[0] == 1.0


def test_losses_are_named_where_there_are_several() -> None:
    some = [profile(RISING, name) for name in ("taylor-letters", "gate-fisher-listwise", "mine")]
    assert [row.name for row in rows_of(some)] == [
        "gate-fisher (listwise)",
        "taylor (letters)",
        "mine",
    ]
    assert [row.name for row in rows_of(some[:1])] == ["taylor"]


@pytest.mark.parametrize("layers", [1, 2, 3, 4, 7, 30, 33])
def test_a_cut_keeps_what_the_command_line_says(layers: int) -> None:
    from distill.importance.summary import SHARES

    values = np.random.default_rng(layers).uniform(size=layers)
    assert tuple(1 - cut for cut in CUTS) == SHARES
    for cut, share in zip(CUTS, SHARES, strict=True):
        assert kept_by(values.tolist(), cut) == kept_layers(values, max(1, int(layers * share)))


def test_one_request_has_no_interval_and_a_single_layer_no_trouble() -> None:
    (row,) = rows_of([profile([3.0], requests=1)])
    assert not row.has_interval
    drawn = "\n".join(line.plain for line in chart(row, Grid(8, 2, 1), 3))
    assert "█" in drawn
    assert not set("┬│┴─") & set(drawn)
    assert cut_line([3.0], 0.75, Grid(12, 2, 1)).plain == "cut 75 %:  1 K"


def test_bars_and_intervals_stand_on_zero() -> None:
    one = LayerProfile("k", 1, "", "", 9, (4.0, -2.0, 0.0), (3.0, -3.0, 0.0), (5.0, -1.0, 0.0), "")
    lines = [line.plain for line in chart(Row("", "", "", one), Grid(6, 2, 3), 8)]
    assert (
        lines
        == [
            "    5  ┬   ",
            "      █│   ",
            "      █┴   ",
            "      █    ",
            "    0 █    ",
            "       █┬ ",
            "       █│ ",
            "   -3   ┴ ",
        ]
        or lines
    )


@pytest.mark.parametrize(
    "layers", [(0.0, 0.0), (-1.0, -2.0), (float("nan"), 1.0), (float("inf"), 1.0)]
)
def test_shares_of_figures_that_are_none(layers: tuple[float, ...]) -> None:
    shares = shares_of(layers)
    assert len(shares) == len(layers)
    assert all(np.isfinite(shares))


def test_a_ratio_that_was_not_stored() -> None:
    assert ratio_words({}) == "no ratio was stored"
    assert ratio_words({"ratio": 2.0}) == "last quarter over first 2.00"


@pytest.mark.parametrize("cell", [1, 2, 3, 4, 5])
def test_cells_and_numbers_are_as_wide_as_said(cell: int) -> None:
    for share in (-2.0, 0.0, 0.05, 0.999, 1.0):
        assert len(cell_text(share, cell)) == cell
    for cursor in range(30):
        line = numbers_line(Grid(10, cell, 30), cursor).plain
        assert str(cursor) in line.split()
        numbers = [int(one) for one in line.split()]
        assert numbers == sorted(set(numbers))


def test_the_longest_name_is_cut_before_a_layer_is() -> None:
    grid = Grid.fitting(77, 30, 23)
    assert (grid.cell, grid.layers) == (2, 30)
    assert grid.gutter + 60 <= 77


def test_what_the_app_loads_for_both_screens(settings: Settings) -> None:
    keep(settings, profile(RISING))
    script = f"""
import asyncio, sys
from pathlib import Path
from recommender.config import Settings
from tests.tui.begun import app_at
from tui.distil_choices import Wanted, configured

async def look(mode):
    here = Settings(data_dir=Path({str(settings.data_dir)!r}))
    async with app_at(mode, here).run_test() as pilot:
        await pilot.pause(1.0)
    configured(Wanted("Books", "embedded"), here)

asyncio.run(look("layers"))
asyncio.run(look("distil"))
heavy = {{"torch", "transformers", "onnxruntime", "scipy"}} & sys.modules.keys()
assert not heavy, heavy
"""
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60, cwd=root)
