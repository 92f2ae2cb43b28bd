"""From a list of matches to one number: every feature counts, by its weight, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from distill.language.features import Capture, Captured, Wanted
from distill.language.matched import ATTENTION_LOSSES, TokenLessons
from distill.losses import LAYER_LOSSES
from distill.matches import Match
from storage.errors import BadSetting
from tests.distill.importance.llamas import llama
from tests.distill.language.classroom import small_student

IDS = torch.tensor([[3, 9, 9, 14, 3, 22, 7], [5, 60, 2, 8, 0, 0, 0]])
REAL = torch.tensor([[False] + [True] * 6, [False] + [True] * 3 + [False] * 3])
ONE_OF_EACH = {
    "distance": Match(3, 1),
    "mse": Match(3, 1, loss="mse"),
    "embedding": Match(0, 0, loss="mse"),
    "cosine": Match(4, 2, loss="cosine"),
    "mixture": Match((1, 2, 4), 2, prior=(1.0, 2.0, 1.0)),
    "attention": Match(3, 1, "attention", "attention-kl", projection="none"),
    "attention-scores": Match(3, 1, "attention-scores", "scores-mse", projection="none"),
    "queries": Match(4, 2, "queries", "relation-kl", projection="none"),
    "keys": Match(4, 2, "keys", "relation-kl", projection="none"),
    "values": Match(4, 2, "values", "relation-kl", projection="none"),
}

PULLED = {"attention": "k", "attention-scores": "q", "queries": "q", "keys": "k"}
"""A projection of the layer itself that must be learned; of states, the values'."""


@pytest.fixture(scope="module")
def teacher() -> Any:
    return llama().requires_grad_(False)


@pytest.fixture
def student(teacher: Any) -> Any:
    made = small_student(teacher)
    with torch.no_grad():  # of the size of the teacher's, or nothing would be attended to
        for weight in made.parameters():
            if weight.ndim == 2:
                weight.mul_(10)
    return made


def lessons(*matches: Match, **changes: Any) -> TokenLessons:
    shape = {"layers": 2, "width": 24, "teacher_layers": 4, "teacher_width": 32, "seed": 0}
    return TokenLessons(matches, **{**shape, **changes})


def run(model: Any, wanted: Wanted) -> Captured:
    with Capture(model, wanted) as kept:
        model(input_ids=IDS, attention_mask=(IDS > 0).long(), use_cache=False)
    return kept


def passes(student: Any, teacher: Any, matches: tuple[Match, ...]) -> tuple[Captured, Captured]:
    return run(student, Wanted.of_student(matches)), run(teacher, Wanted.of_teacher(matches))


def loss_of(
    student: Any, teacher: Any, made: TokenLessons, share: float = 0.0, scale: Any = (1.0, 1.0)
) -> Tensor:
    return made.loss(*passes(student, teacher, made.matches), REAL, share, scale)


def gradients(student: Any, teacher: Any, *matches: Match) -> dict[str, Tensor]:
    loss = loss_of(student, teacher, lessons(*matches))
    names, weights = zip(*student.named_parameters(), strict=True)
    grads = torch.autograd.grad(loss, weights, allow_unused=True)
    return {n: g for n, g in zip(names, grads, strict=True) if g is not None}


# --- every feature counts ----------------------------------------------------------------


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_every_feature_pulls_at_the_student(name: str, student: Any, teacher: Any) -> None:
    match = ONE_OF_EACH[name]
    found = gradients(student, teacher, match)
    assert all(torch.isfinite(grad).all() for grad in found.values())
    assert max(float(grad.abs().max()) for grad in found.values()) > 1e-6
    above = f"model.layers.{max(match.student, 1)}."
    assert not any(one.startswith(above) for one in found), "layers above it have no part in it"
    reached = f"model.layers.{match.student - 1}.self_attn.{PULLED.get(name, 'v')}_proj.weight"
    assert found["model.embed_tokens.weight" if match.student == 0 else reached].abs().max() > 0


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_beside_others_it_still_changes_the_gradient(name: str, student: Any, teacher: Any) -> None:
    whole = gradients(student, teacher, *ONE_OF_EACH.values())
    others = [match for one, match in ONE_OF_EACH.items() if one != name]
    without = gradients(student, teacher, *others)
    assert any(not torch.allclose(grad, without[n], rtol=1e-4) for n, grad in whole.items())


