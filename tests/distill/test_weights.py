from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.importance.statistics.ratios import band_ratio
from distill.matches import centred, matched_layers, segments
from distill.weights import (
    BETA_ABSTRACT,
    BETA_PAPER,
    WEIGHTINGS,
    bands,
    carried,
    equation_5,
    equation_6,
    exponential,
    layer_weights,
    mean_one,
    resolve_weighting,
    six_fixed,
    weigh,
)
from storage.errors import BadSetting

Write = Callable[[str], str]
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


TRACES = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=40).map(np.array)
FREE = [name for name in WEIGHTINGS if name != "six-fixed"]


def naive_equation_5(traces: np.ndarray, gamma: float) -> list[float]:
    return [trace / sum(traces) * gamma for trace in traces]


@given(TRACES)
def test_equation_5_is_as_printed(traces: np.ndarray) -> None:
    np.testing.assert_allclose(equation_5(traces), naive_equation_5(traces, 0.25))
    assert equation_5(traces).sum() == pytest.approx(0.25)
    np.testing.assert_allclose(equation_5(traces, gamma=0.5), 2 * equation_5(traces))
    # I4: the mean weight of 32 layers is 0.0078, and not between 0.1 and 2.
    assert equation_5(np.ones(32)).mean() == pytest.approx(0.0078, abs=5e-5)


@given(TRACES, st.floats(0, 3), st.floats(0.1, 3))
def test_depth_is_emphasised_as_printed(traces: np.ndarray, beta: float, delta: float) -> None:
    layers = len(traces)
    six, by_exponential = equation_6(traces, beta, delta=delta), exponential(traces, beta)
    for layer in range(1, layers + 1):
        weight = traces[layer - 1]
        assert six[layer - 1] == pytest.approx(weight * (1 + beta * layer / layers) ** delta)
        assert by_exponential[layer - 1] == pytest.approx(weight * math.exp(beta * layer / layers))
    np.testing.assert_allclose(equation_6(traces, 0, delta=delta), traces)
    np.testing.assert_allclose(exponential(traces, 0), traces)


@pytest.mark.parametrize(("beta", "ratio"), [(BETA_PAPER, 1.22), (BETA_ABSTRACT, 1.54)])
def test_the_presets_alone_make_a_ratio(beta: float, ratio: float) -> None:
    assert band_ratio(equation_6(np.ones(32), beta)).value == pytest.approx(ratio, abs=0.005)


@given(st.integers(1, 80))
def test_what_is_claimed_to_rise_with_depth_does(layers: int) -> None:
    even = np.ones(layers)
    for weights in (
        bands(layers),
        equation_6(even, BETA_PAPER),
        equation_6(even, BETA_ABSTRACT, delta=2),
        exponential(even),
    ):
        assert len(weights) == layers
        assert (np.diff(weights) > 0).all()
    assert (np.diff(six_fixed(6)) > 0).all()


@given(st.integers(1, 200))
def test_bands_stay_in_their_printed_ranges(layers: int) -> None:
    for layer, weight in enumerate(bands(layers)):
        middle = (layer + 0.5) / layers
        if middle <= 0.3:
            low, high, begin, end = 0.1, 0.3, 0.0, 0.3
        elif middle <= 0.7:
            low, high, begin, end = 0.3, 0.7, 0.3, 0.7
        else:
            low, high, begin, end = 0.7, 2.0, 0.7, 1.0
        assert low <= weight <= high
        assert weight == pytest.approx(low + (high - low) * (middle - begin) / (end - begin))


def test_six_weights_are_for_six_layers() -> None:
    assert weigh([1.0] * 12, 6, weighting="six-fixed", budget="as-printed").tolist() == (
        pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9, 1.0])
    )
    with pytest.raises(BadSetting, match="for a student of 6 layers, not of 4"):
        weigh([1.0] * 12, 4, weighting="six-fixed")


@given(TRACES, st.randoms(use_true_random=False))
def test_layers_may_be_numbered_otherwise(traces: np.ndarray, chance) -> None:
    order = list(range(len(traces)))
    chance.shuffle(order)
    for weights in (equation_5, mean_one):
        np.testing.assert_allclose(weights(traces[order]), weights(traces)[order])


@pytest.mark.parametrize("name", WEIGHTINGS)
@pytest.mark.parametrize("teacher", [6, 13, 32])
def test_every_weighting_can_be_brought_to_one_budget(name: str, teacher: int) -> None:
    importance = np.random.default_rng(0).exponential(size=teacher)
    printed = weigh(importance, 6, weighting=name, budget="as-printed")
    scaled = weigh(importance, 6, weighting=name)
    assert scaled.dtype == printed.dtype == np.float32
    assert scaled.sum() == pytest.approx(6, rel=1e-6)
    np.testing.assert_allclose(scaled / scaled[0], printed / printed[0], rtol=1e-5)  # one shape


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("sound", 4),
        ("uniform", 4),
        ("equation-5", 0.25),
        ("equation-6-beta-0.3", 0.25 * (1 + 0.3 * 13 / 24)),
        ("equation-6-beta-0.8", 0.25 * (1 + 0.8 * 13 / 24)),
        ("exponential", 0.25 * sum(math.exp(0.3 * n / 12) for n in range(1, 13)) / 12),
        ("bands", 0.2 * 3.6 + 0.5 * 4.8 + 1.35 * 3.6),
    ],
)
def test_as_printed_the_layer_loss_weighs_what_it_would_over_all_layers(name, total) -> None:
    weights = weigh([3.0] * 12, 4, weighting=name, budget="as-printed")
    # The bands are read at twelve middles, so their sum is the integral but for the corners.
    assert weights.sum() == pytest.approx(total, rel=0.01 if name == "bands" else 1e-6)


