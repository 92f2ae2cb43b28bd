from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from distill.batches import IGNORED, RequestBatches, SequenceBatches
from distill.chance import derived_seed
from distill.data import Distillation, TrainData
from distill.matches import Match
from distill.sampling import NegativeSampler
from distill.schedule import layer_share, rate_share
from recommender.splits import temporal_split
from storage.errors import BadData, BadSetting
from storage.records import Log


def some_data(people: int = 40, items: int = 15, seed: int = 0) -> TrainData:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 12, people)
    return TrainData(
        items, rng.integers(0, items, lengths.sum()), np.concatenate([[0], lengths.cumsum()])
    )


def pairs_seen(data: TrainData, *, max_len: int, repeats: bool, passed: int = 0) -> list[tuple]:
    """Every (latest inputs, target) of one pass."""
    batches = SequenceBatches(data, size=7, max_len=max_len, seed=3, repeats=repeats)
    seen = []
    for step in range(batches.steps_a_pass):
        batch = batches.at(passed * batches.steps_a_pass + step)
        for ids, targets in zip(batch.ids, batch.targets, strict=True):
            for place in np.flatnonzero(targets != IGNORED):
                seen.append((tuple(ids[: place + 1][ids[: place + 1] > 0] - 1), targets[place]))
    return seen


@pytest.mark.parametrize("max_len", [3, 20])
@pytest.mark.parametrize("repeats", [True, False])
def test_a_pass_has_every_target_once_after_its_own_past(max_len: int, repeats: bool) -> None:
    data = some_data()
    expected = []
    for start, end in zip(data.offsets[:-1], data.offsets[1:], strict=True):
        own = data.sequences[start:end].tolist()
        expected += [
            (tuple(own[:t]), own[t]) for t in range(1, len(own)) if repeats or own[t] not in own[:t]
        ]
    seen = pairs_seen(data, max_len=max_len, repeats=repeats)
    assert sorted(y for _, y in seen) == sorted(y for _, y in expected)
    if max_len == 20:
        assert sorted(seen) == sorted(expected)
    else:  # a window starts later, but shows a piece of the past that ends at the target
        assert all(1 <= len(inputs) <= max_len for inputs, _ in seen)
        assert all(
            any(past[-len(inputs) :] == inputs and y == target for past, y in expected)
            for inputs, target in seen
        )


def test_the_order_follows_the_seed_and_changes_from_pass_to_pass() -> None:
    data = some_data()
    assert pairs_seen(data, max_len=5, repeats=True) == pairs_seen(data, max_len=5, repeats=True)
    one, other = (pairs_seen(data, max_len=5, repeats=True, passed=p) for p in (0, 1))
    assert one != other
    assert sorted(one) == sorted(other)


def test_uses_of_chance_do_not_share_seeds() -> None:
    streams = ("sequences", "dropout", "sample", "requests", "label dropout", "projections")
    seeds = {derived_seed(s, stream, step) for s in (0, 1) for stream in streams for step in (0, 1)}
    assert len(seeds) == 24


def test_validation_comes_from_the_split() -> None:
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(30), 6)
    log = Log(
        user,
        rng.integers(0, 12, 180),
        np.concatenate([np.sort(rng.integers(0, 1000, 6)) for _ in range(30)]),
        np.ones(180, np.float32),
        np.full(180, -1, np.int8),
        30,
        12,
    )
    split = temporal_split(log)
    data = TrainData.from_split(split)
    assert data.valid_targets is not None
    for row, history, target in zip(
        split.events("valid"), data.valid_histories, data.valid_targets, strict=True
    ):
        assert history.tolist() == split.history(row).tolist()
        assert target == log.item[row]
    few = TrainData.from_split(split, most_valid=3)
    assert len(few.valid_histories) == 3
    assert TrainData.from_log(log).sequences.tolist() == log.item.tolist()


def test_data_nobody_can_learn_from_is_refused() -> None:
    with pytest.raises(BadData, match="two interactions"):
        TrainData(5, np.array([1, 2]), np.array([0, 1, 2]))
    with pytest.raises(BadData, match="outside"):
        TrainData(2, np.array([1, 2]), np.array([0, 2]))


def distillation(**changes: object) -> Distillation:
    given: dict[str, object] = {
        "histories": [np.array([1, 2]), np.array([3]), np.array([4, 5, 6])],
        "candidates": np.array([[1, 2], [3, 4], [5, 6]]),
        "labels": np.array([[0.5, 0.5], [0.1, 0.9], [1, 0]], np.float32),
        "states": np.arange(12, dtype=np.float32).reshape(3, 2, 2),
        "state_layers": (3, 6),
        "matches": (Match(3, 1, weight=1.5), Match(6, 2, weight=0.5)),
    }
    return Distillation(**{**given, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"labels": np.array([[0.5, 0.4], [0.1, 0.9], [1, 0]])}, "sum to 1"),
        ({"labels": np.ones((2, 2)) / 2}, "fit together"),
        ({"state_layers": (3,)}, "without states"),
        ({"states": np.zeros((3, 1, 2), np.float32)}, "for 3 requests"),
        ({"temperature": 0.0}, "temperature"),
    ],
)
def test_teaching_that_does_not_fit_is_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(BadSetting, match=says):
        distillation(**changes)


def test_requests_come_whole_and_each_once_a_pass() -> None:
    taught = distillation()
    batches = RequestBatches(taught, size=1, max_len=2, seed=0)
    assert batches.steps_a_pass == 3
    seen = {}
    for step in range(3):
        batch = batches.at(step)
        assert batch.states is not None
        row = int(np.flatnonzero((taught.candidates == batch.candidates[0]).all(1))[0])
        np.testing.assert_array_equal(batch.labels[0], taught.labels[row])
        assert (batch.ids[0][batch.ids[0] > 0] - 1).tolist() == taught.histories[row][-2:].tolist()
        seen[row] = batch.states[0]
    assert sorted(seen) == [0, 1, 2]
    np.testing.assert_allclose(sum(seen.values()), 0)  # centred over requests


@pytest.mark.parametrize("law", ["uniform", "log-uniform"])
def test_items_are_drawn_as_often_as_said(law: str) -> None:
    popularity = np.random.default_rng(0).integers(0, 50, 30)
    sampler = NegativeSampler(popularity, law)  # type: ignore[arg-type]
    share = np.exp(sampler.log_probability(np.arange(30)).astype(np.float64))
    assert share.sum() == pytest.approx(1, abs=1e-5)
    counts = np.bincount(sampler.draw(200_000, seed=1), minlength=30)
    np.testing.assert_allclose(counts / 200_000, share, atol=5 * np.sqrt(0.25 / 200_000))
    if law == "log-uniform":
        assert (np.diff(share[np.argsort(-popularity, kind="stable")]) < 0).all()
    assert sampler.draw(9, seed=4).tolist() == sampler.draw(9, seed=4).tolist()


def test_the_schedule_rises_and_falls_and_layers_fade_at_the_end() -> None:
    rates = [rate_share(step, 100, 0.1) for step in range(101)]
    assert max(rates) == rates[9] == rates[10] == 1
    assert all(a < b for a, b in pairwise(rates[:10]))
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert rates[-1] == pytest.approx(0)
    assert [layer_share(step, 100) for step in (0, 70)] == [1, 1]
    assert layer_share(85, 100) == pytest.approx(0.5)
    assert layer_share(100, 100) == 0
