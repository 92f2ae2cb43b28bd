"""The picture of the README: the real app on MovieLens-100K with the embedded teacher.

`python -m tests.tui.picture tui/compare.svg`, after `make demo`, remakes it. Nothing is arranged:
it is the first person with something held out, and what the model says.
"""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

from recommender.config import resolve
from tests.tui.begun import until
from tui.app import RecsysApp
from tui.screens.compare import Compare

SIZE = (120, 34)
PATIENCE = 180.0
_FONTS = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)


async def picture() -> str:
    app = RecsysApp(resolve().settings, category="movielens-100k")
    async with app.run_test(size=SIZE) as pilot:
        screen = app.screen
        assert isinstance(screen, Compare)
        for _ in range(4):
            done = lambda: all(one.answer for one in screen.comparison.columns)  # noqa: E731
            await until(pilot, done, "all have answered", PATIENCE)
            await pilot.press("N")
            await pilot.pause(0.5)
        await until(pilot, done, "all have answered", PATIENCE)
        await pilot.press("right")
        await pilot.press("e")
        live = screen.live
        assert live is not None
        await pilot.pause(1.0)
        await until(pilot, lambda: not live.explaining, "the reason is written", PATIENCE)
        await pilot.pause(0.5)
        # No font is fetched from anywhere: whoever looks has one of fixed width.
        return _FONTS.sub("", app.export_screenshot(title="recsys tui"))


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(asyncio.run(picture()), encoding="utf-8")
