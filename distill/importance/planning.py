"""The plans a person asks for: of the model that would be measured here, and of a large one.

A request is made up from titles of usual length: counting tokens would need the data and the
tokenizer, and a plan is wanted before either is there. No weights are read.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoConfig

from distill.importance.plan import CARD, LLAMA_3_8B, Plan, plan
from distill.importance.requests import PackedRequest
from recommender.backends.gguf import gguf_config
from recommender.backends.opening import kind_of
from recommender.backends.packed import PACK_TOKENS
from recommender.backends.weights import choose_device, choose_precision, find_weights
from recommender.models import resolve_model
from recommender.prompts import PREFIX_TOKENS
from storage.errors import BadData, BadSetting, Offline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distill.config import DistilConfig
    from recommender.config import Settings

TITLE_TOKENS = 26
"""Of a title, as a candidate or in the history: 525 in 20, measured on the office shop."""
HEADING_TOKENS = 13


def plans(config: DistilConfig, settings: Settings) -> dict[str, Plan]:
    """Plan for the model that would be measured on this machine, and for Llama-3-8B on a card.

    Args:
        config: Teacher, weights, history and candidates.
        settings: Device, precision, and where models are.

    Raises:
        BadSetting: there are no weights to measure.
        UnknownName: there is no such model.
        BadData: it is of an unknown kind.
        Offline: the settings of a model on the hub cannot be fetched.

    >>> from recommender.config import resolve
    >>> from distill.config import DistilConfig
    >>> plans(DistilConfig("Books").with_teacher(spec="minilm"), resolve().settings)
    Traceback (most recent call last):
    storage.errors.BadSetting: 'minilm' has no weights that could be measured; next: ...
    """
    device = choose_device(settings.device)
    dtype = getattr(torch, choose_precision(settings.precision, device))
    spec = spec_of(config, settings)
    lengths = request_lengths(config.teacher.history_length, config.teacher.candidates)
    here = plan(read_config(spec), dtype=dtype, **lengths, memory_bytes=memory_of(device) or CARD)
    there = plan(LLAMA_3_8B, dtype=torch.bfloat16, **lengths, memory_bytes=CARD)
    return {
        f"{Path(spec).name} on this machine ({device})": here,
        "Llama-3-8B on a card of 24 GB": there,
    }


def needs_checkpointing(model: Any, requests: Sequence[PackedRequest]) -> bool:
    """Say whether the longest request does not fit into the device's memory all at once.

    Args:
        model: opened, on its device.
        requests: in tokens.

    >>> from transformers import LlamaForCausalLM, LlamaConfig
    >>> from recommender.backends.packed import pack
    >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=9, hidden_size=8, intermediate_size=8,
    ...     num_hidden_layers=1, num_attention_heads=2))
    >>> needs_checkpointing(model, [PackedRequest((pack([1, 2], [[3], [4, 5]]),), 0)])
    False
    """
    memory = memory_of(str(model.device))
    longest = max((one for request in requests for one in request.packs), key=len)
    if memory is None:
        return False
    found = plan(
        model.config,
        dtype=model.dtype,
        tokens=len(longest),
        predicting=len(longest) - longest.prefix + 1,
        candidates=longest.candidates,
        memory_bytes=memory,
    )
    return found.verdict != "fits"


def spec_of(config: DistilConfig, settings: Settings) -> str:
    """Return what would be opened: the weights that are named, else the teacher's own.

    Raises:
        BadSetting: it is a model of a server, or an encoder, whose weights nobody can measure.
    """
    spec = config.teacher.weights or config.teacher.spec
    kind, name = kind_of(spec, settings)
    if kind != "process":
        raise BadSetting(
            f"{spec!r} has no weights that could be measured",
            next_step="recsys importance --weights MODEL, a Hugging Face directory or GGUF file",
        )
    return resolve_model(settings.models, name)


def read_config(spec: str) -> Any:
    """Read a model's settings, and none of its weights; of a hub id, that one file is fetched.

    Raises:
        UnknownName: there is no such model.
        BadData: its settings cannot be read.
        Offline: the hub cannot be reached.
    """
    path = Path(spec).expanduser()
    if path.exists() and not (path / "config.json").is_file():
        place = find_weights(spec)
        return gguf_config(place)
    try:
        return AutoConfig.from_pretrained(path if path.exists() else spec)
    except (OSError, ValueError, KeyError) as error:
        if not path.exists():
            raise Offline(
                f"the settings of {spec!r} are not on this machine and the hub does not give them",
                next_step="bring its directory or a GGUF file and name that path as --weights",
            ) from error
        reason = str(error).splitlines()[0][:200]
        raise BadData(
            f"{spec!r} has settings that cannot be read: {reason}",
            next_step="recsys models list",
        ) from error


def request_lengths(history: int, candidates: int) -> dict[str, int]:
    """Return tokens, predicting and candidates of a request with titles of usual length.

    Args:
        history: titles shown.
        candidates: titles on offer; of more than one pack holds, as many as it holds.

    >>> request_lengths(10, 10)
    {'tokens': 523, 'predicting': 251, 'candidates': 10}
    """
    prefix = min(PREFIX_TOKENS, HEADING_TOKENS + TITLE_TOKENS * history)
    # The last token of a title is predicted and not run.
    held = min(candidates, (PACK_TOKENS - prefix) // (TITLE_TOKENS - 1))
    run = held * (TITLE_TOKENS - 1)
    return {"tokens": prefix + run, "predicting": run + 1, "candidates": held}


def memory_of(device: str) -> int | None:
    """Return the bytes a device has in all, taken or not; None where the system does not say.

    >>> memory_of("cpu") is None or memory_of("cpu") > 10**8
    True
    """
    if device.startswith("cuda"):
        return int(torch.cuda.get_device_properties(device).total_memory)
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None
