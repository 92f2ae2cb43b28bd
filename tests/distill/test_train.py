from __future__ import annotations

import hashlib
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

from distill.data import Distillation, MovingWeights, TrainData
from distill.matches import Match
from distill.memory import peak_bytes
from distill.student import Student
from distill.train import train
from distill.training import Evaluated, StepDone, TrainConfig, Trained
from recommender.events import Event, Notice, Progress, StageDone, StageStarted
from recommender.sequential.export import network_from
from recommender.sequential.shape import NetworkConfig, pad
from storage.errors import ArtifactDamaged, BadData, BadSetting, StoreUnavailable

ITEMS = 24
SHAPE = NetworkConfig(width=16, max_len=6, dropout=0.2)
MIXED = np.random.default_rng(2).normal(size=(30, 3, 12)).astype(np.float32)
CONFIG = TrainConfig(
    network=SHAPE, start="free", epochs=4, batch=16, request_batch=8, learning_rate=5e-3
)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Bytes are promised for one number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def ring(people: int = 120, *, seed: int = 0, valid: bool = True) -> TrainData:
    """Everybody walks around a ring of items; the next item is the one after the last."""
    rng = np.random.default_rng(seed)
    starts, lengths = rng.integers(0, ITEMS, people), rng.integers(3, 10, people)
    walks = [(s + np.arange(n)) % ITEMS for s, n in zip(starts, lengths, strict=True)]
    text = rng.normal(size=(ITEMS, 20)).astype(np.float32)
    return TrainData(
        ITEMS,
        np.concatenate(walks),
        np.concatenate([[0], lengths.cumsum()]),
        valid_histories=walks[:40] if valid else (),
        valid_targets=np.array([(walk[-1] + 1) % ITEMS for walk in walks[:40]]),
        text=text,
    )


def teaching(requests: int = 30, **changes: object) -> Distillation:
    rng = np.random.default_rng(1)
    given: dict[str, object] = {
        "histories": [rng.integers(0, ITEMS, n) for n in rng.integers(1, 9, requests)],
        "candidates": np.array([rng.permutation(ITEMS)[:5] for _ in range(requests)]),
        "labels": rng.dirichlet(np.ones(5), requests).astype(np.float32),
        "states": rng.normal(size=(requests, 2, 12)).astype(np.float32),
        "state_layers": (3, 6),
        "matches": (Match(3, 1, weight=0.5), Match(6, 2, weight=1.5)),
    }
    return Distillation(**{**given, **changes})  # type: ignore[arg-type]


def result(events: Iterator[Event]) -> Trained:
    *_, last = events
    assert isinstance(last, Trained)
    return last


def digest(trained: Trained) -> str:
    whole = hashlib.sha256()
    for name, array in sorted(trained.weights.items()):
        whole.update(name.encode() + array.tobytes())
    return whole.hexdigest()


# --- what is learned ---------------------------------------------------------------------


def test_it_learns_the_ring_and_says_what_it_does() -> None:
    events = list(train(replace(CONFIG, epochs=12), ring()))
    trained = events[-1]
    assert isinstance(trained, Trained)
    assert trained.best > 0.9
    steps = [event for event in events if isinstance(event, StepDone)]
    assert [event.step for event in steps] == list(range(1, trained.steps + 1))
    assert steps[-1].loss < steps[0].loss
    assert steps[0].loss == pytest.approx(np.log(ITEMS), rel=0.05)
    assert isinstance(events[0], StageStarted)
    assert any(isinstance(event, Progress) for event in events)
    assert isinstance(events[-2], StageDone)
    assert trained.history == tuple(event for event in events if isinstance(event, Evaluated))


def test_validation_is_ndcg_of_the_kept_weights_by_the_definition() -> None:
    data = ring()
    trained = result(train(CONFIG, data))
    network = network_from(trained.weights, SHAPE)
    gains = []
    assert data.valid_targets is not None
    for history, target in zip(data.valid_histories, data.valid_targets, strict=True):
        with torch.no_grad():
            scores = network.scores(network(torch.from_numpy(pad([history], 6)))[1][:, -1])[0]
        others = [i for i in range(ITEMS) if i != target and i not in history]
        rank = 1 + sum(bool(scores[i] >= scores[target]) for i in others)
        gains.append(1 / np.log2(rank + 1) if rank <= 10 else 0)
    assert trained.best == pytest.approx(np.mean(gains))
    assert trained.best == max(event.score for event in trained.history)
    assert trained.history[trained.best_epoch - 1].score == trained.best


def test_it_stops_when_patience_ends_and_keeps_the_best() -> None:
    # Nothing to find: the validation targets are chance.
    data = ring()
    rng = np.random.default_rng(0)
    free = [sorted(set(range(ITEMS)) - set(history.tolist())) for history in data.valid_histories]
    targets = np.array([rng.choice(items) for items in free])
    chance = replace(data, valid_targets=targets)
    trained = result(train(replace(CONFIG, epochs=60, patience=3), chance))
    assert len(trained.history) == trained.best_epoch + 3 < 60


