"""What a student learns from: sequences of the log, and a teacher's labels on requests.

Plain arrays, checked once. Which of them a step sees is decided in `distill.batches`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from distill.matches import Match
from distill.ranked.lesson import Ranked
from recommender.splits import Split
from storage.errors import BadData, BadSetting
from storage.records import FloatArray, IntArray, Log

_VALIDATION = 6
"""Of the draw of validation requests. A number of its own: streams may be added."""


@dataclass(frozen=True, eq=False, slots=True)
class TrainData:
    """What people did: training sequences, and validation requests to choose by."""

    items: int
    """Size of the catalogue: item numbers are below it."""
    sequences: IntArray
    """Everybody's training items, person after person, each oldest first."""
    offsets: IntArray
    """Person u's are sequences[offsets[u]:offsets[u + 1]]."""
    valid_histories: Sequence[IntArray] = ()
    """Empty: nothing to choose by, so every epoch is trained and the last one kept."""
    valid_targets: IntArray | None = None
    text: FloatArray | None = None
    """One vector an item, for the first item table; None: it starts from chance."""

    def __post_init__(self) -> None:
        """Check that there is something to learn, and that numbers are in range."""
        if len(self.sequences) and not 0 <= self.sequences.min() <= self.sequences.max() < (
            self.items
        ):
            raise BadData(f"item numbers outside a catalogue of {self.items!r}")
        if not (np.diff(self.offsets) >= 2).any():
            raise BadData("nobody has two interactions to train on")

    @classmethod
    def from_split(
        cls,
        split: Split,
        *,
        text: FloatArray | None = None,
        most_valid: int = 10_000,
        seed: int = 0,
    ) -> TrainData:
        """Take train rows to learn from and validation requests to choose by.

        At most `most_valid` requests are used, drawn by the seed, to bound the time of an
        evaluation in a large shop.

        >>> from recommender.splits import leave_last_out, tiny_log
        >>> data = TrainData.from_split(leave_last_out(tiny_log()))
        >>> data.sequences.tolist(), data.valid_targets.tolist()
        ([0, 1, 2, 2], [2])
        """
        rows = split.events("valid")
        if len(rows) > most_valid:
            chance = np.random.default_rng([seed, _VALIDATION])
            rows = np.sort(chance.choice(rows, most_valid, replace=False))
        sequences, offsets = split.train_sequences()
        return cls(
            items=split.log.items,
            sequences=sequences,
            offsets=offsets,
            valid_histories=[split.history(int(row)) for row in rows],
            valid_targets=split.log.item[rows],
            text=text,
        )

    @classmethod
    def from_log(cls, log: Log, *, text: FloatArray | None = None) -> TrainData:
        """Take every row to learn from: for a student that serves and is not measured.

        >>> from recommender.splits import tiny_log
        >>> TrainData.from_log(tiny_log()).sequences.tolist()
        [0, 1, 2, 3, 2, 2]
        """
        offsets = np.searchsorted(log.user, np.arange(log.people + 1)).astype(np.int64)
        return cls(items=log.items, sequences=log.item, offsets=offsets, text=text)

    def popularity(self) -> IntArray:
        """Return how often each item is in the training sequences, shape (items,)."""
        return np.bincount(self.sequences, minlength=self.items).astype(np.int64)


@dataclass(frozen=True, eq=False, slots=True)
class MovingWeights:
    """Layer weights that follow what is measured on the way (equation 9)."""

    by: Literal["teacher", "student"]
    eta: float
    ends: tuple[int, ...]
    """g(1) … g(M)."""
    squares: FloatArray | None = None
    """(n, L) squared gradient of the teacher's loss by layer, one row a measured request: what
    minibatches are drawn from where the teacher is followed."""
    emphasis: tuple[float, ...] = ()
    """(M,) what the weight of each block is multiplied by before all are scaled to the budget:
    the emphasis on depth. Nothing: all alike."""

    @property
    def settings(self) -> tuple[object, ...]:
        """Everything that decides how weights move, but the array."""
        return self.by, self.eta, self.ends, self.emphasis


