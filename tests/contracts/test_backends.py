"""Every backend of ours is held to the contract, and the contract is shown to be able to fail."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from recommender.backends import Ability, Backend, Prompt
from recommender.backends.embedded import EmbeddedBackend
from recommender.backends.embedding import EmbeddingBackend
from recommender.backends.hosts import Hosts
from recommender.backends.ollama.backend import OllamaBackend
from recommender.backends.scripted import ScriptedBackend
from recommender.contracts import BackendContract
from tests.ollama.serving import Serving
from tests.tiny import Letters, open_llama

EVERYTHING: tuple[Ability, ...] = ("letters", "likelihood", "text", "json", "similarity")


def liking(prompt: Prompt, titles: Sequence[str]) -> list[float]:
    """A rule with an opinion of every title, wherever it stands: probabilities below 1 / 20."""
    return [-3.0 - (sum(map(ord, title)) % 97) / 10 for title in titles]


def likes_lamps(prompt: Prompt, titles: Sequence[str]) -> list[float]:
    return [-2.0 if "lamp" in title else -9.0 for title in titles]


def cosines(prompt: Prompt, titles: Sequence[str]) -> list[float]:
    return [math.cos(len(title)) for title in titles]


@pytest.fixture(scope="module")
def model(llama: Path) -> EmbeddedBackend:
    return open_llama(llama)


@pytest.fixture(scope="module")
def servers(model: EmbeddedBackend) -> Iterator[tuple[Serving, Serving]]:
    with Serving(model, slots=2) as one, Serving(model, slots=2) as other:
        yield one, other


@pytest.fixture(scope="module")
def ollama(servers: tuple[Serving, Serving]) -> Iterator[Backend]:
    with closing(OllamaBackend.open("tiny", host=servers[0].url)) as backend:
        yield backend


@pytest.fixture(scope="module")
def old_ollama(model: EmbeddedBackend) -> Iterator[Backend]:
    """A server that knows no log-probabilities."""
    with (
        Serving(model, version="0.12.10", logprobs=False) as server,
        closing(OllamaBackend.open("tiny", host=server.url)) as backend,
    ):
        yield backend


@pytest.fixture(scope="module")
def two_hosts(servers: tuple[Serving, Serving]) -> Iterator[Backend]:
    members = [OllamaBackend.open("tiny", host=server.url) for server in servers]
    with closing(Hosts(members)) as backend:
        yield backend


class Kept(BackendContract):
    """A contract whose backend a fixture opened, once for all of its tests."""

    one: Backend

    def backend(self) -> Backend:
        return self.one


class TestEmbedded(Kept):
    abilities = ("likelihood", "letters", "text", "states", "gradients")

    @pytest.fixture(autouse=True)
    def _take(self, model: EmbeddedBackend) -> None:
        self.one = model


class TestOllama(Kept):
    abilities = ("letters", "text", "json")
    noise = 0.25

    @pytest.fixture(autouse=True)
    def _take(self, ollama: Backend) -> None:
        self.one = ollama


class TestOllamaWithoutLogProbabilities(Kept):
    abilities = ("text", "json")

    @pytest.fixture(autouse=True)
    def _take(self, old_ollama: Backend) -> None:
        self.one = old_ollama


class TestTwoHosts(Kept):
    abilities = ("letters", "text", "json")
    noise = 0.25

    @pytest.fixture(autouse=True)
    def _take(self, two_hosts: Backend) -> None:
        self.one = two_hosts


class TestEmbeddingTeacher(BackendContract):
    abilities = ("similarity",)

    def backend(self) -> Backend:
        return EmbeddingBackend(Letters(), source="letters")


class TestEmbeddingTeacherOnAServer(BackendContract):
    abilities = ("similarity",)

    def backend(self) -> Backend:
        return EmbeddingBackend(Letters(), server="ollama 0.32.15", source="letters")


class TestScripted(BackendContract):
    abilities = ("letters", "text", "json", "likelihood")

    def backend(self) -> Backend:
        return ScriptedBackend(liking, words="Because it is what they lack.", concurrent=True)


class TestScriptedSure(BackendContract):
    abilities = ("letters",)
    obvious = Prompt((), ("a lamp", "a stapler", "a pen"))

    def backend(self) -> Backend:
        return ScriptedBackend(likes_lamps, abilities=["letters"], name="lamps")


class TestScriptedCosines(BackendContract):
    abilities = ("similarity",)

    def backend(self) -> Backend:
        return ScriptedBackend(cosines, abilities=["similarity"])
