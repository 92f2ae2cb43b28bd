"""Jobs as they lie in a folder when the app comes by: of an earlier app, ended or under way."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from distill.jobs.codec import JobResult, to_line
from distill.jobs.lock import claimed
from distill.training import Evaluated, LayersWeighed, StepDone
from recommender.config import Settings
from recommender.events import Event, Notice, Progress, StageDone, StageSkipped, StageStarted

ARMS = ("train undistilled (same text, same budget)", "train distilled")


def distillation(steps: int = 40) -> list[Event]:
    """What a distillation says, from its first stage to its last."""
    said: list[Event] = [
        Notice("made by a test"),
        StageSkipped("title vectors", "they are there"),
        StageStarted("teacher: train", 24, "requests"),
        Progress("teacher: train", 24, 24, "0.1 s a request"),
        StageDone("teacher: train", 2.4, "24 requests answered"),
        LayersWeighed(0, (0.5, 1.5), "fisher-ld"),
    ]
    for arm in ARMS:
        said.append(StageStarted(arm, steps, "steps"))
        for step in range(1, steps + 1):
            said.append(StepDone(step, 6.0 - step / steps, {"task": 1.0}))
            if step % 10 == 0:
                said.append(Progress(arm, step, steps, f"loss {6.0 - step / steps:.3f}"))
                said.append(Evaluated(step // 10, round(0.1 + step / 1000, 3), 0.14, 5.0))
        said.append(StageDone(arm, 1.5, f"{steps} steps, best epoch 4"))
    said.append(JobResult(("gate: teacher MRR 0.5", "distilled: NDCG@10 0.19"), "run-1"))
    return said


def record(
    settings: Settings,
    name: str,
    events: Iterable[Event] = (),
    *,
    end: Mapping[str, object] | None = None,
    kind: str = "distil",
    title: str = "Tiny shop: slow, fisher-ld, 24 requests",
) -> Path:
    """Put a job down; without an end it is lost, unless somebody holds its lock."""
    folder = settings.data_dir / "jobs" / name
    folder.mkdir(parents=True)
    asked = {"kind": kind, "category": "Tiny shop", "title": title, "arguments": {}}
    (folder / "spec.json").write_text(json.dumps({**asked, **settings.carried()}))
    (folder / "pid").write_text(str(os.getpid()))
    say(folder, events)
    if end is not None:
        (folder / "end.json").write_text(json.dumps({"ended_at": "", **end}))
    return folder


def say(folder: Path, events: Iterable[Event]) -> None:
    """Let a job say more."""
    with (folder / "events.jsonl").open("a") as file:
        for event in events:
            line = to_line(event, 0.0)
            assert line is not None
            file.write(line)


@contextmanager
def alive(folder: Path) -> Iterator[None]:
    """Let a job seem to be under way, as its process would, by its lock."""
    with claimed(folder / "lock", 1.0) as mine:
        assert mine
        yield
