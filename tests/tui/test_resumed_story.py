"""What a job says over several sittings, put together: nothing begins again, nothing twice."""

from __future__ import annotations

import pytest

from distill.jobs.codec import JobResult, Resumed
from recommender.events import Event, Notice, Progress, StageDone, StageSkipped, StageStarted
from tui.job_story import GOES_ON, Story
from tui.widgets.stages import bar_line, stage_line

LICENCE = Notice("MovieLens: research and non-commercial use only")
FIRST: list[Event] = [
    LICENCE,
    StageStarted("gate", 20, "requests"),
    Progress("gate", 20, 20),
    StageDone("gate", 2.0, "20 requests answered"),
    StageStarted("labels", 40, "requests"),
    Progress("labels", 30, 40, "0.1 s a request"),
]


def stopped(*more: Event) -> Story:
    """A job that was stopped at 30 of 40 labels, and goes on with this."""
    story = Story()
    story.hear([*FIRST, Resumed(), LICENCE, *more])
    return story


def names(story: Story) -> list[tuple[str, str]]:
    return [(one.name, one.state) for one in story.stages]


def test_a_stage_that_counts_what_is_left_goes_on_where_it_was() -> None:
    story = stopped(StageStarted("labels", 10, "requests"))
    assert story.current is not None
    assert story.current.share == 0.75
    assert bar_line(story.current, None, 60).plain.endswith("75 %")
    story.hear([Progress("labels", 4, 10)])
    assert (story.current.done, story.current.total) == (34, 40)
    assert stage_line(story.current, 60).plain == "▶ labels  34 of 40 requests"


def test_until_a_resumed_job_begins_a_stage_the_one_it_left_off_is_shown() -> None:
    story = stopped()
    assert story.current is not None
    assert (story.current.name, story.current.share) == ("labels", 0.75)
    story.hear([StageStarted("vectors", 3), StageDone("vectors", 1.0)])
    assert story.current is None


def test_a_stage_that_is_stopped_twice_still_knows_its_whole() -> None:
    story = stopped(StageStarted("labels", 10, "requests"), Progress("labels", 4, 10), Resumed())
    story.hear([StageStarted("labels", 6, "requests"), Progress("labels", 3, 6)])
    assert [(one.done, one.total) for one in story.stages] == [(20, 20), (37, 40)]


def test_a_training_counts_all_steps_and_goes_on_from_its_checkpoint() -> None:
    story = Story()
    story.hear([StageStarted("train", 480, "steps"), Progress("train", 240, 480), Resumed()])
    story.hear([StageStarted("train", 480, "steps")])
    assert story.stages[0].done == 240
    story.hear([Progress("train", 210, 480)])  # the checkpoint was a little older
    assert story.stages[0].done == 210


def test_a_pull_that_looks_around_first_does_not_begin_at_nothing() -> None:
    story = Story()
    story.hear([StageStarted("pull", 0, "MB"), Progress("pull", 300, 900), Resumed()])
    story.hear([StageStarted("pull", 0, "MB"), Progress("pull", 0, 0, "pulling manifest")])
    assert (story.stages[0].done, story.stages[0].note) == (300, "pulling manifest")
    story.hear([Progress("pull", 310, 900)])
    assert (story.stages[0].done, story.stages[0].total) == (310, 900)


def test_a_stage_that_ended_begins_anew() -> None:
    story = stopped(StageStarted("gate", 5, "requests"), Progress("gate", 1, 5))
    assert [(one.name, one.done, one.total) for one in story.stages] == [
        ("labels", 30, 40),
        ("gate", 1, 5),
    ]


def test_the_rate_of_an_earlier_sitting_says_nothing_of_this_one() -> None:
    story = Story()
    story.hear([StageStarted("train", 400), Progress("train", 100, 400)])
    story.tick(0.0)
    story.hear([Progress("train", 200, 400)])
    story.tick(2.0)
    assert story.seconds_left(2.0) == pytest.approx(4.0)
    story.hear([Resumed(), StageStarted("train", 400)])
    story.tick(60.0)
    assert story.seconds_left(60.0) is None
    for now, done in ((61.0, 150), (63.0, 170)):  # from an older checkpoint, and slower
        story.hear([Progress("train", done, 400)])
        story.tick(now)
    assert story.seconds_left(63.0) == pytest.approx(23.0)


def test_stages_are_in_the_order_they_were_worked_at_the_unfinished_one_last() -> None:
    story = stopped()
    assert names(story) == [("gate", "done"), ("labels", "stopped")]
    assert stage_line(story.stages[1], 60).plain == "■ labels  stopped at 30 of 40 requests"
    story.hear([StageStarted("title vectors", 9, "texts"), StageDone("title vectors", 1.0)])
    story.hear([StageStarted("labels", 10, "requests")])
    assert names(story) == [("gate", "done"), ("title vectors", "done"), ("labels", "running")]
    assert story.current is story.stages[-1]


def test_a_stage_whose_last_word_was_lost_is_done() -> None:
    story = Story()
    story.hear([*FIRST[:-1], Progress("labels", 40, 40), Resumed(), StageStarted("train", 3)])
    assert names(story) == [("gate", "done"), ("labels", "done"), ("train", "running")]


def test_of_a_job_that_is_done_nothing_is_unfinished() -> None:
    story = stopped(StageStarted("train", 3), StageDone("train", 1.0), JobResult(("better",)))
    assert names(story) == [("gate", "done"), ("labels", "done"), ("train", "done")]


def test_what_an_earlier_sitting_did_is_done_and_not_skipped() -> None:
    story = stopped(StageSkipped("gate", "there"), StageSkipped("labels", "there"))
    assert names(story) == [("gate", "done"), ("labels", "skipped")]
    assert story.stages[0].note == "20 requests answered"


def test_what_every_sitting_says_is_said_once() -> None:
    story = stopped(StageSkipped("vectors", "there"), Resumed(), LICENCE)
    story.hear([StageSkipped("vectors", "there"), Notice("going on from step 3 of 9")])
    said = list(story.log)
    assert said.count(LICENCE.text) == said.count("vectors: skipped, there") == 1
    assert said.count(GOES_ON) == 2
    assert said[-1] == "going on from step 3 of 9"


def test_what_is_said_twice_in_one_sitting_is_said_twice() -> None:
    story = stopped(Notice("cut"), Notice("cut"))
    assert list(story.log)[-2:] == ["cut", "cut"]


@pytest.mark.parametrize("left", [0.9, 0.0004, 1e-9])
def test_less_than_a_second_is_no_figure(left: float) -> None:
    story = stopped(StageStarted("labels", 10), Progress("labels", 9, 10))
    assert story.current is not None
    line = bar_line(story.current, left, 80).plain
    assert "under 1 s left" in line
    assert " ms" not in line
