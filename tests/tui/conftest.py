"""A small shop for every test of the app: made once, copied for each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from distill.jobs.jobs import Jobs
from recommender.backends.embedded import EmbeddedBackend
from recommender.config import Settings
from tests.distill.jobs.conftest import Registry
from tests.ollama.serving import Serving
from tests.tiny import open_llama, spell
from tests.tui.served import Serve
from tests.tui.shop import Shop


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """The shop that the others are copies of."""
    return Shop.filled(tmp_path_factory.mktemp("filled") / "shop")


@pytest.fixture
def shop(filled: Shop, tmp_path: Path) -> Shop:
    """A shop of this test's own."""
    return Shop.copied(filled, tmp_path / "shop")


@pytest.fixture(scope="session")
def speller(llama: Path) -> EmbeddedBackend:
    """A small model that names letters, so that it has opinions."""
    return spell(open_llama(llama))


@pytest.fixture
def serve(speller: EmbeddedBackend) -> Iterator[Serve]:
    with ExitStack() as servers:

        def start(**settings: Any) -> Serving:
            return servers.enter_context(Serving(speller, **settings))

        yield start


@pytest.fixture
def folder(shop: Shop) -> Iterator[Settings]:
    """Settings of a shop of this test's own; no job of it outlives the test."""
    found = shop.settings
    yield found
    jobs = Jobs(found.data_dir / "jobs")
    for job in jobs.list():
        jobs.stop(job.id)


@pytest.fixture
def ended(tmp_path: Path) -> Iterator[None]:
    """No job outlives its test."""
    yield
    for folder in tmp_path.glob("*/jobs"):
        jobs = Jobs(folder)
        for job in jobs.list():
            jobs.stop(job.id)


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as server:
        yield server


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A folder without data."""
    return Settings(data_dir=tmp_path / "home", device="cpu", precision="float32", threads=1)
