"""What a student is asked for: every objective by its definition, with what it drew, and at work.

The twins draw by the law that an objective states, from the same seed, and add up what it is
defined as with plain Python.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import accumulate

import numpy as np
import pytest
import torch

from distill.objectives import TaskLoss
from distill.sampling import NegativeSampler
from distill.train import train
from distill.training import StepDone, TrainConfig, Trained
from recommender.sequential.shape import NetworkConfig
from storage.errors import BadSetting
from tests.distill.rings import digest, result, ring
from tests.distill.test_published_losses import mean, naive_bce, naive_dros, naive_gbce

ITEMS, ROWS, WIDTH = 7, 40, 3
COUNTS = np.array([4, 0, 9, 1, 1, 6, 0])
"""How often people chose each item; two of them nobody did."""
RNG = np.random.default_rng(0)
STATES = RNG.normal(size=(ROWS, WIDTH))
TABLE = RNG.normal(size=(ITEMS, WIDTH))
TARGETS = RNG.integers(0, ITEMS, ROWS)
UNLIKELY = -700.0
"""A score of which log(1 − σ) is 0."""
PLAIN = TrainConfig(gbce_negatives=3, bce_negatives=5, gbce_t=0.6, dros_alpha=0.4, dros_beta=0.7)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Bytes are promised for one number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def asked(config: TrainConfig, *, seed: int = 5) -> float:
    """What the objective makes of the states, in float64."""
    task = TaskLoss(config, COUNTS, positions=ROWS)
    states, targets, table = (torch.from_numpy(one) for one in (STATES, TARGETS, TABLE))
    return task.loss(states, targets, table, seed).item()


def score(row: int, item: int) -> float:
    return sum(a * b for a, b in zip(STATES[row].tolist(), TABLE[item].tolist(), strict=True))


def others(row: int, drawn: list[int]) -> list[float]:
    """Scores of what was drawn and did not come next."""
    return [score(row, item) for item in drawn if item != TARGETS[row]]


# --- naive twins, from the definitions ---------------------------------------------------


def naive_ce(config: TrainConfig, seed: int) -> float:
    rows = []
    for row, target in enumerate(TARGETS):
        total = sum(math.exp(score(row, item)) for item in range(ITEMS))
        rows.append(-math.log(math.exp(score(row, target)) / total))
    return mean(rows)


def naive_popular_bce(config: TrainConfig, seed: int) -> float:
    """Negatives of each row's own, drawn as often as people chose them."""
    up_to = list(accumulate(COUNTS.tolist()))
    chances = iter(np.random.default_rng(seed).random(ROWS * config.bce_negatives).tolist())
    rows = []
    for row, target in enumerate(TARGETS):
        drawn = [
            bisect_right(up_to, next(chances) * up_to[-1]) for _ in range(config.bce_negatives)
        ]
        rows.append(naive_bce(score(row, target), others(row, drawn)))
    return mean(rows)


def naive_shared_gbce(config: TrainConfig, seed: int) -> float:
    """Negatives that all rows share, drawn evenly; what came next counts as drawn, and for 0."""
    drawn = np.random.default_rng(seed).integers(0, ITEMS, config.gbce_negatives).tolist()
    rows = []
    for row, target in enumerate(TARGETS):
        scores = [UNLIKELY if item == target else score(row, item) for item in drawn]
        own = score(row, target)
        rows.append(naive_gbce(own, scores, items=ITEMS, t=config.gbce_t))
    return mean(rows)


def naive_robust(config: TrainConfig, seed: int) -> float:
    """Binary cross-entropy with one negative a row, drawn evenly, and α times the robust term."""
    drawn = np.random.default_rng(seed).integers(0, ITEMS, ROWS).tolist()
    share = [count / sum(COUNTS.tolist()) for count in COUNTS.tolist()]
    rows = []
    for row, target in enumerate(TARGETS):
        base = naive_bce(score(row, target), others(row, [drawn[row]]))
        every = [score(row, item) for item in range(ITEMS)]
        robust = naive_dros(every, int(target), share, config.dros_beta)
        rows.append(base + config.dros_alpha * robust)
    return mean(rows)


TWINS: dict[str, Callable[[TrainConfig, int], float]] = {
    "ce": naive_ce,
    "bce": naive_popular_bce,
    "gbce": naive_shared_gbce,
    "dros": naive_robust,
}


# --- by their definitions ----------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", TWINS)
def test_an_objective_is_its_definition_with_what_it_drew(name: str, seed: int) -> None:
    config = replace(PLAIN, objective=name)  # type: ignore[arg-type]
    assert asked(config, seed=seed) == pytest.approx(TWINS[name](config, seed), rel=1e-6)


