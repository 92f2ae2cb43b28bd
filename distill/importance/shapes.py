"""The shapes of a model that is not there: its matrices and weights, from its configuration."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PretrainedConfig

from distill.importance.gradients.ghost import ROWWISE
from recommender.backends.passes import require_llama_layout
from storage.errors import BadData


@dataclass(frozen=True, slots=True)
class Parameters:
    """How many weights there are."""

    body: int
    """Of the blocks and the final norm."""
    embedding: int
    head: int
    """0 where it is the embedding."""

    @property
    def total(self) -> int:
        """Return the number of all."""
        return self.body + self.embedding + self.head


def without_weights(config: PretrainedConfig, dtype: torch.dtype) -> Any:
    """Return the model on 'meta': shapes and no numbers.

    Args:
        config: Of a causal language model in the Llama layout; left as it is.
        dtype: Of the weights it would have.

    Raises:
        BadData: The architecture is another, or unknown.

    >>> from transformers import LlamaConfig
    >>> without_weights(LlamaConfig(num_hidden_layers=1), torch.bfloat16).device
    device(type='meta')
    """
    own = deepcopy(config)
    # Files that hold rounded weights say so; what is measured are the full ones.
    vars(own).pop("quantization_config", None)
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(own, dtype=dtype, attn_implementation="sdpa")
    except ValueError as error:
        raise BadData(
            f"no memory plan for a {config.model_type!r}: {str(error).splitlines()[0][:200]}",
            next_step="recsys models list",
        ) from error
    require_llama_layout(model, str(config.model_type))
    return model.eval()


def linears(model: Any, tokens: int, predicting: int) -> list[tuple[int, int, int]]:
    """Return (positions of the norm, inputs, outputs) of each matrix of the body.

    Args:
        model: With or without weights.
        tokens: T, the positions that gradients reach.
        predicting: R, those that they reach behind the last layer's keys and values.

    >>> from transformers import LlamaConfig
    >>> small = LlamaConfig(hidden_size=8, intermediate_size=16, num_hidden_layers=1,
    ...     num_attention_heads=2)
    >>> linears(without_weights(small, torch.float32), 6, 3)[-2:]
    [(3, 8, 16), (3, 16, 8)]
    """
    last = f"{len(model.model.layers) - 1}."
    return [
        (
            predicting if name.removeprefix(last) in ROWWISE else tokens,
            module.in_features,
            module.out_features,
        )
        for name, module in model.model.layers.named_modules()
        if isinstance(module, nn.Linear)
    ]


def attention_width(model: Any) -> int:
    """Return heads times their width, over all layers.

    >>> from transformers import LlamaConfig
    >>> small = LlamaConfig(hidden_size=8, num_hidden_layers=3, num_attention_heads=2)
    >>> attention_width(without_weights(small, torch.float32))
    24
    """
    return sum(block.self_attn.o_proj.in_features for block in model.model.layers)


def parameters(model: Any) -> Parameters:
    """Count the weights of a model by part.

    >>> from transformers import LlamaConfig
    >>> small = LlamaConfig(vocab_size=10, hidden_size=8, num_hidden_layers=0,
    ...     num_attention_heads=2, tie_word_embeddings=True)
    >>> parameters(without_weights(small, torch.float32))
    Parameters(body=8, embedding=80, head=0)
    """
    embedding, head = model.model.embed_tokens.weight, model.lm_head
    total = sum(p.numel() for p in model.parameters())
    tied = head.weight is embedding
    of_head = 0 if tied else sum(p.numel() for p in head.parameters())
    return Parameters(total - embedding.numel() - of_head, embedding.numel(), of_head)
