"""How large a Llama is: its layers, its embedding, its head. From a configuration, unbuilt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ParameterCount:
    """Numbers of parameters.

    >>> ParameterCount(85, 98, 0).total
    183
    """

    body: int
    """Layers and the last norm."""
    embedding: int
    head: int
    """0 where the head is the embedding (tied)."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.body + self.embedding + self.head


def counted(config: Any, *, layers: int | None = None) -> ParameterCount:
    """Count what a configuration means, of Llama, Qwen 2 or Qwen 3.

    Args:
        config: of the model.
        layers: in the place of its own number.

    The student sizes of the paper (12×768, said to be 768M, and so on) with Llama 3's
    vocabulary, and Llama-3-8B cut from 32 layers to 8, said to lose 75 %:

    >>> from transformers import LlamaConfig
    >>> llama = dict(vocab_size=128_256, tie_word_embeddings=True)
    >>> small = LlamaConfig(hidden_size=768, num_hidden_layers=12, num_attention_heads=12,
    ...     intermediate_size=2048, **llama)
    >>> round(counted(small).body / 1e6), round(counted(small).embedding / 1e6)
    (85, 99)
    >>> large = LlamaConfig(hidden_size=4096, num_hidden_layers=32, num_attention_heads=32,
    ...     num_key_value_heads=8, intermediate_size=14_336, vocab_size=128_256)
    >>> round(1 - counted(large, layers=8).total / counted(large).total, 2)
    0.65
    """
    hidden, heads = int(config.hidden_size), int(config.num_attention_heads)
    wide = int(getattr(config, "head_dim", None) or hidden // heads)
    keys = int(getattr(config, "num_key_value_heads", None) or heads) * wide
    queries = heads * wide
    kind = getattr(config, "model_type", "llama")
    biases = 0
    if kind == "qwen2":  # of queries, keys and values, and no setting of it
        biases = queries + 2 * keys
    elif getattr(config, "attention_bias", False):
        biases = queries + 2 * keys + hidden
    norms = 2 * hidden + (2 * wide if kind == "qwen3" else 0)
    inner = int(config.intermediate_size)
    mlp = 3 * hidden * inner + ((2 * inner + hidden) if getattr(config, "mlp_bias", False) else 0)
    layer = 2 * hidden * queries + 2 * hidden * keys + biases + mlp + norms
    table = int(config.vocab_size) * hidden
    number = int(config.num_hidden_layers) if layers is None else layers
    tied = bool(getattr(config, "tie_word_embeddings", False))
    return ParameterCount(number * layer + hidden, table, 0 if tied else table)


def count(model: Any) -> ParameterCount:
    """Count the parameters of a model in the Llama layout, each once."""
    table = model.get_input_embeddings().weight
    head = model.get_output_embeddings().weight
    tied = head is table or head.data_ptr() == table.data_ptr()
    body = sum(p.numel() for p in model.model.parameters() if p is not table)
    return ParameterCount(body, table.numel(), 0 if tied else head.numel())
