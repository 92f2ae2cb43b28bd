"""A trained network into the artifact that serves: ONNX, its weights, its description.

Apart from serving because this needs torch. What was exported is compared with the network
before it counts as complete.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from recommender.sequential.networks import Network, make_network
from recommender.sequential.shape import NetworkConfig
from storage.artifacts import Artifacts
from storage.errors import BadData
from storage.records import FloatArray, IntArray

NETWORK = "student.onnx"
WEIGHTS = "weights.safetensors"
DESCRIPTION = "student.json"
TOLERANCE = 1e-4
"""Largest difference between a score of the network and of its export."""


class _LastScores(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, ids: Tensor) -> Tensor:
        return self.network.scores(self.network.latest(ids)[1])


def network_from(weights: Mapping[str, FloatArray], config: NetworkConfig) -> Network:
    """Return a network with these weights, ready to answer.

    >>> first = make_network(4, NetworkConfig(width=8), seed=1)
    >>> weights = {name: w.numpy() for name, w in first.state_dict().items()}
    >>> network_from(weights, NetworkConfig(width=8)).items
    4
    """
    network = make_network(len(weights["table"]), config, seed=0)
    network.load_state_dict({name: torch.from_numpy(np.array(w)) for name, w in weights.items()})
    return network.eval()


def write_student(
    directory: Path,
    weights: Mapping[str, FloatArray],
    config: NetworkConfig,
    popularity: IntArray,
    about: Mapping[str, object],
) -> None:
    """Write a student's files: the network twice (to serve, to go on training), and what it is.

    Args:
        directory: an artifact that is being written.
        weights: of a network.
        config: its shape.
        popularity: how often each item is in what it was trained on, (items,): its answer to
            a person without a history it knows.
        about: whatever should be kept with it: category, teacher, method, seed.

    Raises:
        BadData: the export does not score as the network does.
    """
    network = network_from(weights, config)
    path = directory / NETWORK
    # The exporter of torch 2.13 puts a GRU of its own into the dispatcher, which remembers the one
    # before: without this, a process could write one recurrent student of any length and no more.
    torch.ops.aten.gru.input._dispatch_cache.clear()
    with _without_known_remarks(), torch.no_grad():
        torch.onnx.export(
            _LastScores(network).eval(),
            (torch.tensor([[0, 1, 2], [1, 2, 1]]),),
            str(path),
            input_names=["ids"],
            output_names=["scores"],
            dynamic_shapes={
                "ids": {
                    0: torch.export.Dim("batch", min=1, max=65536),
                    1: torch.export.Dim("length", min=1, max=config.max_len),
                }
            },
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    _compare(path, network)
    Artifacts.save_arrays(directory / WEIGHTS, {k: np.array(w) for k, w in weights.items()})
    Artifacts.save_arrays(directory / "popularity.safetensors", {"count": popularity})
    described = {"items": network.items, "network": asdict(config), **about}
    Artifacts.write_json(directory / DESCRIPTION, described)


def _compare(path: Path, network: Network) -> None:
    """Check the export on rows of several lengths, padded and full."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    chance = np.random.default_rng(0)
    for batch, length in ((1, 1), (3, min(7, network.config.max_len)), (2, network.config.max_len)):
        ids = chance.integers(1, network.items + 1, (batch, length))
        ids[0, : length // 2] = 0
        exported = session.run(None, {"ids": ids})[0]
        with torch.no_grad():
            own = _LastScores(network)(torch.from_numpy(ids)).numpy()
        scale = max(1.0, float(np.abs(own).max()))
        if not np.abs(exported - own).max() <= TOLERANCE * scale:  # no number is no equal
            raise BadData(f"the exported student differs from its network on {length} items")


@contextmanager
def _without_known_remarks() -> Iterator[None]:
    """Keep remarks the exporter makes about itself, in torch 2.13, off the screen.

    That torchvision is not installed, which nothing here needs, and that torch calls
    deprecated functions of its own. Any other warning is let through.
    """
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    registration.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for own in (r"`isinstance\(treespec, LeafSpec\)`", r"_check_is_size will be removed"):
                warnings.filterwarnings("ignore", own, FutureWarning)
            yield
    finally:
        registration.setLevel(level)
