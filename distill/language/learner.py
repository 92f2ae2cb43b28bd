"""A Llama student as a task of the loop: what it reads, what it is told, what is compared.

    L = a_task · CE + a_out · T² KL + a_layer · (1/M) Σ weight · loss

CE and KL are means over the tokens of titles, layer losses means over all real tokens. The
teacher reads the same tokens in the same step, in eval mode and without gradients, and only
where somebody listens. A step in pieces has the gradient of a step in one: every mean is over
the whole step, and distances are measured by the teacher's own size over a fixed set of lessons,
not over a piece.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from distill.chance import derived_seed
from distill.checkpoint import fingerprint
from distill.config import LossConfig
from distill.data import MovingWeights
from distill.language.features import Capture, Captured, Wanted
from distill.language.lessons import Lesson, LessonBatch, batch_of, digest_of
from distill.language.loop import Place
from distill.language.matched import TokenLessons
from distill.language.token_losses import token_sums
from distill.matches import Match
from distill.matching import MovingScale
from distill.schedule import layer_share
from storage.errors import BadSetting

NORMED_BY = 16
"""Lessons that tell how large the teacher's states are."""


@dataclass(frozen=True, eq=False, slots=True)
class Taught:
    """Who teaches a Llama student, and what is compared."""

    teacher: Any
    """A model of the same tokens, frozen."""
    key: str
    """Name of its very weights."""
    matches: tuple[Match, ...]
    loss: LossConfig
    moving: MovingWeights | None = None


