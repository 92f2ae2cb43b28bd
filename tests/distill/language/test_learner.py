"""A Llama before its lessons: pieces, layers that run again, what is heard when."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from distill.language.learner import NORMED_BY
from distill.language.loop import Place
from distill.language.making import Design, make
from distill.language.settings import LanguageConfig
from distill.matches import Match
from recommender.backends.embedded import EmbeddedBackend
from storage.errors import BadSetting
from tests.distill.language.classroom import (
    EVERY_FEATURE,
    gradients,
    learner,
    same,
    texts,
    weights_of,
)

ALL = range(8)
PIECES = {
    "eight of one": [[n] for n in ALL],
    "two of four": [[0, 1, 2, 3], [4, 5, 6, 7]],
    "another order": [[n] for n in reversed(ALL)],
}


def close(ones: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> None:
    """Each tensor is within some roundings of the other's largest number."""
    assert ones.keys() == others.keys()
    for name, one in ones.items():
        # What a mixture is pulled by is a small difference of large numbers.
        bound = (1e-4 if "mixtures" in name else 1e-5) * float(one.abs().max()) + 1e-12
        assert float((one - others[name]).abs().max()) <= bound, name


# --- one step in pieces ------------------------------------------------------------------


@pytest.mark.parametrize("pieces", PIECES)
@pytest.mark.parametrize("number", range(len(EVERY_FEATURE)))
def test_a_feature_in_pieces_has_the_gradient_of_the_whole(
    model: EmbeddedBackend, number: int, pieces: str
) -> None:
    """Regression: mixtures and layers that predict for themselves were means over pieces."""
    one = learner(model, [EVERY_FEATURE[number]], task=0.0, output=0.0)
    close(gradients(one, [ALL]), gradients(one, PIECES[pieces]))


def test_everything_in_pieces_has_the_gradient_of_the_whole(model: EmbeddedBackend) -> None:
    one = learner(model, temperature=2.0)
    close(gradients(one, [ALL]), gradients(one, PIECES["eight of one"]))
    assert len(gradients(one, [ALL])) == sum(1 for _ in one.module.parameters())


def test_balanced_losses_are_refused_in_pieces(model: EmbeddedBackend) -> None:
    one = learner(model, balance=True)
    parts = one.losses(ALL, Place(0, 10, 0, tuple(ALL)))
    assert parts["layers"].item() == pytest.approx(parts["output"].item(), rel=1e-5)
    with pytest.raises(BadSetting, match="balanced layer losses need the whole step at once"):
        gradients(one, PIECES["two of four"])


@pytest.mark.parametrize("making", ["fresh", "cut"])
def test_layers_that_run_again_give_the_same_gradients(model: EmbeddedBackend, making: str) -> None:
    config = LanguageConfig(layers=2, hidden=24, heads=2, cut=0.4, tokens=0)
    made = Design("a test's", (2, 3), (0, 2) if making == "cut" else ())
    found = []
    for again in (False, True):
        config = replace(config, gradient_checkpointing=again)
        student = make(model.model, made, config, seed=0)
        assert all(layer.gradient_checkpointing == again for layer in student.model.layers)
        found.append(gradients(learner(model, student=student), [ALL]))
    assert same(*found)


# --- what the parts are ------------------------------------------------------------------


def test_task_and_output_are_means_over_the_tokens_of_titles(model: EmbeddedBackend) -> None:
    one = learner(model, (), temperature=3.0, task=0.3, output=0.7)
    parts = one.losses(ALL, Place(0, 10, 0, tuple(ALL)))
    entropy = apart = tokens = 0.0
    with torch.no_grad():
        for lesson in one.training[:8]:
            ids = torch.from_numpy(lesson.ids)[None]
            rows = torch.from_numpy(lesson.told[1:])
            ours, theirs = (
                each(input_ids=ids, use_cache=False).logits[0, :-1][rows].double()
                for each in (one.student, model.model)
            )
            tokens += len(ours)
            following = ids[0, 1:][rows]
            entropy -= float(ours.log_softmax(1).gather(1, following[:, None]).sum())
            soft = [(x / 3).log_softmax(1) for x in (ours, theirs)]
            apart += 9 * float((soft[1].exp() * (soft[1] - soft[0])).sum())
    assert set(parts) == {"task", "output"}
    assert parts["task"].item() == pytest.approx(0.3 * entropy / tokens, rel=1e-5)
    assert parts["output"].item() == pytest.approx(0.7 * apart / tokens, rel=1e-4)


def test_validation_is_minus_the_cross_entropy_of_titles(model: EmbeddedBackend) -> None:
    one = learner(model, (), task=1.0, output=0.0)
    expected = learner(model, (), training=one.validation, output=0.0)
    whole = expected.losses(ALL, Place(0, 10, 0, tuple(ALL)))["task"].item()
    one.batch = 3  # of eight, so the last is smaller than the others
    with torch.no_grad():
        assert one.validate() == pytest.approx(-whole, rel=1e-5)


