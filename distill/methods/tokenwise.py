"""Methods that compare token by token: for students that read what the teacher reads.

A sequential student sees items where the teacher sees text: between the two there is one
place that means the same, the end of the history, and no attention to compare. The lists of
matches themselves are in `distill.language.presets`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from distill.language import presets
from distill.matches import Match
from distill.methods.records import Change, Matches, Method, Setting

if TYPE_CHECKING:
    from distill.config import DistilConfig

DROPPED = 0.2
"""Chance of a layer to be left out, as in LayerDrop (1909.11556)."""
HINTED = 0.5
"""Share of the steps of FitNets' first stage, in which nothing but the hint is learned."""


def _by_depths(preset: Callable[[int, Sequence[int]], tuple[Match, ...]]) -> Matches:
    return lambda setting: preset(setting.teacher_layers, setting.ends)


def _hint(setting: Setting) -> tuple[Match, ...]:
    """Let the hint be learned until the rest begins: no step is without a loss."""
    until = setting.options.begins or HINTED
    return presets.fitnets(setting.teacher_layers, setting.ends, until)


def _loss(**changes: object) -> Change:
    return lambda config: config.with_loss(**changes)


def _no_teacher(config: DistilConfig) -> DistilConfig:
    made = config.with_loss(output=0.0, layer=0.0)
    return made if made.language is None else made.with_language(layerdrop=DROPPED)


def _nothing(setting: Setting) -> tuple[Match, ...]:
    return ()


TOKEN_METHODS: Mapping[str, Method] = MappingProxyType(
    {
        one.name: one
        for one in (
            Method(
                "fitnets",
                "one middle layer first, then what the teacher says (FitNets)",
                _loss(begins=HINTED, layer_fade=0.0),
                _hint,
                tokens=True,
            ),
            Method(
                "attention-transfer",
                "where each layer looks (attention transfer)",
                _loss(),
                _by_depths(presets.attention_transfer),
                tokens=True,
            ),
            Method(
                "tinybert",
                "embedding, hidden states and attention scores of every few layers (TinyBERT)",
                _loss(temperature=1.0),
                _by_depths(presets.tinybert),
                tokens=True,
            ),
            Method(
                "minilm",
                "attention and values of the last layer (MiniLM)",
                _loss(),
                _by_depths(presets.minilm),
                tokens=True,
            ),
            Method(
                "minilmv2",
                "relations among queries, keys and values of one layer (MiniLMv2)",
                _loss(),
                _by_depths(presets.minilmv2),
                tokens=True,
            ),
            Method(
                "minitron",
                "what the teacher says, and layers that count as much in all (Minitron)",
                _loss(temperature=1.0, balance=True),
                _by_depths(presets.minitron),
                tokens=True,
            ),
            Method(
                "distilbert",
                "what the teacher says, and the direction of the last states (DistilBERT)",
                _loss(temperature=2.0),
                _by_depths(presets.distilbert),
                tokens=True,
            ),
            Method(
                "layerdrop",
                "no teacher: layers are left out by chance while it learns (LayerDrop)",
                _no_teacher,
                _nothing,
                tokens=True,
                hears=False,
            ),
        )
    }
)
"""For Llama students only, by name."""
