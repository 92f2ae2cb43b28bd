from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.matches import centred, matched_layers, segments
from distill.weights import layer_weights
from storage.errors import BadSetting

SIZES = st.integers(1, 40).flatmap(lambda m: st.tuples(st.integers(m, 80), st.just(m)))


@given(SIZES)
def test_the_map_rises_to_the_last_layer_and_segments_cover_all(
    size: tuple[int, int],
) -> None:
    teacher, student = size
    layers = matched_layers(teacher, student)
    assert len(layers) == student
    assert layers[-1] == teacher
    assert all(a < b for a, b in zip((0, *layers[:-1]), layers, strict=True))
    for m, layer in enumerate(layers, start=1):
        assert abs(layer - m * teacher / student) <= 0.5
    assert [x for part in segments(teacher, student) for x in part] == list(range(1, teacher + 1))


def test_halves_are_rounded_up_everywhere() -> None:
    assert matched_layers(5, 2) == (3, 5)  # 2.5
    assert matched_layers(7, 2) == (4, 7)  # 3.5
    assert matched_layers(30, 4) == (8, 15, 23, 30)  # 7.5 and 22.5


def test_a_student_deeper_than_its_teacher_is_refused() -> None:
    with pytest.raises(BadSetting, match="3 layers cannot be matched to 2"):
        matched_layers(2, 3)


@given(SIZES, st.randoms(use_true_random=False))
def test_weights_are_their_definition_and_sum_to_m(size: tuple[int, int], chance) -> None:
    teacher, student = size
    importance = [chance.random() + 1e-6 for _ in range(teacher)]
    weights = layer_weights(importance, student, mode="fisher")
    ends = [0, *matched_layers(teacher, student)]
    sums = []
    for m in range(1, student + 1):
        total = 0.0
        for layer in range(1, teacher + 1):
            if ends[m - 1] < layer <= ends[m]:
                total += importance[layer - 1]
        sums.append(total)
    naive = [student * u / sum(sums) for u in sums]
    np.testing.assert_allclose(weights, naive, rtol=1e-5)
    assert weights.sum() == pytest.approx(student, rel=1e-5)


def test_by_hand() -> None:
    # L = 5, M = 2: segments {1, 2, 3} and {4, 5}; u = (6, 4); ω = 2 · (0.6, 0.4).
    np.testing.assert_allclose(
        layer_weights([1, 2, 3, 4, 0], 2, mode="fisher"), [1.2, 0.8], rtol=1e-6
    )


def test_even_importance_over_even_segments_is_uniform() -> None:
    even = layer_weights([0.7] * 12, 3, mode="fisher")
    np.testing.assert_allclose(even, layer_weights([0.7] * 12, 3, mode="uniform"), rtol=1e-6)
    assert layer_weights([9, 1, 1, 1], 2, mode="uniform").tolist() == [1, 1]


@pytest.mark.parametrize("wrong", [[0, 0, 0], [1, -1, 3], [1, float("nan"), 1], [1, float("inf")]])
def test_importance_that_is_none_is_refused(wrong: list[float]) -> None:
    with pytest.raises(BadSetting, match="importance"):
        layer_weights(wrong, 2, mode="fisher")


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(BadSetting, match="'magic'"):
        layer_weights([1, 1], 2, mode="magic")  # type: ignore[arg-type]


def test_centred_states_have_mean_zero_and_keep_their_differences() -> None:
    states = np.random.default_rng(0).normal(50, 1, size=(9, 2, 5)).astype(np.float32)
    rest = centred(states)
    np.testing.assert_allclose(rest.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(rest[3] - rest[4], states[3] - states[4], atol=1e-4)
