"""What is not there is a state: no data, a Store that cannot be opened, a category that changes."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from textual.widgets import Button

from storage.records import NO_PART, ImportData, ItemRow
from storage.store import Store
from tests.tui.shop import Shop, children, compare_of, opened, settled, text_of, until
from tui.app import RecsysApp
from tui.screens.compare import Compare
from tui.widgets.missing import Missing


@pytest.fixture
def empty(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "empty")


def test_no_data_offers_some_and_brings_it(empty: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Compare, "COLUMNS", ("popularity",))

    async def flow() -> None:
        app = empty.app()
        async with opened(app, (80, 24)) as pilot:
            await until(pilot, lambda: "There is no data yet" in text_of(app), "no data")
            screen = compare_of(app)
            shown = text_of(app)
            assert "recsys data import" in shown
            assert "MovieLens-100K" in shown
            # The foot is drawn a frame later than the page.
            await until(pilot, lambda: "Next person" not in text_of(app), "no key for nothing")
            await until(pilot, lambda: screen.query(Button).first().has_focus, "an offer")
            await pilot.press("n", "b", "e", "s")
            assert screen.query(Button).first().has_focus
            await pilot.press("tab", "enter")  # the sample
            await until(pilot, lambda: "Bringing sample" in text_of(app), "it is brought")
            await settled(pilot)
            assert "synthetic sample" in text_of(app)
            assert "popularity" in text_of(app)
            assert "Next person" in text_of(app)

    asyncio.run(flow())


def test_what_cannot_be_brought_is_said(empty: Shop) -> None:
    async def flow() -> None:
        app = empty.app()
        async with opened(app) as pilot:
            await until(pilot, lambda: "There is no data yet" in text_of(app), "no data")
            downloads = empty.settings.downloads
            downloads.write_text("in the way")
            await pilot.press("enter")
            await until(pilot, lambda: "Bringing" in text_of(app), "it is tried")
            await until(pilot, lambda: "Bringing" not in text_of(app), "it failed")
            screen = compare_of(app)
            assert len(screen.query(Missing)) == 1
            assert len(screen.query(Button)) == 3, "the offers are there again"

    asyncio.run(flow())


def test_a_store_that_is_none_of_ours(empty: Shop) -> None:
    Path(empty.settings.db).write_bytes(b"this is no database, and never was one" * 100)

    async def flow() -> None:
        app = empty.app()
        async with opened(app) as pilot:
            await until(pilot, lambda: "try again" in text_of(app), "it says so")
            assert not app._notifications, "once is enough"
            assert "There is no data" not in text_of(app)
            Path(empty.settings.db).unlink()
            await pilot.press("enter")
            await until(pilot, lambda: "There is no data yet" in text_of(app), "a Store again")

    asyncio.run(flow())


def test_a_locked_store_says_so_and_recovers(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Compare, "COLUMNS", ("popularity",))

    async def flow() -> None:
        app = shop.app()
        async with opened(app) as pilot:
            await settled(pilot)
            screen = compare_of(app)
            lock = sqlite3.connect(shop.settings.db, isolation_level=None)
            lock.execute("BEGIN EXCLUSIVE")
            await pilot.press("plus")
            await until(pilot, lambda: app._notifications, "it says so")
            assert not screen.opinions
            lock.execute("ROLLBACK")
            lock.close()
            await pilot.press("plus")
            await until(pilot, lambda: screen.opinions, "kept")

    asyncio.run(flow())


def test_a_database_that_is_removed_while_it_is_open(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Compare, "COLUMNS", ("popularity",))
    file = Path(shop.settings.db)

    async def flow() -> None:
        app = shop.app()
        async with opened(app, (120, 30)) as pilot:
            await settled(pilot)
            away = file.rename(file.with_suffix(".away"))
            await pilot.press("n")
            await until(pilot, lambda: says_removed(app), "it says so")
            shown = " ".join(text_of(app).split())
            assert "recsys data import" in shown
            assert "Tiny shop" not in shown
            assert not app._notifications, "the page says it, and nothing else"
            await pilot.press("5")
            await until(pilot, lambda: says_removed(app), "there too")
            await pilot.press("1")
            screen = compare_of(app)
            await until(pilot, lambda: screen.query(Button), "look again")
            screen.query_one(Button).focus()
            await pilot.press("enter")
            await pilot.pause(0.3)
            assert says_removed(app)
            assert not file.exists(), "looking makes no database"
            away.rename(file)
            screen.query_one(Button).focus()
            await pilot.press("enter")
            await settled(pilot)
            assert "Tiny shop" in text_of(app)

    asyncio.run(flow())


def says_removed(app: RecsysApp) -> bool:
    return "was removed while open" in " ".join(text_of(app).split())


def test_looking_at_no_data_makes_no_database(empty: Shop) -> None:
    async def flow() -> None:
        app = empty.app()
        async with opened(app) as pilot:
            await until(pilot, lambda: "There is no data yet" in text_of(app), "no data")
            await pilot.press("4", "5", "1")
            await pilot.pause(0.2)
            assert not Path(empty.settings.db).exists()
            assert not app._notifications

    asyncio.run(flow())


def test_another_category(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Compare, "COLUMNS", ("popularity",))
    with Store.open(shop.settings.db, shop.settings.artifacts) as store:
        store.catalogue.write(
            "Toys",
            ImportData(
                user_ids=["ann"],
                items=[ItemRow(f"t{n}", f"Toy {n}") for n in range(30)],
                user=np.zeros(20, dtype=np.int64),
                item=np.arange(20),
                time=np.arange(20) * 1000,
                rating=np.ones(20, dtype=np.float32),
                part=np.full(20, NO_PART, dtype=np.int8),
            ),
            source="test",
            synthetic=False,
            rating_low=1.0,
            rating_high=5.0,
            note="",
            digest="toys",
        )

    async def flow() -> None:
        app = shop.app()
        app.wanted = "Tiny shop"
        async with opened(app) as pilot:
            await settled(pilot)
            before = children()
            app.load_category("Toys")
            screen = compare_of(app)
            await until(
                pilot,
                lambda: (
                    screen.comparison.person is not None and screen.comparison.person.id == "ann"
                ),
                "the other people",
            )
            await settled(pilot)
            assert "Toy 2" in text_of(app)
            assert screen.comparison.figures()[0].visited == 1, "the others are not counted here"
            assert len(children()) == 1
            assert not children() & before, "another category is another process"
            await pilot.press("n", "p", "N")
            await settled(pilot)

    asyncio.run(flow())
