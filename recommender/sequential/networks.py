"""Which network a configuration means. Apart, so that nothing else asks."""

from __future__ import annotations

from recommender.sequential.gru4rec import GRU4Rec
from recommender.sequential.sasrec import SASRec
from recommender.sequential.shape import NetworkConfig
from storage.records import FloatArray

Network = SASRec | GRU4Rec


def make_network(
    items: int, config: NetworkConfig, *, seed: int, text: FloatArray | None = None
) -> Network:
    """Build the network that a configuration names; arguments as of `SASRec`.

    >>> type(make_network(4, NetworkConfig(architecture="gru4rec", width=8), seed=0)).__name__
    'GRU4Rec'
    """
    if config.architecture == "gru4rec":
        return GRU4Rec(items, config, seed=seed, text=text)
    return SASRec(items, config, seed=seed, text=text)
