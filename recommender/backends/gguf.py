"""A GGUF file made into a Hugging Face directory once, so that later opens take seconds.

Apart from `weights`, because it writes. The numbers are the de-quantised ones, kept in
float32: nothing is lost between the file and what is scored or measured. What transformers
leaves aside of a file, and llama.cpp does not, is put right here, so that both run one model.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from recommender.backends.weights import WeightsPlace, load_directory, quiet_transformers
from storage.errors import BadData

if TYPE_CHECKING:
    from storage.artifacts import Artifacts

CONVERTER = "gguf-to-safetensors-2"

HEADER_BYTES = 64 * 2**20
"""Names and settings stand in the first few megabytes of a file."""

_BEGINNING = ("llama3", "llama-v3", "llama-bpe")
"""Pre-tokenizers with which llama.cpp begins a text with a token where a file does not say."""

UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    RuntimeError,
    NotImplementedError,
    struct.error,  # a file that ends within its first numbers
)


def load_gguf(
    place: WeightsPlace, digest: str, *, artifacts: Artifacts | None, dtype: Any
) -> tuple[Any, Any]:
    """Load (model, tokenizer) of a GGUF file.

    With `artifacts` the conversion is kept there under the file's digest and found again;
    without, it is made in memory each time (about half a minute for 135 M parameters).

    Raises:
        BadData: The file is damaged or of an architecture transformers cannot read.
    """
    if artifacts is None:
        model, tokenizer = _read(place)
        return model.to(dtype).eval().requires_grad_(False), tokenizer
    inputs = {"weights": digest, "converter": CONVERTER}
    kept = artifacts.find("model", inputs)
    if kept is None:
        with artifacts.writing("model", inputs) as path:
            _write(*_read(place), path)
        kept = artifacts.find("model", inputs)
        assert kept is not None, "an artifact that was just written is found"
    return load_directory(Path(kept.path), source=place.source, dtype=dtype)


def gguf_config(place: WeightsPlace) -> Any:
    """Return the transformers configuration in the head of a GGUF file, without its weights.

    Raises:
        BadData: The file is damaged or of an architecture transformers cannot read.
    """
    from transformers import AutoConfig

    try:
        with _named(place.path) as file, quiet_transformers(), redirect_stderr(StringIO()):
            return AutoConfig.from_pretrained(file.parent, gguf_file=file.name)
    except UNREADABLE as error:
        raise _unreadable(place, error) from error


def _read(place: WeightsPlace) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        # The conversion draws a bar on stderr that transformers' own settings do not reach.
        with _named(place.path) as file, quiet_transformers(), redirect_stderr(StringIO()):
            where = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
            tokenizer = AutoTokenizer.from_pretrained(**where, **_beginning(file))
            model = AutoModelForCausalLM.from_pretrained(**where, attn_implementation="sdpa")
            _scale_positions(model, file)
    except UNREADABLE as error:
        raise _unreadable(place, error) from error
    return model, tokenizer


def _unreadable(place: WeightsPlace, error: Exception) -> BadData:
    reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    return BadData(
        f"{place.source!r} cannot be read as GGUF: {reason}",
        next_step="remove the file, then recsys models fetch",
    )


@contextmanager
def _named(path: Path) -> Iterator[Path]:
    """Yield a name of the file that ends in '.gguf', without which transformers unpickles it."""
    if path.name.endswith(".gguf"):
        yield path
        return
    with TemporaryDirectory(prefix="recsys-gguf-", ignore_cleanup_errors=True) as folder:
        name = Path(folder) / "model.gguf"
        try:
            name.symlink_to(path.resolve())
        except OSError:  # Windows lets few people make one
            os.link(path.resolve(), name)
        yield name


def _beginning(file: Path) -> dict[str, bool]:
    """Return what the tokenizer has to be told of the token that begins a text.

    Llama 3's files say nothing of it, and llama.cpp puts one (its `llama-vocab.cpp`).
    """
    if _after(file, "tokenizer.ggml.add_bos_token") is not None:
        return {}
    split = _after(file, "tokenizer.ggml.pre") or b""
    # A string: 4 bytes of type, 8 of length, then its text.
    text = split[12 : 12 + int.from_bytes(split[4:12], "little")].decode("ascii", "replace")
    return {"add_bos_token": True} if text in _BEGINNING else {}


def _scale_positions(model: Any, file: Path) -> None:
    """Take over the scaling of positions that Llama 3.1 and later keep in a tensor of the file.

    Each rotary frequency is divided by its factor. The factors are those of transformers'
    'llama3' scaling; the settings are found from them, so that a directory can keep them.

    Raises:
        ValueError: They are another scaling's.
    """
    if _after(file, "rope_freqs.weight") is None:
        return
    # Deferred: few files have the tensor.
    import torch
    from gguf import GGUFReader

    tensors = {one.name: one for one in GGUFReader(file).tensors}
    factors = torch.tensor(tensors["rope_freqs.weight"].data)
    rotary = model.model.rotary_emb
    wanted = rotary.inv_freq / factors
    model.config.rope_parameters = {
        "rope_type": "llama3",
        "rope_theta": model.config.rope_parameters["rope_theta"],
        "factor": float(factors.max()),
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    model.model.rotary_emb = type(rotary)(config=model.config)
    if not torch.allclose(model.model.rotary_emb.inv_freq, wanted, rtol=1e-3):
        raise ValueError("it scales positions in another way than Llama 3")


def _after(file: Path, name: str) -> bytes | None:
    """Return what follows a name in the head of a GGUF file; None where it is not there."""
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as head:
        # Before every name stands its length.
        place = head.find(len(name).to_bytes(8, "little") + name.encode(), 0, HEADER_BYTES)
        start = place + 8 + len(name)
        return None if place < 0 else head[start : start + 64]


def _write(model: Any, tokenizer: Any, path: Path) -> None:
    from safetensors.torch import save_file

    config = model.config
    tied = model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    config.tie_word_embeddings = tied
    # transformers marks the de-quantised model as quantised, and then refuses to save it.
    config.__dict__.pop("quantization_config", None)
    config.architectures = [type(model).__name__]
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    if tied:
        state.pop("lm_head.weight", None)
    save_file(state, path / "model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(path)
    with quiet_transformers():
        tokenizer.save_pretrained(path)
