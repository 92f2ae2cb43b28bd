"""A small model, and servers before it that end with the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from recommender.backends.embedded import EmbeddedBackend
    from tests.ollama.serving import Serving


@pytest.fixture(scope="module")
def tiny(llama: Path) -> EmbeddedBackend:
    """Open the small model."""
    from tests.tiny import open_llama  # imported here: the recordings need no torch

    return open_llama(llama)


@pytest.fixture
def serve(tiny: EmbeddedBackend) -> Iterator[Callable[..., Serving]]:
    """Return what starts a server before the small model."""
    from tests.ollama.serving import Serving  # as above

    with ExitStack() as servers:

        def start(**settings: Any) -> Serving:
            return servers.enter_context(Serving(tiny, **settings))

        yield start
