"""An embedding model on an Ollama server as a `TextEncoder`, for who has a server and no torch.

Apart from the backend, because such a model is never asked a question: texts go in, vectors of
unit length come out, and the same titles may be encoded here or in this process. The two agree
on titles: all-minilm, as servers 0.24.0 and 0.32.15 were recorded, and sentence-transformers'
all-MiniLM-L6-v2 differ by a cosine distance of at most 1.1e-6, and by 2.7e-4 in any one number.
They do not on a text of more than 256 tokens: sentence-transformers cuts it there, a server at
512. Their names differ, so vectors of the two are never mixed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from recommender.backends.errors import CannotTeach, Cut, ModelMissing, Refused
from recommender.backends.ollama.client import FIRST_ANSWER_SECONDS, OllamaClient
from recommender.backends.ollama.models import Facts, ServerModels
from recommender.prompts import clean_title
from storage.errors import BadData
from storage.records import FloatArray

BATCH = 64
"""Texts in one request: one text that a server fails at fails its whole request."""
SHOWN = 80
"""Characters of a text in an error."""
PULL = "ollama pull all-minilm"
UNTITLED = clean_title("")

_NOT_FINITE = re.compile(r"unsupported value|\bnan\b|\binf\b", re.IGNORECASE)
"""What servers say of a vector that JSON cannot hold."""


class OllamaEncoder:
    """Turns texts into vectors by `/api/embed`. Nothing is asked before the first use.

    A text longer than the model's context is cut at its end: that is the server's default
    (`truncate`), and nothing in the answer says so. Titles never come near it; descriptions
    can. A blank text is sent as '(untitled)', since some tokenizers make no token of it, and
    half a surrogate pair, which JSON cannot carry, as '?'.

    >>> encoder = OllamaEncoder("all-minilm", host="127.0.0.1:9")
    >>> encoder.name
    Traceback (most recent call last):
    ...
    recommender.backends.errors.ServerDown: ...
    """

    def __init__(self, model: str, *, host: str = "", client: OllamaClient | None = None) -> None:
        """`model` as `ollama list` shows it; `client` is used instead of one for `host`."""
        self.model = model
        self._client = client or OllamaClient(host, answer_seconds=FIRST_ANSWER_SECONDS)
        self._models = ServerModels(self._client)

    @property
    def name(self) -> str:
        """Name and digest of the model: 'all-minilm@sha256:…'.

        Raises:
            ServerDown: nobody answers.
            ModelMissing: the model is not pulled.
            CannotTeach: it is no embedding model.
        """
        return f"{self.model}@sha256:{self._facts.digest[:24]}"

    @cached_property
    def server(self) -> str:
        """Program and version of the server.

        Raises:
            ServerDown: nobody answers, or somebody who is no Ollama server.
        """
        return f"ollama {self._client.version()}"

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return (texts, width) float32, rows of length 1.

        Raises:
            ServerDown, ModelMissing, CannotTeach: as `name`.
            BackendError: the server did not answer.
            BadData: it made no vector, or none that has a direction, of one text.
        """
        width = self._facts.hidden_size
        rows = [np.empty((0, width), dtype=np.float32)] if not texts else []
        for at in range(0, len(texts), BATCH):
            batch = texts[at : at + BATCH]
            rows.append(unit_rows(self._asked([_sendable(text) for text in batch]), batch))
        if len({row.shape[1] for row in rows}) > 1:
            raise BadData(f"{self.model!r} was replaced while texts were encoded")
        return np.concatenate(rows)

    def close(self) -> None:
        """Close the connections."""
        self._models.close()
        self._client.close()

    @cached_property
    def _facts(self) -> Facts:
        _ = self.server  # says at once when there is none
        facts = self._models.show(self.model)
        # A server before 0.6.4 lists no capabilities; it has to be asked for a vector to know.
        if facts.capabilities and "embedding" not in facts.capabilities:
            raise self._no_encoder(f"it can do {', '.join(facts.capabilities)}")
        if not facts.digest:
            raise ModelMissing(
                f"{self._client.address} lists no model called {self.model!r}, so its build is "
                "not known",
                next_step="the name as `ollama list` shows it",
            )
        return facts

    def _asked(self, batch: Sequence[str]) -> list[list[float]]:
        """Ask for the vectors of a batch; where a vector is no number, find whose it is."""
        try:
            found = self._models.embed(self.model, batch)
        except CannotTeach as error:
            raise self._no_encoder("its server makes none of it") from error
        except Refused as error:
            if not _NOT_FINITE.search(error.what):
                raise
            if len(batch) == 1:
                raise without_direction(batch[0]) from error
            half = len(batch) // 2
            return [*self._asked(batch[:half]), *self._asked(batch[half:])]
        if len(found) != len(batch):
            raise Cut(f"{len(found)} vectors for {len(batch)} texts from {self._client.address}")
        return found

    def _no_encoder(self, reason: str) -> CannotTeach:
        return CannotTeach(
            f"{self.model!r} makes no vectors: {reason}; an embedding model does, e.g. all-minilm",
            next_step=PULL,
        )


def unit_rows(vectors: Sequence[Sequence[float]], texts: Sequence[str]) -> FloatArray:
    """Scale vectors to length 1.

    Formula: v / ‖v‖, the norm in float64, the result in float32.

    Args:
        vectors: one a text, all of one width.
        texts: for the error.

    Raises:
        BadData: a vector is missing, zero or no number; the text it was made of is named.

    >>> unit_rows([[3.0, 4.0]], ["Heat"]).round(2).tolist()
    [[0.6000000238418579, 0.800000011920929]]
    """
    if len({len(vector) for vector in vectors}) != 1:
        raise BadData("vectors of different widths came from one model", next_step=PULL)
    table = np.array(vectors, dtype=np.float64)
    with np.errstate(over="ignore"):  # what overflows is named below
        norms = np.linalg.norm(table, axis=1)
    for text, norm in zip(texts, norms, strict=True):
        if not (np.isfinite(norm) and norm > 0):
            raise without_direction(text)
    return np.asarray(table / norms[:, None], dtype=np.float32)


def without_direction(text: str) -> BadData:
    """Return the error for a text whose vector is zero or no number."""
    return BadData(
        f"the vector of {clean_title(text)[:SHOWN]!r} is zero or no number",
        next_step=f"update Ollama, or another embedding model: {PULL}",
    )


def _sendable(text: str) -> str:
    return text.encode("utf-8", "replace").decode() if text.strip() else UNTITLED
