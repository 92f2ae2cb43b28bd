"""What a GGUF file of a Llama has: its settings, its tensors by name, type and order.

Names are those of the `gguf` package's map. What llama.cpp knows and nothing here could read
back is refused: it would be written unchecked.

Source: llama.cpp's converter (`conversion/llama.py`: `generate_extra_tensors`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType, get_tensor_name_map
from gguf.constants import GGML_QUANT_SIZES, MODEL_ARCH

from distill.exporting.gguf_head import STRING, UINT32, Field, field_of
from storage.errors import BadData

Format = Literal["f16", "q8_0"]
FORMATS: Mapping[Format, tuple[GGMLQuantizationType, int]] = {
    "f16": (GGMLQuantizationType.F16, 1),
    "q8_0": (GGMLQuantizationType.Q8_0, 7),
}
"""Name -> type of matrices, and the file's type as llama.cpp numbers them."""

FLOAT32 = 6
QUANTISATION_VERSION = 2
_LEFT_OUT = re.compile(r"rotary_emb\.inv_freq$|\.masked_bias$|\.attention\.bias$")
"""Buffers that old directories have and no file needs."""
_PARTS = (
    *("attn_norm", "attn_q", "attn_k", "attn_v", "attn_output"),
    *("ffn_norm", "ffn_gate", "ffn_up", "ffn_down"),
)


