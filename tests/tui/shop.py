"""A data folder for the app: the small shop of `tests.cli.shop`, a student, and a slow teacher.

The teacher is a true `ScriptedBackend` of the user's own, opened by its name in a process of
its own. How long it takes and how it fails is written into files beside `recsys.toml`, which it
reads at every question: a test turns it while the app runs.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
from textual.app import App
from textual.pilot import Pilot

from recommender.config import Settings, resolve
from recommender.embeddings import embedded_encoder, title_vectors
from storage.store import Store
from tests.cli.shop import NAME, add_student, build
from tests.tiny import Letters, finished
from tests.tui.begun import text_of as text_of
from tests.tui.begun import until as until
from tui.app import RecsysApp
from tui.screens.compare import Compare
from tui.screens.compared import DONE

TEACHER = '''
"""A teacher that likes what was just bought: later numbers first, as slow as `delay` says."""

import time
from pathlib import Path

from recommender.backends import errors
from recommender.backends.scripted import ScriptedBackend

HERE = Path(__file__).parent


def told(name, other):
    path = HERE / name
    return path.read_text() if path.exists() else other


def liked(prompt, titles):
    return [-3.0 - (sum(map(ord, title)) % 97) / 20 for title in titles]


def wait(seconds):
    failure = told("failure", "")
    if failure:
        raise getattr(errors, failure)("the script fails as it was told", next_step="try again")
    until = time.monotonic() + float(told("delay", "0"))
    while time.monotonic() < until and float(told("delay", "0")):
        time.sleep(0.01)


class Slow(ScriptedBackend):
    def __init__(self):
        opening = told("opening", "")
        if opening:
            raise getattr(errors, opening)("no such teacher now", next_step="start it")
        super().__init__(
            liked, delay=1.0, sleep=wait, name="slow", words=lambda turn: told("words", "It fits. ")
        )
'''


class Shop:
    """A folder with data, and the knobs of its teacher."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        (folder / "recsys.toml").write_text(
            f'data_dir = "{folder}"\nteacher = "slow"\nteacher_mode = "likelihood"\n'
            '[backends]\nslow = "slow_teacher:Slow"\n'
        )
        (folder / "slow_teacher.py").write_text(TEACHER)

    @classmethod
    def filled(cls, folder: Path, *, student: bool = True) -> Shop:
        """Make one with people, items, vectors of the titles and a student."""
        shop = cls(folder)
        build(folder)
        shop._keep_vectors()
        if student:
            add_student(folder)
        return shop

    @classmethod
    def copied(cls, other: Shop, folder: Path) -> Shop:
        """Make one with the data of another."""
        shutil.copytree(other.folder, folder)
        return cls(folder)

    @property
    def settings(self) -> Settings:
        return resolve(environ={}, directory=self.folder).settings

    def turn(self, knob: str, value: object) -> None:
        """Set 'delay', 'failure', 'opening' or 'words' of the teacher; '' lets it be."""
        (self.folder / knob).write_text(str(value))

    def app(self) -> RecsysApp:
        return RecsysApp(self.settings)

    def _keep_vectors(self) -> None:
        """Put vectors of the titles where a teacher finds them, so that no encoder is loaded."""
        place = self.folder / "models" / "all-MiniLM-L6-v2"
        place.mkdir(parents=True)
        (place / "config.json").write_text("{}")
        (place / "model.safetensors").write_bytes(b"the name of these bytes is what is needed")

        class Named(Letters):
            name = embedded_encoder(self.folder / "models").name

        with Store.open(self.settings.db, self.settings.artifacts) as store:
            titles = store.catalogue.item_titles(store.catalogue.category(NAME).id)
            finished(title_vectors(titles, Named(), store.artifacts))


def compare_of(app: App[Any]) -> Compare:
    """The Compare screen, which is in front."""
    assert isinstance(app.screen, Compare), app.screen
    return app.screen


@asynccontextmanager
async def opened(app: RecsysApp, size: tuple[int, int] = (100, 30)) -> AsyncIterator[Pilot[None]]:
    """The app as it runs, without a terminal; at the end no process of its may be left."""
    before = children()
    async with app.run_test(size=size) as pilot:
        yield pilot
    left = children() - before
    assert not left, f"left behind: {left}"


def children() -> set[int]:
    """Processes of ours that answer for a column."""
    found = set()
    for child in psutil.Process().children(recursive=True):
        try:
            if "recommender.live" in child.cmdline():
                found.add(child.pid)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


async def settled(pilot: Pilot[None]) -> None:
    """Wait until every column of the comparison is done."""

    def is_so() -> bool:
        screen = pilot.app.screen
        return (
            isinstance(screen, Compare)
            and screen.comparison.person is not None
            and all(one.state in DONE for one in screen.comparison.columns)
        )

    await until(pilot, is_so, "all columns are done")
    await pilot.pause()
