"""Each way to distil decides what it says, and a name that is none says which there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill.config import DistilConfig, check
from distill.importance.criteria import CRITERIA
from distill.methods import (
    CONTROLS,
    FIRST,
    METHODS,
    SIZES,
    TOKEN_METHODS,
    Setting,
    check_method,
    describe,
    method,
    size,
    with_method,
)
from distill.training import TrainConfig
from storage.errors import BadSetting

PLAIN = DistilConfig("Books")
EVERY = (*METHODS, *TOKEN_METHODS)


def test_the_first_method_and_size_are_what_nothing_said_means() -> None:
    assert with_method(PLAIN, FIRST) == PLAIN
    assert next(iter(SIZES.values())) == TrainConfig().network


def test_layers_alone_need_weights() -> None:
    """Regression: without any, the undistilled student was shown as a distilled one."""
    for name in ("layers-only", "slmrec"):
        deaf = with_method(PLAIN.with_teacher(weights="none"), name)
        if name == "slmrec":
            deaf = deaf.with_loss(output=0.0)
        with pytest.raises(BadSetting, match=f"'{name}' hears nothing but layers"):
            check_method(deaf)
        check_method(deaf.with_loss(output=0.5))
        check_method(deaf.with_language(layers=2))  # who reads text, has its teacher's weights


def test_what_balances_a_whole_step_is_refused_in_pieces_before_anybody_is_asked() -> None:
    reading = with_method(PLAIN.with_language(accumulate=2), "minitron")
    with pytest.raises(BadSetting, match="'minitron' balances the losses of a whole step"):
        check_method(reading)
    check_method(with_method(PLAIN.with_language(accumulate=2), "minilm"))


@pytest.mark.parametrize(
    "more", [{"permute_labels": True}, {"divergence": "bernoulli"}, {"l2": 0.1}]
)
def test_losses_over_items_are_refused_where_text_is_read(more: dict[str, object]) -> None:
    """Regression: they were ignored, so a control was the treatment under another name."""
    config = DistilConfig("Books", method="uniform").with_loss(**more)
    check_method(config)
    with pytest.raises(BadSetting, match=f"loss.{next(iter(more))} is of students that see items"):
        check_method(config.with_language(layers=2))


def test_weights_that_follow_the_teacher_follow_its_fisher_information() -> None:
    with pytest.raises(BadSetting, match="its Fisher information, not taylor"):
        check_method(with_method(PLAIN, "taylor").with_loss(dynamic="teacher"))
    check_method(with_method(PLAIN, "taylor").with_loss(dynamic="student"))


@pytest.mark.parametrize("name", ["uniform", "fisher-reversed", "pkd-skip", "layer-attention"])
def test_weights_that_move_are_those_of_importance(name: str) -> None:
    """Regression: a control whose weights moved became the treatment after one step."""
    for dynamic in ("teacher", "student"):
        check_method(PLAIN.with_loss(dynamic=dynamic))
        with pytest.raises(BadSetting, match=f"weights that move .* '{name}' has others"):
            check_method(with_method(PLAIN, name).with_loss(dynamic=dynamic))


@pytest.mark.parametrize("name", EVERY)
def test_a_method_can_be_carried_and_run(name: str) -> None:
    made = with_method(PLAIN, name)
    check(made)
    assert DistilConfig.from_dict(made.as_dict()) == made
    assert with_method(made, name) == made


def test_methods_differ_from_each_other_and_have_a_line_each() -> None:
    made = [with_method(PLAIN, name) for name in EVERY]
    assert len({str(one) for one in made}) == len(EVERY)
    for name in EVERY:
        assert method(name).name == name
        assert 10 < len(method(name).about) < 80
    assert set(CONTROLS) < set(METHODS)


def test_what_some_decide() -> None:
    by = {name: with_method(PLAIN, name) for name in EVERY}
    assert (by["logits-only"].teacher.weights, by["logits-only"].loss.layer) == ("none", 0.0)
    assert by["logits-only"].loss.output == PLAIN.loss.output
    assert (by["none"].loss.output, by["none"].loss.layer) == (0.0, 0.0)
    assert (by["layers-only"].loss.output, by["layers-only"].loss.layer) == (0.0, PLAIN.loss.layer)
    assert by["labels-permuted"].loss.permute_labels
    assert by["depth-only"].loss.depth_beta == by["fisher-ld-as-published"].loss.depth_beta == 0.3
    assert with_method(PLAIN.with_loss(depth_beta=0.8), "depth-only").loss.depth_beta == 0.8


def test_equation_7_has_its_printed_numbers() -> None:
    made = with_method(PLAIN, "fisher-ld-as-published")
    loss = made.loss
    assert (loss.task, loss.output, loss.layer, loss.l2) == (0.3, 0.4, 0.25, 0.05)
    assert (loss.temperature, loss.divergence, loss.layer_fade) == (4.0, "bernoulli", 0.0)
    assert made.student.objective == "bce"


def test_a_method_leaves_the_rest_as_it_was() -> None:
    asked = DistilConfig("Books", seed=3).with_teacher(weights="here").with_loss(temperature=2.0)
    made = with_method(asked, "uniform")
    assert (made.seed, made.teacher.weights, made.loss.temperature) == (3, "here", 2.0)


@pytest.mark.parametrize("name", CRITERIA)
def test_the_name_of_a_criterion_is_a_method(name: str) -> None:
    made = with_method(PLAIN, name)
    assert (made.method, made.loss.criterion) == (name, name)
    setting = Setting.of(4, 2, made.loss, [1.0, 1.0, 3.0, 3.0])
    assert [one.weight for one in method(name).matches(setting)] == [0.5, 1.5]


@pytest.mark.parametrize(
    ("call", "name", "says"),
    [
        (method, "fischer-ld", "did you mean 'fisher-ld'"),
        (method, "tinybart", "did you mean 'tinybert'"),
        (method, "", "fisher-ld, none"),
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


# --- a method of one's own


OWN = """
from distill.matches import Match