@dataclass(frozen=True, slots=True)
class Planned:
    """A tensor that will be written."""

    name: str
    """In the GGUF file."""
    source: str
    """In the directory."""
    file: Path
    shape: tuple[int, ...]
    kind: GGMLQuantizationType
    heads: int
    """Into how many heads its rows are reordered; 0 leaves them."""

    @property
    def size(self) -> int:
        """Bytes in the file."""
        block, size = GGML_QUANT_SIZES[self.kind]
        return int(math.prod(self.shape) // block * size)


def require_llama(config: Any, source: str) -> None:
    """Refuse what would be written in a way that nothing here could read back.

    Args:
        config: of transformers.
        source: what the user wrote.

    Raises:
        BadData: with the first thing that is unlike a Llama.
    """
    rotary = getattr(config, "rope_parameters", None) or {}
    unlike = ""
    if config.model_type != "llama":
        unlike = f"it is of the {config.model_type} kind"
    elif getattr(config, "quantization_config", None):
        unlike = "its weights are quantised already"
    elif config.hidden_act != "silu":
        unlike = f"its activation is {config.hidden_act}"
    elif config.attention_bias or config.mlp_bias:
        unlike = "its maps have biases"
    elif rotary.get("rope_type", "default") not in ("default", "llama3"):
        unlike = f"its positions are scaled by {rotary['rope_type']!r}"
    if unlike:
        raise BadData(f"{source!r} cannot be written as a GGUF file here: {unlike}")


def plan_tensors(directory: Path, config: Any, format: Format) -> list[Planned]:
    """Return what will be written, in the order of the file.

    Raises:
        BadData: a tensor has no place in a Llama, or one is missing.
    """
    from safetensors import SafetensorError, safe_open  # deferred with the rest that reads weights

    names = get_tensor_name_map(MODEL_ARCH.LLAMA, config.num_hidden_layers)
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    found = []
    for file in sorted(directory.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt") as stored:
                # It is no mapping, though it has keys.
                named = list(stored.keys())
                found += [(one, file, tuple(stored.get_slice(one).get_shape())) for one in named]
        except (OSError, SafetensorError) as error:
            raise BadData(f"cannot read {str(file)!r}: {error}") from error
    planned = []
    for source, file, shape in found:
        name = names.get_name(source, try_suffixes=(".weight", ".bias"))
        if _LEFT_OUT.search(source) or (name == "output.weight" and config.tie_word_embeddings):
            continue
        if name is None:
            raise BadData(f"{file.name!r} has a tensor {source!r}, which no Llama has")
        part = name.split(".")[-2]
        planned.append(
            Planned(name, source, file, shape, kind_of(shape, format), heads.get(part, 0))
        )
    _require_all([one.name for one in planned], config)
    return sorted(planned, key=_place)


def kind_of(shape: Sequence[int], format: Format) -> GGMLQuantizationType:
    """Return the type a tensor is written in: vectors stay float32.

    A matrix whose rows do not fill whole blocks of the format is written in float16, as
    llama.cpp's converter does.

    >>> kind_of((576,), "q8_0").name, kind_of((576, 576), "q8_0").name
    ('F32', 'Q8_0')
    >>> kind_of((576, 48), "q8_0").name
    'F16'
    """
    wanted, _ = FORMATS[format]
    if len(shape) < 2:
        return GGMLQuantizationType.F32
    block, _ = GGML_QUANT_SIZES[wanted]
    return wanted if shape[-1] % block == 0 else GGMLQuantizationType.F16


def rope_factors(config: Any) -> npt.NDArray[np.float32] | None:
    """Return by what each rotary frequency is divided, (d/2,); None where nothing is scaled.

    With wavelength λ = 2π/f, context C and factors F (of scaling), l (low), h (high): 1 where
    λ < C/h, F where λ > C/l, and between them 1/((1−s)/F + s) with s = (C/λ − l)/(h − l).

    Source: Llama 3.1, as in transformers and llama.cpp.
    """
    scaling = getattr(config, "rope_parameters", None) or {}
    if scaling.get("rope_type", "default") != "llama3":
        return None
    wide = head_width(config)
    frequencies = scaling["rope_theta"] ** (-np.arange(0, wide, 2, dtype=np.float64) / wide)
    length = 2 * np.pi / frequencies
    context = scaling["original_max_position_embeddings"]
    low, high, factor = (scaling[n] for n in ("low_freq_factor", "high_freq_factor", "factor"))
    smooth = (context / length - low) / (high - low)
    between = 1 / ((1 - smooth) / factor + smooth)
    found = np.where(
        length < context / high, 1.0, np.where(length > context / low, factor, between)
    )
    return found.astype(np.float32)


def head_width(config: Any) -> int:
    """Return how many numbers one head has."""
    own = getattr(config, "head_dim", None)
    return int(own or config.hidden_size // config.num_attention_heads)


def settings_of(config: Any, format: Format, name: str) -> list[Field]:
    """Return the fields that describe the model itself."""
    wide = head_width(config)
    theta = (getattr(config, "rope_parameters", None) or {}).get("rope_theta", 10_000.0)
    whole = {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": wide,
        "attention.value_length": wide,
        "rope.dimension_count": wide,
        "vocab_size": config.vocab_size,
    }
    return [
        field_of("general.type", "model", STRING),
        field_of("general.name", name, STRING),
        field_of("general.file_type", FORMATS[format][1], UINT32),
        field_of("general.quantization_version", QUANTISATION_VERSION, UINT32),
        *(field_of(f"llama.{one}", int(value), UINT32) for one, value in whole.items()),
        field_of("llama.rope.freq_base", float(theta), FLOAT32),
        field_of("llama.attention.layer_norm_rms_epsilon", float(config.rms_norm_eps), FLOAT32),
    ]


def _require_all(names: Sequence[str], config: Any) -> None:
    wanted = {"token_embd.weight", "output_norm.weight"}
    if not config.tie_word_embeddings:
        wanted.add("output.weight")
    for layer in range(config.num_hidden_layers):
        wanted |= {f"blk.{layer}.{part}.weight" for part in _PARTS}
    missing, beside = sorted(wanted - set(names)), sorted(set(names) - wanted)
    if missing or beside or len(names) != len(set(names)):
        what = f"lacks {missing[0]}" if missing else f"has {beside[0] if beside else 'one'} besides"
        raise BadData(f"the directory {what}, as a Llama's is not")


def _place(one: Planned) -> tuple[int, int, str]:
    layer = re.match(r"blk\.(\d+)\.", one.name)
    outer = {"token_embd.weight": 0, "output_norm.weight": 2, "output.weight": 3}
    return (1, int(layer[1]), one.name) if layer else (outer[one.name], 0, one.name)
