"""One adaptation as a task of the training loop: its questions, its losses, its validation.

What a step asks follows from the seed, the pass, the question's number and how far the training
is, so one that was stopped goes on to the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distill.adapting.config import AdaptConfig
from distill.adapting.layout import Example, example
from distill.adapting.letters_loss import letter_scores, letters_loss, said_loss, title_loss
from distill.adapting.measuring import prior_of, short_letters, without_prior
from distill.adapting.questions import Easing, TrainingQuestions
from recommender.asking.answering import Texts
from recommender.asking.requests import Question
from recommender.backends.embedded import EmbeddedBackend
from recommender.backends.passes import rows_hidden
from recommender.scoring import reciprocal_rank

AT_ONCE = 2
"""Questions that a CPU computes side by side: more are no faster there, and take memory."""


@dataclass(frozen=True, eq=False, slots=True)
class Lesson:
    """What is asked in training and on validation, of a model with adapters in it."""

    backend: EmbeddedBackend
    """Wording and tokenizer, and the model, whose adapters are the only weights that move."""
    texts: Texts
    training: TrainingQuestions
    choosing: Sequence[Question]
    config: AdaptConfig

    @property
    def at_once(self) -> int:
        """How many questions of a step are computed side by side; a divisor of the batch."""
        on_cpu = self.backend.model.device.type == "cpu"
        return math.gcd(self.config.batch, AT_ONCE) if on_cpu else self.config.batch

    def easing(self, step: int, steps: int) -> Easing:
        """Return how much easier the questions of a step are than those that judge.

        Nothing is shown where letters are not learned.
        """
        config = self.config
        if not config.letters_weight:
            return Easing(0.0, config.fewest)
        return Easing.at(step, steps, shown=config.shown, fewest=config.fewest)

    def example(self, number: int, epoch: int, easing: Easing | None = None) -> Example:
        """Lay a training question out as it is asked in a pass."""
        question = self.training.question(number, epoch, easing)
        # A title that stands in the history would be learned by copying.
        shown = question.candidates[question.target] in question.history
        return example(
            self.backend,
            self.texts.prompt(question),
            question.target,
            most=self.config.prompt_tokens,
            with_titles=self.config.lm_weight > 0 and not shown,
        )

    def losses(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """Return both losses, weighted, each a sum over the examples."""
        return summed_losses(
            self.backend.model,
            examples,
            letters_weight=self.config.letters_weight,
            said_weight=self.config.said_weight,
            lm_weight=self.config.lm_weight,
        )

    def validation_mrr(self) -> float:
        """Return the MRR by short letters on the choosing questions, places' prior taken off."""
        most = self.config.prompt_tokens
        rows = [
            short_letters(self.backend, self.texts.prompt(question), most=most)
            for question in self.choosing
        ]
        return mean_reciprocal_rank(rows, [q.target for q in self.choosing])


def mean_reciprocal_rank(rows: list[np.ndarray], targets: Sequence[int]) -> float:
    """Return the MRR of answers by letters, what each place gets anyway taken off.

    Where an answer is no number, as after a step that was too large, neither is it.

    >>> rows = [np.array([0.0, -1.0]), np.array([-0.5, -0.6])]
    >>> mean_reciprocal_rank(rows, [0, 1])
    1.0
    """
    if not all(np.isfinite(row).all() for row in rows):
        return math.nan
    longest = max(map(len, rows))
    prior = prior_of([row for row in rows if len(row) == longest])
    calm = without_prior(rows, prior)
    return float(np.mean([reciprocal_rank(r, t) for r, t in zip(calm, targets, strict=True)]))


def summed_losses(
    model: Any,
    examples: Sequence[Example],
    *,
    letters_weight: float,
    said_weight: float,
    lm_weight: float,
) -> dict[str, Tensor]:
    """Run the examples side by side; return each weighted loss, summed over them.

    Formula: Σ_i w · L(i) of each, see `letters_loss`; letters are said where they are learned.
    Sums, not means: a step that is computed in pieces adds up to the same gradient.
    """
    hidden = rows_hidden(model, [one.pack for one in examples])
    found: dict[str, Tensor] = {}
    if letters_weight:
        rows = torch.arange(len(examples)), torch.tensor([one.answer for one in examples])
        logits = model.lm_head(hidden[rows])
        scores = [
            letter_scores(row, one.variants) for row, one in zip(logits, examples, strict=True)
        ]
        parts = [letters_loss(s, one.target) for s, one in zip(scores, examples, strict=True)]
        found["letters"] = letters_weight * torch.stack(parts).sum()
        if said_weight:
            parts = [said_loss(row, s) for row, s in zip(logits, scores, strict=True)]
            found["said"] = said_weight * torch.stack(parts).sum()
    told = [(n, one) for n, one in enumerate(examples) if len(one.rows)]
    if lm_weight and not told:  # one title each, and the next one is shown
        found["titles"] = hidden.new_zeros(())
    elif lm_weight:
        picked = torch.cat([hidden[n, torch.from_numpy(one.rows)] for n, one in told])
        logits = model.lm_head(picked)
        sizes = [len(one.rows) for _, one in told]
        parts = [
            title_loss(some, torch.from_numpy(one.tokens).to(some.device))
            for some, (_, one) in zip(torch.split(logits, sizes), told, strict=True)
        ]
        found["titles"] = lm_weight * torch.stack(parts).sum()
    return found