def test_without_validation_it_trains_to_the_end_on_the_schedule_it_is_given() -> None:
    config = replace(CONFIG, epochs=6, stop_after=2, patience=1)
    trained = result(train(config, ring(valid=False)))
    assert trained.best_epoch == 2
    assert np.isnan(trained.best)
    # The same steps as the first two epochs of the run that chose.
    chosen = Student(config, ring(valid=False), None, device="cpu", checkpoint=None).plan
    assert trained.steps == chosen.last_step == chosen.steps // 3


def test_text_and_free_start_differ_in_the_table_only() -> None:
    data = ring()
    text, free = (
        Student(replace(CONFIG, start=start), data, None, device="cpu", checkpoint=None)  # type: ignore[arg-type]
        for start in ("text", "free")
    )
    pairs = zip(text.network.named_parameters(), free.network.named_parameters(), strict=True)
    assert [name for (name, a), (_, b) in pairs if not torch.equal(a, b)] == ["table"]
    with pytest.raises(BadSetting, match="no text vectors"):
        next(train(replace(CONFIG, start="text"), replace(data, text=None)))


# --- the teacher -------------------------------------------------------------------------


def test_a_teacher_that_counts_for_nothing_changes_no_byte() -> None:
    """The arms share first weights, sequences, their order, and dropout on them."""
    data = ring()
    plain = result(train(CONFIG, data))
    mute = result(train(CONFIG, data, teaching(task=1.0, output=0.0, layers=0.0)))
    heard = result(train(CONFIG, data, teaching()))
    assert digest(plain) == digest(mute)
    assert digest(plain) != digest(heard)
    assert plain.steps == heard.steps


def test_the_parts_add_up_and_the_layers_fade() -> None:
    config = replace(CONFIG, epochs=5, patience=5)
    steps = [e for e in train(config, ring(), teaching()) if isinstance(e, StepDone)]
    for event in steps:
        assert set(event.parts) == {"task", "output", "layers"}
        assert sum(event.parts.values()) == pytest.approx(event.loss, rel=1e-5)
    # D is 1 for a student that answers 0, and states have mean 0: about Σω / M = 1 at first.
    assert steps[0].parts["layers"] == pytest.approx(1, abs=0.3)
    assert steps[-1].parts["layers"] < 0.1 * steps[0].parts["layers"]


def test_the_student_comes_to_agree_with_its_teacher() -> None:
    taught = teaching(task=0.1, output=1.0)
    config = replace(CONFIG, epochs=40, patience=40)
    *_, last_step = (e for e in train(config, ring(valid=False), taught) if isinstance(e, StepDone))
    first = next(e for e in train(config, ring(), taught) if isinstance(e, StepDone))
    assert last_step.parts["output"] < 0.3 * first.parts["output"]


def test_layers_are_matched_to_the_states_of_their_own_index() -> None:
    student = Student(CONFIG, ring(), teaching(), device="cpu", checkpoint=None)
    assert student.requests is not None
    batch = student.requests.at(0)
    assert batch.states is not None
    with torch.no_grad():
        blocks, _ = student.network(torch.from_numpy(batch.ids), student._chance("label dropout"))
        total = 0.0
        for m, weight in enumerate([0.5, 1.5]):
            projected = student.lessons.projections[str(m)](blocks[m][:, -1]).numpy()
            gap = ((projected - batch.states[:, m]) ** 2).sum(1).mean()
            total += weight * gap / (batch.states[:, m] ** 2).sum(1).mean() / 2
        assert student.losses()["layers"].item() == pytest.approx(total, rel=1e-5)


def test_without_weights_labels_alone_are_learned() -> None:
    taught = teaching(states=None, state_layers=(), matches=())
    steps = [e for e in train(CONFIG, ring(), taught) if isinstance(e, StepDone)]
    assert set(steps[0].parts) == {"task", "output"}


def test_a_match_of_a_block_that_is_not_there_is_refused() -> None:
    wrong = teaching(matches=(Match(3, 1), Match(6, 3)))
    with pytest.raises(BadSetting, match="layer 3, and the student has layers 1 to 2"):
        next(train(CONFIG, ring(), wrong))


def test_blocks_that_predict_for_themselves_do() -> None:
    early = Match(0, 1, feature="supervision", loss="task", weight=0.5)
    matches = (*teaching().matches, early)
    steps = [e for e in train(CONFIG, ring(), teaching(matches=matches)) if isinstance(e, StepDone)]
    assert set(steps[0].parts) == {"task", "output", "layers", "supervision"}
    # As hard as the task at first, weighed by ω / M.
    assert steps[0].parts["supervision"] == pytest.approx(0.25 * np.log(ITEMS), rel=0.1)


