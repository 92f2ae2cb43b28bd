"""A Store, and an import in one call."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from recommender.datasets import ImportFinished, import_data
from recommender.events import Event, Notice
from storage.store import Store

REAL = Path(__file__).parents[4] / "shared" / "data"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(str(tmp_path / "store" / "shop.sqlite"), tmp_path / "artifacts") as opened:
        yield opened


class Imported:
    """The result of one import with what it said."""

    def __init__(self, events: list[Event]) -> None:
        self.events = events
        self.finished = events[-1]
        assert isinstance(self.finished, ImportFinished)
        self.counts = self.finished.counts
        self.category = self.finished.category
        self.notices = [event.text for event in events if isinstance(event, Notice)]


Bring = Callable[..., Imported]


@pytest.fixture
def bring(store: Store) -> Bring:
    def run(path: Path, category: str = "Shop", **options: Any) -> Imported:
        return Imported(list(import_data(store, path, category=category, **options)))

    return run


def real(name: str) -> Path:
    """Return a folder of real data, or skip."""
    if not (REAL / name).is_dir():
        pytest.skip(f"{name} is not beside the checkout (../shared/data)")
    return REAL / name


def rows(store: Store, name: str = "Shop") -> list[tuple[str, str, float]]:
    """Return the log as (user id, item id, rating), in Store order."""
    category = store.catalogue.category(name)
    log = store.catalogue.log(category.id)
    users, items = store.catalogue.user_ids(category.id), store.catalogue.item_ids(category.id)
    return [
        (users[user], items[item], rating)
        for user, item, rating in zip(log.user, log.item, log.rating.tolist(), strict=True)
    ]
