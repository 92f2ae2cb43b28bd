"""What a step of a sequential student sees: windows of sequences, and requests of a teacher.

Apart from the loop because this is where order and chance are decided. Nothing here keeps
a random state: what a step draws is a function of the seed and the step's number, so that
a run that was stopped goes on exactly, and a run with a teacher sees the same sequences in
the same order as one without.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from distill.chance import Stream, derived_seed
from distill.data import Distillation, TrainData
from distill.matches import centred
from recommender.sequential.shape import pad
from storage.errors import BadData
from storage.records import FloatArray, IntArray

IGNORED = -1
"""A target that does not count: padding, or an item the person had before."""


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
                next_step="recsys data list",
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
