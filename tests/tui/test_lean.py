"""The app's own process loads nothing heavy, whatever is looked at: rankers live elsewhere."""

from __future__ import annotations

import subprocess
import sys

from tests.tui.shop import Shop

PROGRAM = """
import asyncio, sys
from pathlib import Path
from recommender.config import resolve
from tui.app import RecsysApp

HEAVY = ("torch", "transformers", "onnxruntime", "scipy", "sentence_transformers", "sklearn")

async def look():
    app = RecsysApp(resolve(environ={}, directory=Path(sys.argv[1])).settings)
    async with app.run_test(size=(100, 30)) as pilot:
        for _ in range(100):
            await pilot.pause(0.1)
            if app.screen.comparison.person is not None:
                break
        for key in "2345":
            await pilot.press(key)
            await pilot.pause(1.0)
        await pilot.press("1")
        assert app.category is not None

asyncio.run(look())
print([name for name in HEAVY if name in sys.modules])
"""


def test_no_screen_loads_what_its_children_are_for(shop: Shop) -> None:
    command = [sys.executable, "-c", PROGRAM, str(shop.folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert not done.returncode, done.stderr
    assert done.stdout.strip() == "[]"


def test_the_first_frame_needs_no_database() -> None:
    program = (
        "import sys, tui.app; "
        "print([m for m in ('sqlalchemy', 'alembic', 'pandas', 'httpx') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
