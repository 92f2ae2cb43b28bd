"""What a student learns from: sequences of the log, and a teacher's labels on requests.

Apart from the loop because this is where order and chance are decided. Nothing here keeps
a random state: what a step draws is a function of the seed and the step's number, so that
a run that was stopped goes on exactly, and a run with a teacher sees the same sequences in
the same order as one without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, get_args

import numpy as np

from distill.matches import Match, centred
from distill.ranked.lesson import Ranked
from recommender.sequential.shape import pad
from recommender.splits import Split
from storage.errors import BadData, BadSetting
from storage.records import FloatArray, IntArray, Log

IGNORED = -1
"""A target that does not count: padding, or an item the person had before."""

Stream = Literal[
    "sequences", "dropout", "sample", "requests", "label dropout", "projections", "measured"
]
_STREAMS: tuple[Stream, ...] = get_args(Stream)
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


@dataclass(frozen=True, slots=True)
class Batch:
    """Training windows side by side, padded on the left."""

    ids: IntArray
    """(B, L) item numbers + 1, 0 for padding."""
    targets: IntArray
    """(B, L) the item that came next at each position, or IGNORED."""


@dataclass(frozen=True, eq=False, slots=True)
class RequestBatch:
    """Some of a teacher's requests."""

    rows: IntArray
    """(B,) which of them."""
    ids: IntArray
    """(B, L) item numbers + 1, 0 for padding."""
    candidates: IntArray
    """(B, C)"""
    labels: FloatArray
    """(B, C)"""
    states: FloatArray | None
    """(B, K, d_T), centred."""


class SequenceBatches:
    """Everybody's sequence in windows of `max_len` steps, in an order fixed by the seed.

    A long sequence is cut from its end into windows that share no target, so every
    training row after a person's first is a target once a pass.

    >>> data = TrainData(9, np.array([4, 5, 6, 7]), np.array([0, 4]))
    >>> batches = SequenceBatches(data, size=8, max_len=2, seed=0)
    >>> sorted(batches.at(0).ids.tolist()), sorted(batches.at(0).targets.tolist())
    ([[0, 5], [6, 7]], [[-1, 5], [6, 7]])
    """

    def __init__(
        self, data: TrainData, *, size: int, max_len: int, seed: int, repeats: bool = False
    ) -> None:
        """Cut the windows; `repeats` keeps items the person had before as targets."""
        self.size = size
        self.seed = seed
        self._sequences = data.sequences
        self._counts = np.ones(len(data.sequences), dtype=np.bool_)
        if not repeats:
            self._counts = ~_repeated(data.sequences, data.offsets, data.items)
        self._begin, self._end = _with_targets(*_windows(data.offsets, max_len), self._counts)
        if not len(self._begin):
            raise BadData(
                "nobody chose anything new after their first item: there is nothing to predict",
                next_step="recsys data stats",
            )
        self.longest = int((self._end - self._begin).max()) - 1
        self.steps_a_pass = -(-len(self._begin) // size)

    def at(self, step: int) -> Batch:
        """Return the batch of a step, counted from 0 over all passes."""
        passed, place = divmod(step, self.steps_a_pass)
        order = _order(len(self._begin), self.seed, "sequences", passed)
        chosen = order[place * self.size : (place + 1) * self.size]
        begin, end = self._begin[chosen], self._end[chosen]
        length = int((end - begin).max()) - 1
        inputs = (end - 1 - length)[:, None] + np.arange(length)  # rows of the flat sequences
        real = inputs >= begin[:, None]
        inputs = np.where(real, inputs, 0)
        ids = np.where(real, self._sequences[inputs] + 1, 0)
        counted = real & self._counts[np.minimum(inputs + 1, len(self._counts) - 1)]
        targets = np.where(
            counted, self._sequences[np.minimum(inputs + 1, len(self._sequences) - 1)], IGNORED
        )
        return Batch(ids, targets)


class RequestBatches:
    """A teacher's requests in batches, in an order of their own fixed by the seed."""

    def __init__(self, teaching: Distillation, *, size: int, max_len: int, seed: int) -> None:
        """Lay the histories out once; the teacher's states are centred (`matches`)."""
        self.size = min(size, len(teaching.histories))
        self.seed = seed
        self._ids = pad(teaching.histories, max_len)
        self._candidates = teaching.candidates
        self._labels = teaching.labels.astype(np.float32)
        self._states = None if teaching.states is None else centred(teaching.states)
        self.steps_a_pass = len(self._ids) // self.size

    def at(self, step: int) -> RequestBatch:
        """Return the batch of a step, counted from 0 over all passes."""
        passed, place = divmod(step, self.steps_a_pass)
        order = _order(len(self._ids), self.seed, "requests", passed)
        chosen = order[place * self.size : (place + 1) * self.size]
        ids = self._ids[chosen]
        empty = int((ids == 0).all(0).cumprod().sum())  # columns that are padding in every row
        states = None if self._states is None else self._states[chosen]
        return RequestBatch(
            rows=chosen,
            ids=ids[:, min(empty, ids.shape[1] - 1) :],
            candidates=self._candidates[chosen],
            labels=self._labels[chosen],
            states=states,
        )


def derived_seed(seed: int, stream: Stream, step: int) -> int:
    """Return the seed of one use of chance at one step, unrelated to all others.

    >>> derived_seed(1, "dropout", 0) != derived_seed(1, "dropout", 1)
    True
    """
    sequence = np.random.SeedSequence([seed, _STREAMS.index(stream), step])
    return int(sequence.generate_state(1, np.uint64)[0])


@lru_cache(maxsize=4)  # one pass is asked for at every one of its steps
def _order(length: int, seed: int, stream: Stream, passed: int) -> IntArray:
    return np.random.default_rng(derived_seed(seed, stream, passed)).permutation(length)


def _windows(offsets: IntArray, max_len: int) -> tuple[IntArray, IntArray]:
    start, end = offsets[:-1], offsets[1:]
    targets = np.maximum(end - start - 1, 0)
    pieces = -(-targets // max_len)
    person = np.repeat(np.arange(len(start)), pieces)
    back = np.arange(len(person)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    window_end = end[person] - back * max_len
    return np.maximum(start[person], window_end - max_len - 1), window_end


def _with_targets(
    begin: IntArray, end: IntArray, counts: np.ndarray[tuple[int], np.dtype[np.bool_]]
) -> tuple[IntArray, IntArray]:
    """Leave out windows of which no target counts: a mean over nothing is no number."""
    before = np.concatenate([[0], np.cumsum(counts)])
    some = before[end] > before[begin + 1]
    return begin[some], end[some]


def _repeated(
    sequences: IntArray, offsets: IntArray, items: int
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    person = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    first = np.unique(person * np.int64(items) + sequences, return_index=True)[1]
    repeated = np.ones(len(sequences), dtype=np.bool_)
    repeated[first] = False
    return repeated
