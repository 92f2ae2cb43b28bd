"""Which layers of a teacher a cut keeps, and what each kept layer then stands for. No torch.

Layers count from 0 here, as in files and criteria; outputs count from 1, as in matches: output
l is what comes out of layer l − 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distill.importance.criteria import CRITERIA
from distill.importance.statistics.selection import kept_layers
from distill.language.settings import LanguageConfig
from storage.errors import BadSetting, nearest

RULES = ("first", "last", "uniform", "top-bottom", "random")
PUBLISHED_KEEP = (0, 28, 29, 30, 31, 8, 9, 20)
"""What the supplement on truncation says is kept of 32: five always, three often (§2.1)."""


def keep_of(cut: float, layers: int) -> int:
    """Return how many layers stay when a share of them is taken away, at least one.

    >>> [keep_of(cut, 32) for cut in (0.5, 0.625, 0.75, 0.875)], keep_of(0.75, 30)
    ([16, 12, 8, 4], 8)
    """
    if not 0 <= cut < 1:
        raise BadSetting(f"a cut takes away a share between 0 and 1, not {cut}")
    return max(1, int(np.floor(layers * (1 - cut) + 0.5)))


def keep_set(
    rule: str,
    layers: int,
    keep: int,
    *,
    profile: Sequence[float] | None = None,
    protected: Sequence[int] = (),
    seed: int = 0,
) -> tuple[int, ...]:
    """Return the layers that stay, rising.

    Args:
        rule: one of `RULES`; 'profile', the most important ones by `profile`; or the layers
            themselves, "0,1,28,29".
        layers: L.
        keep: how many stay; a list of layers has its own number.
        profile: importance of each layer, for the rule 'profile'.
        protected: layers that stay whatever the rule says; they count in `keep`.
        seed: of the rule 'random'.

    Raises:
        BadSetting: there is no such rule, or no such layer, or not as many.

    >>> [keep_set(rule, 8, 4) for rule in ("first", "last", "uniform", "top-bottom")]
    [(0, 1, 2, 3), (4, 5, 6, 7), (0, 2, 5, 7), (0, 1, 6, 7)]
    >>> keep_set("profile", 4, 2, profile=[3.0, 1.0, 2.0, 5.0]), keep_set("5,0", 8, 0)
    ((0, 3), (0, 5))
    """
    listed = _listed(rule, layers)
    if listed is not None:
        return listed
    if rule == "profile":
        if profile is None or len(profile) != layers:
            raise BadSetting(f"no importance of {layers} layers to keep the most important ones by")
        scores = np.array(profile, dtype=np.float64)
    elif rule in RULES:
        scores = _scores(rule, layers, max(1, min(keep, layers)), seed)
    else:
        raise BadSetting(f"no rule {rule!r} for what a cut keeps{nearest(rule, RULES)}")
    return kept_layers(scores, keep, protected=protected)


def aligned_outputs(kept: Sequence[int], layers: int) -> tuple[int, ...]:
    """Return g(1) … g(M): the teacher's output that each kept layer should give.

    The *input* of the next kept layer, so that a student layer also does the work of those
    that are gone between; the last one gives the teacher's last output.

    Source: algorithms.md §2.4.

    >>> aligned_outputs((0, 1, 5), 8), aligned_outputs((0, 1, 2), 3)
    ((1, 5, 8), (1, 2, 3))
    """
    return (*kept[1:], layers)


def supervising_outputs(profile: Sequence[float], student_layers: int) -> tuple[int, ...]:
    """Return which outputs of the teacher supervise a student from scratch: the chosen layers'.

    The supplement's own use of truncation: what is chosen is copied nowhere, it is looked at.

    >>> supervising_outputs([5.0, 1.0, 2.0, 4.0], 2)
    (1, 4)
    """
    kept = keep_set("profile", len(profile), student_layers, profile=profile)
    return tuple(layer + 1 for layer in kept)


def require_rules(config: LanguageConfig) -> None:
    """Refuse a rule, or a criterion, that there is not: before anything is opened.

    Raises:
        BadSetting: it, with the nearest.

    >>> require_rules(LanguageConfig(making="cut", keep="frist"))
    Traceback (most recent call last):
    ...
    storage.errors.BadSetting: no rule 'frist' for what a cut keeps; did you mean 'first'?
    """
    rule, criterion = config.keep, config.supervised_by
    numbers = all(part.strip().isdecimal() for part in rule.split(","))
    if config.making == "cut" and rule not in (*RULES, *CRITERIA) and not numbers:
        known = [*RULES, *CRITERIA]
        raise BadSetting(f"no rule {rule!r} for what a cut keeps{nearest(rule, known)}")
    if config.making == "fresh" and criterion and criterion not in CRITERIA:
        raise BadSetting(
            f"no criterion {criterion!r} to supervise by{nearest(criterion, [*CRITERIA])}"
        )


def _scores(rule: str, layers: int, keep: int, seed: int) -> np.ndarray:
    """Return a number a layer, of which the largest `keep` are what the rule means."""
    order = np.arange(layers, dtype=np.float64)
    if rule == "first":
        return -order
    if rule == "last":
        return order
    if rule == "top-bottom":  # from both ends, the lower one first
        return np.maximum(2 * (layers - 1 - order), 2 * order - 1)
    if rule == "random":
        return np.random.default_rng([seed, 13]).permutation(layers).astype(np.float64)
    wanted = np.unique(np.floor(np.linspace(0, layers - 1, keep) + 0.5).astype(np.int64))
    return np.isin(np.arange(layers), wanted).astype(np.float64)


def _listed(rule: str, layers: int) -> tuple[int, ...] | None:
    parts = [part.strip() for part in rule.split(",")]
    if not all(part.isdecimal() for part in parts):
        return None
    numbers = [int(part) for part in parts]
    wrong = next((one for one in numbers if one >= layers), None)
    if wrong is not None:
        raise BadSetting(f"layer {wrong} cannot be kept: there are 0 to {layers - 1}")
    if len(set(numbers)) < len(numbers):
        raise BadSetting(f"a layer is named twice in {rule!r}")
    return tuple(sorted(numbers))
