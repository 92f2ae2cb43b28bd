"""Every criterion by name: which pass gives it, what it is, and where it comes from.

A *measure* is a piece of work on one request; one measure gives several criteria. All are
turned so that a larger value means that the layer matters more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
import numpy.typing as npt

from storage.errors import BadSetting

Array = npt.NDArray[np.float64]
Arrays = Mapping[str, npt.NDArray[Any]]

ONE_PASS = "one-pass"
REMOVAL = "removal"
GREEDY = "greedy"
PROBE = "probe"


@dataclass(frozen=True, slots=True)
class Criterion:
    """One way to say how much a layer matters."""

    name: str
    measure: str
    read: Callable[[Arrays], Array]
    """(layers,) of one request, from what its measure kept."""
    meaning: str
    source: str
    signed: bool = False
    """Whether values below zero mean something: a layer one is better without."""


def _field(name: str) -> Callable[[Arrays], Array]:
    return lambda arrays: np.asarray(arrays[name], dtype=np.float64)


def _square(name: str) -> Callable[[Arrays], Array]:
    return lambda arrays: np.asarray(arrays[name], dtype=np.float64) ** 2


def _turned(arrays: Arrays) -> Array:
    # Deferred: it loads torch, of no use to those who read what a criterion means.
    from distill.importance.forward.influence import angular_importance

    return angular_importance(np.asarray(arrays["angles"], dtype=np.float64))


_ALL = (
    Criterion(
        "fisher-empirical",
        ONE_PASS,
        _field("layers"),
        "squared gradient of the loss at the observed choice, by the layer's weights",
        "Kunstner et al. 1905.12558",
    ),
    Criterion(
        "fisher-per-position",
        ONE_PASS,
        _field("positions"),
        "the same of each position's own share, mean over positions",
        "ours",
    ),
    Criterion(
        "gradient-norm",
        ONE_PASS,
        lambda arrays: np.sqrt(np.asarray(arrays["layers"], dtype=np.float64)),
        "length of that gradient",
        "Adaptive Layer Truncation",
    ),
    Criterion(
        "gate-fisher",
        ONE_PASS,
        _square("gates"),
        "squared derivative by a gate on the layer's contribution: free of the weights' scale",
        "Molchanov et al. 1906.10771",
    ),
    Criterion(
        "weight-direction",
        ONE_PASS,
        _square("directions"),
        "squared derivative by one factor on all weights of the layer",
        "ours",
    ),
    Criterion(
        "block-influence",
        ONE_PASS,
        _field("influence"),
        "one minus the cosine of what goes in and what comes out, mean over tokens",
        "ShortGPT 2403.03853",
    ),
    Criterion(
        "angular-distance",
        ONE_PASS,
        _turned,
        "angle the layer turns the last token of the history by, in units of π",
        "Gromov et al. 2403.17887",
    ),
    Criterion(
        "fisher-true",
        "fisher-true",
        _field("layers"),
        "as fisher-empirical, expected over the model's own choices, every one gone back from",
        "Kunstner et al. 1905.12558",
    ),
    Criterion(
        "fisher-true-sampled",
        "fisher-true-sampled",
        _field("layers"),
        "its estimate from one choice drawn from the model",
        "Martens 1412.1193",
    ),
    Criterion(
        "fisher-true-rademacher",
        "fisher-true-rademacher",
        _field("layers"),
        "its estimate from random signs: the trace of the Gauss-Newton matrix",
        "Martens 1412.1193; Hutchinson 1990",
    ),
    Criterion(
        "hessian-trace",
        "hessian-trace",
        _field("layers"),
        "Hutchinson's estimate of the trace of the Hessian; tiny models only",
        "Hutchinson 1990",
        signed=True,
    ),
    Criterion(
        "taylor",
        "taylor",
        _field("layers"),
        "sum of |w · ∂ℓ/∂w| over the layer's weights",
        "Shortened LLaMA 2402.02834",
    ),
    Criterion(
        "attention-concentration",
        "attention",
        _field("concentration"),
        "one minus the entropy of attention over the log of a row's length",
        "ours, after Adaptive Layer Truncation",
    ),
    Criterion(
        "attention-published",
        "attention",
        _field("published"),
        "1 / (1 + the entropy summed over rows), as printed",
        "Adaptive Layer Truncation",
    ),
    Criterion(
        "loo-loss",
        REMOVAL,
        lambda arrays: np.asarray(arrays["loo_loss"] - arrays["base_loss"], dtype=np.float64),
        "rise of the loss when the layer is left out: the truth the others are held against",
        "Shortened LLaMA 2402.02834",
        signed=True,
    ),
    Criterion(
        "loo-ndcg",
        REMOVAL,
        lambda arrays: np.asarray(arrays["base_ndcg"] - arrays["loo_ndcg"], dtype=np.float64),
        "fall of NDCG@10 over the candidates when the layer is left out",
        "Shortened LLaMA 2402.02834",
        signed=True,
    ),
    Criterion(
        GREEDY,
        GREEDY,
        _field("importance"),
        "the step at which the layer goes when the least harmful goes first",
        "SLEB 2402.09025",
    ),
    Criterion(
        "probe-information",
        PROBE,
        _field("information"),
        "nats that a linear probe of the layer's output knows of the choice, held out",
        "Xu et al. 2002.10689",
        signed=True,
    ),
)

CRITERIA: dict[str, Criterion] = {one.name: one for one in _ALL}
BY_SIZE = ("hessian-trace",)
"""What only tiny models can be asked; 'all' leaves it out."""
DEFAULT = tuple(one.name for one in _ALL if one.measure == ONE_PASS)
GROUPS: dict[str, tuple[str, ...]] = {
    "default": DEFAULT,
    "all": tuple(name for name in CRITERIA if name not in BY_SIZE),
}


NEED_CHOICES = (
    "loo-ndcg",
    "fisher-true",
    "fisher-true-sampled",
    "fisher-true-rademacher",
    "probe-information",
)
"""What needs something to choose from: the loss 'next-token' has nothing."""


def chosen(names: Sequence[str], loss: str = "listwise") -> tuple[Criterion, ...]:
    """Return the criteria that are named, each once; 'default' and 'all' name several.

    Of several, those that a loss cannot have are left out; who names one by itself is told.

    Raises:
        BadSetting: there is no such criterion, with the nearest.

    >>> [one.name for one in chosen(["loo-loss", "taylor", "loo-loss"])]
    ['loo-loss', 'taylor']
    >>> len(chosen([])) == len(DEFAULT)
    True
    """
    found: dict[str, Criterion] = {}
    for name in names or ("default",):
        if name not in CRITERIA and name not in GROUPS:
            near = get_close_matches(name, [*CRITERIA, *GROUPS], n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(CRITERIA)}"
            raise BadSetting(f"no criterion {name!r}: {hint}", next_step="--criterion default")
        for one in GROUPS.get(name, (name,)):
            if name in GROUPS and loss == "next-token" and one in NEED_CHOICES:
                continue
            found[one] = CRITERIA[one]
    return tuple(found.values())
