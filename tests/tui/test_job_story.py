"""What a job said, put together: stages, curves, time left, however often it was stopped."""

from __future__ import annotations

import math

import pytest

from distill.training import Evaluated, LayersWeighed, StepDone
from recommender.events import Notice, Progress, StageDone, StageSkipped, StageStarted
from tests.tui.recorded import distillation
from tui.job_story import LINES, Story, thinned


def told(*looks: tuple[float, int], total: int = 100) -> Story:
    """A stage that was looked at so often, at which second and when how much was done."""
    story = Story()
    story.hear([StageStarted("labels", total)])
    for now, done in looks:
        story.hear([Progress("labels", done, total)])
        story.tick(now)
    return story


def test_a_distillation_from_end_to_end() -> None:
    story = Story()
    story.hear(distillation())
    assert [(one.name, one.state) for one in story.stages] == [
        ("title vectors", "skipped"),
        ("teacher: train", "done"),
        ("train undistilled (same text, same budget)", "done"),
        ("train distilled", "done"),
    ]
    assert story.current is None
    assert list(story.losses) == list(story.scores) == ["undistilled", "distilled"]
    assert [len(points) for points in story.losses.values()] == [40, 40]
    assert story.scores["distilled"] == [(1, 0.11), (2, 0.12), (3, 0.13), (4, 0.14)]
    assert story.weighed == LayersWeighed(0, (0.5, 1.5), "fisher-ld")
    assert story.summary == ("gate: teacher MRR 0.5", "distilled: NDCG@10 0.19")
    assert list(story.log)[:3] == [
        "made by a test",
        "title vectors: skipped, they are there",
        "teacher: train: 24 requests answered (2.4 s)",
    ]


def test_a_training_that_goes_on_from_a_checkpoint_says_its_steps_once() -> None:
    story = Story()
    story.hear([StageStarted("train distilled", 30)])
    story.hear([StepDone(step, 5.0, {}) for step in range(1, 21)])
    story.hear([Evaluated(1, 0.1, 0.1, 5.0), Evaluated(2, 0.2, 0.2, 5.0)])
    story.hear([StageStarted("train distilled", 30)])
    story.hear([StepDone(step, 4.0, {}) for step in range(11, 31)])
    story.hear([Evaluated(2, 0.3, 0.3, 5.0)])
    assert [step for step, _ in story.losses["distilled"]] == list(range(1, 31))
    assert story.losses["distilled"][9:11] == [(10, 5.0), (11, 4.0)]
    assert story.scores["distilled"] == [(1, 0.1), (2, 0.3)]
    assert len(story.stages) == 1


def test_a_stage_of_a_second_sitting_is_where_it_was_in_the_first() -> None:
    story = Story()
    story.hear([StageStarted("labels", 9), Progress("labels", 4, 9), StageStarted("labels", 9)])
    assert [(one.done, one.state) for one in story.stages] == [(4, "running")]
    story.hear([Progress("labels", 5, 9)])
    assert story.stages[0].done == 5
    story.hear([StageSkipped("labels", "there"), StageStarted("train", 3)])
    assert [one.state for one in story.stages] == ["skipped", "running"]
    assert story.current is story.stages[1]


def test_figures_that_are_none_are_not_drawn() -> None:
    story = Story()
    story.hear([StageStarted("final training", 5), StepDone(1, math.nan, {})])
    story.hear([Evaluated(1, math.nan, math.nan, 3.0)])
    assert not story.losses
    assert not story.scores


def test_an_event_of_a_training_nobody_began() -> None:
    story = Story()
    story.hear([StepDone(1, 2.0, {}), StageDone("x", 0.5)])
    assert story.losses == {"": [(1, 2.0)]}
    assert list(story.log) == ["x: done (500.0 ms)"]


def test_the_log_is_as_long_as_can_be_read() -> None:
    story = Story()
    story.hear([Notice(str(n)) for n in range(LINES + 5)])
    assert (len(story.log), story.log[0], story.logged) == (LINES, "5", LINES + 5)


def test_time_left_is_that_of_the_rate_of_late() -> None:
    assert told((10.0, 10), (12.0, 30)).seconds_left(12.0) == pytest.approx(7.0)
    assert told((10.0, 10), (12.0, 30)).seconds_left(15.0) == pytest.approx(4.0)
    assert told((10.0, 10), (12.0, 30)).seconds_left(18.5) == pytest.approx(0.5)


def test_nothing_is_said_of_time_left_that_has_passed_already() -> None:
    assert told((10.0, 10), (12.0, 30)).seconds_left(19.0) is None
    assert told((10.0, 10), (12.0, 30)).seconds_left(99.0) is None
    assert told((10.0, 10), (12.0, 100)).seconds_left(12.0) is None


@pytest.mark.parametrize(
    "story",
    [
        Story(),
        told(),
        told((10.0, 10)),  # heard all at once: nobody knows how long it took
        told((10.0, 10), (10.5, 30)),
        told((10.0, 10), (12.0, 10)),
        told((10.0, 10), (12.0, 30), total=0),
    ],
)
def test_nothing_is_said_of_a_rate_that_is_not_known(story: Story) -> None:
    assert story.seconds_left(12.0) is None


def test_a_new_stage_has_a_rate_of_its_own() -> None:
    story = told((0.0, 10), (2.0, 90))
    story.hear([StageDone("labels", 2.0), StageStarted("train", 10), Progress("train", 1, 10)])
    story.tick(3.0)
    assert story.seconds_left(3.0) is None


@pytest.mark.parametrize("most", [2, 3, 7, 50])
def test_thinned_curves_keep_their_ends(most: int) -> None:
    points = [(float(x), 0.0) for x in range(31)]
    kept = thinned(points, most)
    assert len(kept) == min(most, 31)
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert kept == sorted(set(kept))
