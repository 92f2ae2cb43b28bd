"""Hidden states of many requests, on disk as they were kept: float16, read by layer.

Apart from the labelling that writes them because whoever reads wants a few layers of many
requests, and all layers of them are what no memory has: 10,000 requests of an 8B model are
5 GB as float32, the two layers that a student looks at 330 MB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from safetensors import SafetensorError, safe_open

from storage.artifacts import REPAIR
from storage.errors import ArtifactDamaged
from storage.records import FloatArray, IntArray

NAME = "states"
"""Of the array in each file."""


class States(Protocol):
    """States of requests, wherever they are."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Requests, layers + 1, width."""

    def at(self, layers: Sequence[int]) -> FloatArray:
        """Return the outputs of some layers: (requests, K, width), float32."""


@dataclass(frozen=True, eq=False, slots=True)
class KeptStates:
    """States in files of some requests each, one request after another."""

    files: tuple[Path, ...]
    begins: IntArray
    """(files + 1,) the number of the first request of each file, and how many there are."""
    rows: IntArray
    """Which requests these are, in their order."""
    tail: tuple[int, int]
    """Layers + 1, and width."""

    @classmethod
    def open(cls, files: Sequence[Path]) -> KeptStates:
        """Look at files, and read nothing of them yet but their shapes.

        Raises:
            ArtifactDamaged: one cannot be read.
        """
        shapes = [_slice(path, lambda kept: tuple(kept.get_shape())) for path in files]
        begins = np.cumsum([0, *(shape[0] for shape in shapes)]).astype(np.int64)
        tail = (int(shapes[0][1]), int(shapes[0][2]))
        return cls(tuple(files), begins, np.arange(begins[-1]), tail)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Requests, layers + 1, width."""
        return len(self.rows), *self.tail

    def taken(self, places: Sequence[int] | IntArray) -> KeptStates:
        """Return the states of some of these requests, by their places here."""
        return KeptStates(self.files, self.begins, self.rows[np.asarray(places)], self.tail)

    def at(self, layers: Sequence[int]) -> FloatArray:
        """Return the outputs of some layers: (requests, K, width), float32.

        Raises:
            ArtifactDamaged: a file cannot be read.
        """
        found = np.empty((len(self.rows), len(layers), self.tail[1]), dtype=np.float32)
        for number, path in enumerate(self.files):
            begin, end = self.begins[number], self.begins[number + 1]
            here = np.flatnonzero((self.rows >= begin) & (self.rows < end))
            if len(here):
                own = self.rows[here] - begin
                for place, layer in enumerate(layers):
                    found[here, place] = _slice(path, _layer(layer))[own]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        """Return all of it: for few requests."""
        return self.at(range(self.tail[0])).astype(dtype or np.float32)


def _layer(layer: int) -> Any:
    return lambda kept: kept[:, layer]


def _slice(path: Path, read: Any) -> Any:
    try:
        with safe_open(path, framework="numpy") as file:
            return read(file.get_slice(NAME))
    except (OSError, SafetensorError) as error:
        raise ArtifactDamaged(
            f"the artifact file {str(path)!r} cannot be read: {error}", next_step=REPAIR
        ) from error
