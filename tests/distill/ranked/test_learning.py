"""Students that learn from rankings and vectors: what is added, what moves, what a stop keeps."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.utils import parametrize

from distill.arms import _digest
from distill.data import Distillation, TrainData
from distill.ranked.lesson import ProjectedItems, Ranked, ranked_lesson
from distill.ranked.settings import RankedConfig
from distill.student import Student
from distill.train import train
from distill.training import StepDone, TrainConfig, Trained
from recommender.events import Event
from recommender.sequential.export import network_from
from recommender.sequential.shape import NetworkConfig

ITEMS, OFFERED = 24, 6
SHAPE = NetworkConfig(width=16, max_len=6, dropout=0.2)
CONFIG = TrainConfig(
    network=SHAPE, start="free", epochs=3, batch=16, request_batch=8, learning_rate=5e-3
)
FULL = RankedConfig(share=0.8, top=3, position=0.3, confidence=0.5, consistency=0.1)
NOTHING = Ranked()


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Bytes are promised for one number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def ring(people: int = 60) -> TrainData:
    """Everybody walks around a ring of items."""
    rng = np.random.default_rng(0)
    starts, lengths = rng.integers(0, ITEMS, people), rng.integers(3, 9, people)
    walks = [(s + np.arange(n)) % ITEMS for s, n in zip(starts, lengths, strict=True)]
    offsets = np.concatenate([[0], lengths.cumsum()])
    nexts = np.array([(walk[-1] + 1) % ITEMS for walk in walks[:20]])
    text = rng.normal(size=(ITEMS, 20)).astype(np.float32)
    return TrainData(ITEMS, np.concatenate(walks), offsets, walks[:20], nexts, text)


def vectors(wide: int = 40) -> np.ndarray:
    """Vectors that say where on the ring an item is, and much else."""
    rng = np.random.default_rng(3)
    angle = 2 * np.pi * np.arange(ITEMS) / ITEMS
    known = 3 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    mixed = np.concatenate([known, rng.normal(size=(ITEMS, wide - 2)) * 0.3], axis=1)
    return mixed.astype(np.float32)


def teaching(ranked: Ranked | None = None, requests: int = 30, **more: object) -> Distillation:
    rng = np.random.default_rng(1)
    labels = rng.dirichlet(np.ones(OFFERED), requests).astype(np.float32)
    if ranked is None:
        ranked = Ranked(ranked_lesson(FULL, labels, [-1] * requests))
    given: dict[str, object] = {
        "histories": [rng.integers(0, ITEMS, n) for n in rng.integers(1, 9, requests)],
        "candidates": np.array([rng.permutation(ITEMS)[:OFFERED] for _ in range(requests)]),
        "labels": labels,
        "output": 0.0,
        "layers": 0.0,
        "ranked": ranked,
    }
    return Distillation(**{**given, **more})  # type: ignore[arg-type]


def projecting(*, offset: bool = True, lists: bool = False) -> Distillation:
    items = ProjectedItems(vectors(), offset)
    return teaching(Ranked(teaching().ranked.lists if lists else None, items))


def result(events: Iterator[Event]) -> Trained:
    *_, last = events
    assert isinstance(last, Trained)
    return last


def digest(trained: Trained) -> str:
    whole = hashlib.sha256()
    for name, array in sorted(trained.weights.items()):
        whole.update(name.encode() + array.tobytes())
    return whole.hexdigest()


def steps_of(taught: Distillation | None, config: TrainConfig = CONFIG) -> list[StepDone]:
    return [event for event in train(config, ring(), taught) if isinstance(event, StepDone)]


def test_a_ranking_is_one_more_part_and_counts() -> None:
    for event in steps_of(teaching()):
        assert set(event.parts) == {"task", "ranked"}
        assert sum(event.parts.values()) == pytest.approx(event.loss, rel=1e-5)
    both = steps_of(teaching(output=0.7))
    assert set(both[0].parts) == {"task", "output", "ranked"}


def test_at_first_all_scores_are_near_0_and_the_loss_is_known() -> None:
    # λ (log 2 of the list + log 2 of what is behind).
    assert steps_of(teaching())[0].parts["ranked"] == pytest.approx(0.8 * 2 * np.log(2), rel=0.1)


@pytest.mark.parametrize(
    "one",
    [
        teaching(),
        projecting(),
        projecting(offset=False),
        teaching(Ranked(ranked_lesson(replace(FULL, share=0.1), teaching().labels, [-1] * 30))),
    ],
)
def test_every_term_changes_what_is_learned(one: Distillation) -> None:
    plain = digest(result(train(CONFIG, ring(), teaching(NOTHING))))
    assert plain == digest(result(train(CONFIG, ring())))
    assert digest(result(train(CONFIG, ring(), one))) != plain


def test_each_weight_changes_the_gradient() -> None:
    gradients = []
    for change in ({}, {"position": 1.0}, {"confidence": 1.0}, {"consistency": 1.0}):
        config = RankedConfig(share=0.8, top=3, **change)  # type: ignore[arg-type]
        ranked = Ranked(ranked_lesson(config, teaching().labels, [-1] * 30))
        student = Student(CONFIG, ring(), teaching(ranked), device="cpu", checkpoint=None)
        student.losses()["ranked"].backward()
        assert student.network.table.grad is not None
        gradients.append(student.network.table.grad.clone())
        assert gradients[-1].abs().sum() > 0
    for n, one in enumerate(gradients):
        for other in gradients[:n]:
            assert not torch.allclose(one, other)


def test_the_student_comes_to_rank_as_its_teacher() -> None:
    taught = teaching(task=0.1)
    config = replace(CONFIG, epochs=40, patience=40)
    steps = steps_of(taught, config)
    assert steps[-1].parts["ranked"] < 0.6 * steps[0].parts["ranked"]


def test_vectors_alone_ask_nothing_of_the_network_twice() -> None:
    assert set(steps_of(projecting())[0].parts) == {"task"}


@pytest.mark.parametrize("architecture", ["sasrec", "gru4rec"])
@pytest.mark.parametrize("objective", ["ce", "dros"])
def test_all_of_it_on_both_networks(architecture: str, objective: str) -> None:
    network = replace(SHAPE, architecture=architecture)  # type: ignore[arg-type]
    config = replace(CONFIG, network=network, objective=objective, epochs=8)  # type: ignore[arg-type]
    events = list(train(config, ring(), projecting(lists=True)))
    steps = [event for event in events if isinstance(event, StepDone)]
    assert set(steps[0].parts) == {"task", "ranked"}
    assert steps[-1].loss < steps[0].loss
    trained = events[-1]
    assert isinstance(trained, Trained)
    assert trained.weights["table"].shape == (ITEMS, 16)
    assert network_from(trained.weights, network).items == ITEMS


def test_what_is_kept_scores_as_the_network_that_was_validated() -> None:
    student = Student(CONFIG, ring(), projecting(lists=True), device="cpu", checkpoint=None)
    for _ in range(4):
        torch.stack(list(student.losses().values())).sum().backward()
        student.optimiser.step()
        student.standing.step += 1
    score = student.end_epoch().score
    plain = Student(CONFIG, ring(), None, device="cpu", checkpoint=None)
    plain.network.load_state_dict(student.best)
    assert plain.validate() == pytest.approx(score)


def test_without_an_offset_nothing_but_the_projection_makes_items() -> None:
    student = Student(CONFIG, ring(), projecting(offset=False), device="cpu", checkpoint=None)
    torch.stack(list(student.losses().values())).sum().backward()
    student.optimiser.step()
    table = student.network.parametrizations.table  # type: ignore[union-attr]
    assert not table.original.any()  # type: ignore[union-attr,operator]
    ranks = torch.linalg.matrix_rank(student.network.table.detach())
    assert int(ranks) <= 16
    torch.testing.assert_close(
        student.network.table,
        table[0].vectors @ table[0].weight.T,  # type: ignore[index,union-attr]
    )


def test_a_projected_table_is_no_matrix_that_shrinks() -> None:
    student = Student(CONFIG, ring(), projecting(), device="cpu", checkpoint=None)
    shrinking, others = (group["params"] for group in student.optimiser.param_groups)
    table = student.network.parametrizations.table  # type: ignore[union-attr]
    for weight in (table.original, table[0].weight):  # type: ignore[index,union-attr]
        assert any(weight is one for one in others)
        assert not any(weight is one for one in shrinking)


def test_text_comes_in_once() -> None:
    """Where items are projected, the table does not start from text besides."""
    made = [
        Student(replace(CONFIG, start=start), ring(), projecting(), device="cpu", checkpoint=None)  # type: ignore[arg-type]
        for start in ("text", "free")
    ]
    assert torch.equal(made[0].network.table, made[1].network.table)


def test_a_table_made_once_a_step_has_the_same_gradient() -> None:
    found = []
    for cached in (True, False):
        student = Student(CONFIG, ring(), projecting(lists=True), device="cpu", checkpoint=None)
        if cached:
            with parametrize.cached():
                parts = student.losses()
        else:
            parts = student.losses()
        torch.stack(list(parts.values())).sum().backward()
        table = student.network.parametrizations.table  # type: ignore[union-attr]
        found.append(table[0].weight.grad)  # type: ignore[index,union-attr]
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    "taught", [teaching(), projecting(lists=True), projecting(offset=False, lists=True)]
)
def test_a_run_stopped_anywhere_ends_with_the_same_bytes(
    tmp_path: Path, taught: Distillation
) -> None:
    whole = result(train(CONFIG, ring(), taught))
    for stops in range(200):
        events = train(CONFIG, ring(), taught, checkpoint=tmp_path)
        steps = 0
        for event in events:
            if isinstance(event, Trained):
                assert digest(event) == digest(whole)
                assert stops > 1
                return
            steps += isinstance(event, StepDone)
            if steps == 5:
                events.close()
                break
    pytest.fail("never ended")


def test_runs_that_differ_in_any_of_it_are_different_runs() -> None:
    labels = teaching().labels
    variants = [
        teaching(NOTHING),
        teaching(),
        projecting(),
        projecting(offset=False),
        projecting(lists=True),
        teaching(Ranked(ranked_lesson(replace(FULL, consistency=0.2), labels, [-1] * 30))),
        teaching(Ranked(ranked_lesson(replace(FULL, position=0.2), labels, [-1] * 30))),
        teaching(Ranked(ranked_lesson(replace(FULL, top=2), labels, [-1] * 30))),
        teaching(Ranked(ranked_lesson(FULL, labels, [0] * 30))),
        teaching(Ranked(None, ProjectedItems(vectors(41)))),
    ]
    prints = {
        Student(CONFIG, ring(), one, device="cpu", checkpoint=None).fingerprint for one in variants
    }
    assert len(prints) == len(variants)
    assert len({_digest(one) for one in variants}) == len(variants)
