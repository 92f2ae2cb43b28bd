"""The two forms an adaptation is kept in: the adapter, which is learned, and merged weights.

The adapter is always kept, since it is small and the rest follows from it. Merged weights
have the numbers' type of the weights they were made of.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distill.adapting.adapters import merge, save_adapter, write_model
from distill.adapting.config import AdaptConfig
from recommender.backends.embedded import EmbeddedBackend
from recommender.backends.weights import find_weights
from recommender.events import Event, StageDone, StageSkipped, StageStarted
from storage.artifacts import Artifacts
from storage.records import Artifact

ADAPTER, MERGED = "adapter", "adapted"
STAGE = "merge"


def keep_adapter(
    artifacts: Artifacts,
    inputs: Mapping[str, object],
    adapted: Any,
    weights: Mapping[str, Tensor],
    base: str,
    learned: Mapping[str, object],
) -> Artifact:
    """Keep what was learned under all that decided it, with how it went.

    Args:
        artifacts: where.
        inputs: of the learning.
        adapted: of `adapters.insert`.
        weights: the best ones.
        base: what the adapter belongs to, as the user named it.
        learned: the curve and the figures of the training, as JSON.
    """
    with artifacts.writing(ADAPTER, inputs) as path:
        save_adapter(adapted, weights, base, path)
        artifacts.write_json(path / "learned.json", dict(learned))
    found = artifacts.find(ADAPTER, inputs)
    assert found is not None, "an artifact that was just written is found"
    return found


def keep_merged(
    artifacts: Artifacts, adapter: Artifact, spec: str
) -> Generator[Event, None, Artifact]:
    """Merge an adapter into freshly opened weights in float32, and keep the directory.

    Args:
        artifacts: where.
        adapter: what was learned.
        spec: the weights it belongs to.
    """
    inputs = {"adapter": adapter.key}
    found = artifacts.find(MERGED, inputs)
    if found is not None:
        yield StageSkipped(STAGE, "merged before")
        return found
    yield StageStarted(STAGE)
    with artifacts.writing(MERGED, inputs) as path:
        base = _opened(artifacts, spec)
        write_model(merge(base, Path(adapter.path)), stored_type(spec), path)
    found = artifacts.find(MERGED, inputs)
    assert found is not None, "an artifact that was just written is found"
    yield StageDone(STAGE, 0.0, f"{found.size / 1e6:.0f} MB")
    return found


def open_adapted(
    artifacts: Artifacts, config: AdaptConfig, spec: str, adapter: Artifact, merged: Artifact | None
) -> tuple[EmbeddedBackend, str]:
    """Open what was learned as the teacher it now is, and the key of its very weights."""
    if merged is not None:
        backend = EmbeddedBackend.open(
            merged.path, device=config.device, precision=config.precision
        )
        return backend, backend.describe().key
    base = EmbeddedBackend.open(
        spec, artifacts=artifacts, device=config.device, precision=config.precision
    )
    return merge(base, Path(adapter.path)), f"{base.describe().key}+{adapter.key}"


def stored_type(spec: str) -> torch.dtype:
    """Return the numbers' type that weights are stored in; those of a GGUF file are float32."""
    from transformers import AutoConfig

    place = find_weights(spec)
    if place.kind == "gguf":
        return torch.float32
    named = AutoConfig.from_pretrained(place.path, local_files_only=True).dtype
    return getattr(torch, named) if isinstance(named, str) else named or torch.float32


def _opened(artifacts: Artifacts, spec: str) -> EmbeddedBackend:
    return EmbeddedBackend.open(spec, artifacts=artifacts, device="cpu", precision="float32")
