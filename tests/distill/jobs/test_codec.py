"""Events as lines: what is written is read back, and what is no event is nothing."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import pytest

from distill.jobs.codec import KNOWN, JobResult, Resumed, from_line, to_line
from distill.training import Evaluated, LayersWeighed, StepDone
from recommender.events import Event, Notice, Progress, StageDone, StageSkipped, StageStarted

EVENTS = (
    StageStarted("labels", 9, "requests"),
    StageStarted("labels"),
    Progress("labels", 3, 9, "2.1/s"),
    StageDone("labels", 2.25, "9 labels"),
    StageSkipped("train", "trained already"),
    Notice("two\nlines\r\u2028, \x1b[31mred, \u202e and \ud800 alone"),
    StepDone(3, 0.5, {"task": 0.25, "layer": 0.25}),
    StepDone(0, 1.0, {}),
    Evaluated(2, 0.25, 0.5, 0.75),
    LayersWeighed(0, (0.5, 1.5), "fisher"),
    JobResult(("one", "two"), "run-1"),
    JobResult(()),
    Resumed(),
)


@pytest.mark.parametrize("event", EVENTS, ids=repr)
def test_what_is_written_is_read_back(event: Event) -> None:
    line = to_line(event, 1_764_000_000.1234)
    assert line is not None
    assert line.count("\n") == 1
    assert from_line(line) == from_line(line.encode()) == (event, 1_764_000_000.123)


def test_every_kind_is_tried() -> None:
    assert {type(event).__name__ for event in EVENTS} == set(KNOWN)


def test_a_number_that_is_none_survives() -> None:
    line = to_line(Evaluated(1, math.nan, math.nan, math.inf), 0.0)
    assert line is not None
    assert "NaN" not in line
    assert json.loads(line)["score"] is None
    read = from_line(line)
    assert read is not None
    event = read[0]
    assert isinstance(event, Evaluated)
    assert all(math.isnan(one) for one in (event.score, event.best, event.loss))


def test_numbers_within_are_numbers_too() -> None:
    for event in (StepDone(1, 0.5, {"task": math.nan}), LayersWeighed(1, (math.nan, 1.0), "x")):
        read = from_line(to_line(event, 0.0) or "")
        assert read is not None
        assert repr(read[0]) == repr(event)


@dataclass(frozen=True, slots=True)
class Private(Event):
    text: str


@dataclass(frozen=True, slots=True)
class Louder(Notice):
    loud: bool = True


@pytest.mark.parametrize("event", [Private("x"), Louder("x"), Event()], ids=repr)
def test_what_it_does_not_know_is_not_written(event: Event) -> None:
    assert to_line(event, 0.0) is None


@pytest.mark.parametrize(
    "line",
    [
        "",
        "\n",
        "null",
        "[]",
        "5",
        '"Notice"',
        "{}",
        '{"event":"Notice","at":1,"te',
        '{"event":"Notice","text":"no time"}',
        '{"event":"Notice","at":"soon","text":"x"}',
        '{"event":"Notice","at":1}',
        '{"event":"Notice","at":1,"text":5}',
        '{"event":"Shouted","at":1,"text":"x"}',
        '{"event":["Notice"],"at":1,"text":"x"}',
        '{"event":"Progress","at":1,"stage":"x","done":"many"}',
        '{"event":"StepDone","at":1,"step":1,"loss":1.0,"parts":{"task":"big"}}',
        '{"event":"LayersWeighed","at":1,"step":0,"weights":5,"by":"x"}',
        '{"event":"JobResult","at":1,"summary":[1]}',
        b"\xff\xfe\n",
        "[" * 100_000,
    ],
    ids=lambda line: repr(line)[:40],
)
def test_what_is_no_event_is_nothing(line: str | bytes) -> None:
    assert from_line(line) is None


def test_what_a_later_version_adds_is_passed_over() -> None:
    line = '{"event":"Notice","at":1,"text":"x","colour":"red"}'
    assert from_line(line) == (Notice("x"), 1.0)
