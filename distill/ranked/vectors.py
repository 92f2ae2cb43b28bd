"""Which vectors items are projected from: of titles by an encoder, or states of a language model.

Apart from the table because these take time, and are kept: what was encoded once is found by the
name of what encoded it.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import cached_property

import numpy as np
import torch

from distill.config import DistilConfig
from distill.ground import Ground
from distill.ranked.settings import TEACHER
from recommender.backends import Prompt
from recommender.backends.embedded import EmbeddedBackend
from recommender.backends.opening import kind_of
from recommender.backends.weights import find_weights, weights_digest
from recommender.config import Settings
from recommender.embeddings import SentenceEncoder, TextEncoder, title_vectors
from recommender.events import Event
from recommender.models import resolve_model
from storage.artifacts import Artifacts
from storage.errors import BadSetting
from storage.records import FloatArray
from storage.store import Store


class StateEncoder:
    """A language model as an encoder of titles: its last state after a history of that title.

    After the final norm, as the model's own head reads it, and as BIGRec's vectors of items are,
    which DLLM2Rec takes. Nothing is loaded before the first text: kept vectors cost no model.
    """

    def __init__(
        self,
        spec: str,
        *,
        artifacts: Artifacts | None = None,
        device: str = "auto",
        precision: str = "auto",
        noun: str = "products",
    ) -> None:
        """`spec` is a directory, a GGUF file or a hub id; the rest as a teacher's."""
        self.spec = spec
        self.noun = noun
        self._artifacts, self._device, self._precision = artifacts, device, precision

    @cached_property
    def name(self) -> str:
        """Name and digest of the weights, and what is read of them."""
        place = find_weights(self.spec)
        how = f"{self._precision}, last normed state, {self.noun}"
        return f"{place.name}@{weights_digest(place)} ({how})"

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Return (texts, width of the model), rows of length 1.

        Raises:
            UnknownName, BadData, Offline: it cannot be opened.
        """
        last = self._model.describe().layers
        rows = [self._model.states(Prompt((text,), noun=self.noun), [last])[0] for text in texts]
        norm = self._model.model.model.norm
        with torch.inference_mode():
            given = torch.from_numpy(np.stack(rows)).to(norm.weight.device, norm.weight.dtype)
            states: FloatArray = norm(given).float().cpu().numpy()
        lengths = np.linalg.norm(states, axis=1, keepdims=True)
        unit: FloatArray = (states / np.maximum(lengths, 1e-12)).astype(np.float32)
        return unit

    @cached_property
    def _model(self) -> EmbeddedBackend:
        return EmbeddedBackend.open(
            self.spec, artifacts=self._artifacts, device=self._device, precision=self._precision
        )


def item_vectors(
    store: Store, ground: Ground, config: DistilConfig, settings: Settings
) -> Generator[Event, None, FloatArray | None]:
    """Return the vectors a configuration projects items from; None where it does not.

    Raises:
        BadSetting: what is named makes no vectors.
        UnknownName, Offline: it is not here.
    """
    ranked = config.loss.ranked
    if not ranked.embeddings:
        return None
    if not ranked.vectors_by:
        return ground.vectors
    spec = config.teacher.spec if ranked.vectors_by == TEACHER else ranked.vectors_by
    encoder = encoder_of(spec, store, ground, config, settings)
    return (yield from title_vectors(ground.titles, encoder, store.artifacts))


def encoder_of(
    spec: str, store: Store, ground: Ground, config: DistilConfig, settings: Settings
) -> TextEncoder:
    """Return what makes vectors of titles by the name of a model; nothing is loaded yet.

    Raises:
        BadSetting: a backend of the user's own, which has no vectors to give.
        UnknownName, Offline: it is not here.
    """
    kind, name = kind_of(spec, settings)
    if kind == "encoder":
        return SentenceEncoder(
            resolve_model(settings.models, name, kind="encoder"), device=config.teacher.device
        )
    if kind == "server":
        # Deferred: the HTTP client takes long to import, and most vectors come from here.
        from recommender.backends.ollama.encoder import OllamaEncoder

        return OllamaEncoder(name, host=(settings.hosts or ("",))[0])
    if kind == "own":
        raise BadSetting(
            f"{spec!r} is a backend of your own, which gives no vectors of items",
            next_step="vectors_by: the name of an encoder, or of a model in this process",
        )
    return StateEncoder(
        resolve_model(settings.models, name),
        artifacts=store.artifacts,
        device=config.teacher.device,
        precision=config.teacher.precision,
        noun=ground.texts.noun,
    )