def last_only(setting):
    '''The last layer, four times.'''
    return [Match(setting.teacher_layers, setting.student_layers, weight=4.0)]


def nothing(setting):
    return []


def wrong(setting):
    return 7


def strange(setting):
    return ["a match"]


def fails(setting):
    raise KeyError("weights")
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "my_presets.py").write_text(OWN)
    return tmp_path


def test_a_method_of_ones_own(own: Path) -> None:
    made = method("my_presets:last_only", folder=own)
    assert made.about == "The last layer, four times."
    (match,) = made.matches(Setting.of(6, 2, PLAIN.loss))
    assert (match.teacher, match.student, match.weight) == (6, 2, 4.0)
    assert with_method(PLAIN, "my_presets:last_only", folder=own).method == "my_presets:last_only"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nothing", "no list of Match"),
        ("wrong", "gave 7"),
        ("strange", "gave 'a match'"),
        ("fails", "KeyError: 'weights'"),
    ],
)
def test_what_ones_own_method_gives_is_looked_at(own: Path, name: str, says: str) -> None:
    with pytest.raises(BadSetting, match=says):
        method(f"my_presets:{name}", folder=own).matches(Setting.of(6, 2, PLAIN.loss))


@pytest.mark.parametrize("place", ["my_presets:not_there", "no_module_of_mine:x", "a b:c"])
def test_a_method_that_cannot_be_loaded(own: Path, place: str) -> None:
    with pytest.raises(BadSetting):
        method(place, folder=own)


@pytest.mark.parametrize("name", sorted({**METHODS, **TOKEN_METHODS}))
def test_every_method_that_hears_is_heard(name: str) -> None:
    made = with_method(DistilConfig("Books").with_language(), name)
    heard = bool(made.loss.output or made.loss.layer)
    assert heard == method(name).hears


def test_a_method_that_would_hear_nothing_is_refused() -> None:
    deaf = with_method(with_method(DistilConfig("Books"), "none"), "uniform")
    with pytest.raises(BadSetting, match="'uniform' would hear nothing of the teacher"):
        check_method(deaf)
