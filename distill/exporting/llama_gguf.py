"""A Llama's Hugging Face directory written as a GGUF file, one tensor in memory at a time.

Apart from `llama_layout`, which decides what a file has: here numbers are read, reordered,
rounded and written. Queries and keys change the order of their rows: llama.cpp rotates
neighbouring numbers, where transformers rotates the two halves of a head.

Source: llama.cpp's converter (`conversion/llama.py`: `permute`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType, GGUFValueType, GGUFWriter
from gguf.quants import dequantize, quantize

from distill.exporting.gguf_head import ARRAY
from distill.exporting.llama_layout import Format, Planned, kind_of, rope_factors, settings_of
from distill.exporting.vocabulary import Vocabulary
from recommender.events import Event, Progress
from storage.errors import BadData
from storage.records import FloatArray

MOST = {
    GGMLQuantizationType.F16: 65_504.0,
    GGMLQuantizationType.Q8_0: 65_504.0 * 127,  # the scale of a block is a float16
}
"""The largest number that a type holds."""


def permuted(weight: FloatArray, heads: int) -> FloatArray:
    """Reorder the rows of queries or keys, so that numbers rotated together are neighbours.

    Row h·d + s·d/2 + i goes to h·d + 2i + s, of h heads of d rows, s in {0, 1}, i < d/2.

    >>> permuted(np.arange(8.0).reshape(8, 1), 2).ravel().tolist()
    [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]
    """
    rows = weight.shape[0]
    halves = weight.reshape(heads, 2, rows // heads // 2, *weight.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(weight.shape)


def rounded(weight: FloatArray, format: Format) -> FloatArray:
    """Return what a format makes of a matrix or vector: written and read again."""
    kind = kind_of(weight.shape, format)
    again: FloatArray = dequantize(quantize(weight, kind), kind).reshape(weight.shape)
    return again


def write(
    part: Path,
    planned: Sequence[Planned],
    config: Any,
    vocabulary: Vocabulary,
    *,
    format: Format,
    name: str,
    stage: str,
) -> Iterator[Event]:
    """Write the file.

    Args:
        part: the file to write.
        planned: of `plan_tensors`.
        config: of transformers.
        vocabulary: what is said of the tokenizer.
        format: of matrices.
        name: what the file calls the model.
        stage: what events call the work.

    Raises:
        BadData: a number of the weights is none, or larger than float16 holds.
    """
    writer = GGUFWriter(part, "llama")
    for field in (*settings_of(config, format, name), *vocabulary.fields):
        members = GGUFValueType(field.members) if field.kind == ARRAY else None
        if field.kind != ARRAY or field.value:
            writer.add_key_value(field.name, field.value, GGUFValueType(field.kind), members)
    factors = rope_factors(config)
    if factors is not None:
        writer.add_tensor_info("rope_freqs.weight", factors.shape, factors.dtype, factors.nbytes)
    for one in planned:
        made = quantize(np.zeros((1, one.shape[-1]), dtype=np.float32), one.kind)
        shape = (*one.shape[:-1], made.shape[-1])
        writer.add_tensor_info(one.name, shape, made.dtype, one.size, raw_dtype=one.kind)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        if factors is not None:
            writer.write_tensor_data(factors)
        whole, done = sum(one.size for one in planned), 0
        for one in planned:
            writer.write_tensor_data(_written(one))
            done += one.size
            yield Progress(stage, done // 1_000_000, whole // 1_000_000, one.name)
    finally:
        writer.close()


def _written(one: Planned) -> npt.NDArray[Any]:
    from safetensors import safe_open

    with safe_open(one.file, framework="pt") as stored:
        weight: FloatArray = stored.get_tensor(one.source).float().numpy()
    largest = float(np.abs(weight).max(initial=0.0))
    if not math.isfinite(largest):
        raise BadData(f"tensor {one.source!r} has numbers that are none")
    if largest > MOST.get(one.kind, math.inf):
        raise BadData(f"tensor {one.source!r} has {largest:.3g}, which {one.kind.name} cannot hold")
    if one.heads:
        weight = permuted(weight, one.heads)
    made: npt.NDArray[Any] = quantize(weight, one.kind)
    return made
