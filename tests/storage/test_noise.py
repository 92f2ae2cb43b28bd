"""Noise floors: the last one of a teacher and its settings, and none that was measured is lost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from storage.records import NoiseFloor
from storage.store import Store

FIRST = NoiseFloor(
    "llama3.1:8b@abc", "ollama 0.24.0", "num_ctx 4096", "2026-11-23T10:00:00+00:00",
    0.5, 0.0625, 2, 40, {"moves": [0.5, 0.0], "żółw": None},
)  # fmt: skip


def test_what_was_measured_comes_back(store: Store) -> None:
    assert store.noise.latest(FIRST.teacher, FIRST.options) is None
    store.noise.add(FIRST)
    assert store.noise.latest(FIRST.teacher, FIRST.options) == FIRST
    assert store.noise.latest("somebody else", FIRST.options) is None
    assert store.noise.latest(FIRST.teacher, "num_ctx 2048") is None


def test_the_last_one_counts_whatever_the_order_they_came_in(store: Store) -> None:
    last = replace(FIRST, measured_at="2026-11-23T10:00:01+00:00", floor=0.25)
    other = replace(FIRST, measured_at="2026-12-01T00:00:00+00:00", options="num_ctx 2048")
    for one in (last, other, FIRST):
        store.noise.add(one)
    assert store.noise.latest(FIRST.teacher, FIRST.options) == last
    assert store.noise.latest(FIRST.teacher, "num_ctx 2048") == other


def test_the_same_measurement_is_kept_once(store: Store) -> None:
    store.noise.add(FIRST)
    store.noise.add(replace(FIRST, floor=9.0))
    assert store.noise.latest(FIRST.teacher, FIRST.options) == FIRST


def test_numbers_of_numpy_are_numbers(store: Store) -> None:
    store.noise.add(replace(FIRST, floor=np.float32(0.5), flips=np.int64(2)))
    found = store.noise.latest(FIRST.teacher, FIRST.options)
    assert found == FIRST
    assert type(found.flips) is int
