"""Item text into vectors: what a student's item table may start from, and the cheap teacher.

Apart because it is the one place that runs a sentence encoder, and because encoding a large
catalogue takes hours: texts are encoded once, in shards that survive a kill, under the hash
of the encoder and of the texts themselves.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from recommender.events import Event, Progress, StageDone, StageStarted
from recommender.prompts import clean_title
from storage.artifacts import Artifacts
from storage.errors import Offline, UnknownName
from storage.records import FloatArray

SHARD = 8192
"""Texts that are encoded and kept together."""
BATCH = 64
STAGE = "title vectors"


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
        self._model: Any = None
        self._name = ""

    @property
    def name(self) -> str:
        """Directory name and digest of its weights, or the hub id."""
        if not self._name:
            folder = Path(self.spec)
            self._name = f"{folder.name}@{_digest(folder)}" if folder.is_dir() else self.spec
        return self._name

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return (texts, width) float32, rows of length 1.

        Raises:
            UnknownName: there is no such directory.
            Offline: a hub id cannot be fetched.
        """
        if self._model is None:
            self._model = _load(self.spec, self.device)
        vectors = self._model.encode(
            list(texts), batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False
        )
        return np.asarray(vectors, dtype=np.float32)


def title_vectors(
    titles: Sequence[str],
    encoder: TextEncoder,
    artifacts: Artifacts,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> Generator[Event, None, FloatArray]:
    """Return one vector a title, (titles, width); equal titles are encoded once.

    Each shard of `SHARD` different titles is an artifact of its own, so a killed run goes on
    where it was, and titles that were appended cost only themselves.
    """
    started = clock()
    cleaned = [clean_title(title) for title in titles]
    different = list(dict.fromkeys(cleaned))
    shards = [different[at : at + SHARD] for at in range(0, len(different), SHARD)]
    inputs = [{"encoder": encoder.name, "texts": _hash(shard)} for shard in shards]
    missing = {n for n, one in enumerate(inputs) if artifacts.find("vectors", one) is None}
    total = sum(len(shards[n]) for n in missing)
    if total:
        yield StageStarted(STAGE, total, "titles")
    done = 0
    parts: list[FloatArray] = []
    for n, shard in enumerate(shards):
        if n not in missing:
            kept = artifacts.find("vectors", inputs[n])
            assert kept is not None
            parts.append(artifacts.load_arrays(kept, "vectors.safetensors")["vectors"])
            continue
        rows = []
        for at in range(0, len(shard), 8 * BATCH):
            rows.append(encoder.encode(shard[at : at + 8 * BATCH]))
            done += len(rows[-1])
            yield Progress(STAGE, done, total)
        parts.append(np.concatenate(rows))
        with artifacts.writing("vectors", inputs[n]) as path:
            artifacts.save_arrays(path / "vectors.safetensors", {"vectors": parts[-1]})
    if total:
        yield StageDone(STAGE, clock() - started, f"{total} titles by {encoder.name}")
    place = {text: number for number, text in enumerate(different)}
    table = np.concatenate(parts)
    return np.asarray(table[[place[text] for text in cleaned]], dtype=np.float32)


def _load(spec: str, device: str) -> Any:
    # Deferred: it imports torch, which takes seconds and is of no use to cached vectors.
    import transformers
    from sentence_transformers import SentenceTransformer

    if spec.startswith((".", "/")) and not Path(spec).is_dir():
        raise UnknownName(f"no sentence encoder at {spec!r}", next_step="recsys models fetch")
    transformers.utils.logging.disable_progress_bar()
    try:
        return SentenceTransformer(spec, device=None if device == "auto" else device)
    except OSError as error:
        raise Offline(
            f"the sentence encoder {spec!r} is neither a directory nor to be had from the hub",
            next_step="recsys models fetch",
        ) from error


def _digest(folder: Path) -> str:
    weights = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    digest = hashlib.sha256()
    for path in weights:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _hash(texts: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()
