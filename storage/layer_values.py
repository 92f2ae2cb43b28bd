"""What each request said about the layers: kept the moment it is measured.

Apart from the profiles because these are the steps on the way to one. A row is one request's
arrays, found by the hash of all that decides them, so that a measurement that was killed goes
on from the last request it finished.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save
from sqlalchemy import Row, delete, func, select

from storage.database import Database
from storage.errors import ArtifactDamaged
from storage.inserts import insert_missing
from storage.records import LayerValues
from storage.tables import layer_values

Arrays = Mapping[str, npt.NDArray[Any]]

_AT_ONCE = 500
"""Keys in one query: every database takes that many parameters."""
_STREAMED = 100
"""Rows that are held at one time where all are read."""
_RESERVED = "__metadata__"
"""The one name that the format keeps for itself."""
_TYPES = frozenset(map(np.dtype, (np.float64, np.float32, np.int64)))
REPAIR = "recsys doctor --repair"


class Layers:
    """The values per request that are kept in a database.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     database = Database.open(f"{folder}/shop.sqlite")
    ...     layers = Layers(database)
    ...     layers.add(LayerValues("k1", "r1", "fisher", {"layers": np.array([0.5, 2.0])}, 0.25))
    ...     known, count = layers.get(["k1", "k2"]), layers.count("fisher")
    ...     database.close()
    >>> {key: values.arrays["layers"].tolist() for key, values in known.items()}, count
    ({'k1': [0.5, 2.0]}, 1)
    """

    def __init__(
        self, database: Database, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """Stand on an open database; `now` is the clock rows are stamped by."""
        self._database = database
        self._now = now

    def add(self, values: LayerValues) -> None:
        """Keep what one request gave; one with the same key is left as it is.

        When this returns it is kept, whatever becomes of this process. Two processes may add
        the same key at the same time.

        Raises:
            ValueError: an array of another type, or of the name the format reserves.
            StoreUnavailable: the database cannot be written, and why.
        """
        row = {
            "key": values.key,
            "request": values.request,
            "measure": values.measure,
            "arrays": array_bytes(values.arrays),
            "seconds": float(values.seconds),
            "made_at": self._now().isoformat(timespec="seconds"),
        }
        with self._database.writing() as connection:
            insert_missing(connection, layer_values, [row])

    def get(self, keys: Sequence[str]) -> dict[str, LayerValues]:
        """Return what there is under these keys, by key.

        Raises:
            ArtifactDamaged: a row is there, and its arrays cannot be read.
        """
        table = layer_values
        found: dict[str, LayerValues] = {}
        with self._database.reading() as connection:
            for some in _slices(list(dict.fromkeys(keys))):
                rows = connection.execute(select(table).where(table.c.key.in_(some)))
                found.update((row.key, _values(row)) for row in rows)
        return found

    def count(self, measure: str) -> int:
        """Return how many requests were measured so, under any settings."""
        table = layer_values
        query = select(func.count()).select_from(table).where(table.c.measure == measure)
        with self._database.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def damaged(self) -> list[str]:
        """Read every row; return the keys of those whose arrays cannot be read, in order."""
        query = select(layer_values).order_by(layer_values.c.key)
        options = {"stream_results": True, "yield_per": _STREAMED}
        with self._database.reading() as connection:
            rows = connection.execute(query, execution_options=options)
            return [row.key for row in rows if not _whole(row)]

    def remove(self, keys: Sequence[str]) -> None:
        """Remove rows; the next measurement will make them again."""
        with self._database.writing() as connection:
            for some in _slices(keys):
                connection.execute(delete(layer_values).where(layer_values.c.key.in_(some)))


def array_bytes(arrays: Arrays) -> bytes:
    """Return arrays as safetensors, of any shape, numbers (0-d) and empty ones included.

    Args:
        arrays: by name; float64, float32 or int64, in the byte order of this machine.

    Raises:
        ValueError: an array of another type, or of the name the format reserves.

    Source: the safetensors format, huggingface/safetensors, README, section 'Format'.

    >>> blob = array_bytes({"loss": np.array(0.5), "layers": np.eye(2)})
    >>> {name: (array.shape, array.tolist()) for name, array in bytes_arrays(blob).items()}
    {'layers': ((2, 2), [[1.0, 0.0], [0.0, 1.0]]), 'loss': ((), 0.5)}
    """
    rows = {}
    for name, array in arrays.items():
        # Laid out row by row: the format writes memory as it lies, and a transposed array
        # would come back scrambled. `ascontiguousarray` would make a number a list of one.
        rows[name] = np.asarray(array, order="C")
        if name == _RESERVED:
            raise ValueError(f"no array can be named {name!r}: the format reserves it")
        if rows[name].dtype not in _TYPES:
            raise ValueError(
                f"array {name!r} is of {rows[name].dtype}; float64, float32 and int64 are kept"
            )
    return save(rows)


def bytes_arrays(blob: bytes) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays that `array_bytes` wrote, in order of their names.

    Raises:
        ValueError: the bytes are no such arrays.

    >>> bytes_arrays(array_bytes({"seconds": np.array([1.5])})[:-1])
    Traceback (most recent call last):
    ...
    ValueError: Error while deserializing: incomplete metadata, file not fully covered
    """
    try:
        arrays = load(blob)
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    except KeyError as error:  # a type that the format has and NumPy has not
        raise ValueError(f"an array of unknown type {error}") from error
    for name, array in arrays.items():
        if array.dtype not in _TYPES:
            raise ValueError(f"array {name!r} is of {array.dtype}")
    return {name: arrays[name] for name in sorted(arrays)}  # the reader has no order


def _values(row: Row[Any]) -> LayerValues:
    try:
        arrays = bytes_arrays(row.arrays)
    except ValueError as error:
        raise ArtifactDamaged(
            f"what {row.measure!r} measured of request {row.request!r} is damaged"
            f" (layer values {row.key!r}): {error}",
            next_step=REPAIR,
        ) from error
    return LayerValues(row.key, row.request, row.measure, arrays, row.seconds)


def _whole(row: Row[Any]) -> bool:
    try:
        _values(row)
    except ArtifactDamaged:
        return False
    return True


def _slices(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), _AT_ONCE):
        yield keys[start : start + _AT_ONCE]
