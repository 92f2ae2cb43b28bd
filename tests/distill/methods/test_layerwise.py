"""The lists of matches: budgets, maps, and what each control keeps of what it controls for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.config import DistilConfig, LossConfig
from distill.matches import Match
from distill.methods import METHODS, Setting, layerwise, method, with_method
from storage.errors import BadSetting

IMPORTANCE = tuple(float(n) for n in (8, 1, 1, 2, 5, 7, 1, 3))
SETTING = Setting.of(8, 4, LossConfig(), IMPORTANCE)
BUDGETED = [
    name
    for name in METHODS
    if name not in ("none", "logits-only", "slmrec", "fisher-ld-as-published")
]


def weights(matches: tuple[Match, ...]) -> list[float]:
    return [one.weight for one in matches]


@pytest.mark.parametrize("name", BUDGETED)
@given(
    layers=st.integers(2, 12),
    more=st.integers(0, 24),
    seed=st.integers(0, 2**16),
)
def test_every_method_has_one_budget(name: str, layers: int, more: int, seed: int) -> None:
    importance = np.random.default_rng(seed).exponential(size=layers + more) + 1e-6
    options = with_method(DistilConfig("Books"), name).loss
    matches = method(name).matches(Setting.of(layers + more, layers, options, list(importance)))
    assert sum(weights(matches)) == pytest.approx(layers)
    assert all(1 <= one.student <= layers for one in matches)
    assert all(1 <= layer <= layers + more for one in matches for layer in one.teacher_layers)


def test_fisher_weights_by_hand() -> None:
    # Segments (1,2) (3,4) (5,6) (7,8): 9, 3, 12, 4 of 28.
    assert weights(layerwise.by_importance(SETTING)) == pytest.approx(
        [4 * s / 28 for s in (9, 3, 12, 4)]
    )
    assert [one.teacher for one in layerwise.by_importance(SETTING)] == [2, 4, 6, 8]


def test_emphasis_on_depth_by_hand() -> None:
    deep = replace(SETTING, options=LossConfig(depth_beta=0.5, depth_delta=2.0))
    raw = [s * (1 + 0.5 * g / 8) ** 2 for s, g in zip((9, 3, 12, 4), (2, 4, 6, 8), strict=True)]
    assert weights(layerwise.by_importance(deep)) == pytest.approx([4 * r / sum(raw) for r in raw])
    flat = [(1 + 0.5 * g / 8) ** 2 for g in (2, 4, 6, 8)]
    assert weights(layerwise.depth_only(deep)) == pytest.approx([4 * f / sum(flat) for f in flat])


def test_controls_have_the_same_weights_in_other_places() -> None:
    straight = weights(layerwise.by_importance(SETTING))
    assert weights(layerwise.reversed_importance(SETTING)) == straight[::-1]
    lots = []
    for shuffle in range(1, 9):
        dealt = replace(SETTING, options=LossConfig(shuffle=shuffle))
        lot = weights(layerwise.shuffled_importance(dealt))
        assert sorted(lot) == sorted(straight)
        assert all(a != b for a, b in zip(lot, straight, strict=True))
        lots.append(tuple(lot))
    assert len(set(lots)) >= 3


def test_linear_rises_from_a_tenth_to_one() -> None:
    found = weights(layerwise.linear(SETTING))
    assert found[0] / found[-1] == pytest.approx(0.1)
    assert np.diff(found) == pytest.approx([found[1] - found[0]] * 3)


def test_pkd_by_hand() -> None:
    skip, last = layerwise.pkd_skip(SETTING), layerwise.pkd_last(SETTING)
    assert [(one.teacher, one.student) for one in skip] == [(2, 1), (4, 2), (6, 3)]
    assert [(one.teacher, one.student) for one in last] == [(5, 1), (6, 2), (7, 3)]
    assert {one.loss for one in (*skip, *last)} == {"pkd"}
    for one in (layerwise.pkd_skip, layerwise.pkd_last):
        with pytest.raises(BadSetting, match="one layer"):
            one(Setting.of(8, 1, LossConfig()))


def test_progressive_begins_one_after_another_and_ends_before_losses_fall() -> None:
    begins = [one.begins for one in layerwise.progressive(SETTING)]
    assert begins == pytest.approx([0, 0.175, 0.35, 0.525])


def test_slmrec_has_its_own_numbers() -> None:
    matches = layerwise.slmrec(SETTING)
    kinds = [(one.feature, one.loss, one.weight) for one in matches]
    assert kinds[:4] == [("hidden", "cosine", 1.0)] * 4
    assert kinds[4:8] == [("hidden", "length", 0.1)] * 4
    assert kinds[8:] == [("supervision", "task", pytest.approx(0.1 * 4 / 3))] * 3
    assert [one.student for one in matches[8:]] == [1, 2, 3]


def test_layer_attention_starts_from_importance() -> None:
    for one in layerwise.layer_attention(SETTING):
        assert one.teacher == tuple(range(1, 9))
        assert one.prior == pytest.approx([s / 28 for s in IMPORTANCE])
    nothing = replace(SETTING, importance=(1.0, *[0.0] * 7))
    assert min(layerwise.layer_attention(nothing)[0].prior) > 0


def test_as_published_is_equations_5_and_6_and_all_layers() -> None:
    matches = layerwise.as_published(replace(SETTING, options=LossConfig(depth_beta=0.3)))
    expected = [
        0.25 * s / sum(IMPORTANCE) * (1 + 0.3 * n / 8) for n, s in enumerate(IMPORTANCE, start=1)
    ]
    # The engine divides by the student's layers.
    assert [one.weight / 4 for one in matches] == pytest.approx(expected)
    assert [one.teacher for one in matches] == list(range(1, 9))
    assert [one.student for one in matches] == [1, 1, 2, 2, 3, 3, 4, 4]


def test_a_layer_that_hurts_counts_nothing_and_unmeasured_ones_are_refused() -> None:
    signed = replace(SETTING, importance=(-5.0, *IMPORTANCE[1:]))
    assert weights(layerwise.by_importance(signed))[0] == pytest.approx(4 * 1 / 20)
    with pytest.raises(BadSetting, match="was not measured"):
        layerwise.by_importance(replace(SETTING, importance=None))
    for wrong in ((0.0,) * 8, (float("nan"),) * 8, (1.0,) * 7):
        with pytest.raises(BadSetting, match="finite, of every layer"):
            layerwise.by_importance(replace(SETTING, importance=wrong))


def test_other_maps_than_the_even_one() -> None:
    cut = replace(SETTING, ends=(1, 5, 8))
    assert weights(layerwise.by_importance(cut)) == pytest.approx([3 * s / 28 for s in (8, 9, 11)])


@pytest.mark.parametrize(
    "wrong",
    [
        {"teacher": -1, "student": 1},
        {"teacher": (), "student": 1},
        {"teacher": (1, 2), "student": 1, "prior": (1.0,)},
        {"teacher": (1, 2), "student": 1, "prior": (1.0, 0.0)},
        {"teacher": 1, "student": 1, "begins": 1.0},
        {"teacher": 1, "student": 1, "weight": -1.0},
        {"teacher": 1, "student": 1, "weight": float("inf")},
    ],
)
def test_matches_that_make_no_sense(wrong: dict[str, object]) -> None:
    with pytest.raises(BadSetting):
        Match(**wrong)  # type: ignore[arg-type]