def test_a_block_that_predicts_counts_by_a_share_of_its_own() -> None:
    early = Match(0, 1, feature="supervision", loss="task", weight=0.5)
    parts = []
    for share in (1.0, 0.5):
        taught = teaching(matches=(*teaching().matches, early), layers=0.01, supervision=share)
        steps = [e for e in train(CONFIG, ring(), taught) if isinstance(e, StepDone)]
        parts.append(steps[0].parts)
    assert parts[0]["supervision"] == pytest.approx(2 * parts[1]["supervision"])
    assert parts[0]["layers"] == parts[1]["layers"]


@pytest.mark.parametrize("seed", range(6))
def test_a_batch_of_nothing_but_what_was_there_before_ends_no_run(seed: int) -> None:
    """Regression: a mean over no target is no number, and a run ended as diverged."""
    people = [[1, 2, 3, 4]] * 8 + [[5, 5, 5]]
    offsets = np.cumsum([0, *map(len, people)])
    data = TrainData(9, np.concatenate(people), offsets)
    config = replace(CONFIG, batch=8, seed=seed, network=NetworkConfig(width=8, heads=1))
    assert result(train(config, data)).steps == config.epochs


def test_a_student_of_no_new_choice_has_nothing_to_learn() -> None:
    with pytest.raises(BadData, match="nobody chose anything new"):
        next(train(CONFIG, TrainData(9, np.array([5, 5, 7, 7]), np.array([0, 2, 4]))))


def test_validation_looks_at_a_bounded_number_of_people_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = ring()
    many = replace(
        data,
        valid_histories=[*data.valid_histories] * 30,
        valid_targets=np.tile(data.valid_targets, 30),
    )
    student, whole = (Student(CONFIG, d, None, device="cpu", checkpoint=None) for d in (many, data))
    sizes: list[int] = []
    latest = student.network.latest
    monkeypatch.setattr(
        student.network, "latest", lambda ids: (sizes.append(len(ids)), latest(ids))[1]
    )
    assert student.validate() == pytest.approx(whole.validate())
    assert sizes == [1024, 176]


def test_layers_alone_are_learned_until_the_rest_begins() -> None:
    taught = teaching(begins=0.5)
    steps = [e for e in train(CONFIG, ring(), taught) if isinstance(e, StepDone)]
    half = len(steps) // 2
    assert all(set(event.parts) == {"layers"} for event in steps[:half])
    assert all(set(event.parts) == {"task", "output", "layers"} for event in steps[half:])


def test_balanced_layers_count_as_much_as_what_is_said() -> None:
    for event in train(CONFIG, ring(), teaching(balance=True, fade=0.0)):
        if isinstance(event, StepDone):
            assert event.parts["layers"] == pytest.approx(event.parts["output"], rel=1e-4)


def test_a_squared_norm_is_that_of_all_weights() -> None:
    student = Student(CONFIG, ring(), teaching(l2=0.1), device="cpu", checkpoint=None)
    expected = 0.1 * sum(float(w.detach().square().sum()) for w in student.network.parameters())
    assert student.losses()["l2"].detach().item() == pytest.approx(expected, rel=1e-5)


# --- a catalogue too large for the full softmax ------------------------------------------


def test_above_the_budget_it_samples_says_so_and_still_learns() -> None:
    config = replace(CONFIG, score_bytes=1000, negatives=12, epochs=12)
    events = list(train(config, ring()))
    notices = [event.text for event in events if isinstance(event, Notice)]
    assert len(notices) == 1
    assert "12 sampled items" in notices[0]
    trained = events[-1]
    assert isinstance(trained, Trained)
    assert trained.objective == "sampled"
    assert trained.best > 0.8


# --- stopping and going on ---------------------------------------------------------------


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


def test_a_loss_that_is_no_number_ends_the_run() -> None:
    with pytest.raises(BadSetting, match="diverged at step"):
        result(train(replace(CONFIG, learning_rate=1e30, clip=1e30), ring()))


def test_weights_that_the_last_step_ruined_end_the_run() -> None:
    """Regression: no loss had seen them, and validation failed with a traceback."""
    wild = replace(CONFIG, learning_rate=1e30, clip=1e30, warmup=0.0, batch=256, epochs=1)
    with pytest.raises(BadSetting, match="diverged at step 1: its validation is not a number"):
        result(train(wild, ring()))


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
    whole = result(train(CONFIG, ring(), teaching(), checkpoint=kept, tensorboard=board))
    found = EventAccumulator(str(board))
    found.Reload()
    seen = [event.step for event in found.Scalars("loss/total")]
    assert seen == list(range(1, whole.steps + 1))
    assert len(found.Scalars("validation/score")) == len(whole.history)


def test_a_trainings_peak_is_its_own() -> None:
    large = np.ones(60_000_000)  # 480 MB that another part of the process once had
    del large
    before = peak_bytes()
    assert before is not None
    found = result(train(replace(CONFIG, epochs=1), ring())).peak_bytes
    assert found is not None
    assert found < before - 200_000_000
