"""A distillation's configuration out of plain values: whole, in part, and wrong."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from distill.config import DistilConfig, LossConfig
from distill.training import TrainConfig
from recommender.sequential.shape import NetworkConfig
from storage.errors import BadSetting

CHANGED = DistilConfig(
    "Books",
    seed=3,
    minutes=2.5,
    split="leave-last-out",
    min_rating=4.0,
    final=True,
    student=TrainConfig(
        network=NetworkConfig(width=16, blocks=3), epoch_steps=7, stop_after=2, start="free"
    ),
    loss=LossConfig(layer=0.0, depth_beta=0.3),
).with_teacher(spec="qwen3:8b", others=("a", "b"), item_fields=("brand",), mix="mixed")


@pytest.mark.parametrize("config", [DistilConfig("Books"), CHANGED], ids=["defaults", "changed"])
def test_there_and_back(config: DistilConfig) -> None:
    assert DistilConfig.from_dict(config.as_dict()) == config
    assert DistilConfig.from_dict(json.loads(json.dumps(config.as_dict()))) == config
    assert hash(DistilConfig.from_dict(config.as_dict()).teacher) == hash(config.teacher)


def test_what_is_left_out_is_as_it_always_is() -> None:
    found = DistilConfig.from_dict({"category": "Books", "student": {"network": {"width": 16}}})
    network = replace(TrainConfig().network, width=16)
    assert found == DistilConfig("Books").with_student(network=network)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "category: field required"),
        ({"category": 5}, "category = 5: input should be a valid string"),
        ({"category": "B", "sead": 1}, "no field 'sead' in a distillation; did you mean 'seed'?"),
        ({"category": "B", "qqqq": 1}, "no field 'qqqq' in a distillation: category, method, seed"),
        (
            {"category": "B", "teacher": {"requets": 1}},
            "no field 'teacher.requets' in a distillation; did you mean 'requests'?",
        ),
        (
            {"category": "B", "student": {"network": {"widht": 1}}},
            "no field 'student.network.widht' in a distillation; did you mean 'width'?",
        ),
        ({"category": "B", "teacher": 5}, "teacher = 5: input should be a dictionary"),
        (
            {"category": "B", "teacher": {"mode": "shout"}},
            "teacher.mode = 'shout': input should be 'auto'",
        ),
        (
            {"category": "B", "teacher": {"others": "abc"}},
            "teacher.others = 'abc': input should be a valid tuple",
        ),
        ({"category": "B", "split": None}, "split = None: input should be 'temporal' or"),
        ({"category": "B", "student": {"epochs": 0}}, "epochs = 0 is out of its range: at least 1"),
    ],
)
def test_what_does_not_fit_is_a_sentence(values: dict[str, object], said: str) -> None:
    with pytest.raises(BadSetting) as caught:
        DistilConfig.from_dict(values)
    assert caught.value.what.startswith(said)
    assert "\n" not in caught.value.what
