from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from recommender.sequential.sasrec import SASRec, drop, text_table
from recommender.sequential.shape import NetworkConfig, pad
from storage.errors import BadSetting

SMALL = NetworkConfig(width=8, blocks=2, heads=2, inner=3, max_len=6, init_std=0.3)


def network(items: int = 11, config: NetworkConfig = SMALL, seed: int = 0) -> SASRec:
    return SASRec(items, config, seed=seed)


def naive_states(weights: dict[str, np.ndarray], history: list[int], config: NetworkConfig):
    """One history, without padding, number by number from the definition."""

    def norm(x, name):
        centred = x - x.mean()
        return (
            centred / math.sqrt((centred**2).mean() + 1e-5) * weights[f"{name}.weight"]
            + (weights[f"{name}.bias"])
        )

    def linear(x, name):
        return weights[f"{name}.weight"] @ x + weights[f"{name}.bias"]

    def gelu(x):
        return np.array([v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x])

    length, part = len(history), config.width // config.heads
    x = [
        weights["table"][item] * math.sqrt(config.width) + weights["positions"][length - 1 - t]
        for t, item in enumerate(history)
    ]
    states = []
    for m in range(config.blocks):
        name = f"blocks.{m}"
        qkv = [linear(norm(v, f"{name}.norm_attention"), f"{name}.query_key_value") for v in x]
        seen = []
        for t in range(length):
            heads = []
            for h in range(config.heads):
                own = slice(h * part, (h + 1) * part)
                query = qkv[t][: config.width][own]
                keys = [v[config.width : 2 * config.width][own] for v in qkv[: t + 1]]
                values = [v[2 * config.width :][own] for v in qkv[: t + 1]]
                weight = np.exp([query @ key / math.sqrt(part) for key in keys])
                weight /= weight.sum()
                heads.append(sum(w * value for w, value in zip(weight, values, strict=True)))
            seen.append(linear(np.concatenate(heads), f"{name}.out"))
        x = [v + s for v, s in zip(x, seen, strict=True)]
        x = [
            v + linear(gelu(linear(norm(v, f"{name}.norm_inner"), f"{name}.up")), f"{name}.down")
            for v in x
        ]
        states.append(np.array(x))
    return states, np.array([norm(v, "norm_final") for v in x])


def test_states_are_those_of_the_definition() -> None:
    net = network().double()
    for weight in net.parameters():  # norms and biases away from 1 and 0
        weight.data += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(3))
    history = [3, 0, 10, 3]
    weights = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    blocks, final = naive_states(weights, history, SMALL)
    with torch.no_grad():
        ids = torch.from_numpy(pad([np.array(history)], 6, length=6))
        states, normed = net(ids)
        latest, scored = net.latest(ids)
    for own, naive in zip(states, blocks, strict=True):
        np.testing.assert_allclose(own[0, 2:], naive, atol=1e-10)
    np.testing.assert_allclose(normed[0, 2:], final, atol=1e-10)
    for own, naive in zip(latest, blocks, strict=True):
        np.testing.assert_allclose(own[0], naive[-1], atol=1e-10)
    np.testing.assert_allclose(scored[0], final[-1], atol=1e-10)
    np.testing.assert_allclose(
        net.scores(normed[:, -1]).detach()[0], weights["table"] @ final[-1], atol=1e-10
    )


def test_a_state_depends_on_nothing_later_and_on_no_padding() -> None:
    net = network()
    with torch.no_grad():
        _, one = net(torch.tensor([[5, 2, 9]]))
        _, other = net(torch.tensor([[5, 2, 4]]))
        _, padded = net(torch.tensor([[0, 0, 0, 5, 2, 9]]))
        _, beside = net(torch.tensor([[0, 5, 2, 9], [1, 2, 3, 4]]))
    torch.testing.assert_close(one[0, :2], other[0, :2])
    assert not torch.allclose(one[0, 2], other[0, 2])
    torch.testing.assert_close(one[0], padded[0, 3:])
    torch.testing.assert_close(one[0], beside[0, 1:])


