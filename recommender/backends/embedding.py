"""A text encoder as a `Backend`: the cheap teacher, which every language model has to beat.

Apart from `embeddings`, which makes vectors of a whole catalogue and keeps them: here a
request's own titles are encoded when it is asked, each once, and compared. It can do nothing
else, and refuses the rest by name.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock

import numpy as np
import numpy.typing as npt

from recommender.backends import ModelCard, Prompt, Refusing, Scores
from recommender.embeddings import TextEncoder
from recommender.prompts import clean_title
from storage.records import FloatArray

KEPT_BYTES = 256 * 2**20
"""Vectors that are remembered: 170,000 of 384 numbers. Those unused for longest go first."""
CHUNK = 1024
"""Texts that are encoded before the next are looked at."""

Array = npt.NDArray[np.float64]


class Remembering:
    """A `TextEncoder` that asks another one for each different text once, while it has room.

    Any number of threads may use it; the encoder inside is asked by one of them at a time.

    >>> from types import SimpleNamespace
    >>> square = SimpleNamespace(name="square@1", encode=lambda texts: np.eye(len(texts)))
    >>> encoder = Remembering(square)
    >>> encoder.learn(["Heat", "Alien", "Heat"]), encoder.learn(["Heat", "Jaws"])
    (2, 1)
    """

    def __init__(self, encoder: TextEncoder, *, kept_bytes: int = KEPT_BYTES) -> None:
        """`kept_bytes` is what the remembered vectors may take in all."""
        self.encoder = encoder
        self.kept_bytes = kept_bytes
        self._known: OrderedDict[str, FloatArray] = OrderedDict()
        self._size = 0
        self._lock = Lock()

    @property
    def name(self) -> str:
        """Name and digest of the encoder inside."""
        return self.encoder.name

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return (texts, width), rows of length 1; of texts that are at least one."""
        different = list(dict.fromkeys(texts))
        found: dict[str, FloatArray] = {}
        with self._lock:
            for text in different:
                if text in self._known:
                    self._known.move_to_end(text)
                    found[text] = self._known[text]
            self._add_missing([text for text in different if text not in found], found)
        return np.stack([found[text] for text in texts])

    def learn(self, texts: Sequence[str]) -> int:
        """Encode what is not known yet, in chunks; return how many texts that were."""
        with self._lock:
            missing = [text for text in dict.fromkeys(texts) if text not in self._known]
        for at in range(0, len(missing), CHUNK):
            self.encode(missing[at : at + CHUNK])
        return len(missing)

    def _add_missing(self, missing: Sequence[str], found: dict[str, FloatArray]) -> None:
        for at in range(0, len(missing), CHUNK):
            chunk = missing[at : at + CHUNK]
            for text, vector in zip(chunk, self.encoder.encode(chunk), strict=True):
                # A copy: a view would keep the whole chunk alive.
                found[text] = self._known[text] = vector.copy()
                self._size += vector.nbytes
        while self._size > self.kept_bytes:
            self._size -= self._known.popitem(last=False)[1].nbytes


class EmbeddingBackend(Refusing):
    """Compares titles by the vectors of one encoder.

    >>> from types import SimpleNamespace
    >>> square = SimpleNamespace(name="square@1", encode=lambda texts: np.eye(len(texts)))
    >>> backend = EmbeddingBackend(square)
    >>> backend.similarity(Prompt(("Heat",), ("Heat", "Jaws"))).logprobs
    (1.0, 0.0)
    >>> backend.score(Prompt(()), "AB")
    Traceback (most recent call last):
    ...
    storage.errors.BadSetting: an encoder of texts cannot score letters; ...
    """

    def __init__(
        self,
        encoder: TextEncoder,
        *,
        server: str = "",
        source: str = "",
        on_close: Callable[[], None] | None = None,
    ) -> None:
        """Stand on an encoder; nothing is asked of it yet.

        Args:
            encoder: what makes the vectors.
            server: program and version of the server that holds it; empty in this process.
            source: where it was opened from, for people.
            on_close: what closes the encoder's connections, where it has any.
        """
        self._on_close = on_close
        self.refuses_as = f"the encoder {source!r}" if source else "an encoder of texts"
        self._vectors = Remembering(encoder)
        self._server = server
        self._source = source

    def describe(self) -> ModelCard:
        """Say which encoder this is; its size is not asked for, so that nothing is loaded."""
        whole = self._vectors.name
        name, _, digest = whole.rpartition("@") if "@" in whole else (whole, "", "")
        return ModelCard(
            name=name,
            family="encoder",
            layers=0,
            hidden_size=0,
            parameters=0,
            digest=digest,
            precision="float32",
            source=self._source or whole,
            abilities=("similarity",),
            server=self._server,
            # In this process one question at a time fills the machine.
            concurrent=bool(self._server),
        )

    def similarity(self, prompt: Prompt) -> Scores:
        """Compare the history's titles, all that are shown, with each candidate's.

        Raises:
            RecsysError: the encoder cannot be loaded or reached, or fails at a title.
        """
        started = time.perf_counter()
        history = [clean_title(title) for title in prompt.history]
        offered = [clean_title(title) for title in prompt.candidates]
        found: Array = np.zeros(len(offered))
        if history and offered:
            vectors = self._vectors.encode([*history, *offered])
            found = mean_cosines(vectors[: len(history)], vectors[len(history) :])
        return Scores(
            logprobs=tuple(found.tolist()),
            tokens=(1,) * len(offered),
            seconds=time.perf_counter() - started,
            history_shown=len(history),
        )

    def close(self) -> None:
        """Close the encoder's connections."""
        if self._on_close is not None:
            self._on_close()

    def warm(self, titles: Sequence[str]) -> int:
        """Encode titles ahead of the questions, many at once; return how many were new."""
        return self._vectors.learn([clean_title(title) for title in titles])


def mean_cosines(history: FloatArray, offered: FloatArray) -> Array:
    """Cosine between the mean of the history's vectors and each candidate's.

    Formula: v_c · h / ‖h‖, h = mean of v_i over the history, in float64; 0 where h is 0. It is
    `recommender.teacher.similarity` without a catalogue.

    Args:
        history: (titles shown, width), rows of unit length, at least one.
        offered: (candidates, width), rows of unit length.

    >>> mean_cosines(np.eye(2, dtype=np.float32)[:1], np.eye(2, dtype=np.float32)).tolist()
    [1.0, 0.0]
    """
    mean: Array = history.astype(np.float64).mean(axis=0)
    norm = float(np.linalg.norm(mean))
    if norm == 0:
        return np.zeros(len(offered))
    result: Array = offered.astype(np.float64) @ mean / norm
    return result
