"""How many steps a run has, and how its learning rate and layer losses change over them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from distill.training import TrainConfig


@dataclass(frozen=True, slots=True)
class Plan:
    """How many steps there are."""

    epoch_steps: int
    """From one evaluation to the next."""
    steps: int
    """Of the whole schedule: the learning rate reaches 0 after them."""
    last_step: int
    """Where this run ends at the latest."""

    @classmethod
    def of(cls, config: TrainConfig, steps_a_pass: int) -> Plan:
        """Return the plan of a run whose data takes so many steps a pass.

        >>> Plan.of(TrainConfig(epochs=10, stop_after=3), 7)
        Plan(epoch_steps=7, steps=70, last_step=21)
        """
        epoch_steps = config.epoch_steps or steps_a_pass
        epochs = min(config.stop_after or config.epochs, config.epochs)
        return cls(epoch_steps, config.epochs * epoch_steps, epochs * epoch_steps)


def rate_share(step: int, steps: int, warmup: float) -> float:
    """Share of the learning rate at a step: a straight rise, then half a cosine to 0.

    Formula: (step + 1) / W while step < W = ceil(warmup · steps), then
    ½ (1 + cos(π (step − W) / (steps − W))).

    Args:
        step: from 0.
        steps: of the whole run.
        warmup: share of the steps that rise.

    >>> [round(rate_share(step, 10, 0.2), 2) for step in (0, 1, 2, 6, 9)]
    [0.5, 1.0, 1.0, 0.5, 0.04]
    """
    rise = math.ceil(warmup * steps)
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(steps - rise, 1)))


def layer_share(step: int, steps: int, fade: float = 0.3) -> float:
    """Share of the layer losses at a step: 1, then falling to 0 over the last `fade`, if any.

    The student is led to the teacher's states early and left to the ranking at the end
    (algorithms.md §1.3).

    >>> [round(layer_share(step, 10), 2) for step in (0, 7, 8, 9, 10)]
    [1.0, 1.0, 0.67, 0.33, 0.0]
    """
    return 1.0 if fade == 0 else min(1.0, (steps - step) / (fade * steps))
