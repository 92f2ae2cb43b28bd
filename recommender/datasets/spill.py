"""Texts kept on disk while an import runs: titles and reviews are larger than the log.

Apart from the import because it is the whole of the answer to "where does the text of ten
million reviews wait until its row has a number?": in an unnamed temporary file, one JSON line
each, read back by the ticket that `append` gave.
"""

from __future__ import annotations

import os
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from types import TracebackType
from typing import overload

import orjson

from recommender.datasets.ids import PackedIds
from storage.records import ItemRow

_LENGTH_BITS = 24
_LONGEST = (1 << _LENGTH_BITS) - 1


class Spill:
    """An append-only file of JSON lines that vanishes with its `close`.

    >>> with Spill() as spill:
    ...     ticket = spill.append(["a", "b"])
    ...     spill.read(ticket)
    ['a', 'b']
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="recsys-", buffering=1 << 20)  # noqa: SIM115
        self._end = 0
        self._flushed = 0

    def append(self, row: Sequence[str]) -> int:
        """Add a row; return the ticket that reads it: where it is and how long.

        Raises:
            ValueError: The row takes 16 MiB or more.
        """
        line = orjson.dumps(row)
        if len(line) > _LONGEST:
            raise ValueError(f"a row of {len(line)} bytes")
        at = self._end
        self._file.write(line)
        self._end += len(line)
        return at << _LENGTH_BITS | len(line)

    def read(self, ticket: int) -> list[str]:
        """Return the row of that ticket."""
        at, length = ticket >> _LENGTH_BITS, ticket & _LONGEST
        if at + length > self._flushed:
            self._file.flush()
            self._flushed = self._end
        row: list[str] = orjson.loads(os.pread(self._file.fileno(), length, at))
        return row

    def close(self) -> None:
        """Remove the file."""
        self._file.close()

    def __enter__(self) -> Spill:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class SpilledItems(Sequence[ItemRow]):
    """Items by number, their texts in a spill; an item without a text has only its id.

    >>> with Spill() as spill:
    ...     items = SpilledItems(spill, PackedIds(["b1", "b2"]))
    ...     items.put(1, ItemRow("b2", "Pen"))
    ...     [item.title for item in items]
    ['', 'Pen']
    """

    def __init__(self, spill: Spill, ids: PackedIds) -> None:
        """Hold the ids, which may grow by `put` of the next number."""
        self._spill = spill
        self._ids = ids
        self._tickets = array("q")

    def put(self, number: int, item: ItemRow) -> None:
        """Keep what is known of the item with this number, instead of what was."""
        if number == len(self._ids):
            self._ids.append(item.id)
        if number >= len(self._tickets):
            self._tickets.extend([-1] * (number + 1 - len(self._tickets)))
        self._tickets[number] = self._spill.append(astuple(item))

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[ItemRow]:
        return (self[number] for number in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> ItemRow: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ItemRow]: ...
    def __getitem__(self, index: int | slice) -> ItemRow | Sequence[ItemRow]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(index)
        ticket = self._tickets[number] if number < len(self._tickets) else -1
        return ItemRow(*self._spill.read(ticket)) if ticket >= 0 else ItemRow(self._ids[number], "")
