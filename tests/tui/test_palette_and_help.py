"""The command palette finds what the keys do, and the help can be read to its end."""

from __future__ import annotations

import asyncio

from textual.containers import VerticalScroll

from tests.tui.shop import Shop, compare_of, opened, settled, text_of, until
from tui.screens.help import keys_of


def test_the_palette_finds_what_a_key_does(shop: Shop) -> None:
    async def flow() -> None:
        app = shop.app()
        async with opened(app, (100, 30)) as pilot:
            await settled(pilot)
            screen = compare_of(app)
            await pilot.press("ctrl+p")
            await pilot.pause(0.3)
            await pilot.press(*"blind")
            await until(pilot, lambda: "key b" in text_of(app), "blind is found")
            await pilot.press("enter", "enter")
            await until(pilot, lambda: screen.blind is not None, "blind begins")

    asyncio.run(flow())


def test_the_help_scrolls_to_its_last_key(shop: Shop) -> None:
    async def flow() -> None:
        app = shop.app()
        async with opened(app, (80, 24)) as pilot:
            await settled(pilot)
            await pilot.press("question_mark")
            await pilot.pause(0.2)
            assert "Quit" not in text_of(app)
            await pilot.press("end")
            await until(pilot, lambda: "Quit" in text_of(app), "the last key is read")
            assert app.screen.query_one(VerticalScroll).has_focus

    asyncio.run(flow())


def test_keys_that_do_the_same_share_a_line(shop: Shop) -> None:
    async def flow() -> None:
        app = shop.app()
        async with opened(app, (80, 24)) as pilot:
            await settled(pilot)
            keys = keys_of(app.screen)
            assert [key for key, says in keys if says == "Quit"] == ["q, ^q"]
            assert ("esc", "Back to the columns") in keys
            assert len({says for _, says in keys}) == len(keys)

    asyncio.run(flow())
