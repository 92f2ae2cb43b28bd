"""A small app around one widget, with a real Store behind it, and people to put into that."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from textual.app import App, ComposeResult
from textual.message import Message
from textual.widget import Widget

from recommender.config import Settings, resolve
from storage.errors import RecsysError
from storage.records import NO_PART, Category, ImportData, Item, ItemRow
from storage.store import Store
from tui.reading import StoreReader
from tui.shown import shown

T = TypeVar("T")
NAME = "Pens"


class Host(App[None]):
    """Says and asks what the whole app does, and remembers it."""

    def __init__(self, settings: Settings, *widgets: Widget) -> None:
        super().__init__()
        self.reader, self.widgets = StoreReader(settings), widgets
        self.asked = 0
        """Questions that the Store was asked."""
        self.said: list[str] = []
        self.messages: list[Message] = []

    def compose(self) -> ComposeResult:
        yield from self.widgets

    async def on_unmount(self) -> None:
        self.reader.close()

    async def ask_store(self, question: Callable[[Store], T]) -> T:
        self.asked += 1
        return await self.reader.ask(question)

    def say(self, error: RecsysError) -> None:
        self.said.append(error.what)

    def tell(self, text: str) -> None:
        self.said.append(shown(text).plain)

    def on_people_panel_picked(self, event: Any) -> None:
        self.messages.append(event)


@contextmanager
def stocked(
    folder: Path, people: Sequence[str], items: Sequence[ItemRow]
) -> Iterator[tuple[Settings, Category]]:
    """Give a Store where everybody has had the first item."""
    settings = resolve(environ={"RECSYS_HOME": str(folder)}, directory=folder).settings
    count = len(people)
    data = ImportData(
        user_ids=sorted(people),
        items=list(items),
        user=np.arange(count),
        item=np.zeros(count, dtype=np.int64),
        time=np.arange(count) * 1000,
        rating=np.full(count, 4.0, dtype=np.float32),
        part=np.full(count, NO_PART, dtype=np.int8),
    )
    with Store.open(settings.db, settings.artifacts) as store:
        yield (
            settings,
            store.catalogue.write(
                NAME, data, source="test", synthetic=False, rating_low=1.0, rating_high=5.0,
                note="", digest="one",
            ),
        )  # fmt: skip


def item(number: int, title: str = "", brand: str = "") -> Item:
    return Item(number, f"i{number}", title or f"Item {number}", brand)
