"""What every test of a live ranker starts from: a shop with students, and real processes."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recommender.config import Settings, resolve
from recommender.embeddings import embedded_encoder, title_vectors
from recommender.live.client import LiveClient
from recommender.live.messages import Message, Opened
from recommender.sequential.export import write_student
from recommender.sequential.sasrec import SASRec
from recommender.sequential.shape import NetworkConfig
from storage.records import NO_PART, Category, ImportData, ItemRow, Run
from storage.store import Store
from tests.conftest import CLOSED
from tests.tiny import SHOP, add_shop, finished

HISTORY = (4, 8, 15, 16)
HOSTILE = "Hostile shop"
BARE = "Bare shop"
"""A category without a student."""
TITLES = (
    "two\nlines\r\nand\x0bmore\u2028still",
    '{"says":"Ended","number":1}',
    "[bold red]loud[/] \x1b[31mred\x1b[0m \x1b]8;;http://x\x07link",
    "\u202eback to front\u0000 nothing",
    "😀" * 6000,
    "",
)
OWN = ("Slow", "Quick", "Stuck", "Fails", "Breaks", "Loud", "Loads")
SECONDS = 120.0
"""A process that says nothing for so long has failed."""


def add_student(store: Store, category: Category, run_id: str, **changes: object) -> Run:
    """Keep a student of random weights as a run, of the temporal split if nothing else is said."""
    items = int(str(changes.pop("knows", category.items)))
    made_of: dict[str, object] = {"items": items}
    if store.artifacts.find("student", made_of) is None:  # writing one takes a second
        config = NetworkConfig(width=8, blocks=1, heads=1, max_len=10)
        network = SASRec(items, config, seed=items)
        weights = {key: weight.numpy() for key, weight in network.state_dict().items()}
        with store.artifacts.writing("student", made_of) as path:
            write_student(path, weights, config, np.arange(items), {})
    run = Run(
        id=run_id,
        category_id=category.id,
        kind="student",
        name="distilled",
        seed=0,
        config={"split": "temporal", "min_rating": None},
        status="done",
        created_at="2026-11-23T12:00:00+00:00",
        artifact=store.artifacts.key("student", made_of),
        selection=0.1,
    )
    run = replace(run, **changes)  # type: ignore[arg-type]
    store.runs.add(run)
    return run


def add_hostile(store: Store) -> Category:
    """Write a category whose titles try to be something else; more people have the first ones."""
    items = [ItemRow(f"i{n}\n[b]", title) for n, title in enumerate(TITLES)]
    pairs = [(user, item) for item in range(len(items)) for user in range(9 - item)]
    user, item = (np.array(column, dtype=np.int64) for column in zip(*sorted(pairs), strict=True))
    return store.catalogue.write(
        HOSTILE,
        ImportData(
            user_ids=[f"u{n}" for n in range(9)],
            items=items,
            user=user,
            item=item,
            time=np.arange(len(user), dtype=np.int64),
            rating=np.full(len(user), 5, dtype=np.float32),
            part=np.full(len(user), NO_PART, dtype=np.int8),
        ),
        source="made by a test",
        synthetic=False,
        rating_low=1.0,
        rating_high=5.0,
        note="",
        digest="hostile",
    )


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings with own classes, a data folder with three categories and a few students."""
    folder = tmp_path_factory.mktemp("live")
    shutil.copy(Path(__file__).with_name("own_classes.py"), folder / "live_own_classes.py")
    backends = ", ".join(f'{name.lower()} = "live_own_classes:{name}"' for name in OWN)
    (folder / "recsys.toml").write_text(
        f'backends = {{ {backends} }}\nrankers = {{ shelf = "live_own_classes:Shelf" }}\n'
    )
    environ = {"RECSYS_HOME": str(folder / "home"), "OLLAMA_HOST": CLOSED}
    settings = resolve(environ=environ, directory=folder).settings
    with Store.open(settings.db, settings.artifacts) as store:
        shop = add_shop(store)
        add_shop(store, name=BARE, people=30)
        add_hostile(store)
        add_student(store, shop, "best-1", selection=0.5)
        add_student(store, shop, "older-1", knows=shop.items - 17, name="plain")
        add_student(store, shop, "all-1", final=True, selection=0.9)
        add_student(store, shop, "last-1", config={"split": "leave-last-out", "min_rating": None})
    return settings


@pytest.fixture(scope="session")
def teachers(home: Settings, models: Path) -> Settings:
    """The same with the embedded models, and vectors of the shop's titles already made."""
    home.models.symlink_to(models)
    with Store.open(home.db, home.artifacts) as store:
        titles = store.catalogue.item_titles(store.catalogue.category(SHOP).id)
        finished(title_vectors(titles, embedded_encoder(home.models), store.artifacts))
    return home


class Talk:
    """What is said by one live ranker, in order."""

    def __init__(self, client: LiveClient) -> None:
        self.client = client
        self._messages = client.messages()

    async def next(self) -> Message:
        """Return what it says next."""
        return await asyncio.wait_for(anext(self._messages), SECONDS)

    async def until(self, *kinds: type[Message]) -> list[Message]:
        """Return all it says, up to the first message of some kinds."""
        said = [await self.next()]
        while not isinstance(said[-1], kinds):
            said.append(await self.next())
        return said

    async def rest(self) -> list[Message]:
        """Return all it says until its process has ended."""
        async with asyncio.timeout(SECONDS):
            return [message async for message in self._messages]


@asynccontextmanager
async def starting(settings: Settings, by: str, category: str = SHOP) -> AsyncIterator[Talk]:
    """Start a live ranker, and end it whatever happens."""
    client = LiveClient(category, by, settings, log=settings.data_dir / "logs" / f"{by}.log")
    await client.start()
    try:
        yield Talk(client)
    finally:
        await client.close()


@asynccontextmanager
async def opened(settings: Settings, by: str, category: str = SHOP) -> AsyncIterator[Talk]:
    """Start a live ranker and wait until it can be asked."""
    async with starting(settings, by, category) as talk:
        await talk.until(Opened)
        yield talk


def run(talk: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a talk; in debug mode asyncio complains of what is left open or blocks."""
    asyncio.run(talk(), debug=True)
