"""Matches of layers between two Llamas, token by token: from a list to one number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor, nn

from distill.chance import derived_seed
from distill.language.features import ATTENDING, Attended, Captured, causal
from distill.language.token_losses import (
    attention_kl,
    relation_heads,
    relation_kl,
    scores_mse,
)
from distill.losses import LAYER_LOSSES
from distill.matches import Match
from recommender.sequential.sasrec import bare_linear
from storage.errors import BadSetting

_STD = 0.02


class TokenLessons(nn.Module):
    """What is learned beside the student to compare it: projections and mixtures.

    Thrown away after training.
    """

    def __init__(
        self,
        matches: Sequence[Match],
        *,
        layers: int,
        width: int,
        teacher_layers: int,
        teacher_width: int,
        seed: int,
    ) -> None:
        """Make a projection a match of states, drawn by the seed.

        Raises:
            BadSetting: a match of a layer that is not there, or by a loss that is none.
        """
        super().__init__()
        self.matches = tuple(matches)
        chance = torch.Generator().manual_seed(derived_seed(seed, "projections", 0))
        self.projections = nn.ModuleDict()
        self.mixtures = nn.ParameterDict()
        self.sizes: dict[str, Tensor] = {}
        """Mean products of the teacher's states with each other, (K, K), by number of the match,
        over a fixed set of texts: they tell how large a mixture of them is, which distances are
        measured by. Without them, it is measured over the tokens at hand."""
        for number, match in enumerate(self.matches):
            _refuse(match, layers, teacher_layers, equal=width == teacher_width)
            if match.feature != "hidden":
                continue
            if match.projection == "linear":
                linear = bare_linear(width, teacher_width)
                nn.init.normal_(linear.weight, std=_STD, generator=chance)
                nn.init.zeros_(linear.bias)
                self.projections[str(number)] = linear
            if isinstance(match.teacher, tuple):
                prior = match.prior or (1.0,) * len(match.teacher)
                self.mixtures[str(number)] = nn.Parameter(torch.tensor(prior).log())

    def measure(self, teacher: Captured, real: Tensor) -> None:
        """Fix what distances are measured by: how large the teacher's states are on these texts.

        Args:
            teacher: what was kept of its pass over them.
            real: (B, T) bool, tokens that count.
        """
        for number, match in enumerate(self.matches):
            if (match.feature, match.loss) == ("hidden", "distance"):
                theirs = _states(teacher, match, real)
                self.sizes[str(number)] = theirs.flatten(1) @ theirs.flatten(1).T / theirs.shape[1]

    def loss(
        self,
        student: Captured,
        teacher: Captured,
        real: Tensor,
        share: float,
        scale: Sequence[float],
    ) -> Tensor:
        """Return (1/M) Σ weight · loss over the matches that count now.

        Args:
            student: what was kept of its pass.
            teacher: what was kept of the teacher's, of the same tokens.
            real: (B, T) bool, tokens that count.
            share: of the steps that are done.
            scale: one factor a layer of the student, for weights that move.
        """
        total = torch.zeros((), device=real.device)
        for number, match in enumerate(self.matches):
            if match.feature == "supervision" or not match.counts_at(share):
                continue
            factor = scale[match.student - 1] if match.student else 1.0
            compared = self._compared(str(number), match, student, teacher, real)
            total = total + match.weight * factor * compared
        return total / max(len(scale), 1)

    def _compared(
        self, number: str, match: Match, student: Captured, teacher: Captured, real: Tensor
    ) -> Tensor:
        if match.feature in ATTENDING:
            (layer,) = match.teacher_layers
            pair = student.attended[match.student], teacher.attended[layer]
            return ATTENTION_LOSSES[match.feature](*pair, real)
        own = student.hidden[match.student][real].float()
        if number in self.projections:
            own = self.projections[number](own)
        theirs = _states(teacher, match, real)
        shares = theirs.new_ones(1)
        if number in self.mixtures:
            shares = self.mixtures[number].softmax(0)
        target = torch.einsum("k,knd->nd", shares, theirs)
        if match.loss == "distance" and number in self.sizes:
            apart = (own - target).square().sum(1).mean()
            return apart / (shares @ self.sizes[number] @ shares)
        return LAYER_LOSSES[match.loss](own, target)


def _states(teacher: Captured, match: Match, real: Tensor) -> Tensor:
    """Return the states of the layers that a match looks at, (K, tokens that count, width)."""
    return torch.stack([teacher.hidden[layer][real].float() for layer in match.teacher_layers])


def _attention(student: Attended, teacher: Attended, real: Tensor) -> Tensor:
    return attention_kl(student.scores(), teacher.scores(), _sight(real), real)


def _scores(student: Attended, teacher: Attended, real: Tensor) -> Tensor:
    return scores_mse(student.scores(), teacher.scores(), _sight(real), real)


def _relation(part: str) -> Callable[[Attended, Attended, Tensor], Tensor]:
    def loss(student: Attended, teacher: Attended, real: Tensor) -> Tensor:
        ours, theirs = getattr(student, part), getattr(teacher, part)
        heads = relation_heads(ours, theirs)
        return relation_kl(ours, theirs, _sight(real), real, heads=heads)

    return loss


def _sight(real: Tensor) -> Tensor:
    """Tokens that count see those that count, and a first one that does not count sees itself."""
    sight = causal(real)
    # A row that may look nowhere would be no distribution; it counts for nothing anyway.
    itself = torch.eye(real.shape[1], dtype=torch.bool, device=real.device)
    return sight | itself


ATTENTION_LOSSES: Mapping[str, Callable[[Attended, Attended, Tensor], Tensor]] = MappingProxyType(
    {
        "attention": _attention,
        "attention-scores": _scores,
        "queries": _relation("queries"),
        "keys": _relation("keys"),
        "values": _relation("values"),
    }
)
"""By feature: each is compared in one way (`attention-kl`, `scores-mse`, `relation-kl`)."""
_BY_FEATURE = {"attention": "attention-kl", "attention-scores": "scores-mse"}


def _refuse(match: Match, layers: int, teacher_layers: int, *, equal: bool) -> None:
    if match.student > layers or max(match.teacher_layers, default=0) > teacher_layers:
        raise BadSetting(
            f"a match of layers {match.teacher} and {match.student}: the teacher has "
            f"{teacher_layers}, the student {layers}"
        )
    if match.feature in ATTENDING:
        wanted = _BY_FEATURE.get(match.feature, "relation-kl")
        if match.loss != wanted or 0 in (match.student, *match.teacher_layers):
            raise BadSetting(f"{match.feature} of a layer is compared by {wanted!r}: {match!r}")
        if isinstance(match.teacher, tuple):
            raise BadSetting(f"{match.feature} of several layers cannot be mixed: {match!r}")
    elif match.feature == "hidden":
        if match.loss not in LAYER_LOSSES:
            raise BadSetting(f"no layer loss {match.loss!r}: {', '.join(LAYER_LOSSES)}")
        if match.projection == "none" and not equal:
            raise BadSetting("states of different widths cannot be compared without a projection")
