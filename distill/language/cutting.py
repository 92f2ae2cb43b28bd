"""Cuts: a teacher with layers taken out, as a model of its own.

Weights are copied, so that training the student leaves the teacher as it is. What a layer knows
about its own number (its place in a cache of keys and values, its kind in `layer_types`) is
renumbered, or the cut would answer differently one token at a time than all at once.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from recommender.backends.passes import require_llama_layout
from storage.errors import BadSetting


def cut(model: Any, kept: Sequence[int]) -> Any:
    """Return a copy of a model that has only the layers kept, in their order.

    Args:
        model: of the Llama layout; it stays as it is.
        kept: layers, from 0, rising.

    Raises:
        BadSetting: there is no such layer, or none is kept.
        BadData: the model is of another layout.
    """
    require_llama_layout(model, getattr(model.config, "_name_or_path", "") or "the model")
    layers = len(model.model.layers)
    if not kept or list(kept) != sorted(set(kept)) or not 0 <= kept[0] <= kept[-1] < layers:
        raise BadSetting(f"layers {list(kept)} cannot be kept: rising numbers of 0 to {layers - 1}")
    config = cut_config(model.config, kept)
    whole = model.model.layers
    try:
        # The layers that go are not copied first: a cut of 4 of 32 needs no second teacher.
        model.model.layers = type(whole)([whole[number] for number in kept])
        student = copy.deepcopy(model)
    finally:
        model.model.layers = whole
    for part in student.modules():
        if hasattr(part, "config"):
            part.config = config
    for number, layer in enumerate(student.model.layers):
        layer.self_attn.layer_idx = number
    return student.requires_grad_(True)


def cut_config(config: Any, kept: Sequence[int]) -> Any:
    """Return the configuration of a cut: fewer layers, and every list of them as short.

    A list is one of layers if it is as long as there are layers, and is none of tokens that end
    a text or of names of classes, which may happen to be as many.
    """
    made = copy.deepcopy(config)
    layers = int(config.num_hidden_layers)
    for name, value in list(vars(config).items()):
        if name == "architectures" or name.endswith("_token_id"):
            continue
        if isinstance(value, list | tuple) and len(value) == layers:
            setattr(made, name, type(value)(value[number] for number in kept))
    made.num_hidden_layers = len(kept)
    return made
