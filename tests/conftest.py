"""What holds for every test: no network, no settings of the developer's, the same numbers.

The doctests of the packages are covered too, since the whole session is set up here; each
test has a data folder of its own besides.
"""

from __future__ import annotations

import os
import random
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from recommender.backends.ollama.address import address_of
from recommender.config import resolve
from recommender.models import EMBEDDED_ENCODER, EMBEDDED_TEACHER, known_models
from storage.store import Store

LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0", "::")
CLOSED = "http://127.0.0.1:9"
"""A loopback port that nobody listens on."""

_connect = socket.socket.connect
_connect_ex = socket.socket.connect_ex
_lookup = socket.getaddrinfo


_allowed: set[str] = set()
"""The live Ollama server, where `-m ollama` asks for it."""


def refuse(host: object) -> None:
    name = host.decode() if isinstance(host, bytes) else str(host)
    if host is not None and name and not name.startswith(LOOPBACK) and name not in _allowed:
        raise AssertionError(f"a test would have spoken to {name!r}")


def _address(sock: socket.socket, address: Any) -> Any:
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        refuse(address[0])
    return address


def _guarded_connect(sock: socket.socket, address: Any) -> None:
    _connect(sock, _address(sock, address))


def _guarded_connect_ex(sock: socket.socket, address: Any) -> int:
    return _connect_ex(sock, _address(sock, address))


def _guarded_lookup(host: Any, *arguments: Any, **options: Any) -> Any:
    refuse(host)
    return _lookup(host, *arguments, **options)


MODELS = pytest.StashKey[Path]()
"""Where `make install` puts the embedded models; looked up before the session is set apart."""


LIVE = pytest.StashKey[str]()
"""The Ollama server of the developer's environment; only `-m ollama` speaks to it."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--snapshot-update", action="store_true", help="keep the screens as they are drawn now"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Set the session up, before anything of ours is imported by a test."""
    outside = resolve().settings
    config.stash[MODELS] = outside.models
    config.stash[LIVE] = outside.hosts[0] if outside.hosts else ""
    if config.option.markexpr == "ollama" and config.stash[LIVE]:
        name = urlsplit(address_of(config.stash[LIVE])).hostname or ""
        _allowed.update({name, *(str(one[4][0]) for one in _lookup(name, None))})
    patch = pytest.MonkeyPatch()
    config.add_cleanup(patch.undo)
    for name in [name for name in os.environ if name.startswith("RECSYS_")]:
        patch.delenv(name)
    home = tempfile.TemporaryDirectory(prefix="recsys-tests-")
    config.add_cleanup(home.cleanup)
    patch.setenv("RECSYS_HOME", home.name)
    patch.setenv("HF_HUB_OFFLINE", "1")
    patch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    patch.setenv("OLLAMA_HOST", CLOSED)
    patch.setattr(socket.socket, "connect", _guarded_connect)
    patch.setattr(socket.socket, "connect_ex", _guarded_connect_ex)
    patch.setattr(socket, "getaddrinfo", _guarded_lookup)


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the test a data folder of its own, and the random numbers of every other run."""
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path / "home"))
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def models(request: pytest.FixtureRequest) -> Path:
    """Return the folder of the embedded models; skips where they are not, and fails in CI."""
    folder = request.config.stash[MODELS]
    embedded = {EMBEDDED_TEACHER, EMBEDDED_ENCODER}
    if not all(one.present for one in known_models(folder) if one.name in embedded):
        reason = f"the embedded models are not in {folder}: recsys models fetch"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Open a Store in a folder of this test's own."""
    with Store.open(tmp_path / "recsys.sqlite", tmp_path / "artifacts") as store:
        yield store


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a small Llama of random weights, with a tokenizer of its own."""
    # Imported here: most tests need no torch.
    import torch

    from tests.tiny import save_llama

    torch.set_num_threads(1)  # so small a network only waits for its threads
    return save_llama(tmp_path_factory.mktemp("llama") / "tiny-llama")
