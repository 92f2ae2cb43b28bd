"""What it takes to cut a large GGUF file: seconds, and memory. Run by make bench.

The file is of the size and layout of an 8-billion Llama in 4 bits, with its 128,256 tokens and
280,147 merges; its numbers are zeros, since nobody reads them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distill.exporting.gguf_head import (
    ARRAY,
    INT32,
    STRING,
    UINT32,
    Field,
    Tensor,
    field_of,
    head_bytes,
    padded,
    read_head,
)

pytestmark = pytest.mark.bench

LAYERS, WIDTH, INNER, KEYS, TOKENS, MERGES = 32, 4096, 14_336, 1024, 128_256, 280_147
F32, Q4_0 = 0, 2
CUT = """
import json, resource, sys, time
from pathlib import Path
from distill.exporting.truncating import open_head, truncate
started = time.perf_counter()
head = open_head(Path(sys.argv[1]))
read = time.perf_counter() - started
*_, last = truncate(head, Path(sys.argv[2]), tuple(range(0, 32, 2)))
said = {"head": read, "seconds": last.seconds, "size": last.size}
print(json.dumps({**said, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
"""


def tensor(name: str, *shape: int, kind: int = Q4_0) -> Tensor:
    numbers = 1
    for one in shape:
        numbers *= one
    return Tensor(name, shape, kind, 0, numbers // 32 * 18 if kind == Q4_0 else numbers * 4)


def large(path: Path) -> int:
    """Write the file with holes for its numbers; return its size."""
    tensors = [tensor("token_embd.weight", WIDTH, TOKENS)]
    for layer in range(LAYERS):
        shapes = {
            "attn_q": (WIDTH, WIDTH),
            "attn_k": (WIDTH, KEYS),
            "attn_v": (WIDTH, KEYS),
            "attn_output": (WIDTH, WIDTH),
            "ffn_gate": (WIDTH, INNER),
            "ffn_up": (WIDTH, INNER),
            "ffn_down": (INNER, WIDTH),
        }
        norms = ("attn_norm", "ffn_norm")
        tensors += [tensor(f"blk.{layer}.{n}.weight", *shape) for n, shape in shapes.items()]
        tensors += [tensor(f"blk.{layer}.{n}.weight", WIDTH, kind=F32) for n in norms]
    tensors += [tensor("output_norm.weight", WIDTH, kind=F32)]
    tensors += [tensor("output.weight", WIDTH, TOKENS)]
    fields: list[Field] = [
        field_of("general.architecture", "llama", STRING),
        field_of("llama.block_count", LAYERS, UINT32),
        field_of("tokenizer.ggml.tokens", [f"token{n}" for n in range(TOKENS)], ARRAY, STRING),
        field_of("tokenizer.ggml.token_type", [1] * TOKENS, ARRAY, INT32),
        field_of("tokenizer.ggml.merges", [f"a{n} b{n}" for n in range(MERGES)], ARRAY, STRING),
    ]
    head = head_bytes(3, fields, tensors, 32)
    size = len(head) + sum(padded(one.size, 32) for one in tensors)
    with path.open("wb") as stream:
        stream.write(head)
        stream.truncate(size)
    return size


def test_an_eight_billion_llama_is_halved(tmp_path: Path) -> None:
    if shutil.disk_usage(tmp_path).free < 4 * 2**30:
        pytest.skip("less than 4 GB of disk are free")
    size = large(tmp_path / "large.gguf")
    command = [sys.executable, "-c", CUT, str(tmp_path / "large.gguf"), str(tmp_path / "cut.gguf")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    print(
        f"{size / 1e9:.2f} GB: head {found['head']:.2f} s, cut {found['seconds']:.1f} s to "
        f"{found['size'] / 1e9:.2f} GB, peak {found['peak'] / 1e6:.0f} MB"
    )
    assert read_head(tmp_path / "cut.gguf").layers == LAYERS // 2
    assert found["peak"] < 250e6
    assert found["head"] < 5


def test_a_head_against_the_package(tmp_path: Path) -> None:
    from gguf import GGUFReader

    large(tmp_path / "large.gguf")
    seconds = []
    for read in (read_head, GGUFReader):
        started = time.perf_counter()
        read(tmp_path / "large.gguf")
        seconds.append(time.perf_counter() - started)
    print(f"head: {seconds[0]:.2f} s here, {seconds[1]:.1f} s by the gguf package")
    assert seconds[0] < seconds[1] / 5
