"""Equation 9: as printed, its two meanings, and where each of them leads."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from distill.dynamic_weights import (
    Moving,
    StudentGradient,
    TeacherMinibatch,
    equation_9,
    gradient_squares,
)
from distill.weights import layer_weights
from storage.errors import BadSetting

VECTORS = st.integers(1, 8).flatmap(
    lambda n: st.lists(
        st.lists(st.floats(0.01, 100), min_size=n, max_size=n), min_size=1, max_size=8
    )
)


@given(VECTORS, st.floats(0.01, 1))
def test_the_average_is_the_sum_it_stands_for(rows: list[list[float]], eta: float) -> None:
    """w^(t) = (1 − η)^t w^(0) + Σ η (1 − η)^(t − i) w_i, written out."""
    rule, state = StudentGradient(eta=eta), Moving()
    for row in rows:
        state = rule.step(state, np.array(row))
    last = len(rows) - 1
    for layer in range(len(rows[0])):
        expected = (1 - eta) ** last * rows[0][layer]
        for number in range(1, len(rows)):
            expected += eta * (1 - eta) ** (last - number) * rows[number][layer]
        assert state.average[layer] == pytest.approx(expected)
    assert state.steps == len(rows)


def test_equation_9_by_hand_and_its_ends() -> None:
    old, new = np.array([1.0, 5.0]), np.array([3.0, 1.0])
    assert equation_9(old, new, 0.25).tolist() == [1.5, 4.0]
    assert equation_9(old, new, 1.0).tolist() == new.tolist()
    assert (old.tolist(), new.tolist()) == ([1, 5], [3, 1])


def test_minibatches_of_the_teacher_lead_to_the_static_weights() -> None:
    rng = np.random.default_rng(0)
    truth = np.array([4.0, 1.0, 1.0, 2.0, 6.0, 2.0])
    static = layer_weights(truth.tolist(), 3, mode="fisher")
    rule, state, seen = TeacherMinibatch(eta=0.01), Moving(), []
    for step in range(3000):
        state = rule.step(state, truth * rng.exponential(size=(8, 6)))
        if step >= 600:
            seen.append(rule.weights(state, 3))
    # Near the static weights at every time, and on the mean where they are, without bias.
    assert np.abs(np.array(seen) - static).max() < 0.35
    np.testing.assert_allclose(np.mean(seen, axis=0), static, atol=0.02)
    single = TeacherMinibatch(eta=1.0)
    noisy = single.weights(single.step(Moving(), truth * rng.exponential(size=(8, 6))), 3)
    assert np.abs(noisy - static).max() > 0.05  # what the average takes out


def test_requests_of_a_minibatch_are_samples_of_their_own() -> None:
    squares = np.array([[1.0, 3.0], [3.0, 5.0]])
    assert TeacherMinibatch().step(Moving(), squares).average.tolist() == [2.0, 4.0]
    with pytest.raises(ValueError, match="one row a request"):
        TeacherMinibatch().step(Moving(), squares[0])
    with pytest.raises(ValueError, match="one row a request"):
        TeacherMinibatch().step(Moving(), squares[:0])


def test_traces_are_averaged_and_not_the_weights_made_of_them() -> None:
    rule = TeacherMinibatch(eta=0.5)
    state = rule.step(Moving(), np.array([[1.0, 1.0]]))
    state = rule.step(state, np.array([[90.0, 10.0]]))
    # Traces 45.5 and 5.5; averages of weights would be 1.4 and 0.6.
    np.testing.assert_allclose(rule.weights(state, 2), [2 * 45.5 / 51, 2 * 5.5 / 51], rtol=1e-6)


def test_weights_of_a_teacher_start_even_and_always_sum_to_m() -> None:
    rule = TeacherMinibatch(eta=0.3)
    assert rule.weights(Moving(), 3).tolist() == [1, 1, 1]
    state, rng = Moving(), np.random.default_rng(1)
    for _ in range(5):
        state = rule.step(state, rng.exponential(size=(2, 7)))
        assert rule.weights(state, 3).sum() == pytest.approx(3, rel=1e-6)
        assert rule.weights(state, 3).dtype == np.float32


@pytest.mark.parametrize("rule", [TeacherMinibatch(0.5, 3), StudentGradient(0.5, 3)])
def test_between_measurements_nothing_moves_and_nothing_is_needed(rule) -> None:
    state, due = Moving(), []
    for step in range(7):
        due.append(rule.due(state))
        before = state.average
        measured = np.full((1, 2), float(step)) if isinstance(rule, TeacherMinibatch) else None
        if measured is None:
            measured = np.full(2, float(step))
        state = rule.step(state, measured if step % 2 == 0 or due[-1] else None)
        if not due[-1]:
            assert state.average is before
    assert due == [True, False, False, True, False, False, True]
    # Steps 0, 3 and 6: 0, then 1.5, then 3.75.
    assert state.average.tolist() == [3.75, 3.75]
    with pytest.raises(ValueError, match="step 0 is due"):
        rule.step(Moving())


def test_a_state_that_went_in_comes_out_as_it_was() -> None:
    state = StudentGradient().step(Moving(), np.array([1.0, 3.0]))
    StudentGradient().step(state, np.array([100.0, 3.0]))
    assert (state.average.tolist(), state.steps) == ([1.0, 3.0], 1)


def test_student_gradients_are_those_of_autograd() -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=61,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        initializer_range=0.2,
    )
    model = LlamaForCausalLM(config)
    ids = torch.tensor([[3, 9, 14, 22]])
    blocks = model.model.layers
    loss = model(ids, labels=ids).loss
    naive = []
    for block in blocks:
        gradients = torch.autograd.grad(loss, list(block.parameters()), retain_graph=True)
        total = 0.0
        for gradient in gradients:
            for value in gradient.flatten().tolist():
                total += value**2
        naive.append(total)
    loss.backward()
    found = gradient_squares(blocks)
    np.testing.assert_allclose(found, naive, rtol=1e-5)
    rule = StudentGradient()
    weights = rule.weights(rule.step(Moving(), found))
    np.testing.assert_allclose(weights, 3 * np.array(naive) / sum(naive), rtol=1e-5)


def test_weights_of_the_student_follow_the_student() -> None:
    """Where a block has learnt all it can, its weight goes; D1 cannot see that."""
    torch.manual_seed(0)
    blocks = [nn.Linear(3, 3), nn.Linear(3, 3)]
    goal = [block.weight.detach() + 1 for block in blocks]
    rule, state = StudentGradient(eta=0.5), Moving()
    steps = []
    for _ in range(12):
        for block in blocks:
            block.zero_grad()
        losses = [(b.weight - g).square().sum() for b, g in zip(blocks, goal, strict=True)]
        sum(losses).backward()
        state = rule.step(state, gradient_squares(blocks))
        steps.append(rule.weights(state))
        with torch.no_grad():
            blocks[0].weight -= 0.4 * blocks[0].weight.grad  # only the first one learns
    assert steps[0].tolist() == pytest.approx([1, 1])
    assert (np.diff([w[1] for w in steps]) > 0).all()
    assert steps[-1][0] < 0.01


def test_blocks_without_gradients_are_refused() -> None:
    with pytest.raises(ValueError, match="student layer 1 has no gradient"):
        gradient_squares([nn.Linear(2, 2)])
    with pytest.raises(ValueError, match="no gradient has been measured"):
        StudentGradient().weights(Moving())


@pytest.mark.parametrize("eta", [0.0, -0.1, 1.1, float("nan")])
@pytest.mark.parametrize("rule", [TeacherMinibatch, StudentGradient])
def test_rates_out_of_range_are_refused(rule, eta: float) -> None:
    with pytest.raises(BadSetting, match="rate"):
        rule(eta=eta)
    with pytest.raises(BadSetting, match="rate"):
        equation_9(np.ones(2), np.ones(2), eta)
    with pytest.raises(BadSetting, match="every 0 steps"):
        rule(every=0)


def test_measurements_that_are_none_are_refused() -> None:
    rule = StudentGradient()
    for wrong in ([1.0, -1.0], [1.0, float("nan")]):
        with pytest.raises(ValueError, match="finite and not negative"):
            rule.step(Moving(), np.array(wrong))
    state = rule.step(Moving(), np.ones(2))
    with pytest.raises(ValueError, match=r"\(3,\) values cannot be averaged into \(2,\)"):
        rule.step(state, np.ones(3))
    with pytest.raises(BadSetting, match="all zero"):
        rule.weights(rule.step(Moving(), np.zeros(2)))
