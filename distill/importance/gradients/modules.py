"""The modules of a model that hold weights: of which kinds, in which layer, and frozen or not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

PREFIX = "model.layers."
"""How the names of what is inside a block begin."""


def has_weights(module: nn.Module) -> bool:
    """Say whether a module has weights of its own.

    >>> has_weights(nn.Linear(1, 1)), has_weights(nn.Sequential(nn.Linear(1, 1)))
    (True, False)
    """
    return next(module.parameters(recurse=False), None) is not None


def is_rms(module: nn.Module) -> bool:
    """Say whether a module is an RMSNorm, whose one weight is a gain.

    >>> from transformers.models.llama.modeling_llama import LlamaRMSNorm
    >>> is_rms(LlamaRMSNorm(3)), is_rms(nn.LayerNorm(3))
    (True, False)
    """
    named = [name for name, _ in module.named_parameters(recurse=False)]
    return type(module).__name__.endswith("RMSNorm") and named == ["weight"]


def epsilon(module: nn.Module) -> float:
    """Return what an RMSNorm adds to the mean square.

    >>> from transformers.models.llama.modeling_llama import LlamaRMSNorm
    >>> epsilon(LlamaRMSNorm(3, eps=0.5))
    0.5
    """
    found = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    assert isinstance(found, float), f"{type(module).__name__} does not say its epsilon"
    return found


def layer_of(name: str) -> int | None:
    """Return the layer that a module's name is of, counted from 0; None outside the blocks.

    >>> layer_of("model.layers.12.mlp.up_proj"), layer_of("model.norm")
    (12, None)
    """
    return int(name.split(".")[2]) if name.startswith(PREFIX) else None


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """While entered, no weight gets a gradient; afterwards each is as it was.

    >>> model = nn.Linear(1, 1)
    >>> with frozen(model):
    ...     any(p.requires_grad for p in model.parameters())
    False
    >>> all(p.requires_grad for p in model.parameters())
    True
    """
    changed = [p for p in model.parameters() if p.requires_grad]
    for parameter in changed:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in changed:
            parameter.requires_grad_(True)
