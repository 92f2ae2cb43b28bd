"""Which layers a cut keeps: every rule by hand and by its meaning, and what is refused."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.language.keeping import (
    PUBLISHED_KEEP,
    RULES,
    aligned_outputs,
    keep_of,
    keep_set,
    supervising_outputs,
)
from storage.errors import BadSetting

SIZES = st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n)))


@pytest.mark.parametrize("rule", RULES)
@given(sizes=SIZES, seed=st.integers(0, 9))
def test_every_rule_keeps_as_many_as_it_is_told_rising(
    rule: str, sizes: tuple[int, int], seed: int
) -> None:
    layers, keep = sizes
    kept = keep_set(rule, layers, keep, seed=seed)
    assert len(kept) == keep
    assert list(kept) == sorted(set(kept))
    assert 0 <= kept[0] <= kept[-1] < layers
    if keep == layers:
        assert kept == tuple(range(layers))


@given(SIZES)
def test_what_the_rules_mean(sizes: tuple[int, int]) -> None:
    layers, keep = sizes
    assert keep_set("first", layers, keep) == tuple(range(keep))
    assert keep_set("last", layers, keep) == tuple(range(layers - keep, layers))
    bottom, top = (keep + 1) // 2, keep // 2
    both = (*range(bottom), *range(layers - top, layers))
    assert keep_set("top-bottom", layers, keep) == both
    even = keep_set("uniform", layers, keep)
    if keep > 1:
        assert (even[0], even[-1]) == (0, layers - 1)
        gaps = {b - a for a, b in pairwise(even)}
        assert max(gaps) - min(gaps) <= 1


def test_evenly_by_hand() -> None:
    assert keep_set("uniform", 30, 4) == (0, 10, 19, 29)
    assert keep_set("uniform", 32, 8) == (0, 4, 9, 13, 18, 22, 27, 31)


def test_chance_is_the_seeds_and_favours_no_layer() -> None:
    drawn = [keep_set("random", 12, 3, seed=seed) for seed in range(400)]
    assert drawn == [keep_set("random", 12, 3, seed=seed) for seed in range(400)]
    assert len(set(drawn)) > 100
    often = [sum(layer in kept for kept in drawn) for layer in range(12)]
    # Each is kept 100 times of 400, give or take √(400 · ¼ · ¾) = 8.7.
    assert 65 < min(often) <= max(often) < 135


def test_a_profile_keeps_the_most_important_and_of_equals_the_lower() -> None:
    assert keep_set("profile", 5, 2, profile=[1.0, 4.0, -2.0, 5.0, 0.0]) == (1, 3)
    assert keep_set("profile", 4, 2, profile=[2.0, 2.0, 2.0, 3.0]) == (0, 3)


@pytest.mark.parametrize("rule", [*RULES, "profile"])
def test_protected_layers_stay_and_count(rule: str) -> None:
    kept = keep_set(rule, 8, 4, profile=[0.0] * 5 + [9.0] * 3, protected=(0, 3, 7))
    assert {0, 3, 7} <= set(kept)
    assert len(kept) == 4


def test_layers_by_number() -> None:
    assert keep_set("5, 0,3", 8, 1) == (0, 3, 5)
    published = ",".join(map(str, PUBLISHED_KEEP))
    assert keep_set(published, 32, 8) == (0, 8, 9, 20, 28, 29, 30, 31)


@pytest.mark.parametrize(
    ("rule", "keep", "sentence"),
    [
        ("0,8", 2, "layer 8 cannot be kept: there are 0 to 7"),
        ("8", 1, "layer 8 cannot be kept: there are 0 to 7"),
        ("1,1", 2, "a layer is named twice in '1,1'"),
        ("unifrom", 2, "no rule 'unifrom' for what a cut keeps.* 'uniform'"),
        ("0,-1", 2, "no rule '0,-1'"),
        ("", 2, "no rule ''"),
        ("first", 0, "0 layers cannot be kept of 8"),
        ("first", 9, "9 layers cannot be kept of 8"),
        ("profile", 2, "no importance of 8 layers"),
    ],
)
def test_what_is_refused(rule: str, keep: int, sentence: str) -> None:
    with pytest.raises(BadSetting, match=sentence):
        keep_set(rule, 8, keep)


def test_profiles_and_protections_that_do_not_fit_are_refused() -> None:
    with pytest.raises(BadSetting, match="no importance of 4 layers"):
        keep_set("profile", 4, 2, profile=[1.0, 2.0, 3.0])
    with pytest.raises(BadSetting, match="layer 4 cannot be protected: there are 0 to 3"):
        keep_set("first", 4, 2, protected=(4,))
    with pytest.raises(BadSetting, match="3 layers are protected, and only 2 kept"):
        keep_set("first", 4, 2, protected=(0, 1, 3))


def test_how_many_stay() -> None:
    assert [keep_of(0.75, layers) for layers in (1, 2, 3, 6, 10, 30)] == [1, 1, 1, 2, 3, 8]
    assert keep_of(0.0, 7) == 7
    assert keep_of(0.999, 7) == 1
    for wrong in (1.0, -0.1, 1.5, float("nan")):
        with pytest.raises(BadSetting, match="a share between 0 and 1"):
            keep_of(wrong, 7)


# --- what a kept layer stands for: algorithms.md §2.4 ------------------------------------


@given(st.sets(st.integers(0, 31), min_size=1))
def test_a_kept_layer_gives_what_the_next_kept_one_takes(numbers: set[int]) -> None:
    """g(m) = i_{m+1} − 1 as an output counted from 0, and L − 1 at the end: one more from 1."""
    kept = sorted(numbers)
    by_the_text = [(kept[m + 1] if m + 1 < len(kept) else 32) - 1 for m in range(len(kept))]
    assert [output - 1 for output in aligned_outputs(kept, 32)] == by_the_text
    segments = zip((0, *aligned_outputs(kept, 32)), aligned_outputs(kept, 32), strict=False)
    assert all(begin < end for begin, end in segments), "no layer answers for nothing"


def test_nothing_gone_every_layer_stands_for_itself() -> None:
    assert aligned_outputs(range(5), 5) == (1, 2, 3, 4, 5)
    assert aligned_outputs((7,), 8) == (8,)


def test_supervising_outputs_are_those_of_the_most_important_layers() -> None:
    assert supervising_outputs([0.0, 9.0, 8.0, 1.0], 2) == (2, 3)
    with pytest.raises(BadSetting, match="5 layers cannot be kept of 4"):
        supervising_outputs([1.0] * 4, 5)
