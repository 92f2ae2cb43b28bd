"""What a Llama student is made of and how it is trained: settings, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from distill.ranges import require_range
from storage.errors import BadSetting

Making = Literal["cut", "fresh"]
FRESH: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {"micro": (4, 384, 6), "tiny": (6, 512, 8), "compact": (12, 768, 12)}
)
"""Students from scratch: name -> layers, width, heads."""
CUTS: Mapping[str, float] = MappingProxyType(
    {"cut-50": 0.5, "cut-62.5": 0.625, "cut-75": 0.75, "cut-87.5": 0.875}
)
"""Cuts: name -> share of the teacher's layers that is taken away."""
MOST_RANK = 512


@dataclass(frozen=True, slots=True)
class LanguageConfig:
    """A student that reads text: layers of the teacher's own, or a small Llama from scratch.

    >>> LanguageConfig(making="cut", cut=0.75).keep
    'uniform'
    """

    making: Making = "fresh"
    cut: float = 0.75
    """A cut: share of the teacher's layers that is taken away."""
    keep: str = "uniform"
    """A cut: which layers stay: a rule of `distill.language.keeping`, the name of a criterion
    whose profile is stored, or numbers with commas between them."""
    layers: int = 4
    """From scratch: layers, their width, and heads."""
    hidden: int = 384
    heads: int = 6
    supervised_by: str = ""
    """From scratch: the criterion that chooses which teacher layers are matched; empty spreads
    them evenly."""
    lora_rank: int = 0
    """0 trains all weights."""
    layerdrop: float = 0.0
    """Chance of a layer to be left out of a training step."""
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    gradient_checkpointing: bool = False
    tokens: int = 50_000
    """Tokens of training text that are read, all passes together; 0 trains nothing."""
    max_tokens: int = 192
    """Longest text of one lesson."""
    batch: int = 8
    """Lessons a step."""
    accumulate: int = 1
    """Pieces that a step is computed in, to the same result."""
    learning_rate: float = 5e-4
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip: float = 1.0
    evaluate_every: int = 20
    """Steps from one validation to the next."""
    patience: int = 5
    """Validations without a better one before it stops."""
    validation: int = 64
    """Lessons of validation that are selected by."""
    test_requests: int = 300
    """Requests of test that it is measured on, with the teacher's candidates each."""

    def __post_init__(self) -> None:
        """Check ranges before anything expensive."""
        require_range(
            self,
            *("layers", "hidden", "heads", "batch", "accumulate", "evaluate_every"),
            *("patience", "validation", "test_requests"),
            least=1,
        )
        require_range(self, "max_tokens", least=8)
        require_range(self, "tokens", "lora_rank", "weight_decay", least=0)
        require_range(self, "cut", "layerdrop", "warmup", least=0, below=1)
        require_range(self, "learning_rate", "clip", above=0)
        if self.lora_rank > MOST_RANK:
            raise BadSetting(f"a LoRA of rank {self.lora_rank}: at most {MOST_RANK}")
        if self.hidden % self.heads:
            raise BadSetting(f"width {self.hidden} is not a multiple of {self.heads} heads")
        if self.batch % self.accumulate:
            raise BadSetting(f"a batch of {self.batch} cannot be cut into {self.accumulate} pieces")
