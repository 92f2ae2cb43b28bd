"""The losses a student learns from: pure functions of tensors.

Apart from the training loop so that each can be read beside its formula and tested against
a loop written from the definition. Every one returns a scalar, the mean over its rows, in
the dtype of its input (float32 in training).
"""

from distill.losses.layers import LAYER_LOSSES, layer_distance
from distill.losses.outputs import bernoulli_kl, soft_label_kl
from distill.losses.task import bce_sampled, ce_full, ce_sampled, dros, gbce

__all__ = [
    "LAYER_LOSSES",
    "bce_sampled",
    "bernoulli_kl",
    "ce_full",
    "ce_sampled",
    "dros",
    "gbce",
    "layer_distance",
    "soft_label_kl",
]
