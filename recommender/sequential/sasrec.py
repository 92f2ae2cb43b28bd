"""SASRec, the student network: self-attention over what a person had, oldest first.

Kept apart because it needs torch, which serving must not load: `export` turns a trained
network into ONNX and `student` answers from that. Attention is written out by hand, since
the ready-made encoder layers of torch do not export cleanly.

Source: Kang and McAuley, "Self-Attentive Sequential Recommendation" (1808.09781), with
layer norms before each part (pre-LN), positions counted from the end, and one item table
for input and output.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recommender.sequential.shape import NetworkConfig
from storage.errors import BadSetting
from storage.records import FloatArray

_OUT_OF_SIGHT = -1e9
"""Added to an attention score that must not count. Finite, so that the row of a padding
position, which sees nothing at all, stays a number; nobody reads it."""


def drop(x: Tensor, share: float, noise: torch.Generator | None) -> Tensor:
    """Zero a random `share` of `x` and scale the rest by 1 / (1 - share).

    Args:
        x: any shape.
        share: probability of each number to be zeroed.
        noise: where the chance comes from; None leaves `x` as it is, so that dropout can
            never be on by accident when a student answers.

    >>> drop(torch.ones(2), 0.5, None).tolist()
    [1.0, 1.0]
    """
    if noise is None or share == 0:
        return x
    keep = torch.empty_like(x).bernoulli_(1 - share, generator=noise)
    return x * keep.div_(1 - share)


def bare_linear(wide_in: int, wide_out: int) -> nn.Linear:
    """Return a linear layer whose weights nobody has drawn yet: the caller fills them.

    The ready-made constructor would draw them from torch's global random state, which is
    not ours to use up.

    >>> bare_linear(2, 3).weight.shape
    torch.Size([3, 2])
    """
    return nn.Linear(wide_in, wide_out, device="meta").to_empty(device="cpu")


class Block(nn.Module):
    """One layer: x + attention(norm(x)), then x + feed-forward(norm(x))."""

    def __init__(self, config: NetworkConfig) -> None:
        """Build the matrices; `SASRec` fills them."""
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.dropout = config.dropout
        self.norm_attention = nn.LayerNorm(width)
        self.norm_inner = nn.LayerNorm(width)
        self.query_key_value = bare_linear(width, 3 * width)
        self.out = bare_linear(width, width)
        self.up = bare_linear(width, config.inner * width)
        self.down = bare_linear(config.inner * width, width)

    def forward(
        self, x: Tensor, mask: Tensor, noise: torch.Generator | None, *, last: bool = False
    ) -> Tensor:
        """Return the states after this layer, (B, L, width), or the last alone, (B, 1, width).

        Args:
            x: states (B, L, width).
            mask: added to attention scores, (B, 1, L, L), 0 where a position may look.
            noise: for dropout; None for none.
            last: whether only the last position is asked for. It looks at all of them, but
                of the others nothing beyond key and value is worked out.
        """
        asked = slice(-1, None) if last else slice(None)
        seen = self._attend(self.norm_attention(x), asked, mask[..., asked, :], noise)
        x = x[:, asked] + drop(seen, self.dropout, noise)
        inner = drop(F.gelu(self.up(self.norm_inner(x))), self.dropout, noise)
        return x + drop(self.down(inner), self.dropout, noise)

    def _attend(
        self, x: Tensor, asked: slice, mask: Tensor, noise: torch.Generator | None
    ) -> Tensor:
        batch, _, width = x.shape
        shape = (batch, -1, self.heads, width // self.heads)
        weight, bias = self.query_key_value.weight, self.query_key_value.bias
        if asked == slice(None):
            projected = self.query_key_value(x).chunk(3, dim=-1)
        else:
            looking = F.linear(x[:, asked], weight[:width], bias[:width])
            projected = looking, *F.linear(x, weight[width:], bias[width:]).chunk(2, dim=-1)
        # each (B, heads, L, width/heads)
        query, key, value = (part.view(shape).transpose(1, 2) for part in projected)
        scores = query @ key.transpose(-1, -2) / math.sqrt(width // self.heads) + mask
        seen = drop(scores.softmax(-1), self.dropout, noise) @ value
        return self.out(seen.transpose(1, 2).reshape(batch, -1, width))  # type: ignore[no-any-return]


class SASRec(nn.Module):
    """A sequential recommender: ids of what a person had -> a score for every item.

    Ids are item numbers + 1, padded with 0 on the left, so that the last column is always
    the latest item.

    >>> network = SASRec(10, NetworkConfig(width=8), seed=1)
    >>> states, final = network(torch.tensor([[0, 0, 3, 7]]))
    >>> len(states), tuple(final.shape), tuple(network.scores(final[:, -1]).shape)
    (2, (1, 4, 8), (1, 10))
    """

    def __init__(
        self, items: int, config: NetworkConfig, *, seed: int, text: FloatArray | None = None
    ) -> None:
        """Build and fill the network.

        Args:
            items: size of the catalogue it ranks: item numbers are below it.
            config: its shape.
            seed: of the first weights; the same seed gives the same bytes on a CPU.
            text: one vector an item (items, any width): the item table then starts from
                their principal components (`text_table`). None: from chance.
        """
        super().__init__()
        self.items = items
        self.config = config
        chance = torch.Generator().manual_seed(seed)
        self.table = nn.Parameter(torch.empty(items, config.width))
        self.positions = nn.Parameter(torch.empty(config.max_len, config.width))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.norm_final = nn.LayerNorm(config.width)
        # The table is drawn first, and also when text replaces it: every other weight is
        # then the same in both arms.
        for name, weight in self.named_parameters():
            if "norm" in name:
                continue
            if name.endswith("bias"):
                nn.init.zeros_(weight)
            else:
                nn.init.normal_(weight, std=config.init_std, generator=chance)
        start_table(self.table, config, text)

    def forward(
        self, ids: Tensor, noise: torch.Generator | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Return the states after each block, and the normed states after the last.

        Args:
            ids: (B, L) int64 with L <= max_len; 0 is padding, else item number + 1.
            noise: for dropout while training; None for none.

        Returns:
            `blocks` tensors (B, L, width), and one (B, L, width) to score items with. The
            state at a position depends on no later position, and on no padding.
        """
        x, mask = self._begin(ids, noise)
        states = []
        for block in self.blocks:
            x = block(x, mask, noise)
            states.append(x)
        return states, self.norm_final(x)

    def latest(
        self, ids: Tensor, noise: torch.Generator | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Return what `forward` has at the last position, (B, width) each, for less.

        The last layer works on that position alone: a quarter of the work of four layers.

        >>> network, ids = SASRec(10, NetworkConfig(width=8), seed=1), torch.tensor([[0, 3, 7]])
        >>> bool(torch.allclose(network.latest(ids)[1], network(ids)[1][:, -1]))
        True
        """
        x, mask = self._begin(ids, noise)
        states = []
        for number, block in enumerate(self.blocks, start=1):
            x = block(x, mask, noise, last=number == len(self.blocks))
            states.append(x[:, -1])
        return states, self.norm_final(x[:, -1])

    def _begin(self, ids: Tensor, noise: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Return what goes into the first layer, and what each position may look at."""
        length = ids.shape[1]
        real = ids > 0
        items = F.embedding((ids - 1).clamp_min(0), self.table) * real.unsqueeze(-1)
        # The table's rows are small at first; scaled, they are not lost beside the positions.
        x = items * math.sqrt(self.config.width) + self.positions[:length].flip(0)
        x = drop(x, self.config.dropout, noise)
        sight = torch.ones(length, length, dtype=torch.bool, device=ids.device).tril()
        sight = sight & real[:, None, None, :]
        return x, torch.zeros_like(sight, dtype=x.dtype).masked_fill(~sight, _OUT_OF_SIGHT)

    def scores(self, states: Tensor) -> Tensor:
        """Score every item: states (…, width) -> (…, items), by the input's own table."""
        return states @ self.table.T


def start_table(table: Tensor, config: NetworkConfig, text: FloatArray | None) -> None:
    """Fill a table of items from text vectors, where there are any.

    Raises:
        BadSetting: they are of another number of items, or cannot fill it.

    >>> table = torch.zeros(4, 2)
    >>> start_table(table, NetworkConfig(width=2, heads=1), np.eye(4, dtype=np.float32))
    >>> round(float(table.std(correction=0)), 3)
    0.1
    """
    if text is None:
        return
    if len(text) != len(table):
        raise BadSetting(f"{len(text)!r} text vectors for {len(table)!r} items")
    rows = text_table(text, config.width, std=config.text_std)
    with torch.no_grad():
        table.copy_(torch.from_numpy(rows))


def text_table(text: FloatArray, width: int, *, std: float) -> FloatArray:
    """Turn text vectors into a first item table: principal components at a given spread.

    Formula: with centred rows X and C = X'X / n = V diag(e) V', e falling, the table is
    X V[:, :width], times one number so that its standard deviation is `std`. Directions
    keep their relative lengths: no whitening. Signs are fixed (the largest entry of each
    direction is positive), so that the same vectors give the same table.

    Args:
        text: (items, wide) with wide >= width.
        width: of the table.
        std: of all its entries together.

    Returns:
        (items, width) float32.

    Raises:
        BadSetting: the vectors are narrower than the table, or not finite, or all equal.

    Source: algorithms.md §6.4; LLM2BERT4Rec (2309.09261) for the idea.

    >>> rows = text_table(np.eye(4, dtype=np.float32), 2, std=0.02)
    >>> rows.shape, round(float(rows.std()), 4)
    ((4, 2), 0.02)
    """
    if text.ndim != 2 or text.shape[1] < width:
        raise BadSetting(f"text vectors of shape {text.shape!r} cannot fill a table of {width!r}")
    mean = text.mean(0, dtype=np.float64)
    spread = np.zeros((text.shape[1], text.shape[1]))
    for start in range(0, len(text), 65_536):  # float64 copies of a shop's catalogue are large
        rows = text[start : start + 65_536] - mean
        spread += rows.T @ rows
    if not np.isfinite(spread).all():
        raise BadSetting("text vectors hold numbers that are not finite")
    directions = np.linalg.eigh(spread)[1][:, ::-1][:, :width]
    largest = directions[np.abs(directions).argmax(0), np.arange(width)]
    table = (text - mean.astype(np.float32)) @ (directions * np.sign(largest)).astype(np.float32)
    size = float(table.std())
    if size == 0:
        raise BadSetting("text vectors are all the same")
    scaled: FloatArray = (table * np.float32(std / size)).astype(np.float32)
    return scaled