def test_a_distance_is_one_for_a_student_that_says_nothing(model: EmbeddedBackend) -> None:
    one = learner(model, [Match(2, 1), Match((1, 2, 3), 2)], task=0.0, output=0.0)
    first = tuple(range(NORMED_BY))
    with torch.no_grad():
        for weight in one.lessons.projections.parameters():
            weight.zero_()
    layers = one.losses(first, Place(0, 10, 0, first))["layers"]
    assert layers.item() == pytest.approx(1, rel=1e-5), "(1 + 1) / M"


def test_a_layer_that_predicts_for_itself_is_the_student_without_those_above(
    model: EmbeddedBackend,
) -> None:
    one = learner(model, [Match(0, 1, "supervision", "task", weight=3.0)], task=0.0, output=0.0)
    found = one.losses(ALL, Place(0, 10, 0, tuple(ALL)))["layers"].item()
    alone = learner(model, (), student=one.student, output=0.0)
    one.student.model.layers = one.student.model.layers[:1]
    entropy = alone.losses(ALL, Place(0, 10, 0, tuple(ALL)))["task"].item()
    assert found == pytest.approx(1.5 * entropy, rel=1e-5)


def test_layers_alone_are_learned_until_the_rest_begins_and_fade(model: EmbeddedBackend) -> None:
    one = learner(model, [Match(2, 1)], begins=0.5, layer_fade=0.4)
    parts = [one.losses(ALL, Place(step, 10, 0, tuple(ALL))) for step in range(10)]
    assert [set(some) for some in parts] == [{"layers"}] * 5 + [{"task", "output", "layers"}] * 5
    layers = [some["layers"].item() / parts[0]["layers"].item() for some in parts]
    assert layers == pytest.approx([1, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25], rel=1e-6)


# --- the teacher -------------------------------------------------------------------------


def test_a_teacher_that_is_not_heard_changes_nothing(model: EmbeddedBackend) -> None:
    alone = gradients(learner(model, None), [ALL])
    mute = gradients(learner(model, (), output=0.0), [ALL])
    assert same(alone, mute)
    heard = gradients(learner(model, (), output=0.7), [ALL])
    assert not same(alone, heard)


def test_the_teacher_stays_as_it_is_and_gets_no_gradient(model: EmbeddedBackend) -> None:
    before = weights_of(model.model)
    one = learner(model)
    gradients(one, [ALL])
    assert same(weights_of(model.model), before)
    assert all(weight.grad is None for weight in model.model.parameters())
    assert not any(name.startswith("teacher") for name, _ in one.module.named_parameters())


def test_a_layer_left_out_gets_no_gradient_and_comes_back(model: EmbeddedBackend) -> None:
    one = learner(model, None, layerdrop=0.5)
    layers = list(one.student.model.layers)
    left_out = []
    for step in range(40):
        found = gradients(one, [[0]], step=step, steps=40)
        there = [any(f"layers.{n}." in name for name in found) for n in range(2)]
        assert any(there), "never all of them"
        left_out.append(there)
        assert all(a is b for a, b in zip(one.student.model.layers, layers, strict=True))
    again = [
        [any(f"layers.{n}." in name for name in gradients(one, [[0]], step=s)) for n in range(2)]
        for s in range(6)
    ]
    assert again == left_out[:6], "what is left out is the seed's and the step's"
    assert 5 < sum(not there[1] for there in left_out) < 35


def test_what_could_not_be_learned_is_refused(model: EmbeddedBackend) -> None:
    with pytest.raises(BadSetting, match="left out of a step cannot be compared"):
        learner(model, [Match(2, 2)], layerdrop=0.2)
    for loss in ({"matches": ()}, {"matches": [Match(2, 1)], "layer": 0.0}):
        with pytest.raises(BadSetting, match="up to 50% of the steps nothing but layers"):
            learner(model, begins=0.5, **loss)  # type: ignore[arg-type]


# --- what decides the result -------------------------------------------------------------


def test_the_fingerprint_knows_what_decides_the_result(model: EmbeddedBackend) -> None:
    shown = {
        "the same": learner(model),
        "matches": learner(model, EVERY_FEATURE[1:]),
        "nobody": learner(model, None),
        "texts": learner(model, training=texts(model, 15)),
        "validation": learner(model, validation=texts(model, 7, first=16)),
        "temperature": learner(model, temperature=2.0),
        "layerdrop": learner(model, (), layerdrop=0.1),
        "no matches": learner(model, ()),
        "seed": learner(model, seed=1),
    }
    prints = [one.fingerprint() for one in shown.values()]
    assert len(set(prints)) == len(prints)
    assert learner(model).fingerprint() == prints[0]
