"""Equation 7 as printed, on its way from the teacher's answers to a step of the student."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from distill.config import DistilConfig
from distill.data import Distillation, TrainData
from distill.lesson import distillation
from distill.losses import soft_label_kl
from distill.methods import with_method
from distill.student import Student
from tests.distill.conftest import configured
from tests.distill.test_published_losses import mean, naive_bernoulli
from tests.distill.test_what_is_taught import taught

ITEMS = 620
REQUESTS = 12


def data() -> TrainData:
    """A shop with every item that the teacher was asked about."""
    walks = [np.arange(start, start + 6) for start in range(0, ITEMS - 6, 20)]
    return TrainData(ITEMS, np.concatenate(walks), np.arange(len(walks) + 1) * 6)


def student_of(config: DistilConfig) -> tuple[Student, Distillation]:
    """A student whose scores are no longer all near 0, and what it is taught."""
    lesson = distillation(taught(REQUESTS), config, observed=3 * REQUESTS)
    own = config.with_student(start="free").student
    student = Student(own, data(), lesson, device="cpu", checkpoint=None)
    with torch.no_grad():
        student.network.table.mul_(30)
    return student, lesson


def heard(student: Student) -> tuple[torch.Tensor, torch.Tensor]:
    """The student's scores of what its first batch of requests offers, and the labels."""
    assert student.requests is not None
    batch = student.requests.at(0)
    with torch.no_grad():
        ids = torch.from_numpy(batch.ids)
        _, latest = student.network.latest(ids, student._chance("label dropout"))
        scores = student.network.scores(latest)
    offered = scores.gather(1, torch.from_numpy(batch.candidates))
    return offered, torch.from_numpy(batch.labels)


def test_as_published_the_answers_are_heard_as_two_classes_an_item() -> None:
    """a_out · R/N · mean KL( Bern(p_T) ‖ Bern(p_S) ) at T = 4, and no T²."""
    config = with_method(configured(), "fisher-ld-as-published")
    student, lesson = student_of(config)
    scores, labels = heard(student)
    assert scores.std() > 1
    naive: list[float] = []
    for row, label in zip(scores.tolist(), labels.tolist(), strict=True):
        kept = [min(max(one, 1e-6), 1 - 1e-6) for one in label]
        naive += naive_bernoulli(row, kept, 4.0)
    expected = 0.4 * (1 / 3) * mean(naive)
    found = student.losses()["output"].item()
    assert found == pytest.approx(expected, rel=1e-4)
    listwise = 0.4 * (1 / 3) * soft_label_kl(scores, labels, 4.0).item()
    assert found != pytest.approx(listwise, rel=0.1), "the two can be told apart here"
    assert lesson.divergence == "bernoulli"


def test_every_other_method_hears_one_distribution_over_the_candidates() -> None:
    config = with_method(configured(), "fisher-ld").with_loss(temperature=2.0)
    student, lesson = student_of(config)
    expected = 0.7 * (1 / 3) * soft_label_kl(*heard(student), 2.0).item()
    assert student.losses()["output"].item() == pytest.approx(expected, rel=1e-5)
    assert lesson.divergence == "listwise"


@pytest.mark.parametrize("divergence", ["listwise", "bernoulli"])
def test_a_divergence_set_by_hand_is_the_one_that_is_used(divergence: str) -> None:
    """The same answers, the same student: another gradient, whichever method asks."""
    found = []
    for asked in (divergence, "listwise"):
        student, _ = student_of(configured().with_loss(divergence=asked))
        student.losses()["output"].backward()
        grad = student.network.table.grad
        assert grad is not None
        found.append(grad)
    assert torch.equal(*found) == (divergence == "listwise")