@pytest.mark.parametrize("law", ["uniform", "log-uniform"])
def test_above_the_budget_cross_entropy_is_against_a_sample_with_what_it_drew(law: str) -> None:
    config = replace(PLAIN, score_bytes=1, negatives=6, negative_law=law)  # type: ignore[arg-type]
    sampler = NegativeSampler(COUNTS, law)  # type: ignore[arg-type]
    drawn = sampler.draw(6, 5)
    often = [6 * math.exp(float(one)) for one in sampler.log_probability(drawn)]
    rows = []
    for row, target in enumerate(TARGETS):
        own = score(row, target)
        pairs = zip(drawn.tolist(), often, strict=True)
        rest = sum(math.exp(score(row, i)) / e for i, e in pairs if i != target)
        rows.append(-own + math.log(math.exp(own) + rest))
    assert asked(config) == pytest.approx(mean(rows), rel=1e-6)


def test_what_came_next_may_be_drawn_too_and_then_counts_for_nothing() -> None:
    """Where all that can be drawn is what came next, its own score is all that is asked for."""
    only = np.array([0, 0, 3, 0, 0, 0, 0])
    states, table = torch.from_numpy(STATES), torch.from_numpy(TABLE)
    task = TaskLoss(replace(PLAIN, objective="bce"), only, positions=ROWS)
    found = task.loss(states, torch.full((ROWS,), 2), table, 0).item()
    assert found == pytest.approx(mean([naive_bce(score(row, 2), []) for row in range(ROWS)]))


def test_popular_negatives_come_as_often_as_people_chose_them() -> None:
    task = TaskLoss(replace(PLAIN, objective="bce"), COUNTS, positions=ROWS)
    drawn = np.bincount(task._popular(21_000, 3), minlength=ITEMS)
    assert drawn[1] == drawn[6] == 0
    for found, count in zip(drawn.tolist(), COUNTS.tolist(), strict=True):
        p = count / 21
        assert abs(found - 21_000 * p) <= 4 * math.sqrt(21_000 * p * (1 - p))


@pytest.mark.parametrize("change", [{"gbce_t": 0.0}, {"gbce_negatives": 2}])
def test_settings_of_gbce_change_it(change: dict[str, object]) -> None:
    config = replace(PLAIN, objective="gbce")
    other = replace(config, **change)  # type: ignore[arg-type]
    assert asked(other) != asked(config)
    assert asked(other) == pytest.approx(naive_shared_gbce(other, 5), rel=1e-6)


def test_gbce_draws_no_more_than_there_is_besides_what_came_next() -> None:
    many = replace(PLAIN, objective="gbce", gbce_negatives=256)
    assert asked(many) == pytest.approx(asked(replace(many, gbce_negatives=ITEMS - 1)))


@pytest.mark.parametrize("change", [{"dros_alpha": 0.0}, {"dros_beta": 2.0}])
def test_settings_of_dros_change_it(change: dict[str, object]) -> None:
    config = replace(PLAIN, objective="dros")
    other = replace(config, **change)  # type: ignore[arg-type]
    assert asked(other) != asked(config)
    assert asked(other) == pytest.approx(naive_robust(other, 5), rel=1e-6)


def test_dros_is_not_sampled_and_says_so() -> None:
    with pytest.raises(BadSetting, match="DROS objective needs scores of all 7 items"):
        TaskLoss(replace(PLAIN, objective="dros", score_bytes=1), COUNTS, positions=ROWS)


# --- at work -----------------------------------------------------------------------------


def learned(architecture: str, objective: str, **changes: object) -> TrainConfig:
    """A training on the ring of `test_train`, of a few seconds."""
    network = NetworkConfig(architecture=architecture, width=16, max_len=6, dropout=0.1)  # type: ignore[arg-type]
    config = TrainConfig(network=network, start="free", epochs=20, batch=16, learning_rate=1e-2)
    return replace(config, objective=objective, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("architecture", ["sasrec", "gru4rec"])
@pytest.mark.parametrize("objective", TWINS)
def test_every_objective_learns_the_ring_on_both_networks(
    architecture: str, objective: str
) -> None:
    """By chance it would be 0.25: what was had is left out, 10 of some 18 others are shown."""
    # Divided by its negatives, gBCE begins slowly: at first all scores fall.
    longer = {"epochs": 40, "patience": 40, "gbce_negatives": 4} if objective == "gbce" else {}
    events = list(train(learned(architecture, objective, **longer), ring()))
    trained = events[-1]
    assert isinstance(trained, Trained)
    assert trained.best > 0.6
    losses = [event.loss for event in events if isinstance(event, StepDone)]
    assert mean(losses[-8:]) < 0.8 * mean(losses[:8])


def test_every_objective_makes_another_student() -> None:
    made = [digest(result(train(learned("sasrec", name, epochs=1), ring()))) for name in TWINS]
    assert len(set(made)) == len(TWINS)


@pytest.mark.parametrize("architecture", ["sasrec", "gru4rec"])
def test_the_robust_term_is_learned_from(architecture: str) -> None:
    made = {
        alpha: digest(
            result(train(learned(architecture, "dros", epochs=1, dros_alpha=alpha), ring()))
        )
        for alpha in (0.0, 0.5)
    }
    assert made[0.0] != made[0.5]
