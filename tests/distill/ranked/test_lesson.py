"""Lists made of what a teacher said: who is listed, who is behind, how sure it was, refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from distill.asking import Asked
from distill.ranked.lesson import (
    ProjectedItems,
    Ranked,
    RankedLesson,
    projected_items,
    ranked_lesson,
    ranked_of,
)
from distill.ranked.settings import RankedConfig
from recommender.scoring import Evidence
from storage.errors import BadSetting
from storage.records import LabelRequest

LABELS = np.array([[0.1, 0.4, 0.3, 0.2], [0.7, 0.0, 0.1, 0.2], [0.25, 0.25, 0.25, 0.25]])
TARGETS = [0, 3, -1]
FULL = RankedConfig(share=0.8, top=2, position=0.3, confidence=0.5, consistency=0.1)


def made(config: RankedConfig = FULL, **more: object) -> RankedLesson:
    found = ranked_lesson(config, LABELS, TARGETS, **more)  # type: ignore[arg-type]
    assert found is not None
    return found


def test_who_is_listed_and_who_is_behind() -> None:
    lesson = made()
    assert lesson.lists.tolist() == [[1, 2], [0, 3], [0, 1]]
    # Never what the person chose: 0 of the first; 3 of the second is on the list itself.
    assert lesson.behind.tolist() == [
        [False, False, False, True],
        [False, True, True, False],
        [False, False, True, True],
    ]


def test_weights_by_hand() -> None:
    lesson = made()
    place = np.exp([-1.0, -2.0]) / np.exp([-1.0, -2.0]).sum()
    student = np.array([[0.0, 3.0, 1.0, 2.0]])  # its two best are 1 and 3
    raw = 0.3 * place + 0.5 * np.array([4 / 7, 3 / 7]) + 0.1 * np.array([1.0, 0.0])
    assert lesson.weights(np.array([0]), student) == pytest.approx((raw / raw.sum())[None])
    assert lesson.weights(np.array([0]), student).dtype == np.float32


def test_each_weight_alone_and_none() -> None:
    bare = replace(FULL, position=0.0, confidence=0.0, consistency=0.0)
    student, rows = np.zeros((3, 4)), np.arange(3)
    even = made(bare).weights(rows, student)
    assert (even == 0.5).all()
    place = made(replace(bare, position=1.0)).weights(rows, student)
    assert (place == place[0]).all()
    assert place[0, 0] == pytest.approx(np.e / (1 + np.e))
    sure = made(replace(bare, confidence=1.0)).weights(rows, student)
    assert sure == pytest.approx(np.array([[4 / 7, 3 / 7], [7 / 9, 2 / 9], [0.5, 0.5]]))
    # Ties go to the first: the student's best of equal scores are 0 and 1.
    both = made(replace(bare, consistency=1.0)).weights(rows, student)
    assert both.tolist() == [[1, 0], [1, 0], [0.5, 0.5]]


def test_beta_sharpens() -> None:
    bare = replace(FULL, position=0.0, consistency=0.0)
    rows, student = np.array([0]), np.zeros((1, 4))
    flat = made(replace(bare, confidence_beta=10.0)).weights(rows, student)
    sharp = made(replace(bare, confidence_beta=0.2)).weights(rows, student)
    assert flat[0, 0] < 4 / 7 < sharp[0, 0]


def test_confidence_by_distance_is_of_the_distances() -> None:
    config = replace(FULL, confidence_by="distance", position=0.0, consistency=0.0)
    far = np.array([[2.0, 0.5, 0.1, 1.0], [0.0, 1.0, 1.0, 2.0], [1.0, 1.0, 1.0, 1.0]])
    found = made(config, distances=far).weights(np.arange(3), np.zeros((3, 4)))
    raw = np.exp(-np.array([[0.5, 0.1], [0.0, 2.0], [1.0, 1.0]]))
    assert found == pytest.approx(raw / raw.sum(1, keepdims=True))
    with pytest.raises(BadSetting, match="no distances"):
        made(config)


def test_a_candidate_that_is_ruled_out_counts_for_nothing() -> None:
    config = replace(FULL, top=3, position=0.0, consistency=0.0)
    labels = np.array([[0.7, 0.3, 0.0, 0.0]])
    found = ranked_lesson(config, labels, [-1])
    assert found is not None
    assert found.given[0] == pytest.approx([0.35, 0.15, 0.0])


def test_few_lists_count_less_and_without_a_share_there_are_none() -> None:
    assert made(counts=0.25).share == pytest.approx(0.2)
    assert ranked_lesson(replace(FULL, share=0.0), LABELS, TARGETS) is None


@pytest.mark.parametrize("top", [4, 9])
def test_a_list_of_all_candidates_is_refused(top: int) -> None:
    with pytest.raises(BadSetting, match="nothing is behind it") as refused:
        made(replace(FULL, top=top))
    assert "--candidates" in str(refused.value.next_step)


# --- of a teacher's answers


def asked(*, named: tuple[bool, ...] = (True, True, True)) -> Asked:
    requests = tuple(
        LabelRequest(str(n), 1, "train", n, n, (7,), (10, 11, 12, 13), target, "t", "letters")
        for n, target in enumerate(TARGETS)
    )
    evidence = tuple(
        Evidence(target, generate=-np.arange(4.0) - n if is_named else None)
        for n, (target, is_named) in enumerate(zip(TARGETS, named, strict=True))
    )
    return Asked(requests, evidence, tuple(np.log(LABELS + 1e-9)), (True,) * 3)


def test_permuted_answers_take_their_targets_and_distances_along() -> None:
    config = replace(FULL, confidence_by="distance")
    own, dealt = np.arange(3), np.array([2, 0, 1])
    plain = ranked_of(config, asked(), LABELS, own, None, counts=1.0).lists
    moved = ranked_of(config, asked(), LABELS, dealt, None, counts=1.0).lists
    assert plain is not None
    assert moved is not None
    for one, other in zip(plain.arrays, moved.arrays, strict=True):
        assert (one[dealt] == other).all()


def test_distances_need_a_teacher_that_names_titles() -> None:
    config = replace(FULL, confidence_by="distance")
    for named in ((True, False, True), (False, False, False)):
        with pytest.raises(BadSetting, match="names a title") as refused:
            ranked_of(config, asked(named=named), LABELS, np.arange(3), None, counts=1.0)
        assert "generate" in str(refused.value.next_step)
    silent = asked(named=(False, False, False))
    assert ranked_of(FULL, silent, LABELS, np.arange(3), None, counts=1.0).lists is not None


def test_items_are_projected_only_where_that_is_asked() -> None:
    vectors = np.ones((5, 3), dtype=np.float32)
    assert projected_items(FULL, vectors) is None
    found = projected_items(replace(FULL, embeddings=True, offset=False), vectors)
    assert found is not None
    assert not found.offset
    with pytest.raises(BadSetting, match="there are none"):
        projected_items(replace(FULL, embeddings=True), None)


def test_all_that_decides_is_named() -> None:
    vectors = np.ones((5, 3), dtype=np.float32)
    both = Ranked(made(), ProjectedItems(vectors))
    assert both.settings == ("ranked", 0.8, 0.1, "projected", True)
    assert len(both.arrays) == 4
    assert both.settings != Ranked(made(), ProjectedItems(vectors, offset=False)).settings


@pytest.mark.parametrize(
    "wrong",
    [
        {"share": -0.1},
        {"position": float("nan")},
        {"consistency": float("inf")},
        {"position_beta": 0.0},
        {"confidence_beta": -1.0},
        {"top": 0},
    ],
)
def test_settings_out_of_their_range(wrong: dict[str, float]) -> None:
    with pytest.raises(BadSetting):
        replace(FULL, **wrong)  # type: ignore[arg-type]
