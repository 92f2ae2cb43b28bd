"""Each way to distil decides what it says, and a name that is none says which there are."""

from __future__ import annotations

import pytest

from distill.config import DistilConfig, check
from distill.methods import METHODS, SIZES, describe, method, size
from distill.training import TrainConfig
from storage.errors import BadSetting

PLAIN = DistilConfig("Books")


def test_the_first_method_and_size_are_what_nothing_said_means() -> None:
    assert next(iter(METHODS.values())).change(PLAIN) == PLAIN
    assert next(iter(SIZES.values())) == TrainConfig().network


@pytest.mark.parametrize("name", METHODS)
def test_a_method_can_be_carried_and_run(name: str) -> None:
    made = method(name).change(PLAIN)
    check(made)
    assert DistilConfig.from_dict(made.as_dict()) == made
    assert method(name).change(made) == made


def test_methods_differ_from_each_other_and_have_a_line_each() -> None:
    made = [one.change(PLAIN) for one in METHODS.values()]
    assert len({str(one) for one in made}) == len(METHODS)
    for name, one in METHODS.items():
        assert one.name == name
        assert 10 < len(one.about) < 80


def test_what_each_decides() -> None:
    by = {name: one.change(PLAIN) for name, one in METHODS.items()}
    assert by["uniform"].loss.layer_weights == "uniform"
    assert (by["labels"].teacher.weights, by["labels"].loss.layer) == ("none", 0.0)
    assert by["labels"].loss.output == PLAIN.loss.output
    assert (by["layers"].loss.output, by["layers"].loss.layer) == (0.0, PLAIN.loss.layer)
    assert by["permuted"].loss.permute_labels


def test_a_method_leaves_the_rest_as_it_was() -> None:
    asked = DistilConfig("Books", seed=3).with_teacher(weights="here").with_loss(temperature=2.0)
    made = method("uniform").change(asked)
    assert (made.seed, made.teacher.weights, made.loss.temperature) == (3, "here", 2.0)


@pytest.mark.parametrize(
    ("call", "name", "says"),
    [
        (method, "fischer", "did you mean 'fisher'"),
        (method, "", "fisher, uniform"),
        (size, "dep", "did you mean 'deep'"),
        (size, "42", "standard, small"),
    ],
)
def test_a_name_that_is_none(call: object, name: str, says: str) -> None:
    assert callable(call)
    with pytest.raises(BadSetting, match=says):
        call(name)


def test_sizes_are_told_apart() -> None:
    assert len({describe(one) for one in SIZES.values()}) == len(SIZES)
    assert describe(SIZES["small"]) == "width 32, 1 block"
