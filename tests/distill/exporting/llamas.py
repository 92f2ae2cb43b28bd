"""Small real Llamas of every layout that is exported, as directories and as GGUF files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from distill.exporting.llama_gguf import write
from distill.exporting.llama_layout import Format, plan_tensors
from distill.exporting.sources import Llama
from distill.exporting.vocabulary import built
from recommender.backends.embedded import EmbeddedBackend
from recommender.backends.weights import find_weights, quiet_transformers
from tests.tiny import tokenizer

SCALED = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
LAYOUTS: Mapping[str, Mapping[str, Any]] = {
    "grouped keys": {},
    "tied": {"tie_word_embeddings": True},
    "as many keys": {"num_key_value_heads": 4},
    "one key": {"num_key_value_heads": 1},
    "wide heads": {"head_dim": 24},
    "scaled positions": {"rope_parameters": SCALED, "max_position_embeddings": 16_384},
    "more rows than tokens": {"vocab_size": 640},
    "odd rows": {"intermediate_size": 80},
}
"""Name -> what differs from four heads, two of keys, with weights of their own at the end."""
TEXT = " Gel pens, 12-Pack\nPocket radio 42 <|end|> café"


def save(path: Path, *, layers: int = 4, seed: int = 0, **changes: Any) -> Path:
    """Write a Llama of random weights, each norm with numbers of its own, and a tokenizer."""
    torch.manual_seed(seed)
    words = tokenizer()
    settings: dict[str, Any] = {
        "vocab_size": len(words),
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "initializer_range": 0.1,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "eos_token_id": words.eos_token_id,
    }
    model = LlamaForCausalLM(LlamaConfig(**{**settings, **changes}))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("norm.weight"):
                weight.uniform_(0.5, 1.5)
    with quiet_transformers():
        model.save_pretrained(path)
        words.save_pretrained(path)
    return path


def source(path: Path, **more: str) -> Llama:
    """The directory or file as what is exported."""
    return Llama(find_weights(path), path.stem, **more)


def write_file(directory: Path, target: Path, format: Format = "f16") -> Path:
    """Write a GGUF file, unchecked, its tokenizer built."""
    opened = open_llama(directory)
    config = opened.model.config
    vocabulary = built(directory, opened.tokenizer, config.vocab_size)
    planned = plan_tensors(directory, config, format)
    for _ in write(target, planned, config, vocabulary, format=format, name="tiny", stage="write"):
        pass
    return target


def open_llama(path: Path) -> EmbeddedBackend:
    """Open a directory or a file by the project's own loader."""
    return EmbeddedBackend.open(path, device="cpu", precision="float32")


@torch.no_grad()
def logits(backend: EmbeddedBackend, text: str = TEXT) -> torch.Tensor:
    """What follows each token of a text, (tokens, vocabulary)."""
    ids = torch.tensor([backend.tokenizer(text)["input_ids"]])
    found: torch.Tensor = backend.model(input_ids=ids, use_cache=False).logits[0]
    return found