def test_attention_losses_are_those_of_their_layers(student: Any, teacher: Any) -> None:
    """Computed here again, from the layers that the match names."""
    for name, loss in ATTENTION_LOSSES.items():
        match = replace(ONE_OF_EACH[name], weight=3.0)
        own, theirs = passes(student, teacher, (match,))
        expected = loss(own.attended[match.student], theirs.attended[match.teacher], REAL)
        found = loss_of(student, teacher, lessons(match))
        assert found.item() == pytest.approx(1.5 * expected.item(), rel=1e-6)


def test_states_are_projected_and_compared_where_tokens_count(student: Any, teacher: Any) -> None:
    for name in LAYER_LOSSES:
        made = lessons(Match(3, 2, loss=name))
        own, theirs = passes(student, teacher, made.matches)
        linear = made.projections["0"]
        rows = [(0, t) for t in range(1, 7)] + [(1, t) for t in range(1, 4)]
        projected = torch.stack([linear(own.hidden[2][row]) for row in rows])
        expected = LAYER_LOSSES[name](
            projected, torch.stack([theirs.hidden[3][row] for row in rows])
        )
        found = made.loss(own, theirs, REAL, 0.0, (1.0, 1.0))
        assert found.item() == pytest.approx(expected.item() / 2, rel=1e-5), name


def test_weights_factors_and_stages(student: Any, teacher: Any) -> None:
    first, second = Match(3, 1, weight=2.0), Match(4, 2, ends=0.5)
    one, other = (loss_of(student, teacher, lessons(match)).item() for match in (first, second))
    # The second projection is another draw than the first: both are drawn once, in order.
    both = lessons(first, second)
    alone = lessons(first, replace(second, weight=0.0))
    other = loss_of(student, teacher, both).item() - loss_of(student, teacher, alone).item()
    assert loss_of(student, teacher, both).item() == pytest.approx(one + other)
    assert loss_of(student, teacher, both, 0.5).item() == pytest.approx(one), "its stage is over"
    scaled = loss_of(student, teacher, both, 0.0, (3.0, 0.5)).item()
    assert scaled == pytest.approx(3 * one + other / 2, rel=1e-6)
    supervised = lessons(first, Match(0, 2, "supervision", "task"))
    assert loss_of(student, teacher, supervised).item() == pytest.approx(one)


# --- distances, and mixtures -------------------------------------------------------------


@pytest.mark.parametrize("name", ["distance", "mixture"])
def test_measured_beforehand_a_distance_is_the_same_and_no_longer_the_batchs(
    name: str, student: Any, teacher: Any
) -> None:
    made = lessons(ONE_OF_EACH[name])
    own, theirs = passes(student, teacher, made.matches)
    before = made.loss(own, theirs, REAL, 0.0, (1.0, 1.0))
    made.measure(theirs, REAL)
    after = made.loss(own, theirs, REAL, 0.0, (1.0, 1.0))
    assert after.item() == pytest.approx(before.item(), rel=1e-6)
    # Of two texts with 6 and 3 tokens that count, the loss is what they have by themselves.
    pieces = [
        made.loss(*(part_of(one, b) for one in (own, theirs)), REAL[b : b + 1], 0.0, (1.0, 1.0))
        for b in range(2)
    ]
    assert after.item() == pytest.approx((6 * pieces[0] + 3 * pieces[1]).item() / 9, rel=1e-6)


def part_of(kept: Captured, row: int) -> Captured:
    return Captured({output: states[row : row + 1] for output, states in kept.hidden.items()})


