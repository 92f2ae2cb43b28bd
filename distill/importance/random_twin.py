"""The random twin of a model: the same architecture and config, weights that learnt nothing.

Apart because it needs torch. What a criterion says of the twin, it says of the architecture
and of how gradients run through it; only what it says beyond that is about training.
"""

from __future__ import annotations

import copy
from typing import Any

import torch


def random_twin(model: Any, seed: int) -> Any:
    """Make a model of the same class and config whose weights were initialised anew.

    Weights are drawn on the CPU in float32 by the library's own initialisation, and brought to
    the type and the device of the model's: one seed makes one twin on every device. Tied
    weights stay tied, and `training`, attention implementation and `requires_grad` are the
    model's. The global state of the random generators is as it was, and so is the model.

    Args:
        model: A `PreTrainedModel` of transformers.
        seed: Of the weights.

    Source: algorithms.md §0.2, §8 E1.

    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=8, hidden_size=8, intermediate_size=8,
    ...     num_hidden_layers=1, num_attention_heads=1))
    >>> twin = random_twin(model, 0)
    >>> bool((twin.lm_head.weight == model.lm_head.weight).any())
    False
    >>> bool((twin.lm_head.weight == random_twin(model, 0).lm_head.weight).all())
    True
    """
    config = copy.deepcopy(model.config)  # the twin may change its own
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        # Not torch.manual_seed, which would set the generators of every device.
        torch.default_generator.manual_seed(seed)
        twin = type(model)(config)
    # One by one: `twin.to(dtype)` would also round the angles of the positions, which a loaded
    # model keeps in float32.
    for own, other in zip(twin.parameters(), model.parameters(), strict=True):
        own.data = own.data.to(device=other.device, dtype=other.dtype)
        own.requires_grad_(other.requires_grad)
    for buffer, other in zip(twin.buffers(), model.buffers(), strict=True):
        buffer.data = buffer.data.to(device=other.device, dtype=other.dtype)
    return twin.train(model.training)