def test_padding_alone_gives_numbers() -> None:
    with torch.no_grad():
        _, final = network()(torch.zeros(1, 6, dtype=torch.int64))
    assert torch.isfinite(final).all()


def test_the_same_seed_gives_the_same_bytes_and_leaves_the_global_state_alone() -> None:
    before = torch.get_rng_state()
    one, other, third = network(seed=4), network(seed=4), network(seed=5)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert not torch.equal(one.table, third.table)


def test_text_changes_the_table_and_nothing_else() -> None:
    text = np.random.default_rng(0).normal(size=(11, 20)).astype(np.float32)
    free = dict(network().named_parameters())
    with_text = dict(SASRec(11, SMALL, seed=0, text=text).named_parameters())
    different = [name for name in free if not torch.equal(free[name], with_text[name])]
    assert different == ["table"]
    assert with_text["table"].std(correction=0).item() == pytest.approx(SMALL.text_std, rel=1e-4)


def test_dropout_needs_a_generator_and_keeps_the_mean() -> None:
    x = torch.ones(100_000)
    assert drop(x, 0.4, None) is x
    dropped = drop(x, 0.4, torch.Generator().manual_seed(0))
    assert dropped.unique().tolist() == pytest.approx([0, 1 / 0.6])
    assert dropped.mean().item() == pytest.approx(1, abs=0.01)
    net = network(config=NetworkConfig(width=8, heads=1, dropout=0.5, max_len=4))
    ids = torch.tensor([[1, 2, 3]])
    first, again = (net(ids, torch.Generator().manual_seed(1))[1] for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, net(ids)[1])


def test_text_table_is_the_projection_on_the_leading_singular_vectors() -> None:
    rng = np.random.default_rng(1)
    text = (rng.normal(size=(40, 12)) * np.arange(1, 13) + 5).astype(np.float32)
    table = text_table(text, 4, std=0.05)
    centred = text - text.mean(0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    naive = left[:, :4] * sizes[:4]
    naive *= 0.05 / naive.std()
    signs = np.sign((table * naive).sum(0))
    np.testing.assert_allclose(table, naive * signs, atol=1e-5)


def test_text_table_follows_its_rows_whatever_their_order() -> None:
    rng = np.random.default_rng(2)
    text, order = rng.normal(size=(50, 9)).astype(np.float32), rng.permutation(50)
    np.testing.assert_allclose(
        text_table(text[order], 3, std=1.0), text_table(text, 3, std=1.0)[order], atol=1e-5
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (np.ones((5, 4), np.float32), "all the same"),
        (np.ones((5, 2), np.float32), "cannot fill"),
        (np.full((5, 4), np.nan, np.float32), "not finite"),
    ],
)
def test_text_that_cannot_be_used_is_refused(text: np.ndarray, says: str) -> None:
    with pytest.raises(BadSetting, match=says):
        text_table(text, 3, std=0.02)


def test_text_of_another_catalogue_is_refused() -> None:
    with pytest.raises(BadSetting, match="10 text vectors for 11 items"):
        SASRec(11, SMALL, seed=0, text=np.zeros((10, 20), np.float32))


@pytest.mark.parametrize("wrong", [{"width": 9}, {"dropout": 1.0}, {"blocks": 0}])
def test_a_shape_that_cannot_work_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(BadSetting):
        NetworkConfig(**wrong)  # type: ignore[arg-type]


def test_pad_keeps_the_latest_items_and_takes_empty_histories() -> None:
    rows = pad([np.arange(5), np.array([], dtype=np.int64), np.array([7])], 3, length=4)
    assert rows.tolist() == [[0, 3, 4, 5], [0, 0, 0, 0], [0, 0, 0, 8]]
    assert pad([np.array([], dtype=np.int64)], 3).tolist() == [[0]]
