"""Ways to distil and sizes of students, by name: what a person chooses between, as data.

Apart from the configuration, which can say far more than these, because screens and reports
need a few names that mean the same everywhere. No torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType

from distill.config import DistilConfig
from recommender.sequential.shape import SASRecConfig
from storage.errors import BadSetting

Change = Callable[[DistilConfig], DistilConfig]


@dataclass(frozen=True, slots=True)
class Method:
    """A way to distil."""

    name: str
    about: str
    """What it does, in one line."""
    change: Change
    """From a configuration to the same one, distilled in this way."""


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        one.name: one
        for one in (
            Method(
                "fisher",
                "labels, and layers that count by their Fisher information",
                lambda config: config.with_loss(layer_weights="fisher"),
            ),
            Method(
                "uniform",
                "labels, and layers that all count the same",
                lambda config: config.with_loss(layer_weights="uniform"),
            ),
            Method(
                "labels",
                "labels alone: no weights are opened, no layers are matched",
                lambda config: config.with_teacher(weights="none").with_loss(layer=0.0),
            ),
            Method(
                "layers",
                "layers alone, by their Fisher information: what it says is not heard",
                lambda config: config.with_loss(layer_weights="fisher", output=0.0),
            ),
            Method(
                "permuted",
                "a control: as fisher, but the answers are dealt to the wrong requests",
                lambda config: config.with_loss(layer_weights="fisher", permute_labels=True),
            ),
        )
    }
)
"""By name; the first is the one to begin with."""

SIZES: Mapping[str, SASRecConfig] = MappingProxyType(
    {
        "standard": SASRecConfig(),
        "small": SASRecConfig(width=32, blocks=1, heads=1),
        "deep": SASRecConfig(blocks=4),
        "wide": SASRecConfig(width=128),
    }
)
"""Students by name; the first is the one to begin with."""


def method(name: str) -> Method:
    """Return a way to distil by name.

    Raises:
        BadSetting: there is none, with the nearest.

    >>> method("uniform").change(DistilConfig("Books")).loss.layer_weights
    'uniform'
    """
    if name not in METHODS:
        raise BadSetting(f"no method {name!r}{_near(name, METHODS)}")
    return METHODS[name]


def size(name: str) -> SASRecConfig:
    """Return the shape of a student by the name of its size.

    Raises:
        BadSetting: there is none, with the nearest.

    >>> size("deep").blocks
    4
    """
    if name not in SIZES:
        raise BadSetting(f"no size {name!r} of a student{_near(name, SIZES)}")
    return SIZES[name]


def describe(shape: SASRecConfig) -> str:
    """Say how large a student is, in a few words.

    >>> describe(SASRecConfig())
    'width 64, 2 blocks'
    """
    blocks = "1 block" if shape.blocks == 1 else f"{shape.blocks} blocks"
    return f"width {shape.width}, {blocks}"


def _near(name: str, known: Mapping[str, object]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f": {', '.join(known)}"
