"""Item text into vectors: what a student's item table may start from, and the cheap teacher.

Apart because it is the one place that runs a sentence encoder, and because encoding a large
catalogue takes hours: texts are encoded once, in shards that survive a kill, under the hash
of the encoder and of the texts themselves.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Generator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from recommender.backends.weights import (
    choose_device,
    find_weights,
    quiet_transformers,
    weights_digest,
)
from recommender.events import Event, Progress, StageDone, StageStarted
from recommender.models import EMBEDDED_ENCODER, resolve_model
from recommender.prompts import clean_title
from storage.artifacts import Artifacts
from storage.errors import BadData
from storage.records import FloatArray, IntArray, Item

SHARD = 8192
"""Texts that are encoded and kept together."""
BATCH = 64
"""Texts in one pass through the encoder."""
STAGE = "title vectors"
KIND = "vectors"
FILE = "vectors.safetensors"
FIELDS = ("title", "brand", "categories", "description")


class TextEncoder(Protocol):
    """Turns texts into vectors of unit length."""

    @property
    def name(self) -> str:
        """Name and digest of the weights: vectors of two names must not be mixed."""
        ...

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return (texts, width), rows of length 1."""
        ...


class SentenceEncoder:
    """A sentence-transformers model from a local directory or a hub id.

    Nothing is loaded before the first text, so that cached vectors cost no torch.
    """

    def __init__(self, spec: str, *, device: str = "auto") -> None:
        """`spec` is a directory or a hub id; `device` 'auto' takes what torch finds best."""
        self.spec = spec
        self.device = device

    @cached_property
    def name(self) -> str:
        """Name and digest of the weights, the tokenizer and the configuration.

        Raises:
            UnknownName: There is nothing of that name.
            BadData: There is something, but no weights of a kind we read.
            Offline: It is a hub id that is neither in the local cache nor reachable.
        """
        place = find_weights(self.spec)
        return f"{place.name}@{weights_digest(place)}"

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return (texts, width) float32, rows of length 1.

        Raises:
            UnknownName, BadData, Offline: As `name`; or it is no sentence encoder.
        """
        vectors = self._model.encode(
            list(texts),
            batch_size=BATCH,
            normalize_embeddings=True,
            show_progress_bar=False,
            convert_to_numpy=True,
        )
        return np.asarray(vectors, dtype=np.float32)

    @cached_property
    def _model(self) -> Any:
        place = find_weights(self.spec)
        if place.kind != "directory" or not (place.path / "modules.json").is_file():
            raise BadData(f"{self.spec!r} is no sentence encoder: it has no modules.json")
        # Deferred: it imports torch, which takes seconds and is of no use to cached vectors.
        from sentence_transformers import SentenceTransformer

        with quiet_transformers():
            try:
                return SentenceTransformer(
                    str(place.path), device=choose_device(self.device), local_files_only=True
                )
            except (OSError, ValueError, KeyError, RuntimeError) as error:
                reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
                raise BadData(f"{self.spec!r} cannot be loaded as an encoder: {reason}") from error


def embedded_encoder(models: Path) -> SentenceEncoder:
    """Return the encoder that comes along, by the directory of models.

    Raises:
        Offline: it has not been fetched.
    """
    return SentenceEncoder(resolve_model(models, EMBEDDED_ENCODER, kind="encoder"))


def item_text(item: Item, fields: Sequence[str] = ("title",)) -> str:
    """Join what an item says about itself, in the order of `fields`, leaving out the empty.

    Raises:
        ValueError: A field is none of `FIELDS`.

    >>> item_text(Item(0, "a1", "Pocket Radio", brand="Norvik"), ("title", "brand"))
    'Pocket Radio. Norvik'
    """
    unknown = set(fields) - set(FIELDS)
    if unknown:
        raise ValueError(f"items have no text {sorted(unknown)}: choose from {FIELDS}")
    parts = (str(getattr(item, field)).strip() for field in fields)
    return ". ".join(part for part in parts if part)


def title_vectors(
    titles: Sequence[str],
    encoder: TextEncoder,
    artifacts: Artifacts,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> Generator[Event, None, FloatArray]:
    """Return one vector a title, cleaned as prompts clean it; see `text_vectors`."""
    cleaned = [clean_title(title) for title in titles]
    return (yield from text_vectors(cleaned, encoder, artifacts, clock=clock))


def text_vectors(
    texts: Sequence[str],
    encoder: TextEncoder,
    artifacts: Artifacts,
    *,
    stage: str = STAGE,
    clock: Callable[[], float] = time.perf_counter,
) -> Generator[Event, None, FloatArray]:
    """Return one vector a text, shape (texts, width); equal texts are encoded once.

    Each shard of `SHARD` different texts, in the order they first appear, is an artifact of
    its own: a killed run goes on where it was, and texts that were appended cost only the
    last shard and themselves.

    Raises:
        BadData: There is no text.
    """
    if not texts:
        raise BadData("there is no item to make a vector of", next_step="recsys data list")
    started = clock()
    place = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    index = np.fromiter((place[text] for text in texts), dtype=np.int64, count=len(texts))
    different = list(place)
    shards = [different[at : at + SHARD] for at in range(0, len(different), SHARD)]
    inputs = [{"encoder": encoder.name, "texts": _hash(shard)} for shard in shards]
    missing = [n for n, one in enumerate(inputs) if artifacts.find(KIND, one) is None]
    total = sum(len(shards[n]) for n in missing)
    if total:
        yield StageStarted(stage, total, "texts")
    done = 0
    for n in missing:
        with artifacts.writing(KIND, inputs[n]) as path:
            vectors = yield from _encode(shards[n], encoder, Progress(stage, done, total))
            artifacts.save_arrays(path / FILE, {"vectors": vectors})
        done += len(shards[n])
    if total:
        yield StageDone(stage, clock() - started, f"{total} texts by {encoder.name}")
    return _gather(index, inputs, artifacts)


def _encode(
    shard: Sequence[str], encoder: TextEncoder, before: Progress
) -> Generator[Event, None, FloatArray]:
    """Encode one shard, going on counting from `before`.

    Longest first: texts of a pass are padded to the longest of it, and a rate measured on
    the longest promises too much time rather than too little.
    """
    order = sorted(range(len(shard)), key=lambda n: -len(shard[n]))
    rows = []
    for at in range(0, len(order), BATCH):
        batch = order[at : at + BATCH]
        rows.append(encoder.encode([shard[n] for n in batch]))
        yield Progress(before.stage, before.done + at + len(batch), before.total)
    return np.concatenate(rows)[np.argsort(order)]


def _gather(index: IntArray, inputs: Sequence[dict[str, str]], artifacts: Artifacts) -> FloatArray:
    """Read the shards one by one into the rows that want them; `index` is a row's text."""
    table: FloatArray | None = None
    for n, one in enumerate(inputs):
        kept = artifacts.find(KIND, one)
        assert kept is not None, "a shard was removed while it was needed"
        vectors = artifacts.load_arrays(kept, FILE)["vectors"]
        if table is None:
            table = np.empty((len(index), vectors.shape[1]), dtype=np.float32)
        rows = np.flatnonzero(index // SHARD == n)
        table[rows] = vectors[index[rows] - n * SHARD]
    assert table is not None
    return table


def _hash(texts: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        raw = text.encode("utf-8", "surrogatepass")
        digest.update(f"{len(raw)}:".encode() + raw)  # the length keeps ['ab'] from ['a', 'b']
    return digest.hexdigest()
