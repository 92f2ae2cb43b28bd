"""The head of a GGUF file: its fields as the bytes they are, and where its tensors lie.

The `gguf` package reads one too, with several NumPy views for every token of the vocabulary:
5 seconds and 140 MB for 49,152 tokens, where this takes a tenth of a second. And a field that
stays bytes until somebody asks what it says is copied exactly.

Source: the specification, ggml's docs/gguf.md, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from storage.errors import BadData

MAGIC = b"GGUF"
VERSIONS = (2, 3)
ALIGNMENT = 32
"""Bytes that tensors begin at multiples of, where a file does not say."""
MOST_DEEP = 4
"""Arrays inside of arrays that are read; files have one."""

STRING, ARRAY = 8, 9
SCALARS: Mapping[int, str] = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
"""Number of a type in the file -> how `struct` writes it."""
UINT32, INT32 = 4, 5


@dataclass(frozen=True, slots=True)
class Field:
    """One setting.

    >>> Field("llama.block_count", struct.pack("<II", UINT32, 30)).value
    30
    """

    name: str
    raw: bytes
    """Its type and what it says, as in the file."""

    @property
    def value(self) -> Any:
        """What it says: a number, a text, or a list of them."""
        return _Reading(self.raw, self.name).value()

    @property
    def kind(self) -> int:
        """Number of its type."""
        return int.from_bytes(self.raw[:4], "little")

    @property
    def members(self) -> int:
        """Number of the type of what a list has; of the field itself where it is none."""
        return int.from_bytes(self.raw[4:8], "little") if self.kind == ARRAY else self.kind


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where one tensor lies in a file, and of what shape and type it is."""

    name: str
    shape: tuple[int, ...]
    """As in the file: the fastest dimension first."""
    kind: int
    """Number of its type, `gguf.GGMLQuantizationType`."""
    start: int
    """Its first byte in the file."""
    size: int
    """Bytes."""

    @property
    def numbers(self) -> int:
        """How many numbers it holds."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class Head:
    """What stands before the tensors' bytes."""

    path: Path
    version: int
    fields: Mapping[str, Field]
    tensors: tuple[Tensor, ...]
    """In the order of the file."""

    def said(self, name: str, default: Any = None) -> Any:
        """Return what a field says, or the default where it is absent."""
        field = self.fields.get(name)
        return default if field is None else field.value

    @property
    def architecture(self) -> str:
        """'llama', 'qwen2' …"""
        return str(self.said("general.architecture", ""))

    @property
    def alignment(self) -> int:
        """Bytes that tensors begin at multiples of."""
        return int(self.said("general.alignment", ALIGNMENT))

    @property
    def layers(self) -> int:
        """Blocks, as the file counts them."""
        return int(self.said(f"{self.architecture}.block_count", 0))


