"""The student of a configuration: made of the teacher's layers, or from scratch.

Also what each of its layers stands for, which its making decides: a cut's layers do the work
of those that are gone behind them, a fresh one's are spread over the teacher, or supervised by
the layers that a criterion chooses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from distill.importance.criteria import CRITERIA
from distill.language.cutting import cut
from distill.language.fresh import fresh
from distill.language.keeping import (
    aligned_outputs,
    keep_of,
    keep_set,
    require_rules,
    supervising_outputs,
)
from distill.language.profiles import largest
from distill.language.settings import LanguageConfig
from distill.matches import matched_layers
from storage.errors import BadSetting
from storage.store import Store


@dataclass(frozen=True, slots=True)
class Design:
    """What a student will be, decided before anything is built."""

    name: str
    """What tables call it: 'cut 8 of 30 (uniform)', '4×384'."""
    ends: tuple[int, ...]
    """g(1) … g(M): the teacher's output each of its layers stands for."""
    kept: tuple[int, ...] = ()
    """Layers of the teacher that are copied; none for a student from scratch."""


def design(
    store: Store, category_id: int, weights: str, layers: int, config: LanguageConfig, *, seed: int
) -> Design:
    """Decide what a student will be.

    Args:
        store: where profiles of importance are.
        category_id: whose.
        weights: key of the teacher's card.
        layers: of the teacher.
        config: of the student.
        seed: of the rule 'random'.

    Raises:
        BadSetting: no such rule, or a criterion that nobody measured.
    """
    require_rules(config)
    if config.making == "cut":
        number = keep_of(config.cut, layers)
        if config.keep in CRITERIA:
            profile = profile_of(store, category_id, weights, config.keep)
            kept = keep_set("profile", layers, number, profile=profile)
        else:
            kept = keep_set(config.keep, layers, number, seed=seed)
        return Design(
            f"cut {len(kept)} of {layers} ({config.keep})", aligned_outputs(kept, layers), kept
        )
    shape = f"{config.layers}×{config.hidden}"
    if not config.supervised_by:
        return Design(shape, matched_layers(layers, config.layers))
    profile = profile_of(store, category_id, weights, config.supervised_by)
    chosen = supervising_outputs(profile, config.layers)
    return Design(f"{shape}, supervised by {config.supervised_by}", chosen)


def make(teacher: Any, made: Design, config: LanguageConfig, *, seed: int) -> Any:
    """Build the student, in float32, ready to be trained."""
    if made.kept:
        student = cut(teacher, made.kept).float()
    else:
        student = fresh(teacher, config.layers, config.hidden, config.heads, seed=seed)
    if config.gradient_checkpointing:
        # The older name warns where there is the newer one.
        newer = getattr(student, "activation_checkpointing_enable", None)
        (newer or student.gradient_checkpointing_enable)({"use_reentrant": False})
    student.to(teacher.model.embed_tokens.weight.device)
    return student.train()


def profile_of(store: Store, category_id: int, weights: str, criterion: str) -> tuple[float, ...]:
    """Return the stored importance of a teacher's layers, of several the one of most requests.

    Raises:
        BadSetting: nobody measured it on this category and these weights.
    """
    found = largest(store.runs.profiles(category_id), criterion, weights.__eq__)
    if found is None:
        raise BadSetting(
            f"{criterion!r} was not measured here with the weights {weights!r}",
            next_step=f"recsys importance --criterion {criterion} --category NAME",
        )
    return found.layers


def learned_weights(student: Any) -> list[torch.Tensor]:
    """Return what of a student is learned."""
    return [weight for weight in student.parameters() if weight.requires_grad]
