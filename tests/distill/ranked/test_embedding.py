"""A projected table: e = b + A z by the definition, its start, any width, and what comes out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.utils import parametrize

from distill.ranked.embedding import (
    ProjectedTable,
    first_projection,
    plain_weights,
    project,
    unit_vectors,
)
from distill.ranked.lesson import ProjectedItems
from recommender.sequential.export import network_from
from recommender.sequential.networks import make_network
from recommender.sequential.sasrec import text_table
from recommender.sequential.shape import NetworkConfig
from storage.errors import BadSetting
from storage.records import FloatArray

ITEMS, WIDTH = 12, 8
SHAPE = NetworkConfig(width=WIDTH, max_len=5)


def vectors(wide: int, *, seed: int = 0, scale: float = 1.0, shift: float = 0.0) -> FloatArray:
    rows = np.random.default_rng(seed).normal(size=(ITEMS, wide)) * scale + shift
    return rows.astype(np.float32)


def naive_table(free: FloatArray, projection: FloatArray, z: FloatArray) -> list[list[float]]:
    """b_i + A z_i, number by number, of vectors made as long as 1 in the mean square."""
    mean = [sum(row[k] for row in z.tolist()) / len(z) for k in range(z.shape[1])]
    moved = [[x - m for x, m in zip(row, mean, strict=True)] for row in z.tolist()]
    size = (sum(x * x for row in moved for x in row) / len(z)) ** 0.5
    return [
        [
            b + sum(a * x / size for a, x in zip(row_of_a, row, strict=True))
            for b, row_of_a in zip(offset, projection.tolist(), strict=True)
        ]
        for offset, row in zip(free.tolist(), moved, strict=True)
    ]


@pytest.mark.parametrize("wide", [3, 8, 40])
def test_it_is_its_definition_at_any_width(wide: int) -> None:
    z, rng = vectors(wide, shift=2.0), np.random.default_rng(1)
    table = ProjectedTable(ProjectedItems(z), width=WIDTH, std=0.1)
    with torch.no_grad():
        table.weight.copy_(torch.from_numpy(rng.normal(size=(WIDTH, wide))))
    free = rng.normal(size=(ITEMS, WIDTH)).astype(np.float32)
    expected = naive_table(free, table.weight.detach().numpy(), z)
    np.testing.assert_allclose(table(torch.from_numpy(free)).detach(), expected, atol=1e-5)
    bare = ProjectedTable(ProjectedItems(z, offset=False), width=WIDTH, std=0.1)
    with torch.no_grad():
        bare.weight.copy_(table.weight)
    nothing = naive_table(0 * free, table.weight.detach().numpy(), z)
    np.testing.assert_allclose(bare(torch.from_numpy(free)).detach(), nothing, atol=1e-5)


def test_it_starts_as_a_table_from_text_does() -> None:
    z = vectors(20, shift=5.0)
    table = ProjectedTable(ProjectedItems(z), width=WIDTH, std=0.1)
    found = table(torch.zeros(ITEMS, WIDTH)).detach().numpy()
    np.testing.assert_allclose(found, text_table(z, WIDTH, std=0.1), atol=1e-5)
    assert float(found.std()) == pytest.approx(0.1, rel=1e-4)


def test_length_and_common_part_of_vectors_do_not_matter() -> None:
    z = vectors(20)
    one, other = (
        ProjectedTable(ProjectedItems(some), width=WIDTH, std=0.1)
        for some in (z, 70 * z + np.float32(3.0))
    )
    free = torch.zeros(ITEMS, WIDTH)
    np.testing.assert_allclose(one(free).detach(), other(free).detach(), atol=1e-4)
    np.testing.assert_allclose(one.vectors, other.vectors, atol=1e-4)
    assert (unit_vectors(z) ** 2).sum(1).mean() == pytest.approx(1, rel=1e-5)


def test_narrow_vectors_leave_columns_that_are_learned() -> None:
    first = first_projection(unit_vectors(vectors(3)), WIDTH, std=0.1)
    assert first.shape == (WIDTH, 3)
    assert not first[3:].any()
    assert first[:3].any(axis=1).all()
    table = ProjectedTable(ProjectedItems(vectors(3), offset=False), width=WIDTH, std=0.1)
    table(torch.zeros(ITEMS, WIDTH)).square().sum().backward()
    table(torch.zeros(ITEMS, WIDTH)).sum(1)[0].backward()
    assert table.weight.grad is not None
    assert table.weight.grad[3:].abs().sum() > 0


@pytest.mark.parametrize("wrong", [np.ones((ITEMS, 4)), np.full((ITEMS, 4), np.nan)])
def test_vectors_that_say_nothing(wrong: FloatArray) -> None:
    with pytest.raises(BadSetting, match="item vectors"):
        ProjectedTable(ProjectedItems(wrong.astype(np.float32)), width=WIDTH, std=0.1)


@pytest.mark.parametrize("architecture", ["sasrec", "gru4rec"])
@pytest.mark.parametrize("offset", [True, False])
def test_in_a_network_and_out_of_it(architecture: str, offset: bool) -> None:
    shape = NetworkConfig(width=WIDTH, max_len=5, architecture=architecture)  # type: ignore[arg-type]
    network = make_network(ITEMS, shape, seed=1)
    before = network.table.detach().clone()
    project(network, ProjectedItems(vectors(20), offset=offset), std=0.1)
    projected = network.parametrizations.table[0](torch.zeros(ITEMS, WIDTH))  # type: ignore[index,operator,union-attr]
    expected = before + projected if offset else projected
    assert torch.equal(network.table, expected)
    ids = torch.tensor([[0, 3, 7], [1, 2, 3]])
    scores = network.scores(network(ids)[1][:, -1])
    scores.square().sum().backward()
    free = network.parametrizations.table.original  # type: ignore[union-attr]
    assert isinstance(free, torch.Tensor)
    assert (free.grad is not None) == offset
    plain = {name: tensor.numpy() for name, tensor in plain_weights(network).items()}
    assert set(plain) == set(make_network(ITEMS, shape, seed=0).state_dict())
    again = network_from(plain, shape)
    torch.testing.assert_close(again.scores(again(ids)[1][:, -1]), scores)


def test_vectors_of_other_items_are_refused() -> None:
    network = make_network(ITEMS + 1, SHAPE, seed=1)
    with pytest.raises(BadSetting, match=f"vectors of {ITEMS} items for a table of {ITEMS + 1}"):
        project(network, ProjectedItems(vectors(20)), std=0.1)
    assert not parametrize.is_parametrized(network)


def test_plain_weights_are_copies() -> None:
    network = make_network(ITEMS, SHAPE, seed=1)
    kept = plain_weights(network)
    with torch.no_grad():
        network.table.add_(1.0)
    assert not torch.equal(kept["table"], network.table)
    assert kept.keys() == network.state_dict().keys()
