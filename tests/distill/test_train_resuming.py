"""Trainings that are stopped and go on: the same bytes, or a sentence."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from distill.data import Distillation, MovingWeights
from distill.matches import Match
from distill.student import Student
from distill.train import train
from distill.training import Evaluated, StepDone, Trained
from storage.errors import ArtifactDamaged, BadSetting, StoreUnavailable
from tests.distill.rings import CONFIG, MIXED, digest, result, ring, teaching


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Bytes are promised for one number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    "taught",
    [
        None,
        teaching(),
        teaching(moving=MovingWeights("student", 0.2, (3, 6))),
        teaching(moving=MovingWeights("teacher", 0.2, (3, 6), np.ones((9, 6), np.float32))),
        teaching(matches=(Match((1, 3, 6), 2),), state_layers=(1, 3, 6), states=MIXED),
    ],
)
def test_a_run_stopped_anywhere_ends_with_the_same_bytes(
    tmp_path: Path, taught: Distillation | None
) -> None:
    data = ring()
    whole = result(train(CONFIG, data, taught))
    stops = 0
    for _ in range(200):
        events = train(CONFIG, data, taught, checkpoint=tmp_path)
        steps = 0
        for event in events:
            if isinstance(event, Trained):
                assert digest(event) == digest(whole)
                assert event.history == whole.history
                assert stops > 3
                return
            steps += isinstance(event, StepDone)
            if steps == 5 or (isinstance(event, Evaluated) and event.epoch == 3):
                stops += 1
                events.close()
                break
    pytest.fail("never ended")


def test_a_finished_run_is_there_again_at_once(tmp_path: Path) -> None:
    whole = result(train(CONFIG, ring(), checkpoint=tmp_path))
    again = list(train(CONFIG, ring(), checkpoint=tmp_path))
    assert not any(isinstance(event, StepDone) for event in again)
    assert digest(again[-1]) == digest(whole)  # type: ignore[arg-type]
    assert sorted(file.suffix for file in tmp_path.iterdir()) == [".json", ".safetensors"]


def test_a_failure_in_the_middle_of_a_step_leaves_the_older_checkpoint(tmp_path: Path) -> None:
    plain = Student(CONFIG, ring(), None, device="cpu", checkpoint=None)
    after_first = plain.plan.epoch_steps
    events = train(CONFIG, ring(), checkpoint=tmp_path)
    for event in events:
        if isinstance(event, StepDone) and event.step == after_first + 3:
            break
    with pytest.raises(KeyboardInterrupt):
        events.throw(KeyboardInterrupt())
    index = json.loads((tmp_path / "checkpoint.json").read_text())
    assert index["standing"]["step"] == after_first
    assert digest(result(train(CONFIG, ring(), checkpoint=tmp_path))) == digest(
        result(train(CONFIG, ring()))
    )


@pytest.mark.parametrize(
    "other",
    [
        lambda: train(replace(CONFIG, seed=1), ring(), checkpoint=None),
        lambda: train(CONFIG, ring(seed=5), checkpoint=None),
        lambda: train(CONFIG, ring(), teaching(), checkpoint=None),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path, other) -> None:
    result(train(CONFIG, ring(), checkpoint=tmp_path))
    arguments = other().gi_frame.f_locals
    with pytest.raises(BadSetting, match="other settings or data"):
        next(
            train(
                arguments["config"],
                arguments["data"],
                arguments["distillation"],
                checkpoint=tmp_path,
            )
        )


@pytest.mark.parametrize("harm", ["cut tensors", "no tensors", "nonsense index"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, harm: str) -> None:
    result(train(CONFIG, ring(), checkpoint=tmp_path))
    tensors = next(tmp_path.glob("*.safetensors"))
    if harm == "cut tensors":
        tensors.write_bytes(tensors.read_bytes()[:-10])
    elif harm == "no tensors":
        tensors.unlink()
    else:
        (tmp_path / "checkpoint.json").write_text("{")
    with pytest.raises(ArtifactDamaged, match=tmp_path.name):
        next(train(CONFIG, ring(), checkpoint=tmp_path))


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreUnavailable, match="file"):
        result(train(CONFIG, ring(), checkpoint=tmp_path / "file" / "under"))


@pytest.mark.slow
def test_a_killed_process_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    program = (
        "import sys, torch\n"
        "from pathlib import Path\n"
        "from tests_train import CONFIG, digest, replace, ring, teaching, train\n"
        "torch.set_num_threads(1)\n"
        "config = replace(CONFIG, epochs=12, patience=12, checkpoint_seconds=0.0)\n"
        "where = Path(sys.argv[1]) if sys.argv[1] else None\n"
        "for event in train(config, ring(), teaching(), checkpoint=where):\n"
        "    print(type(event).__name__, flush=True)\n"
        "print(digest(event), flush=True)\n"
    )
    own = "import importlib.util as u, sys\n"
    own += f"s = u.spec_from_file_location('tests_train', {__file__!r})\n"
    own += "m = u.module_from_spec(s); sys.modules['tests_train'] = m; s.loader.exec_module(m)\n"

    def started(where: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", own + program, where], stdout=subprocess.PIPE, text=True
        )

    whole = started("").communicate()[0].split()[-1]
    for wait in (5, 17, 40):  # steps; then killed, most likely while writing a checkpoint
        process = started(str(tmp_path))
        assert process.stdout is not None
        for line in process.stdout:
            wait -= line.strip() == "StepDone"
            if not wait:
                time.sleep(0.01)
                process.send_signal(signal.SIGKILL)
                break
        process.wait()
        process.stdout.close()
    assert started(str(tmp_path)).communicate()[0].split()[-1] == whole


def test_a_board_has_every_step_once_after_a_stop(tmp_path: Path) -> None:
    """Regression: a training that went on wiped what it had written before."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board, kept = tmp_path / "board", tmp_path / "kept"
    begun = train(CONFIG, ring(), teaching(), checkpoint=kept, tensorboard=board)
    steps = 0
    for event in begun:
        steps += isinstance(event, StepDone)
        if steps == 7:
            break
    begun.close()  # type: ignore[attr-defined]
    time.sleep(1.01 - time.time() % 1)  # files are told apart by their second, and read in order
    whole = result(train(CONFIG, ring(), teaching(), checkpoint=kept, tensorboard=board))
    found = EventAccumulator(str(board))
    found.Reload()
    seen = [event.step for event in found.Scalars("loss/total")]
    assert seen == list(range(1, whole.steps + 1))
    assert len(found.Scalars("validation/score")) == len(whole.history)
