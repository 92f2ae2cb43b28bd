"""What a student is asked for at every position: the objective, with what it draws.

Apart from the student because objectives differ in nothing else: from states and the table
of items to one number.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from distill import losses
from distill.sampling import NegativeSampler
from distill.training import Objective, TrainConfig
from storage.errors import BadSetting
from storage.records import IntArray

_BYTES_A_SCORE = 12
"""float32 scores, their softmax, and its gradient."""


class TaskLoss:
    """The loss of states that should predict items.

    Cross-entropy over the whole catalogue where its scores fit into memory, else against a
    sample, which is said (`why_sampled`); binary cross-entropies draw their negatives.
    """

    def __init__(self, config: TrainConfig, popularity: IntArray, *, positions: int) -> None:
        """Decide what is drawn; `positions` is how many states a step has at most.

        Raises:
            BadSetting: the objective needs scores of the whole catalogue, and they do not fit.
        """
        self.config = config
        self.items = len(popularity)
        self.score_bytes = positions * self.items * _BYTES_A_SCORE
        fits = self.score_bytes <= config.score_bytes
        self.denominator: Objective = "full" if fits else "sampled"
        if config.objective == "dros" and not fits:
            raise BadSetting(
                f"the DROS objective needs scores of all {self.items:,} items, "
                f"{self.score_bytes / 1e9:.1f} GB a step",
                next_step="--objective ce, which can be sampled",
            )
        self._sampler = NegativeSampler(popularity, config.negative_law)
        counts = popularity.astype(np.float64)
        share = counts / max(1.0, counts.sum())
        self._share = torch.from_numpy(share.astype(np.float32))
        self._cumulated = share.cumsum()

    @property
    def why_sampled(self) -> str:
        """One sentence for people; empty where nothing was decided by memory."""
        if self.denominator == "full" or self.config.objective != "ce":
            return ""
        return (
            f"scores of all {self.items:,} items would take "
            f"{self.score_bytes / 1e9:.1f} GB a step, above "
            f"{self.config.score_bytes / 1e9:.1f} GB: "
            f"cross-entropy against {self.config.negatives:,} sampled items instead"
        )

    def loss(self, states: Tensor, targets: Tensor, table: Tensor, seed: int) -> Tensor:
        """Return the loss of states (N, width) that should predict items (N,).

        Args:
            states: of positions that count.
            targets: int64.
            table: (items, width).
            seed: of whatever is drawn.
        """
        config = self.config
        if config.objective == "ce":
            if self.denominator == "full":
                return losses.ce_full(states @ table.T, targets)
            return self._sampled(states, targets, table, seed)
        own = (states * F.embedding(targets, table)).sum(1)
        if config.objective == "bce":
            drawn = self._popular(len(targets) * config.bce_negatives, seed)
            return losses.bce_sampled(own, self._apart(states, targets, table, drawn))
        if config.objective == "gbce":
            count = min(config.gbce_negatives, self.items - 1)
            drawn = np.random.default_rng(seed).integers(0, self.items, count)
            negatives = self._shared(states, targets, table, drawn)
            return losses.gbce(own, negatives, items=self.items, t=config.gbce_t)
        drawn = np.random.default_rng(seed).integers(0, self.items, len(targets))
        base = losses.bce_sampled(own, self._apart(states, targets, table, drawn))
        share = self._share.to(states.device)
        robust = losses.dros(states @ table.T, targets, share, beta=config.dros_beta)
        return base + config.dros_alpha * robust

    def _sampled(self, states: Tensor, targets: Tensor, table: Tensor, seed: int) -> Tensor:
        sample = self._sampler.draw(self.config.negatives, seed)
        expected = self._sampler.log_probability(sample) + np.log(np.float32(len(sample)))
        drawn = torch.from_numpy(sample).to(states.device)
        return losses.ce_sampled(
            (states * F.embedding(targets, table)).sum(1),
            states @ F.embedding(drawn, table).T,
            targets,
            drawn,
            torch.from_numpy(expected).to(states.device),
        )

    def _popular(self, count: int, seed: int) -> IntArray:
        """Draw items as often as people chose them."""
        chance = np.random.default_rng(seed).random(count) * self._cumulated[-1]
        found: IntArray = np.searchsorted(self._cumulated, chance, side="right").astype(np.int64)
        return np.minimum(found, self.items - 1)

    def _apart(self, states: Tensor, targets: Tensor, table: Tensor, drawn: IntArray) -> Tensor:
        """Score negatives of each row's own, (N, K); one that is the target counts for nothing."""
        items = torch.from_numpy(drawn.reshape(len(targets), -1)).to(states.device)
        scores = torch.einsum("nd,nkd->nk", states, F.embedding(items, table))
        return scores.masked_fill(items == targets.unsqueeze(1), -torch.inf)

    def _shared(self, states: Tensor, targets: Tensor, table: Tensor, drawn: IntArray) -> Tensor:
        """Score negatives that all rows share, (N, K): as good in the mean, and far cheaper."""
        items = torch.from_numpy(drawn).to(states.device)
        scores = states @ F.embedding(items, table).T
        return scores.masked_fill(items.unsqueeze(0) == targets.unsqueeze(1), -torch.inf)