def read_head(path: Path) -> Head:
    """Read the head of a GGUF file; its tensors stay on disk.

    Raises:
        BadData: it is no GGUF file, of a form that is not known, or shorter than it says.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) != MAGIC:
                raise BadData(f"{str(path)!r} is not a GGUF file")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
                return _read(path, _Reading(view, str(path), 4), len(view))
    except OSError as error:
        said = error.strerror or str(error)
        raise BadData(f"cannot read {str(path)!r}: {said}") from error


def head_bytes(
    version: int, fields: Iterable[Field], tensors: Sequence[Tensor], alignment: int
) -> bytes:
    """Write a head; the tensors will follow it in their order, each at a multiple.

    >>> written = head_bytes(3, [], [Tensor("a", (2, 3), 0, 0, 24)], 32)
    >>> len(written), written[:4]
    (96, b'GGUF')
    """
    own = list(fields)
    made = bytearray(MAGIC + struct.pack("<IQQ", version, len(tensors), len(own)))
    for field in own:
        made += _text(field.name) + field.raw
    place = 0
    for tensor in tensors:
        made += _text(tensor.name) + struct.pack("<I", len(tensor.shape))
        made += struct.pack(f"<{len(tensor.shape)}Q", *tensor.shape)
        made += struct.pack("<IQ", tensor.kind, place)
        place += padded(tensor.size, alignment)
    made += bytes(padded(len(made), alignment) - len(made))
    return bytes(made)


def field_of(name: str, value: Any, kind: int, members: int = 0) -> Field:
    """Return a field that says this; of a list, `members` is the type of what it has.

    >>> field_of("a", [1, 2], ARRAY, INT32).value, field_of("b", "Pen", STRING).value
    ([1, 2], 'Pen')
    """
    return Field(name, struct.pack("<I", kind) + _packed(value, kind, members))


def padded(size: int, alignment: int) -> int:
    """Return the next multiple.

    >>> padded(33, 32), padded(64, 32)
    (64, 64)
    """
    return -(-size // alignment) * alignment


def _packed(value: Any, kind: int, members: int) -> bytes:
    if kind == ARRAY:
        made = struct.pack("<IQ", members, len(value))
        return made + b"".join(_packed(one, members, 0) for one in value)
    return _text(value) if kind == STRING else struct.pack(SCALARS[kind], value)


def _text(value: str) -> bytes:
    body = value.encode("utf-8", "surrogateescape")
    return struct.pack("<Q", len(body)) + body


class _Reading:
    """A place in some bytes, which goes on with all that is read."""

    def __init__(self, view: bytes | mmap.mmap, source: str, place: int = 0) -> None:
        self.view, self.source, self.place = view, source, place

    def damaged(self, what: str) -> BadData:
        return BadData(f"{self.source!r} is damaged: {what}")

    def number(self, form: str) -> Any:
        try:
            (found,) = struct.unpack_from(form, self.view, self.place)
        except struct.error as error:
            raise self.damaged("it ends within its head") from error
        self.place += struct.calcsize(form)
        return found

    def skip(self, size: int) -> None:
        self.place += size
        if self.place > len(self.view):
            raise self.damaged("it ends within its head")

    def text(self) -> str:
        size = self.number("<Q")
        start = self.place
        self.skip(size)
        return bytes(self.view[start : self.place]).decode("utf-8", "surrogateescape")

    def value(self) -> Any:
        return self._value(self.number("<I"), 0)

    def _value(self, kind: int, deep: int) -> Any:
        if kind == STRING:
            return self.text()
        if kind != ARRAY:
            return self.number(self._form(kind))
        members, count = self.number("<I"), self.number("<Q")
        self._refuse_deep(deep)
        return [self._value(members, deep + 1) for _ in range(count)]

    def pass_over(self, kind: int, deep: int = 0) -> None:
        """Go behind a value without making it."""
        if kind == STRING:
            self.skip(self.number("<Q"))
        elif kind != ARRAY:
            self.skip(struct.calcsize(self._form(kind)))
        else:
            members, count = self.number("<I"), self.number("<Q")
            self._refuse_deep(deep)
            if members in SCALARS:
                self.skip(count * struct.calcsize(SCALARS[members]))
            else:
                for _ in range(count):
                    self.pass_over(members, deep + 1)

    def _form(self, kind: int) -> str:
        if kind not in SCALARS:
            raise self.damaged(f"it has a field of type {kind}, which there is not")
        return SCALARS[kind]

    def _refuse_deep(self, deep: int) -> None:
        if deep > MOST_DEEP:
            raise self.damaged("it has lists of lists of lists")


def _read(path: Path, reading: _Reading, size: int) -> Head:
    version = reading.number("<I")
    if version not in VERSIONS:
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big") in VERSIONS
        what = "is big-endian" if swapped else f"is of GGUF version {version}"
        raise BadData(
            f"{str(path)!r} {what}: only little-endian files of versions 2 and 3 are read",
            next_step="llama.cpp's gguf_convert_endian.py, or convert the model anew",
        )
    tensors, count = reading.number("<Q"), reading.number("<Q")
    fields: dict[str, Field] = {}
    for _ in range(count):
        name, start = reading.text(), reading.place
        reading.pass_over(reading.number("<I"))
        fields[name] = Field(name, bytes(reading.view[start : reading.place]))
    listed = [_listed(reading) for _ in range(tensors)]
    head = Head(path, version, fields, ())
    alignment = head.alignment
    if alignment < 1 or alignment & (alignment - 1):
        raise reading.damaged(f"its alignment {alignment} is no power of two")
    first = padded(reading.place, alignment)
    found = tuple(_placed(reading, first, size, *one) for one in listed)
    return Head(path, version, fields, found)


def _listed(reading: _Reading) -> tuple[str, tuple[int, ...], int, int]:
    name, dimensions = reading.text(), reading.number("<I")
    if dimensions > 8:
        raise reading.damaged(f"tensor {name!r} has {dimensions} dimensions")
    shape = tuple(reading.number("<Q") for _ in range(dimensions))
    return name, shape, reading.number("<I"), reading.number("<Q")


def _placed(
    reading: _Reading, first: int, end: int, name: str, shape: tuple[int, ...], kind: int, at: int
) -> Tensor:
    # Imported here: what asks for the fields alone needs no NumPy.
    from gguf.constants import GGML_QUANT_SIZES

    if kind not in GGML_QUANT_SIZES:
        raise reading.damaged(f"tensor {name!r} is of type {kind}, which is not known here")
    block, size = GGML_QUANT_SIZES[kind]
    tensor = Tensor(name, shape, kind, first + at, prod(shape) // block * size)
    if tensor.start + tensor.size > end:
        raise reading.damaged(f"it ends before its tensor {name!r} does")
    return tensor
