"""Heads of GGUF files, against what the `gguf` package reads and writes."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFEndian, GGUFReader, GGUFValueType, GGUFWriter
from gguf.quants import quantize
from hypothesis import given
from hypothesis import strategies as st

from distill.exporting.gguf_head import (
    ARRAY,
    SCALARS,
    STRING,
    Tensor,
    field_of,
    head_bytes,
    padded,
    read_head,
)
from storage.errors import BadData


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with a field of every type and tensors of several."""
    writer = GGUFWriter(tmp_path / "every.gguf", "llama")
    writer.add_string("a.text", "Füller – 12")
    writer.add_bool("a.yes", True)
    for kind in (0, 1, 2, 3, 4, 5, 10, 11):
        writer.add_key_value(f"a.whole.{kind}", 7, GGUFValueType(kind))
    for kind in (6, 12):
        writer.add_key_value(f"a.real.{kind}", 0.25, GGUFValueType(kind))
    writer.add_key_value("a.texts", ["Pen", "", "日本"], GGUFValueType.ARRAY, GGUFValueType.STRING)
    writer.add_key_value("a.numbers", [1, -2], GGUFValueType.ARRAY, GGUFValueType.INT32)
    writer.add_key_value("a.reals", [0.5], GGUFValueType.ARRAY, GGUFValueType.FLOAT32)
    chance = np.random.default_rng(0)
    writer.add_tensor("plain", chance.normal(size=(3, 5)).astype(np.float32))
    rows = chance.normal(size=(2, 64)).astype(np.float32)
    for kind in (GGMLQuantizationType.Q8_0, GGMLQuantizationType.Q4_1):
        writer.add_tensor(kind.name, quantize(rows, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tmp_path / "every.gguf"


def test_every_field_says_what_the_package_reads(file: Path) -> None:
    reader = GGUFReader(file)
    head = read_head(file)
    said = {name: one.contents() for name, one in reader.fields.items() if name[:5] != "GGUF."}
    assert {name: one.value for name, one in head.fields.items()} == said
    assert head.said("a.absent", 3) == 3
    assert head.architecture == "llama"


def test_every_tensor_lies_where_the_package_finds_it(file: Path) -> None:
    reader, head = GGUFReader(file), read_head(file)
    data = file.read_bytes()
    assert len(head.tensors) == 3
    for one, theirs in zip(head.tensors, reader.tensors, strict=True):
        assert one.name == theirs.name
        assert one.shape == tuple(int(n) for n in theirs.shape)
        assert one.numbers == theirs.n_elements
        assert data[one.start : one.start + one.size] == theirs.data.tobytes()


def test_a_head_is_written_back_to_the_same_bytes(file: Path) -> None:
    head = read_head(file)
    written = head_bytes(head.version, head.fields.values(), head.tensors, head.alignment)
    assert file.read_bytes().startswith(written)
    assert head.tensors[0].start == len(written)


@given(st.lists(st.text(max_size=20), max_size=5), st.text(max_size=20))
def test_texts_come_back(texts: list[str], name: str) -> None:
    field = field_of(name, texts, ARRAY, STRING)
    assert (field.value, field.kind, field.members) == (texts, ARRAY, STRING)


@given(st.sampled_from(sorted(SCALARS)), st.integers(0, 1))
def test_numbers_come_back(kind: int, number: int) -> None:
    assert field_of("a", number, kind).value == number


def test_a_byte_that_is_no_text_survives() -> None:
    raw = struct.pack("<IQ", STRING, 2) + b"\xff\x00"
    assert field_of("a", field_of("a", "", STRING).value, STRING).value == ""
    odd = type(field_of("a", "", STRING))("a", raw)
    assert field_of("a", odd.value, STRING).raw == raw


class TestRefusals:
    def refused(self, path: Path, data: bytes, said: str) -> None:
        path.write_bytes(data)
        with pytest.raises(BadData, match=said):
            read_head(path)

    def test_no_gguf_file(self, tmp_path: Path) -> None:
        self.refused(tmp_path / "a.gguf", b"PK\x03\x04 a wheel", "is not a GGUF file")
        self.refused(tmp_path / "a.gguf", b"", "is not a GGUF file")
        self.refused(tmp_path / "a.gguf", b"GGUF", "ends within its head")
        with pytest.raises(BadData, match="cannot read"):
            read_head(tmp_path / "absent.gguf")

    def test_cut_anywhere(self, file: Path, tmp_path: Path) -> None:
        data = file.read_bytes()
        for length in range(5, len(data) - 40, 17):
            self.refused(tmp_path / "a.gguf", data[:length], "is damaged: it ends")

    def test_another_version_and_another_order(self, file: Path, tmp_path: Path) -> None:
        data = file.read_bytes()
        old = b"GGUF" + struct.pack("<I", 1) + data[8:]
        self.refused(tmp_path / "a.gguf", old, "is of GGUF version 1")
        writer = GGUFWriter(tmp_path / "big.gguf", "llama", endianess=GGUFEndian.BIG)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        with pytest.raises(BadData, match="is big-endian"):
            read_head(tmp_path / "big.gguf")

    def test_fields_and_tensors_of_no_type(self, tmp_path: Path) -> None:
        broken = struct.pack("<I", 99) + bytes(8)
        field = field_of("a", 0, 4)
        bad = head_bytes(3, [type(field)("a", broken)], [], 32)
        self.refused(tmp_path / "a.gguf", bad, "a field of type 99")
        deep = struct.pack("<I", ARRAY) + struct.pack("<IQ", ARRAY, 1) * 9 + bytes(8)
        self.refused(tmp_path / "a.gguf", head_bytes(3, [type(field)("a", deep)], [], 32), "lists")
        tensor = Tensor("a", (4,), 77, 0, 16)
        self.refused(tmp_path / "a.gguf", head_bytes(3, [], [tensor], 32), "of type 77")
        odd = [field_of("general.alignment", 12, 4)]
        self.refused(tmp_path / "a.gguf", head_bytes(3, odd, [], 32), "no power of two")

    def test_a_count_that_nobody_could_hold(self, tmp_path: Path) -> None:
        endless = struct.pack("<I", ARRAY) + struct.pack("<IQ", STRING, 2**60)
        field = field_of("a", 0, 4)
        bad = head_bytes(3, [type(field)("a", endless)], [], 32)
        self.refused(tmp_path / "a.gguf", bad, "ends within its head")


def test_padding() -> None:
    assert [padded(n, 32) for n in (0, 1, 32, 33)] == [0, 32, 32, 64]
