"""GRU4Rec: the equations, what padding may not do, and that it is served as it was trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from recommender.sequential.export import network_from, write_student
from recommender.sequential.gru4rec import GRU4Rec
from recommender.sequential.networks import make_network
from recommender.sequential.shape import NetworkConfig, pad
from recommender.sequential.student import StudentRanker
from storage.errors import BadSetting

SHAPE = NetworkConfig(architecture="gru4rec", width=6, blocks=2, dropout=0.4, max_len=9)
ITEMS = 12


@pytest.fixture(scope="module")
def network() -> GRU4Rec:
    made = GRU4Rec(ITEMS, SHAPE, seed=3)
    with torch.no_grad():
        made.table.mul_(20)
    return made


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


def by_the_equations(network: GRU4Rec, history: list[int]) -> np.ndarray:
    """The last state, item after item, in float64."""
    weights: Mapping[str, Tensor] = network.state_dict()
    w = {name: tensor.double().numpy() for name, tensor in weights.items()}
    inputs = [w["table"][item] * np.sqrt(SHAPE.width) for item in history]
    for n in range(SHAPE.blocks):
        state, states = np.zeros(SHAPE.width), []
        for x in inputs:
            ir, iz, inew = np.split(w[f"blocks.{n}.input"] @ x + w[f"blocks.{n}.input_bias"], 3)
            hr, hz, hnew = np.split(
                w[f"blocks.{n}.hidden"] @ state + w[f"blocks.{n}.hidden_bias"], 3
            )
            r, z = sigmoid(ir + hr), sigmoid(iz + hz)
            new = np.tanh(inew + r * hnew)
            state = (1 - z) * new + z * state
            states.append(state)
        inputs = states
    return np.asarray(inputs[-1])


@pytest.mark.parametrize("history", [[4], [1, 2, 3], [7, 7, 0, 11, 5]])
def test_states_are_those_of_the_equations(network: GRU4Rec, history: list[int]) -> None:
    states, final = network(torch.from_numpy(pad([np.array(history)], 9)))
    np.testing.assert_allclose(
        states[-1][0, -1].detach().numpy(), by_the_equations(network, history), atol=2e-6
    )
    normed = network.norm_final(states[-1])
    torch.testing.assert_close(final, normed)


def test_padding_moves_nothing(network: GRU4Rec) -> None:
    history = [np.array([3, 1, 8])]
    short, long = (torch.from_numpy(pad(history, 9, length=n)) for n in (3, 9))
    for one, other in zip(network(short)[0], network(long)[0], strict=True):
        torch.testing.assert_close(one[0, -1], other[0, -1], rtol=0, atol=1e-6)
        assert not other[0, :6].any()  # nothing was there: the state it starts from
    # Nor does a longer history beside it.
    both = torch.from_numpy(pad([history[0], np.arange(9)], 9))
    torch.testing.assert_close(network(both)[1][0, -1], network(short)[1][0, -1])


def test_a_state_depends_on_nothing_later(network: GRU4Rec) -> None:
    ids = torch.tensor([[1, 5, 9, 2]])
    other = torch.tensor([[1, 5, 9, 7]])
    for one, two in zip(network(ids)[0], network(other)[0], strict=True):
        assert torch.equal(one[:, :3], two[:, :3])
        assert not torch.equal(one[:, 3], two[:, 3])


def test_dropout_is_on_only_with_noise_and_repeats(network: GRU4Rec) -> None:
    ids = torch.tensor([[1, 5, 9, 2]])
    noise = torch.Generator()
    first, again = (network(ids, noise.manual_seed(5))[1] for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, network(ids)[1])
    network.train()
    assert torch.equal(network(ids)[1], network.eval()(ids)[1])


def test_a_seed_is_all_that_decides_and_the_global_chance_is_not_used() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    one, same, other = (GRU4Rec(ITEMS, SHAPE, seed=s) for s in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    for (name, a), b in zip(one.named_parameters(), same.parameters(), strict=True):
        assert torch.equal(a, b), name
    assert not torch.equal(one.table, other.table)


def test_text_replaces_the_table_and_nothing_else() -> None:
    text = np.random.default_rng(0).normal(size=(ITEMS, 10)).astype(np.float32)
    free, told = (make_network(ITEMS, SHAPE, seed=1, text=t) for t in (None, text))
    pairs = zip(free.named_parameters(), told.parameters(), strict=True)
    assert [name for (name, a), b in pairs if not torch.equal(a, b)] == ["table"]
    with pytest.raises(BadSetting, match="10 text vectors for 12 items"):
        make_network(ITEMS, SHAPE, seed=1, text=text[:10])


def test_a_process_can_write_several(network: GRU4Rec, tmp_path: Path) -> None:
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_student(folder, weights, SHAPE, np.arange(ITEMS), {"name": "a GRU"})
        served = StudentRanker.open(folder)
        for length in (1, 2, 4):
            assert served.score([np.arange(length)]).shape == (1, ITEMS)


def test_it_is_served_as_it_is(network: GRU4Rec, tmp_path: Path) -> None:
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    write_student(tmp_path, weights, SHAPE, np.arange(ITEMS), {"name": "a GRU"})
    ranker = StudentRanker.open(tmp_path)
    histories = [np.array([4]), np.array([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]), np.array([7, 0])]
    own = network(torch.from_numpy(pad(histories, SHAPE.max_len)))[1][:, -1]
    np.testing.assert_allclose(
        ranker.score(histories), network.scores(own).detach().numpy(), atol=1e-4
    )
    assert network_from(weights, SHAPE).items == ITEMS
