"""Ids of people and items, packed: a million of them take a third of what a list takes.

Apart because sorting needs the room that the dictionary of an import had: from then on ids are
only looked up by number.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import overload


class PackedIds(Sequence[str]):
    """Texts by number, as UTF-8 in one piece of memory.

    >>> ids = PackedIds(["a1", "ü"])
    >>> ids.append("c")
    >>> ids[1], ids[-1], list(ids), len(ids)
    ('ü', 'c', ['a1', 'ü', 'c'], 3)
    """

    def __init__(self, ids: Iterable[str] = ()) -> None:
        """Pack these, in order."""
        self._bytes = bytearray()
        self._ends = array("q", [0])
        for one in ids:
            self.append(one)

    def append(self, one: str) -> None:
        """Give it the next number."""
        self._bytes += one.encode()
        self._ends.append(len(self._bytes))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __iter__(self) -> Iterator[str]:
        return (self[number] for number in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(index)
        return self._bytes[self._ends[number] : self._ends[number + 1]].decode()
