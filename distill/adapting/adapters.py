"""Adapters in a model's layers: put in, taken out as `peft` keeps them, and merged for good.

Apart from the learning because this writes what others open: an adapter directory is peft's
own form, a merged one is a Hugging Face directory like any other teacher's. Merging happens
in float32 on freshly opened weights: added to bfloat16 ones, small changes would be rounded
away.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recommender.backends.embedded import EmbeddedBackend
from recommender.backends.weights import quiet_transformers

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Every linear map inside the layers."""


def insert(model: Any, rank: int, *, seed: int) -> Any:
    """Put adapters into a model's layers, in place; return what `peft` keeps them by.

    They start by changing nothing: B is 0, A follows from the seed and from no other chance.
    Only they take gradients.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules=list(TARGETS), task_type="CAUSAL_LM"
    )
    with torch.random.fork_rng(devices=[]), quiet_transformers(), _quiet_peft():
        torch.manual_seed(seed)
        return get_peft_model(model, config)


def trained(adapted: Any) -> dict[str, Tensor]:
    """Return the adapters' weights by name: all that a training moves."""
    return {name: p for name, p in adapted.named_parameters() if p.requires_grad}


def save_adapter(adapted: Any, weights: Mapping[str, Tensor], base: str, folder: Path) -> None:
    """Write adapters with these weights as peft keeps them: `PeftModel.from_pretrained` reads it.

    Args:
        adapted: of `insert`; it is left with these weights.
        weights: by the names of `trained`.
        base: what the adapter belongs to: a name, a directory or a hub id.
        folder: an existing directory.
    """
    own = trained(adapted)
    with torch.no_grad():
        for name, weight in weights.items():
            own[name].copy_(weight)
    for config in adapted.peft_config.values():
        config.base_model_name_or_path = base
    with quiet_transformers(), _quiet_peft():
        # No embedding is adapted, and told so, peft does not ask the hub for the base's size.
        adapted.save_pretrained(folder, save_embedding_layers=False)


def merge(backend: EmbeddedBackend, adapter: Path) -> EmbeddedBackend:
    """Add an adapter to the weights of an open model, in place and for good."""
    from peft import PeftModel

    with quiet_transformers(), _quiet_peft():
        adapted: Any = PeftModel.from_pretrained(backend.model, adapter)
        model = adapted.merge_and_unload()
    backend.model = model.eval().requires_grad_(False)
    return backend


def write_model(backend: EmbeddedBackend, dtype: torch.dtype, folder: Path) -> None:
    """Write an open model as a Hugging Face directory: config, weights, tokenizer."""
    with quiet_transformers():
        backend.model.to(dtype).save_pretrained(folder)
        backend.tokenizer.save_pretrained(folder)


@contextmanager
def _quiet_peft() -> Iterator[None]:
    """Keep from the user what peft does that transformers will no longer have some day."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield
