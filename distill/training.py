"""What a training is asked to do, and what it reports: settings and events, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from distill.ranges import require_range
from recommender.events import Event
from recommender.sequential.shape import NetworkConfig
from storage.records import FloatArray

STAGE = "train"
Objective = Literal["full", "sampled"]


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How a student is trained. The defaults were chosen on validation, never on test.

    >>> TrainConfig(seed=3).network.width
    64
    """

    seed: int = 0
    network: NetworkConfig = field(default_factory=NetworkConfig)
    start: Literal["text", "free"] = "text"
    """What the item table starts from: text vectors, or chance."""
    epochs: int = 30
    """At most; the learning rate reaches 0 at the end of the last."""
    stop_after: int | None = None
    """End after this many epochs, on the schedule of `epochs`: for a last training without
    validation, at the epoch that was best with it. None: no such limit."""
    epoch_steps: int | None = None
    """Steps from one validation to the next; None: one pass over the sequences."""
    patience: int = 10
    """Epochs without a better validation NDCG@10 before it stops."""
    batch: int = 128
    """Sequences a step."""
    request_batch: int = 64
    """Teacher's requests a step."""
    learning_rate: float = 1e-3
    warmup: float = 0.05
    """Share of the steps over which the learning rate rises."""
    weight_decay: float = 0.01
    """On matrices only: not on norms, biases, positions and the item table."""
    clip: float = 5.0
    """Largest norm of the gradient."""
    repeats: bool = False
    """Whether items a person had before are targets. Validation has none of those."""
    score_bytes: int = 2_000_000_000
    """Memory that scores of the whole catalogue may take in a step; above it a sample."""
    negatives: int = 2048
    """Size of that sample."""
    negative_law: Literal["log-uniform", "uniform"] = "log-uniform"
    objective: Literal["ce", "gbce", "dros", "bce"] = "ce"
    """Cross-entropy; gBCE of gSASRec; DROS; or binary cross-entropy with popular negatives."""
    gbce_negatives: int = 256
    gbce_t: float = 0.75
    """Calibration: 0 is plain binary cross-entropy, 1 undoes the sampling."""
    bce_negatives: int = 4
    """A target, drawn as often as people chose them."""
    dros_alpha: float = 0.5
    dros_beta: float = 1.0
    checkpoint_seconds: float = 60.0
    """Longest time between checkpoints inside an epoch."""

    def __post_init__(self) -> None:
        """Check ranges before anything expensive."""
        require_range(
            self,
            *("epochs", "patience", "batch", "request_batch", "negatives"),
            *("gbce_negatives", "bce_negatives", "stop_after", "epoch_steps"),
            least=1,
        )
        require_range(self, "learning_rate", "clip", "dros_beta", above=0)
        require_range(self, "weight_decay", "dros_alpha", least=0)
        require_range(self, "warmup", least=0, below=1)
        require_range(self, "gbce_t", least=0, most=1)


@dataclass(frozen=True, slots=True)
class StepDone(Event):
    """One optimiser step: its loss, and the parts that were added up, already weighted."""

    step: int
    loss: float
    parts: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Evaluated(Event):
    """An epoch ended. NaN figures mean there is no validation."""

    epoch: int
    score: float
    """On validation: what is selected by, more is better."""
    best: float
    loss: float
    """Mean over the epoch's steps."""
    measure: str = "NDCG@10"
    """What the score is."""


@dataclass(frozen=True, slots=True)
class LayersWeighed(Event):
    """How much each matched layer counts from a step on."""

    step: int
    weights: tuple[float, ...]
    """First block first; their sum is their number."""
    by: str
    """Name of the method that made them."""


@dataclass(frozen=True, eq=False, slots=True)
class Trained(Event):
    """The result: the weights of the best epoch, or of the last without validation."""

    weights: Mapping[str, FloatArray]
    history: tuple[Evaluated, ...]
    best_epoch: int
    best: float
    """Validation NDCG@10 of `weights`; NaN without validation."""
    steps: int
    seconds: float
    """Over all sittings."""
    objective: Objective
    steps_to_best: int = 0
    seconds_to_best: float = 0.0
    """Until the weights that are kept, all sittings together."""
    peak_bytes: int | None = None
    """Most memory that the process had; None where the system does not say."""
