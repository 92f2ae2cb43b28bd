"""The layer losses of a sequential student: matches of layers, added up.

Apart from the student because here is all that a method decides and nothing that it does
not: which states are compared, through which projection, by which loss, with which weight.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from distill.chance import derived_seed
from distill.data import Distillation, MovingWeights
from distill.dynamic_weights import (
    Moving,
    StudentGradient,
    TeacherMinibatch,
    gradient_squares,
)
from distill.losses import LAYER_LOSSES
from distill.matches import Match
from distill.weights import Vector, mean_one
from recommender.sequential.sasrec import bare_linear
from storage.errors import BadSetting

MINIBATCH = 8
"""Measured requests that one step of D1 looks at."""


class LayerLessons(nn.Module):
    """What is learned beside the student to compare it: projections and mixtures.

    Thrown away after training.
    """

    def __init__(
        self, taught: Distillation, *, blocks: int, width: int, seed: int, init_std: float
    ) -> None:
        """Make a projection a match, drawn by the seed, and a mixture where several are mixed.

        Raises:
            BadSetting: a match of a block that is not there, of states of another width that
                nothing projects, or of what only token by token can be compared.
        """
        super().__init__()
        self.matches = taught.matches
        self.state_layers = taught.state_layers
        wide = 0 if taught.states is None else taught.states.shape[2]
        chance = torch.Generator().manual_seed(derived_seed(seed, "projections", 0))
        self.projections = nn.ModuleDict()
        self.mixtures = nn.ParameterDict()
        for number, match in enumerate(self.matches):
            _refuse(match, blocks=blocks, width=width, wide=wide)
            if match.feature == "supervision":
                continue
            if match.projection == "linear":
                linear = bare_linear(width, wide)
                nn.init.normal_(linear.weight, std=init_std, generator=chance)
                nn.init.zeros_(linear.bias)
                self.projections[str(number)] = linear
            if isinstance(match.teacher, tuple):
                prior = match.prior or (1.0,) * len(match.teacher)
                self.mixtures[str(number)] = nn.Parameter(torch.tensor(prior).log())

    def supervised(self, share: float) -> list[tuple[int, float]]:
        """Return the blocks that predict for themselves at this share of the steps, weighed."""
        return [
            (match.student, match.weight)
            for match in self.matches
            if match.feature == "supervision" and match.counts_at(share)
        ]

    def loss(
        self, states: Sequence[Tensor], teacher: Tensor, share: float, scale: Sequence[float]
    ) -> Tensor:
        """Return (1/M) Σ weight · loss over the matches that count now.

        Args:
            states: the student's, (B, width) each, block after block.
            teacher: (B, K, d_T), centred, at `state_layers`.
            share: of the steps that are done.
            scale: one factor a block: what moving weights make of the given ones.
        """
        total = teacher.new_zeros(())
        for number, match in enumerate(self.matches):
            if match.feature == "supervision" or not match.counts_at(share):
                continue
            own = states[match.student - 1]
            if str(number) in self.projections:
                own = self.projections[str(number)](own)
            compared = LAYER_LOSSES[match.loss](own, self._teacher_state(number, match, teacher))
            total = total + match.weight * scale[match.student - 1] * compared
        return total / max(len(scale), 1)

    def _teacher_state(self, number: int, match: Match, teacher: Tensor) -> Tensor:
        places = [self.state_layers.index(layer) for layer in match.teacher_layers]
        if len(places) == 1:
            return teacher[:, places[0]]
        shares = self.mixtures[str(number)].softmax(0)
        return torch.einsum("k,bkd->bd", shares, teacher[:, places])


class MovingScale(nn.Module):
    """How far moving weights are from those given: one factor a block, kept with checkpoints."""

    average: Tensor
    steps: Tensor

    def __init__(self, moving: MovingWeights | None, given: Sequence[float], seed: int) -> None:
        """Start with what is given."""
        super().__init__()
        self.moving = moving
        self._given = np.array(given, dtype=np.float64)
        self._seed = seed
        wide = 0
        if moving is not None:
            wide = len(moving.ends)
            if moving.by == "teacher":
                if moving.squares is None:
                    raise BadSetting("weights that follow the teacher need its gradients")
                wide = moving.squares.shape[1]
        self.register_buffer("average", torch.zeros(wide, dtype=torch.float64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def factors(self) -> list[float]:
        """Return one factor a block: by how much its given weight is multiplied now."""
        if self.moving is None:
            return [1.0] * len(self._given)
        weights = self.weights()
        return [
            float(now / given) if given > 0 else 0.0
            for now, given in zip(weights, self._given, strict=True)
        ]

    def weights(self) -> Vector:
        """Return the weight of each block now."""
        if self.moving is None or not int(self.steps):
            return self._given
        carried = self.average.numpy()
        if self.moving.by == "teacher":
            begins = (0, *self.moving.ends[:-1])
            parts = zip(begins, self.moving.ends, strict=True)
            carried = np.array([carried[begin:end].sum() for begin, end in parts])
        emphasis = np.array(self.moving.emphasis or 1.0)
        followed: Vector = mean_one(carried * emphasis) * self._given.mean()
        return followed

    def follow(self, blocks: Sequence[nn.Module]) -> None:
        """Go one step on: after the backward pass, before gradients are cleared."""
        moving = self.moving
        if moving is None:
            return
        state = Moving(self.average.numpy().copy() if int(self.steps) else None, int(self.steps))
        if moving.by == "student":
            state = StudentGradient(eta=moving.eta).step(state, gradient_squares(blocks))
        else:
            assert moving.squares is not None
            chance = np.random.default_rng(derived_seed(self._seed, "measured", state.steps))
            rows = chance.integers(0, len(moving.squares), MINIBATCH)
            state = TeacherMinibatch(eta=moving.eta).step(
                state, moving.squares[rows].astype(np.float64)
            )
        assert state.average is not None
        self.average.copy_(torch.from_numpy(state.average))
        self.steps.fill_(state.steps)


def _refuse(match: Match, *, blocks: int, width: int, wide: int) -> None:
    if not 1 <= match.student <= blocks:
        raise BadSetting(
            f"a match of layer {match.student}, and the student has layers 1 to {blocks}",
        )
    if match.feature not in ("hidden", "supervision"):
        raise BadSetting(
            f"{match.feature} cannot be compared: a sequential student sees items where the "
            "teacher sees text",
            next_step="--student micro, a student that reads text",
        )
    if match.feature == "hidden" and match.projection == "none" and width != wide:
        raise BadSetting(
            f"states of width {width} cannot be compared with {wide} without a projection"
        )
    if match.feature == "hidden" and match.loss not in LAYER_LOSSES:
        raise BadSetting(f"no layer loss {match.loss!r}: {', '.join(LAYER_LOSSES)}")
