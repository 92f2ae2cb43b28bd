from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from recommender.sequential.export import network_from, write_student
from recommender.sequential.sasrec import SASRec
from recommender.sequential.shape import NetworkConfig, pad
from recommender.sequential.student import StudentRanker
from storage.errors import ArtifactDamaged, BadData, BadSetting

ITEMS = 30
CONFIG = NetworkConfig(width=16, max_len=8, init_std=0.3)
POPULARITY = np.arange(ITEMS)[::-1].copy()


@pytest.fixture(scope="module")
def network() -> SASRec:
    return SASRec(ITEMS, CONFIG, seed=3)


@pytest.fixture(scope="module")
def artifact(network: SASRec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("student")
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    write_student(folder, weights, CONFIG, POPULARITY, {"category": "Pens", "seed": 3})
    return folder


@pytest.fixture
def histories() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, ITEMS, length) for length in (1, 3, 8, 20)]


def test_it_scores_as_the_network_it_came_from(
    artifact: Path, network: SASRec, histories: list[np.ndarray]
) -> None:
    with torch.no_grad():
        own = network.scores(network(torch.from_numpy(pad(histories, 8)))[1][:, -1]).numpy()
    student = StudentRanker.open(artifact)
    np.testing.assert_allclose(student.score(histories), own, atol=1e-4)
    for history, row in zip(histories, own, strict=True):  # alone as in company
        np.testing.assert_allclose(student.score([history])[0], row, atol=1e-4)


def test_a_network_that_says_no_number_is_not_written(network: SASRec, tmp_path: Path) -> None:
    """Regression: nothing differs from NaN by more than anything."""
    weights = {name: tensor.numpy().copy() for name, tensor in network.state_dict().items()}
    weights["norm_final.weight"][:] = np.nan
    with pytest.raises(BadData, match="differs from its network"):
        write_student(tmp_path, weights, CONFIG, POPULARITY, {})


@pytest.mark.parametrize("longest", [1, 2])
def test_a_history_too_short_to_be_served_is_refused_before_training(longest: int) -> None:
    with pytest.raises(BadSetting, match=f"max_len {longest} is out of its range: at least 3"):
        NetworkConfig(max_len=longest)


def test_the_shortest_history_is_served(tmp_path: Path) -> None:
    short = NetworkConfig(width=16, max_len=3, init_std=0.3)
    own = SASRec(ITEMS, short, seed=3)
    weights = {name: tensor.numpy() for name, tensor in own.state_dict().items()}
    write_student(tmp_path, weights, short, POPULARITY, {"category": "Pens", "seed": 3})
    history = np.array([4, 7, 9, 2])
    with torch.no_grad():
        expected = own.scores(own(torch.from_numpy(pad([history], 3)))[1][:, -1]).numpy()
    found = StudentRanker.open(tmp_path).score([history])
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_weights_beside_it_are_the_network(artifact: Path, network: SASRec) -> None:
    from safetensors.numpy import load_file

    again = network_from(load_file(artifact / "weights.safetensors"), CONFIG)
    for name, tensor in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_it_ranks_what_it_knows_and_counts_what_it_does_not(artifact: Path) -> None:
    student = StudentRanker.open(artifact, catalogue=ITEMS + 5, name="mine")
    history = np.array([3, 4])
    ranking = student.rank(history, n=ITEMS + 5)
    assert ranking.name == "mine"
    assert ranking.left_out == 5
    assert sorted(ranking.items) == [item for item in range(ITEMS) if item not in (3, 4)]
    assert list(ranking.scores) == sorted(ranking.scores, reverse=True)
    some = student.rank(history, candidates=np.array([1, 4, 9, ITEMS + 2]), n=10)
    assert set(some.items) == {1, 9}
    assert some.left_out == 1


def test_items_newer_than_it_are_passed_over_in_a_history(artifact: Path) -> None:
    student = StudentRanker.open(artifact)
    np.testing.assert_array_equal(
        student.score([np.array([2, ITEMS, 5, ITEMS + 9])]), student.score([np.array([2, 5])])
    )


@pytest.mark.parametrize("history", [[], [ITEMS, ITEMS + 1]])
def test_without_a_known_history_it_answers_by_popularity_and_says_so(
    artifact: Path, history: list[int]
) -> None:
    student = StudentRanker.open(artifact)
    ranking = student.rank(np.array(history, dtype=np.int64), n=3)
    assert ranking.items == (0, 1, 2)
    assert max(ranking.scores) < 0
    assert "popularity" in ranking.name
    both = student.score([np.array(history, dtype=np.int64), np.array([4])])
    np.testing.assert_allclose(both[1], student.score([np.array([4])])[0], atol=1e-5)


@pytest.mark.parametrize("name", ["student.onnx", "student.json", "popularity.safetensors"])
@pytest.mark.parametrize("harm", ["missing", "cut", "nonsense"])
def test_a_damaged_artifact_is_named(artifact: Path, tmp_path: Path, name: str, harm: str) -> None:
    for file in artifact.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    whole = (tmp_path / name).read_bytes()
    if harm == "missing":
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(whole[: len(whole) // 2] if harm == "cut" else b"\xff" * 99)
    with pytest.raises(ArtifactDamaged, match=tmp_path.name):
        StudentRanker.open(tmp_path)


def test_serving_loads_no_torch(artifact: Path) -> None:
    program = (
        "import sys, numpy as np\n"
        "from recommender.sequential.student import StudentRanker\n"
        f"ranking = StudentRanker.open({str(artifact)!r}).rank(np.array([1, 2]), n=3)\n"
        "assert len(ranking.items) == 3\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
