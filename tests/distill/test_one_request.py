"""The fewest training requests there can be: layers take two, labels one."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from distill.config import DistilConfig
from distill.data import Distillation, TrainData
from distill.matches import FEWEST_COMPARED, Match, centred
from distill.methods import METHODS, check_method, with_method
from distill.pipeline import distil
from distill.train import train
from distill.training import StepDone, TrainConfig
from recommender.config import Settings
from recommender.sequential.shape import NetworkConfig
from storage.errors import BadSetting

MATCHES = (Match(1, 1), Match(3, 2, loss="cosine"))
DATA = TrainData(9, np.arange(9), np.array([0, 4, 9]))
SMALL = TrainConfig(start="free", epochs=2, network=NetworkConfig(width=8, blocks=2, max_len=9))


def taught(requests: int, *, states: np.ndarray | None, matches: tuple[Match, ...]) -> Distillation:
    """What a teacher said of so many requests."""
    return Distillation(
        histories=[np.array([n, n + 1]) for n in range(requests)],
        candidates=np.array([[4, 5, 6]] * requests),
        labels=np.array([[0.5, 0.3, 0.2]] * requests, dtype=np.float32),
        states=states,
        state_layers=() if states is None else (1, 3),
        matches=matches,
    )


def drawn(requests: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(requests, 2, 5)).astype(np.float32)


def test_of_one_request_nothing_is_left_that_could_be_compared() -> None:
    """The cause: a mean over one request is that request."""
    assert not centred(drawn(1)).any()
    assert centred(drawn(FEWEST_COMPARED)).any(axis=(0, 2)).all()
    with pytest.raises(
        BadSetting, match="output 1 does not differ between requests, of which 1 were"
    ):
        taught(1, states=drawn(1), matches=MATCHES)


def test_the_fewest_requests_train_with_losses_that_are_numbers() -> None:
    lesson = taught(FEWEST_COMPARED, states=drawn(FEWEST_COMPARED), matches=MATCHES)
    steps = [one for one in train(SMALL, DATA, lesson) if isinstance(one, StepDone)]
    assert steps
    assert all(math.isfinite(one.loss) for one in steps)
    assert any(one.parts["layers"] > 0 for one in steps)


def test_labels_alone_can_be_learned_from_one_request() -> None:
    steps = train(SMALL, DATA, taught(1, states=None, matches=()))
    assert all(math.isfinite(one.loss) for one in steps if isinstance(one, StepDone))


def test_requests_that_are_all_the_same_to_one_layer_are_refused_for_that_layer_alone() -> None:
    states = drawn(4)
    states[:, 1] = states[0, 1]
    with pytest.raises(
        BadSetting, match="output 3 does not differ between requests, of which 4 were"
    ):
        taught(4, states=states, matches=MATCHES)
    taught(4, states=states, matches=MATCHES[:1])
    taught(4, states=states, matches=(Match((1, 3), 1),))
    taught(4, states=states, matches=(Match(0, 1, feature="supervision", loss="task"),))


@pytest.mark.parametrize("name", list(METHODS))
def test_a_method_of_layers_is_refused_one_request_before_anything_is_looked_at(name: str) -> None:
    config = with_method(DistilConfig("Books").with_teacher(requests=1), name)
    if config.teacher.weights == "none":
        check_method(config)
    else:
        with pytest.raises(BadSetting, match="one request does not differ from itself") as refused:
            check_method(config)
        assert refused.value.next_step.startswith(f"--requests {FEWEST_COMPARED} or more")
    check_method(config.with_teacher(requests=FEWEST_COMPARED))
    check_method(config.with_teacher(requests=0))
    if config.loss.output or not config.loss.layer:  # labels alone need nothing to compare
        check_method(config.with_teacher(weights="none"))


def test_the_road_is_refused_before_its_first_step(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "nowhere")
    one = DistilConfig("Books").with_teacher(requests=1)
    with pytest.raises(BadSetting, match="one request does not differ from itself"):
        next(distil(one, settings=settings))
    assert not settings.data_dir.exists()
