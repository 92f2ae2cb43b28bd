"""What a student learns: from the log, from labels, from states."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from distill.data import TrainData
from distill.matches import Match
from distill.memory import peak_bytes
from distill.student import Student
from distill.train import train
from distill.training import Evaluated, StepDone, Trained
from recommender.events import Notice, Progress, StageDone, StageStarted
from recommender.sequential.export import network_from
from recommender.sequential.shape import NetworkConfig, pad
from storage.errors import BadData, BadSetting
from tests.distill.rings import CONFIG, ITEMS, SHAPE, digest, result, ring, teaching


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Bytes are promised for one number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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


def test_a_loss_that_is_no_number_ends_the_run() -> None:
    with pytest.raises(BadSetting, match="diverged at step"):
        result(train(replace(CONFIG, learning_rate=1e30, clip=1e30), ring()))


def test_weights_that_the_last_step_ruined_end_the_run() -> None:
    """Regression: no loss had seen them, and validation failed with a traceback."""
    wild = replace(CONFIG, learning_rate=1e30, clip=1e30, warmup=0.0, batch=256, epochs=1)
    with pytest.raises(BadSetting, match="diverged at step 1: its validation is not a number"):
        result(train(wild, ring()))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a peak")
def test_a_trainings_peak_is_its_own() -> None:
    large = np.ones(60_000_000)  # 480 MB that another part of the process once had
    del large
    before = peak_bytes()
    assert before is not None
    found = result(train(replace(CONFIG, epochs=1), ring())).peak_bytes
    assert found is not None
    assert found < before - 200_000_000