class LlamaLearner:
    """A `Task`: lessons for a student, with or without a teacher."""

    def __init__(
        self,
        student: Any,
        training: Sequence[Lesson],
        validation: Sequence[Lesson],
        taught: Taught | None,
        *,
        name: str,
        seed: int,
        layerdrop: float = 0.0,
        batch: int = 8,
    ) -> None:
        """Set a student before its lessons.

        Args:
            student: what learns; of it, what asks for gradients.
            training: to learn from.
            validation: to select by.
            taught: the teacher; None learns from the texts alone.
            name: all that decides the student's first weights.
            seed: of projections and of layers left out.
            layerdrop: chance of a layer to be left out of a step.
            batch: lessons of validation that are read at once.

        Raises:
            BadSetting: a match of a layer that is not there or may be left out, or nothing
                is learned before the task begins.
        """
        self.student, self.training, self.validation = student, training, validation
        self.taught, self.name, self.seed, self.layerdrop = taught, name, seed, layerdrop
        self.batch = batch
        layers = len(student.model.layers)
        matches = () if taught is None else taught.matches
        if taught is not None:
            _refuse(taught, layerdrop)
        self.lessons = TokenLessons(
            matches,
            layers=layers,
            width=int(student.config.hidden_size),
            teacher_layers=0 if taught is None else len(taught.teacher.model.layers),
            teacher_width=0 if taught is None else int(taught.teacher.config.hidden_size),
            seed=seed,
        )
        given = [sum(m.weight for m in matches if m.student == n) for n in range(1, layers + 1)]
        self.scale = MovingScale(None if taught is None else taught.moving, given, seed)
        self.looked_at = Wanted.of_student(matches), Wanted.of_teacher(matches)
        self._module = nn.ModuleDict(
            {"student": student, "lessons": self.lessons, "scale": self.scale}
        )
        if taught is not None and self.looked_at[1].hidden:
            first = batch_of(training[:NORMED_BY], self._device)
            self.lessons.measure(self._teacher(taught, first)[1], first.real)

    @property
    def module(self) -> nn.Module:
        """The student and what is learned beside it."""
        return self._module

    @property
    def measure(self) -> str:
        """What `validate` returns."""
        return "−nats of a title's token"

    @property
    def examples(self) -> int:
        """How many lessons there are."""
        return len(self.training)

    def losses(self, examples: Sequence[int], place: Place) -> Mapping[str, Tensor]:
        """Return the parts of these lessons' share of the step's loss."""
        some = [self.training[number] for number in examples]
        whole = [self.training[number] for number in place.examples]
        batch = batch_of(some, self._device)
        told = max(1, sum(int(one.told[1:].sum()) for one in whole))
        real = max(1, sum(len(one.ids) - one.begins for one in whole))
        wanted, _ = self.looked_at
        with self._dropping(place.step), Capture(self.student, wanted) as kept:
            states = _last(self.student, batch)
        taught, share = self.taught, place.share
        heard = taught is None or share >= taught.loss.begins
        parts: dict[str, Tensor] = {}
        theirs, seen = (None, Captured())
        if taught is not None and (taught.loss.output or taught.matches):
            theirs, seen = self._teacher(taught, batch)
        rows, targets = _predicting(states, batch)
        if heard:
            said = None
            if taught is not None and theirs is not None and taught.loss.output:
                said = (_predicting(theirs, batch)[0], taught.teacher.lm_head.weight)
            temperature = 1.0 if taught is None else taught.loss.temperature
            entropy, apart = token_sums(
                rows, self.student.lm_head.weight, targets, said, temperature=temperature
            )
            parts["task"] = entropy / told * (1.0 if taught is None else taught.loss.task)
            if said is not None and taught is not None:
                parts["output"] = taught.loss.output * apart / told
        if taught is not None and taught.matches and taught.loss.layer:
            layers = self.lessons.loss(kept, seen, batch.real, share, self.scale.factors())
            layers = layers * (int(batch.real.sum()) / real)
            layers = layers + self._supervised(kept, batch, share) / told
            if taught.loss.balance and "output" in parts:
                if len(examples) < len(place.examples):  # what balances a piece is not the step's
                    raise BadSetting(
                        "balanced layer losses need the whole step at once",
                        next_step="language: {accumulate: 1}",
                    )
                layers = layers * (parts["output"] / layers.clamp_min(1e-12)).detach()
            fading = layer_share(place.step, place.steps, taught.loss.layer_fade)
            parts["layers"] = taught.loss.layer * fading * layers
        return parts

    def validate(self) -> float:
        """Return minus the mean cross-entropy of a title's token, in nats."""
        total, count = 0.0, 0
        for at in range(0, len(self.validation), self.batch):
            batch = batch_of(self.validation[at : at + self.batch], self._device)
            rows, targets = _predicting(_last(self.student, batch), batch)
            total += float(token_sums(rows, self.student.lm_head.weight, targets)[0])
            count += len(targets)
        return -total / max(1, count)

    def fingerprint(self) -> str:
        """Return the hash of lessons, teacher, matches and shares."""
        taught = self.taught
        parts: list[object] = [self.name, self.seed, self.layerdrop]
        parts += [digest_of(self.training), digest_of(self.validation)]
        if taught is not None:
            parts += [taught.key, taught.matches, taught.loss]
            if taught.moving is not None:
                parts += [*taught.moving.settings]
                parts += [taught.moving.squares]
        return fingerprint(*parts)

    def follow(self) -> None:
        """Let weights that move see the student's gradients."""
        self.scale.follow(list(self.student.model.layers))

    @property
    def _device(self) -> torch.device:
        device: torch.device = self.student.model.embed_tokens.weight.device
        return device

    def _supervised(self, kept: Captured, batch: LessonBatch, share: float) -> Tensor:
        """Return (1/M) Σ weight · summed cross-entropy of layers that predict for themselves."""
        total = torch.zeros((), device=self._device)
        layers = len(self.student.model.layers)
        for match in self.lessons.matches:
            if match.feature == "supervision" and match.counts_at(share):
                states = self.student.model.norm(kept.hidden[match.student])
                rows, targets = _predicting(states, batch)
                entropy, _ = token_sums(rows, self.student.lm_head.weight, targets)
                total = total + match.weight * entropy / layers
        return total

    def _teacher(self, taught: Taught, batch: LessonBatch) -> tuple[Tensor, Captured]:
        wanted, own = self.looked_at[1], torch.autocast(self._device.type, enabled=False)
        with torch.no_grad(), own, Capture(taught.teacher, wanted) as seen:
            states = _last(taught.teacher, batch)
        return states, seen

    @contextmanager
    def _dropping(self, step: int) -> Iterator[None]:
        """Leave layers out of this step's pass, each by its own chance; never all of them."""
        if not self.layerdrop:
            with nullcontext():
                yield
            return
        whole = self.student.model.layers
        chance = np.random.default_rng(derived_seed(self.seed, "label dropout", step))
        kept = [layer for layer in whole if chance.random() >= self.layerdrop] or [whole[0]]
        self.student.model.layers = nn.ModuleList(kept)
        try:
            yield
        finally:
            self.student.model.layers = whole


def _refuse(taught: Taught, layerdrop: float) -> None:
    if layerdrop and taught.matches:
        raise BadSetting(
            "a layer that is left out of a step cannot be compared in it",
            next_step="language: {layerdrop: 0}",
        )
    if taught.loss.begins and not (taught.loss.layer and taught.matches):
        raise BadSetting(
            f"up to {taught.loss.begins:.0%} of the steps nothing but layers is learned, and none "
            "are compared",
            next_step="loss: {begins: 0}",
        )


def _last(model: Any, batch: LessonBatch) -> Tensor:
    """Return the normed last states, (B, T, width)."""
    states: Tensor = model.model(
        input_ids=batch.ids, attention_mask=batch.mask.long(), use_cache=False
    ).last_hidden_state
    return states


def _predicting(states: Tensor, batch: LessonBatch) -> tuple[Tensor, Tensor]:
    """Return the states that predict a title's token, (N, width), and those tokens, (N,)."""
    told = batch.told[:, 1:]
    return states[:, :-1][told], batch.ids[:, 1:][told]
