"""Layer losses of a sequential student: sums by hand, mixtures, moving weights, refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from distill.config import LossConfig
from distill.data import Distillation, MovingWeights
from distill.matches import Match
from distill.matching import LayerLessons, MovingScale
from distill.methods import METHODS, Setting, method
from storage.errors import BadSetting

WIDTH, WIDE, BLOCKS, LAYERS, ROWS = 4, 6, 2, 5, 7
RNG = np.random.default_rng(0)
STATES = RNG.normal(size=(ROWS, LAYERS + 1, WIDE)).astype(np.float32)


def taught(matches: tuple[Match, ...], **changes: object) -> Distillation:
    looked_at = tuple(sorted({layer for one in matches for layer in one.teacher_layers}))
    given: dict[str, object] = {
        "histories": [np.array([n]) for n in range(ROWS)],
        "candidates": np.tile(np.arange(3), (ROWS, 1)),
        "labels": np.full((ROWS, 3), 1 / 3, np.float32),
        "states": STATES[:, list(looked_at)],
        "state_layers": looked_at,
        "matches": matches,
    }
    return Distillation(**{**given, **changes})  # type: ignore[arg-type]


def lessons(matches: tuple[Match, ...], **changes: object) -> LayerLessons:
    made = taught(matches, **changes)
    return LayerLessons(made, blocks=BLOCKS, width=WIDTH, seed=0, init_std=0.5).double()


def own_states(seed: int = 1) -> list[torch.Tensor]:
    chance = torch.Generator().manual_seed(seed)
    made = [torch.randn(ROWS, WIDTH, generator=chance, dtype=torch.float64) for _ in range(BLOCKS)]
    return [one.requires_grad_() for one in made]


def teacher_of(one: LayerLessons) -> torch.Tensor:
    return torch.from_numpy(STATES[:, list(one.state_layers)]).double()


def test_the_sum_by_hand() -> None:
    matches = (Match(3, 1, weight=0.5), Match(5, 2, loss="cosine", weight=1.5))
    one, states = lessons(matches), own_states()
    expected = 0.0
    for number, match in enumerate(matches):
        linear = one.projections[str(number)]
        rows = states[match.student - 1].detach() @ linear.weight.detach().T
        target = torch.from_numpy(STATES[:, match.teacher]).double()  # type: ignore[index]
        pairs = list(zip(rows, target, strict=True))
        if match.loss == "cosine":
            value = np.mean([1 - float(a @ b / (a.norm() * b.norm())) for a, b in pairs])
        else:
            apart = np.mean([float(((a - b) ** 2).sum()) for a, b in pairs])
            value = apart / np.mean([float((b**2).sum()) for _, b in pairs])
        expected += match.weight * value / BLOCKS
    assert one.loss(states, teacher_of(one), 0.0, [1.0, 1.0]).item() == pytest.approx(expected)


def test_equal_states_cost_nothing() -> None:
    one = lessons((Match(3, 1), Match(5, 2, loss="pkd")))
    teacher = teacher_of(one)
    for number, linear in one.projections.items():
        with torch.no_grad():
            linear.weight.copy_(torch.eye(WIDE, WIDTH))
        teacher[:, int(number), WIDTH:] = 0
    states = [teacher[:, n, :WIDTH].clone() for n in range(BLOCKS)]
    assert one.loss(states, teacher, 0.0, [1.0, 1.0]).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("none", "logits-only")])
def test_every_method_teaches_every_block_it_names(name: str) -> None:
    options = method(name).change(_config()).loss
    setting = Setting.of(LAYERS, BLOCKS, options, [1.0, 2.0, 3.0, 4.0, 5.0])
    matches = method(name).matches(setting)
    one, states = lessons(matches), own_states()
    one.loss(states, teacher_of(one), 0.6, [1.0, 1.0]).backward()
    compared = {match.student for match in matches if match.feature == "hidden"}
    assert compared
    for m in compared:
        gradient = states[m - 1].grad
        assert gradient is not None, f"{name} is silently off in block {m}"
        assert gradient.abs().sum() > 0
    for parameter in one.parameters():
        assert parameter.grad is not None


def _config():  # type: ignore[no-untyped-def]
    from distill.config import DistilConfig

    return DistilConfig("Books")


def test_a_mixture_begins_at_its_prior_and_learns() -> None:
    one = lessons((Match((1, 2, 5), 2, prior=(0.2, 0.5, 0.3)),))
    states, teacher = own_states(), teacher_of(one)
    own = one.projections["0"](states[1])
    mixed = 0.2 * teacher[:, 0] + 0.5 * teacher[:, 1] + 0.3 * teacher[:, 2]
    expected = ((own - mixed) ** 2).sum(1).mean() / (mixed**2).sum(1).mean() / BLOCKS
    loss = one.loss(states, teacher, 0.0, [1.0, 1.0])
    assert loss.item() == pytest.approx(expected.item())
    loss.backward()
    gradient = one.mixtures["0"].grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


def test_a_match_counts_only_in_its_time() -> None:
    one = lessons((Match(3, 1), Match(5, 2, begins=0.5)))
    states, teacher = own_states(), teacher_of(one)
    early, late = (one.loss(states, teacher, share, [1.0, 1.0]).item() for share in (0.4, 0.5))
    alone = lessons((Match(3, 1),))
    with torch.no_grad():
        alone.projections["0"].weight.copy_(one.projections["0"].weight)
    assert early == pytest.approx(alone.loss(states, teacher[:, :1], 0.4, [1.0, 1.0]).item())
    assert late > early


def test_supervision_is_named_and_costs_nothing_here() -> None:
    matches = (
        Match(3, 1),
        Match(0, 1, feature="supervision", loss="task", weight=0.25, begins=0.5),
    )
    one = lessons(matches)
    assert one.supervised(0.0) == []
    assert one.supervised(0.5) == [(1, 0.25)]
    assert list(one.projections) == ["0"]


@pytest.mark.parametrize(
    ("match", "says"),
    [
        (Match(3, 3), "has layers 1 to 2"),
        (Match(3, 0), "has layers 1 to 2"),
        (Match(3, 1, feature="attention"), "sees items where the teacher sees text"),
        (Match(3, 1, projection="none"), "width 4 cannot be compared with 6"),
        (Match(3, 1, loss="distanse"), "no layer loss"),
    ],
)
def test_what_cannot_be_compared(match: Match, says: str) -> None:
    with pytest.raises(BadSetting, match=says):
        lessons((match,))


def test_matches_need_the_states_they_look_at() -> None:
    with pytest.raises(BadSetting, match="without states"):
        taught((Match(3, 1),), state_layers=(2,))
    with pytest.raises(BadSetting, match="for 7 requests"):
        taught((Match(3, 1),), states=STATES[:3, [3]])
    with pytest.raises(BadSetting, match="no layers are matched"):
        taught((), states=None, begins=0.5)


# --- weights that move


def test_weights_that_follow_the_student_by_hand() -> None:
    blocks = [torch.nn.Linear(2, 1, bias=False) for _ in range(2)]
    moving = MovingScale(MovingWeights("student", 0.5, (3, 5)), (1.0, 1.0), seed=0)
    assert moving.factors() == [1.0, 1.0]
    for step, (first, second) in enumerate([(1.0, 3.0), (3.0, 1.0)]):
        for block, size in zip(blocks, (first, second), strict=True):
            block.zero_grad()
            (block.weight * torch.tensor([[size, 0.0]])).sum().backward()
        moving.follow(blocks)
        # Squares 1, 9 and then halfway to 9, 1: 5, 5.
        expected = [0.2, 1.8] if step == 0 else [1.0, 1.0]
        assert moving.factors() == pytest.approx(expected)


def test_weights_that_follow_the_teacher_tend_to_the_static_ones() -> None:
    squares = np.random.default_rng(0).exponential(size=(64, LAYERS)) * np.arange(1, LAYERS + 1)
    moving = MovingScale(
        MovingWeights("teacher", 0.02, (3, 5), squares.astype(np.float32)), (0.8, 1.2), seed=0
    )
    for _ in range(600):
        moving.follow([])
    mean = squares.mean(0)
    carried = np.array([mean[:3].sum(), mean[3:].sum()])
    np.testing.assert_allclose(moving.weights(), 2 * carried / carried.sum(), rtol=0.06)
    deep = MovingWeights("teacher", 0.02, (3, 5), squares.astype(np.float32), emphasis=(1.0, 3.0))
    emphasised = MovingScale(deep, (0.8, 1.2), seed=0)
    for _ in range(600):
        emphasised.follow([])
    wanted = carried * [1.0, 3.0]
    np.testing.assert_allclose(emphasised.weights(), 2 * wanted / wanted.sum(), rtol=0.06)
    again = MovingScale(moving.moving, (0.8, 1.2), seed=0)
    again.load_state_dict(moving.state_dict())
    assert again.factors() == moving.factors()
    for one in (moving, again):
        one.follow([])
    assert again.factors() == moving.factors()


def test_weights_that_do_not_move_are_those_given() -> None:
    still = MovingScale(None, (0.5, 1.5), seed=0)
    still.follow([])
    assert still.factors() == [1.0, 1.0]
    with pytest.raises(BadSetting, match="need its gradients"):
        MovingScale(MovingWeights("teacher", 0.1, (3, 5)), (1.0, 1.0), seed=0)


def test_layer_weights_of_a_distillation_add_up_by_block() -> None:
    made = taught((Match(3, 1, weight=0.5), Match(4, 1, weight=0.25), Match(5, 2, weight=2.0)))
    assert made.layer_weights == (0.75, 2.0)
    assert replace(made, matches=()).layer_weights == ()


def test_options_reach_the_setting() -> None:
    assert Setting.of(LAYERS, BLOCKS, LossConfig(depth_beta=0.3)).options.depth_beta == 0.3