@dataclass(frozen=True, eq=False, slots=True)
class Distillation:
    """What a teacher said about R requests of C candidates each, and how much it counts."""

    histories: Sequence[IntArray]
    """R histories, oldest first."""
    candidates: IntArray
    """(R, C) item numbers that were offered."""
    labels: FloatArray
    """(R, C) the teacher's distribution q over them; rows sum to 1."""
    states: FloatArray | None = None
    """(R, K, d_T) the teacher's states at the end of the history, at the outputs that
    `state_layers` names; None: no weights to look into, so layers are not matched."""
    state_layers: tuple[int, ...] = ()
    """The K outputs of the teacher, rising; 0 is the embedding."""
    matches: tuple[Match, ...] = ()
    """Which of them is compared with which block of the student, and how."""
    moving: MovingWeights | None = None
    """What moves the weights of the matches while the student learns; None: nothing does."""
    task: float = 1.0
    """Share of the loss on sequences: a_task."""
    output: float = 0.7
    """Share of the divergence from the labels: a_out."""
    layers: float = 1.0
    """Share of the layer losses: a_layer."""
    supervision: float = 1.0
    """Share of the losses of blocks that predict for themselves: they learn from the log and
    not from answers, so it does not fall where few requests were answered."""
    temperature: float = 1.0
    """T of the divergence; `labels` are to be the teacher's at the same T."""
    divergence: Literal["listwise", "bernoulli"] = "listwise"
    begins: float = 0.0
    """Share of the steps before which only layers are learned."""
    fade: float = 0.3
    """Share of the steps, at the end, over which the layer losses fall to 0."""
    balance: bool = False
    """Whether the layer losses are scaled to what the divergence amounts to."""
    l2: float = 0.0
    """λ of the squared norm of all weights."""
    ranked: Ranked = field(default_factory=Ranked)
    """What is learned of rankings and of item vectors."""

    def __post_init__(self) -> None:
        """Check shapes, ranges and sums before an expensive run."""
        shape = (len(self.histories), self.candidates.shape[-1])
        if not len(self.histories) or self.candidates.shape != shape or self.labels.shape != shape:
            raise BadSetting(
                f"{len(self.histories)!r} histories, candidates {self.candidates.shape!r} and "
                f"labels {self.labels.shape!r} do not fit together"
            )
        if (self.labels < 0).any() or not np.allclose(self.labels.sum(1), 1, atol=1e-3):
            raise BadSetting("labels are not distributions: every row must sum to 1")
        if self.temperature <= 0:
            raise BadSetting(f"temperature {self.temperature!r} is not above 0")
        needed = {one for match in self.matches for one in match.teacher_layers}
        if needed - set(self.state_layers):
            raise BadSetting(f"matches look at teacher outputs {sorted(needed)!r} without states")
        if self.begins and not self.matches:
            raise BadSetting("nothing is learned before labels are heard: no layers are matched")
        if self.states is not None and self.states.shape[:2] != (
            len(self.histories),
            len(self.state_layers),
        ):
            raise BadSetting(
                f"teacher states {self.states.shape!r} of outputs {self.state_layers!r} for "
                f"{len(self.histories)} requests"
            )
        self._require_differences()

    def _require_differences(self) -> None:
        """Refuse states that are the same at every request: centred, nothing is left of them."""
        if self.states is None:
            return
        same = (self.states == self.states[:1]).all(axis=(0, 2))
        alike = {layer for layer, is_so in zip(self.state_layers, same, strict=True) if is_so}
        for match in self.matches:
            if match.teacher_layers and alike.issuperset(match.teacher_layers):
                raise BadSetting(
                    f"the teacher's output {match.teacher!r} does not differ between requests, of "
                    f"which {len(self.histories)} were answered: there is nothing to compare",
                    next_step="more --requests, or --method logits-only",
                )

    @property
    def settings(self) -> tuple[object, ...]:
        """Everything that decides what is learned of it, but the arrays."""
        return (
            *(self.task, self.output, self.layers, self.temperature, self.divergence),
            *(self.begins, self.fade, self.balance, self.l2, self.state_layers, self.matches),
            *self.ranked.settings,
            *((self.supervision,) if self._supervises else ()),
        )

    @property
    def _supervises(self) -> bool:
        return any(match.feature == "supervision" for match in self.matches)

    @property
    def layer_weights(self) -> tuple[float, ...]:
        """How much each layer of the student counts in all of its matches, first one first."""
        deepest = max((match.student for match in self.matches), default=0)
        return tuple(
            sum(one.weight for one in self.matches if one.student == m)
            for m in range(1, deepest + 1)
        )