@given(SIZES, st.randoms(use_true_random=False))
def test_every_free_weighting_sums_to_m(size: tuple[int, int], chance) -> None:
    teacher, student = size
    importance = [chance.random() + 1e-6 for _ in range(teacher)]
    for name in FREE:
        weights = weigh(importance, student, weighting=name)
        assert weights.shape == (student,)
        assert weights.sum() == pytest.approx(student, rel=1e-5)


@given(SIZES)
def test_what_is_carried_is_the_sum_over_a_segment(size: tuple[int, int]) -> None:
    teacher, student = size
    weights = np.arange(1.0, teacher + 1)
    found = carried(weights, student)
    for part, got in zip(segments(teacher, student), found, strict=True):
        assert got == pytest.approx(sum(part))
    assert found.sum() == pytest.approx(weights.sum())


def test_the_old_names_are_the_new_ones() -> None:
    importance = [1.0, 5.0, 2.0, 2.0, 7.0]
    for mode, name in (("fisher", "sound"), ("uniform", "uniform")):
        old = layer_weights(importance, 2, mode=mode)  # type: ignore[arg-type]
        assert old.tolist() == weigh(importance, 2, weighting=name).tolist()


@pytest.mark.parametrize("wrong", [[0, 0, 0], [1, -1, 3], [1, float("nan"), 1], [1, float("inf")]])
@pytest.mark.parametrize("name", ["sound", "equation-5", "equation-6-beta-0.3", "exponential"])
def test_no_weighting_uses_importance_that_is_none(name: str, wrong: list[float]) -> None:
    with pytest.raises(BadSetting, match="importance"):
        weigh(wrong, 2, weighting=name)


def test_what_is_no_weighting_is_said_so() -> None:
    with pytest.raises(
        BadSetting, match=r"no weighting 'magic': sound, uniform, .*module:function"
    ):
        weigh([1, 1], 2, weighting="magic")
    with pytest.raises(BadSetting, match="unknown budget 'none'"):
        weigh([1, 1], 2, budget="none")  # type: ignore[arg-type]
    with pytest.raises(BadSetting, match="a student of 0 layers"):
        weigh([1, 1], 0, weighting="uniform")
    with pytest.raises(BadSetting, match="no layers"):
        bands(0)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a module of a name of its own into `tmp_path`; return its name."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    name = f"own_weights_{tmp_path.name}".replace("-", "_")

    def write(text: str) -> str:
        (tmp_path / f"{name}.py").write_text(dedent(text))
        return name

    yield write
    sys.modules.pop(name, None)


OWN = """
def last(importance, student_layers):
    importance[0] = 100.0
    return [0.0] * (student_layers - 1) + [2.0]
"""


def test_a_function_of_ones_own_weighs(tmp_path: Path, module: Write) -> None:
    place = f"{module(OWN)}:last"
    importance = np.ones(4)
    found = weigh(importance, 3, weighting=place, folder=tmp_path, budget="as-printed")
    assert found.tolist() == [0, 0, 2]
    assert weigh(importance, 3, weighting=place, folder=tmp_path).tolist() == [0, 0, 3]
    assert importance.tolist() == [1, 1, 1, 1]  # it may write into a copy only
    assert resolve_weighting(place, folder=tmp_path)(importance, 2).tolist() == [0, 2]


@pytest.mark.parametrize(
    ("gives", "said"),
    [
        ("[1.0]", r"gave weights of shape \(1,\) for 2 student layers"),
        ("[[1.0, 2.0]]", r"gave weights of shape \(1, 2\) for 2"),
        ("None", r"gave weights of shape \(\) for 2"),
        ("[1.0, -0.5]", "gave weights below zero"),
        ("[1.0, float('nan')]", "gave weights that are not finite"),
        ("[float('inf'), 1.0]", "gave weights that are not finite"),
        ("[0.0, 0.0]", "gave weights that are all zero"),
        ("['much', 'little']", "gave no numbers: could not convert"),
        ("[[1.0], [1.0, 2.0]]", "gave no numbers"),
        ("1 / 0", r"ZeroDivisionError.*; next: look at .*own_weights_.*, line 2"),
    ],
)
def test_what_it_gives_is_looked_over(tmp_path: Path, module: Write, gives: str, said: str) -> None:
    place = f"{module(f'def own(importance, student_layers):{chr(10)}    return {gives}')}:own"
    with pytest.raises(BadSetting, match=rf"the weighting '{place}' .*{said}"):
        weigh([1.0, 1.0], 2, weighting=place, folder=tmp_path)


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        (OWN, "lost", r"did you mean 'last'\?; next: name it .my_module:my_function"),
        ("import nothing_like_it", "own", "no module 'nothing_like_it'|ModuleNotFoundError"),
        ("own = (", "own", "SyntaxError"),
        ("own = 3", "own", "next: name it .my_module:my_function"),
    ],
)
def test_a_function_that_is_not_there_is_said_so(
    tmp_path: Path, module: Write, text: str, name: str, said: str
) -> None:
    with pytest.raises(BadSetting, match=said):
        resolve_weighting(f"{module(text)}:{name}", folder=tmp_path)