def test_a_mixture_starts_from_its_prior_and_learns(student: Any, teacher: Any) -> None:
    match = Match((1, 2, 4), 2, loss="mse", prior=(1.0, 2.0, 1.0))
    made = lessons(match)
    own, theirs = passes(student, teacher, (match,))
    target = sum(s * theirs.hidden[n] for s, n in ((0.25, 1), (0.5, 2), (0.25, 4)))
    projected = made.projections["0"](own.hidden[2])
    expected = LAYER_LOSSES["mse"](projected[REAL], target[REAL]) / 2
    loss = made.loss(own, theirs, REAL, 0.0, (1.0, 1.0))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    loss.backward()
    assert made.mixtures["0"].grad.abs().max() > 1e-6
    even = lessons(replace(match, prior=())).mixtures["0"].softmax(0)
    torch.testing.assert_close(even.detach(), torch.full((3,), 1 / 3))


def test_projections_are_the_seeds() -> None:
    matches = (Match(3, 1), Match(4, 2))
    first, again, other = lessons(*matches), lessons(*matches), lessons(*matches, seed=1)
    for number in ("0", "1"):
        weight = first.projections[number].weight
        assert torch.equal(weight, again.projections[number].weight)
        assert not torch.equal(weight, other.projections[number].weight)
        assert weight.shape == (32, 24)
    assert not torch.equal(first.projections["0"].weight, first.projections["1"].weight)
    assert not lessons(Match(4, 2, projection="none"), width=32).projections


def test_what_stands_first_and_what_fills_up_change_nothing(student: Any, teacher: Any) -> None:
    """States, queries and keys of tokens that do not count may be anything."""
    made = lessons(*ONE_OF_EACH.values())
    own, theirs = passes(student, teacher, made.matches)
    before = made.loss(own, theirs, REAL, 0.0, (1.0, 1.0)).item()
    torch.manual_seed(0)
    spoilt = [spoil(one) for one in (own, theirs)]
    assert made.loss(*spoilt, REAL, 0.0, (1.0, 1.0)).item() == pytest.approx(before, rel=1e-6)


def spoil(kept: Captured) -> Captured:
    def other(x: Tensor, place: Tensor) -> Tensor:
        return torch.where(place, x, 9 * torch.randn_like(x)).detach()

    rows, heads = REAL[:, :, None], REAL[:, None, :, None]
    parts = ("queries", "keys", "values")
    return Captured(
        {output: other(states, rows) for output, states in kept.hidden.items()},
        {
            layer: replace(one, **{part: other(getattr(one, part), heads) for part in parts})
            for layer, one in kept.attended.items()
        },
    )


# --- what is refused ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "sentence"),
    [
        (Match(5, 1), "a match of layers 5 and 1: the teacher has 4, the student 2"),
        (Match((1, 5), 1), r"a match of layers \(1, 5\) and 1: the teacher has 4, the student 2"),
        (Match(4, 3), "a match of layers 4 and 3: the teacher has 4, the student 2"),
        (Match(0, 3, "supervision", "task"), "the student 2"),
        (Match(3, 1, loss="near"), "no layer loss 'near': distance, mse"),
        (Match(3, 1, projection="none"), "different widths cannot be compared without"),
        (Match(3, 1, "attention", "scores-mse"), "attention of a layer is compared by 'att"),
        (Match(3, 1, "attention-scores", "mse"), "attention-scores of a layer is compared by 's"),
        (Match(3, 1, "values", "distance"), "values of a layer is compared by 'relation-kl'"),
        (Match(0, 1, "keys", "relation-kl"), "keys of a layer is compared by 'relation-kl'"),
        (Match(3, 0, "keys", "relation-kl"), "keys of a layer is compared by 'relation-kl'"),
        (Match((2, 3), 1, "keys", "relation-kl"), "keys of several layers cannot be mixed"),
    ],
)
def test_a_wrong_match_is_refused_with_a_sentence(match: Match, sentence: str) -> None:
    with pytest.raises(BadSetting, match=sentence):
        lessons(match)
