"""Where a run stands, on disk: complete or absent, and enough to go on to the same bytes.

A checkpoint is one safetensors file and one JSON file that names it. The JSON file is
replaced last, in one move, so whoever is killed in between leaves the older checkpoint.
No random state is kept, because none exists: what a step draws follows from the seed and
the step's number (`distill.chance`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from storage.errors import ArtifactDamaged, BadSetting, StoreUnavailable

_INDEX = "checkpoint.json"


class Stateful(Protocol):
    """What has tensors that a checkpoint keeps: a module, or a part of one."""

    def state_dict(self) -> Mapping[str, Tensor]:
        """Return them by name."""

    def load_state_dict(self, state: Mapping[str, Tensor], /) -> object:
        """Take them back."""


@dataclass(slots=True)
class Standing:
    """Where a run stands, apart from its tensors."""

    step: int = 0
    """Optimiser steps done."""
    best: float = -1.0
    """Highest validation NDCG@10 so far; below 0 before the first evaluation."""
    best_epoch: int = 0
    """Epochs count from 1."""
    epochs: int = 0
    """Epochs evaluated."""
    seconds: float = 0.0
    """Over all sittings."""
    best_step: int = 0
    """Steps until the best."""
    best_seconds: float = 0.0
    """Seconds until the best, over all sittings."""
    loss: float = 0.0
    """Sum of the losses of the epoch that is under way."""
    peak: int = 0
    """Bytes that the process had at most, over all sittings; 0 where the system does not say."""


def save(
    directory: Path,
    fingerprint: str,
    standing: Standing,
    history: list[list[float]],
    modules: Mapping[str, Stateful],
    optimiser: torch.optim.Optimizer,
    best: Mapping[str, Tensor],
) -> None:
    """Write a checkpoint, then remove the older one.

    Raises:
        StoreUnavailable: the directory cannot be written, or the disk is full.
    """
    tensors = {f"best.{name}": tensor for name, tensor in best.items()}
    for kind, module in modules.items():
        tensors |= {f"{kind}.{name}": tensor for name, tensor in module.state_dict().items()}
    for index, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": tensor for name, tensor in moments.items()}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    name = f"step-{standing.step:09d}.safetensors"
    index = {
        "fingerprint": fingerprint,
        "tensors": name,
        "standing": {field: getattr(standing, field) for field in Standing.__slots__},
        "history": history,
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
        temporary = directory / f".{name}"
        save_file(tensors, temporary)
        _move_for_good(temporary, directory / name)
        temporary = directory / f".{_INDEX}"
        temporary.write_text(json.dumps(index), encoding="utf-8")
        _move_for_good(temporary, directory / _INDEX)
        for file in directory.glob("*.safetensors"):
            if file.name != name:
                file.unlink()
    except (OSError, SafetensorError) as e:
        raise StoreUnavailable(f"cannot write a checkpoint to {str(directory)!r}: {e}") from e


def load(
    directory: Path,
    fingerprint: str,
    modules: Mapping[str, Stateful],
    optimiser: torch.optim.Optimizer,
) -> tuple[Standing, list[list[float]], dict[str, Tensor]] | None:
    """Fill modules and optimiser from a checkpoint; return the rest, or None without one.

    Raises:
        BadSetting: the checkpoint is of a run with other settings or other data.
        ArtifactDamaged: its files cannot be read.
    """
    if not (directory / _INDEX).exists():
        return None
    remove = f"rm -r {directory}"
    try:
        index: dict[str, Any] = json.loads((directory / _INDEX).read_text(encoding="utf-8"))
        tensors = load_file(directory / index["tensors"])
        standing = Standing(**index["standing"])
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as e:
        raise ArtifactDamaged(
            f"the checkpoint in {str(directory)!r} cannot be read: {e}", next_step=remove
        ) from e
    if index["fingerprint"] != fingerprint:
        raise BadSetting(
            f"the checkpoint in {str(directory)!r} is of a run with other settings or data",
            next_step=remove,
        )
    for kind, module in modules.items():
        module.load_state_dict(_part(tensors, kind))
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _part(tensors, "optimiser").items():
        number, _, key = name.partition(".")
        moments.setdefault(int(number), {})[key] = tensor
    optimiser.load_state_dict({**optimiser.state_dict(), "state": moments})
    return standing, index["history"], _part(tensors, "best")


def fingerprint(*parts: object) -> str:
    """Hash settings and arrays: equal when, and in practice only when, all of them are.

    Arrays count by type, shape and bytes, anything else by its repr.

    >>> import numpy as np
    >>> fingerprint(1, np.zeros(2)) == fingerprint(1, np.zeros(2)) != fingerprint(1, np.zeros(3))
    True
    """
    digest = hashlib.sha256()
    for part in parts:
        if hasattr(part, "tobytes"):
            digest.update(f"{part.dtype} {part.shape}".encode())  # type: ignore[attr-defined]
            digest.update(memoryview(part.tobytes()))
        else:
            digest.update(repr(part).encode())
        digest.update(b"\x00")
    return digest.hexdigest()


def _part(tensors: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    start = f"{kind}."
    return {
        name.removeprefix(start): tensor
        for name, tensor in tensors.items()
        if name.startswith(start)
    }


def _move_for_good(source: Path, target: Path) -> None:
    with source.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(source, target)
