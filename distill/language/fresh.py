"""Llamas from scratch: small ones that read the teacher's tokens."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from storage.errors import BadSetting

_STD = 0.02


def fresh_config(teacher: Any, layers: int, hidden: int, heads: int) -> Any:
    """Return the configuration of a small Llama with the teacher's vocabulary and manners.

    The inner width is 8/3 of the width, up to a multiple of 64; keys and values have a third of
    the heads where that is a whole number, else as many.

    Raises:
        BadSetting: the width cannot be split into such heads.
    """
    if hidden % heads or (hidden // heads) % 2:
        raise BadSetting(
            f"width {hidden} cannot be split into {heads} heads of an even width each",
            next_step=f"--hidden {heads * 64} --heads {heads}",
        )
    made = copy.deepcopy(teacher)
    made.num_hidden_layers = layers
    made.hidden_size = hidden
    made.num_attention_heads = heads
    made.num_key_value_heads = heads // 3 if heads % 3 == 0 else heads
    made.head_dim = hidden // heads
    made.intermediate_size = -(-8 * hidden // 3 // 64) * 64
    made.initializer_range = _STD
    kinds = getattr(made, "layer_types", None)
    if kinds:
        made.layer_types = ["full_attention"] * layers
    return made


def fresh(teacher: Any, layers: int, hidden: int, heads: int, *, seed: int) -> Any:
    """Build a small Llama from chance, with the class, vocabulary and manners of the teacher.

    Matrices and tables are normal with standard deviation 0.02, norms are ones, biases zeros.
    The same seed gives the same bytes on a CPU; torch's own chance is not used.

    Args:
        teacher: the model whose tokens it will read.
        layers: of it.
        hidden: its width.
        heads: of attention.
        seed: of all its weights.
    """
    config = fresh_config(teacher.config, layers, hidden, heads)
    with torch.random.fork_rng(devices=[]):  # building draws weights that are replaced below
        model = type(teacher)(config).to(torch.float32)
    chance = torch.Generator().manual_seed(seed)
    done: set[int] = set()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if id(weight) in done:
                continue
            done.add(id(weight))
            if weight.ndim >= 2:
                nn.init.normal_(weight, std=_STD, generator=chance)
            elif name.endswith("bias"):
                nn.init.zeros_(weight)
            else:
                nn.init.ones_(weight)
    return model.requires_grad_(True)
