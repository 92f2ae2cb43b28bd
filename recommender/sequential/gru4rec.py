"""GRU4Rec, the other student network: a recurrence over what a person had, oldest first.

What ports of it get wrong (see Hidasi and Czapp, "The effect of third party implementations on
reproducibility", 2307.14956), and how it is here: the state starts from zero for every person
and moves through nothing but their items, whatever padding stands before them; every position is
a target, not the last one alone; the loss is over the whole catalogue or a stated sample of it;
items have one table for input and output (constrained embedding, their best variant).

Apart from SASRec, with the same interface: `networks` chooses between them.

Source: Hidasi et al., "Session-based recommendations with recurrent neural networks"
(1511.06939) and "Recurrent neural networks with top-k gains" (1706.03847).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recommender.sequential.sasrec import drop, start_table
from recommender.sequential.shape import NetworkConfig
from storage.records import FloatArray

_HOLD = 40.0
"""Into the update gate where there is no item: σ(40) is exactly 1 in float32, so that the state
stays as it is, bit by bit."""


class Recurrence(nn.Module):
    """One layer: h' = (1 − z) n + z h, with r, z and n of the item and of h."""

    def __init__(self, width: int) -> None:
        """Build the matrices; `GRU4Rec` fills them."""
        super().__init__()
        self.input = nn.Parameter(torch.empty(3 * width, width))
        self.hidden = nn.Parameter(torch.empty(3 * width, width))
        self.input_bias = nn.Parameter(torch.empty(3 * width))
        self.hidden_bias = nn.Parameter(torch.empty(3 * width))
        holding = torch.zeros(3 * width, 1)
        holding[width : 2 * width] = _HOLD
        self.register_buffer("holding", holding, persistent=False)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """Return the states (B, L, width) after each of x (B, L, width).

        Args:
            x: what goes in.
            real: (B, L) bool, False where there is no item: the state does not move there.
        """
        told = torch.cat([x, (~real).unsqueeze(-1).to(x.dtype)], dim=-1)
        weights = [
            torch.cat([self.input, self.get_buffer("holding")], dim=1),
            self.hidden,
            self.input_bias,
            self.hidden_bias,
        ]
        start = x.new_zeros(1, x.shape[0], x.shape[2])
        states: Tensor = torch.gru(told, start, weights, True, 1, 0.0, False, False, True)[0]
        return states


class GRU4Rec(nn.Module):
    """A recurrent recommender: ids of what a person had -> a score for every item.

    Ids are item numbers + 1, padded with 0 on the left.

    >>> network = GRU4Rec(10, NetworkConfig(architecture="gru4rec", width=8), seed=1)
    >>> states, final = network(torch.tensor([[0, 0, 3, 7]]))
    >>> len(states), tuple(final.shape), tuple(network.scores(final[:, -1]).shape)
    (2, (1, 4, 8), (1, 10))
    """

    def __init__(
        self, items: int, config: NetworkConfig, *, seed: int, text: FloatArray | None = None
    ) -> None:
        """Build and fill the network; arguments as of `SASRec`."""
        super().__init__()
        self.items = items
        self.config = config
        chance = torch.Generator().manual_seed(seed)
        self.table = nn.Parameter(torch.empty(items, config.width))
        self.blocks = nn.ModuleList(Recurrence(config.width) for _ in range(config.blocks))
        self.norm_final = nn.LayerNorm(config.width)
        bound = config.width**-0.5  # of a recurrence: as its authors and torch draw it
        for name, weight in self.named_parameters():
            if "norm" in name:
                continue
            if name == "table":
                nn.init.normal_(weight, std=config.init_std, generator=chance)
            else:
                nn.init.uniform_(weight, -bound, bound, generator=chance)
        start_table(self.table, config, text)

    def forward(
        self, ids: Tensor, noise: torch.Generator | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Return the states after each layer, and the normed states after the last.

        Args:
            ids: (B, L) int64; 0 is padding, else item number + 1.
            noise: for dropout on what goes into each layer while training; None for none. The
                recurrence itself is never dropped.
        """
        real = ids > 0
        x = F.embedding((ids - 1).clamp_min(0), self.table) * real.unsqueeze(-1)
        # As in SASRec: the table's rows are small at first.
        x = x * self.config.width**0.5
        states = []
        for block in self.blocks:
            x = block(drop(x, self.config.dropout, noise), real)
            states.append(x)
        return states, self.norm_final(x)

    def latest(
        self, ids: Tensor, noise: torch.Generator | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Return what `forward` has at the last position, (B, width) each.

        >>> config = NetworkConfig(architecture="gru4rec", width=8)
        >>> states, final = GRU4Rec(10, config, seed=1).latest(torch.tensor([[0, 3, 7]]))
        >>> len(states), tuple(final.shape)
        (2, (1, 8))
        """
        states, final = self(ids, noise)
        return [state[:, -1] for state in states], final[:, -1]

    def scores(self, states: Tensor) -> Tensor:
        """Score every item: states (…, width) -> (…, items), by the input's own table."""
        return states @ self.table.T
