"""What hearing a teacher costs a training: an epoch with every sequence labelled, and without.

Of MovieLens-100K's size; what the teacher said is drawn by chance, since only time is measured.
Processor time of one thread, the two in turns.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from distill.data import Distillation, TrainData
from distill.matches import Match
from distill.train import train
from distill.training import Evaluated, TrainConfig
from recommender.events import Event
from recommender.sequential.shape import NetworkConfig

pytestmark = pytest.mark.bench

ITEMS, PEOPLE, EVENTS, CANDIDATES, WIDTH = 1_682, 943, 84, 10, 576
MOST = 1.3
ROUNDS = 5


def data() -> TrainData:
    """People with 84 events each."""
    chance = np.random.default_rng(0)
    log = chance.integers(0, ITEMS, PEOPLE * EVENTS)
    return TrainData(ITEMS, log, np.arange(0, PEOPLE * EVENTS + 1, EVENTS))


def said(data: TrainData, blocks: int) -> Distillation:
    """One request for every sequence that a pass over the data has."""
    chance = np.random.default_rng(1)
    count = -(-EVENTS // 50) * PEOPLE
    labels = chance.dirichlet(np.ones(CANDIDATES), count).astype(np.float32)
    return Distillation(
        histories=[chance.integers(0, ITEMS, 50) for _ in range(count)],
        candidates=np.stack(
            [chance.choice(ITEMS, CANDIDATES, replace=False) for _ in range(count)]
        ),
        labels=labels,
        states=chance.normal(size=(count, blocks, WIDTH)).astype(np.float16),
        state_layers=tuple(range(1, blocks + 1)),
        matches=tuple(Match(layer, layer) for layer in range(1, blocks + 1)),
    )


def seconds_of_epochs(steps: Iterator[Event]) -> list[float]:
    """Processor time of every epoch but the first."""
    found, begun = [], time.process_time()
    for event in steps:
        if isinstance(event, Evaluated):
            found.append(time.process_time() - begun)
            begun = time.process_time()
    return found[1:]


@pytest.mark.parametrize("blocks", [2, 4])
def test_an_epoch_that_hears_a_teacher_costs_at_most_1_3_of_one_that_does_not(blocks: int) -> None:
    torch.set_num_threads(1)
    log = data()
    lesson = said(log, blocks)
    config = TrainConfig(start="free", epochs=4, network=NetworkConfig(blocks=blocks))
    plain, taught = [], []
    for _ in range(ROUNDS):
        plain += seconds_of_epochs(train(config, log))
        taught += seconds_of_epochs(train(config, log, lesson))
    ratio = np.median(taught) / np.median(plain)
    print(
        f"{blocks} blocks: an epoch {np.median(plain):.2f} s, with a teacher "
        f"{np.median(taught):.2f} s, {ratio:.2f} times"
    )
    assert ratio <= MOST
