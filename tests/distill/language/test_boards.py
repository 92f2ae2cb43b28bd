"""What is written for TensorBoard can be read by it, and is what the training said."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from distill.boards import open_board, require_board
from distill.language.loop import LoopConfig, fit
from distill.training import Evaluated, StepDone
from recommender.backends.embedded import EmbeddedBackend
from recommender.events import Event
from storage.errors import BadSetting
from tests.distill.language.classroom import fitted, learner

CONFIG = LoopConfig(steps=5, learning_rate=5e-3, evaluate_every=2)


def read(folder: Path) -> Mapping[str, list[tuple[int, float]]]:
    """What TensorBoard itself finds there: tag -> (step, value)."""
    # Imported here: it takes seconds.
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    tags = found.Tags()["scalars"]
    return {tag: [(one.step, one.value) for one in found.Scalars(tag)] for tag in tags}


def expected(said: Sequence[Event]) -> dict[str, list[tuple[int, float]]]:
    made: dict[str, list[tuple[int, float]]] = {}
    step = 0
    for event in said:
        if isinstance(event, StepDone):
            step = event.step
            made.setdefault("loss/total", []).append((step, event.loss))
            for name, part in event.parts.items():
                made.setdefault(f"loss/{name}", []).append((step, part))
        elif isinstance(event, Evaluated):
            made.setdefault("validation/score", []).append((step, event.score))
            made.setdefault("validation/best", []).append((step, event.best))
    return made


def agrees(folder: Path, said: Sequence[Event]) -> None:
    found, told = read(folder), expected(said)
    assert found.keys() == told.keys()
    for tag, points in told.items():
        assert [step for step, _ in found[tag]] == [step for step, _ in points], tag
        assert [value for _, value in found[tag]] == pytest.approx([v for _, v in points]), tag


def test_tensorboard_reads_what_was_said(model: EmbeddedBackend, tmp_path: Path) -> None:
    _, said = fitted(learner(model), CONFIG, tensorboard=tmp_path / "new" / "board")
    assert set(expected(said)) == {
        "loss/total",
        "loss/task",
        "loss/output",
        "loss/layers",
        "validation/score",
        "validation/best",
    }
    agrees(tmp_path / "new" / "board", said)


def test_it_changes_nothing(model: EmbeddedBackend, tmp_path: Path) -> None:
    watched, _ = fitted(learner(model), CONFIG, tensorboard=tmp_path)
    alone, _ = fitted(learner(model), CONFIG)
    assert watched.history == alone.history


def test_going_on_it_goes_on_at_the_same_step(model: EmbeddedBackend, tmp_path: Path) -> None:
    """Regression: a validation that was owed was written at step 0."""
    where = {"checkpoint": tmp_path / "at", "tensorboard": tmp_path / "board"}
    begun = []
    for event in (job := fit(learner(model), CONFIG, **where)):
        begun.append(event)
        if isinstance(event, StepDone) and event.step == 2:
            job.close()  # type: ignore[attr-defined]
    _, rest = fitted(learner(model), CONFIG, **where)
    agrees(tmp_path / "board", [*begun, *rest])


def test_steps_that_come_again_after_a_kill_are_shown_once(tmp_path: Path) -> None:
    """A checkpoint is older than the last steps that were written."""
    for begun, steps in ((0, range(1, 6)), (3, range(4, 8))):
        with open_board(tmp_path, begun=begun) as board:
            for step in steps:
                board.hear(StepDone(step, step + begun / 10, {}))
    assert read(tmp_path)["loss/total"] == [
        *[(step, pytest.approx(step)) for step in (1, 2, 3)],
        *[(step, pytest.approx(step + 0.3)) for step in (4, 5, 6, 7)],
    ]


def test_asking_whether_it_can_be_written_takes_nothing_away(tmp_path: Path) -> None:
    """Regression: a run that was started again wiped the curve it had not to learn again."""
    with open_board(tmp_path / "new" / "board") as board:
        board.hear(StepDone(1, 0.5, {}))
    before = read(tmp_path / "new" / "board")
    require_board(tmp_path / "new" / "board")
    require_board(tmp_path / "newer" / "board")
    assert read(tmp_path / "new" / "board") == before
    assert before["loss/total"] == [(1, 0.5)]
    (tmp_path / "file").write_text("not a directory")
    for wrong in (tmp_path / "file", tmp_path / "file" / "board"):
        with pytest.raises(BadSetting, match="cannot be written"):
            require_board(wrong)


def test_a_directory_that_is_none_is_said(model: EmbeddedBackend, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(BadSetting, match=r"'.*file' cannot be written: "):
        list(fit(learner(model, None), CONFIG, tensorboard=tmp_path / "file"))


def test_without_tensorboard_it_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with (
        pytest.raises(
            BadSetting, match=r"TensorBoard is not installed; next: .*pip install tensorb"
        ),
        open_board(tmp_path),
    ):
        raise AssertionError("there is no board")
