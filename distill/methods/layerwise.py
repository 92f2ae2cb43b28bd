"""Layerwise methods for every student, as lists of matches: the whole of each in a few lines.

All compare hidden states at the end of the history, and all but SLMRec, which has numbers of
its own, share one budget: the weights of a student of M layers sum to M.

Source of maps and losses: algorithms.md §1.3, §3.3, §7.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from distill.matches import Match
from distill.methods.records import Setting
from storage.errors import BadSetting

Vector = np.ndarray
SETTLED = 0.7
"""Share of the steps after which `layer_share` falls: by then every match has begun."""
SLMREC_LENGTH = 0.1
SLMREC_SUPERVISION = 0.1
MIXTURE_FLOOR = 0.01
"""Least share of a layer in a mixture's prior: from zero nothing can be learned."""


def uniform(setting: Setting) -> tuple[Match, ...]:
    """Match every layer alike.

    >>> from distill.config import LossConfig
    >>> [(one.teacher, one.weight) for one in uniform(Setting.of(4, 2, LossConfig()))]
    [(2, 1.0), (4, 1.0)]
    """
    return _matched(setting, np.ones(setting.student_layers))


def by_importance(setting: Setting) -> tuple[Match, ...]:
    """Weigh by measured importance, ω_m ∝ (Σ_{l in segment m} s_l) (1 + β g(m)/L)^δ: Fisher-LD.

    >>> from distill.config import LossConfig
    >>> [one.weight for one in by_importance(Setting.of(4, 2, LossConfig(), [1, 1, 1, 1]))]
    [1.0, 1.0]
    """
    return _matched(setting, _importance(setting))


def reversed_importance(setting: Setting) -> tuple[Match, ...]:
    """Give the weights of `by_importance` out from the other end: a control."""
    return _matched(setting, _importance(setting)[::-1])


def shuffled_importance(setting: Setting) -> tuple[Match, ...]:
    """Deal the weights of `by_importance` out by lot, nobody keeping theirs: a control.

    Which lot is `shuffle` of the options; there are different ones only from three layers on.
    """
    weights = _importance(setting)
    order = np.random.default_rng([setting.options.shuffle, 11]).permutation(len(weights))
    dealt = np.empty_like(weights)
    dealt[order] = weights[np.roll(order, 1)]
    return _matched(setting, dealt)


def depth_only(setting: Setting) -> tuple[Match, ...]:
    """Weigh by the emphasis on depth alone, as if all layers were equally important: a control."""
    ones = tuple([1.0] * setting.teacher_layers)
    return _matched(setting, _importance(replace(setting, importance=ones)))


def linear(setting: Setting) -> tuple[Match, ...]:
    """Weigh from 0.1 to 1 in equal steps, before scaling to the budget: a control."""
    return _matched(setting, np.linspace(0.1, 1.0, setting.student_layers))


def pkd_skip(setting: Setting) -> tuple[Match, ...]:
    """Match unit vectors of every M-th layer but the last (PKD 1908.09355, skip)."""
    return _patient(setting, setting.ends[:-1])


def pkd_last(setting: Setting) -> tuple[Match, ...]:
    """Match unit vectors of the last layers before the last one (PKD 1908.09355, last)."""
    deepest, layers = setting.teacher_layers, setting.student_layers
    return _patient(setting, tuple(deepest - layers + m for m in range(1, layers)))


def progressive(setting: Setting) -> tuple[Match, ...]:
    """Match every layer alike, one after another from the first: layer m from (m−1)/M on.

    Shares are of the first 70 % of the steps; later the layer losses fall for every method.
    """
    return tuple(
        replace(one, begins=SETTLED * (one.student - 1) / setting.student_layers)
        for one in uniform(setting)
    )


def slmrec(setting: Setting) -> tuple[Match, ...]:
    """Match directions and lengths, and let every layer but the last predict (SLMRec 2405.17890).

    λ1 = 1 on 1 − cos, λ2 = 0.1 on ‖h_t − h_s‖, λ3 = 0.1 on the predictions. As printed the
    first two are means over blocks and the third over all but the last; so are these.
    """
    layers = setting.student_layers
    states = _matched(setting, np.ones(layers))
    others = layers / max(layers - 1, 1)
    return (
        *(replace(one, loss="cosine") for one in states),
        *(replace(one, loss="length", weight=SLMREC_LENGTH) for one in states),
        *(
            Match(0, m, feature="supervision", loss="task", weight=SLMREC_SUPERVISION * others)
            for m in range(1, layers)
        ),
    )


def layer_attention(setting: Setting) -> tuple[Match, ...]:
    """Let each layer learn which mixture of all the teacher's layers it stands for.

    The mixture starts from importance (ALP-KD, 2012.14022, starts from nothing).
    """
    shares = setting.measured / setting.measured.sum()
    prior = tuple(float(one) for one in np.maximum(shares, MIXTURE_FLOOR / len(shares)))
    every = tuple(range(1, setting.teacher_layers + 1))
    return tuple(Match(every, m, prior=prior) for m in range(1, setting.student_layers + 1))


def as_published(setting: Setting) -> tuple[Match, ...]:
    """Weigh every teacher layer by equations 5 and 6 as printed, squared distances as printed.

    w_l = γ tr F_l / Σ tr F · (1 + β l/L)^δ with γ = 0.25, β = 0.3, δ = 1; ‖h_l − Adapt(h)‖² is
    a sum over the width. γ counts once more in equation 7 (`LossConfig.layer`). The student
    layer that adapts to teacher layer l is the one that answers for its segment: the paper,
    which sums over l = 1 … L, does not say.
    """
    # Deferred: the formulas as printed live with all the published ones.
    from distill.weights import equation_5, equation_6

    beta, delta = setting.options.depth_beta, setting.options.depth_delta
    weights = equation_6(equation_5(setting.measured), beta, delta=delta)
    owner = {layer: m for m, part in enumerate(setting.segments, 1) for layer in part}
    layers = setting.student_layers
    # The engine takes (1/M) Σ: what is printed is the plain sum.
    return tuple(
        Match(layer, owner[layer], loss="squared", weight=float(weights[layer - 1]) * layers)
        for layer in range(1, setting.teacher_layers + 1)
        if layer in owner
    )


def _importance(setting: Setting) -> Vector:
    measured = setting.measured
    summed = np.array([sum(measured[layer - 1] for layer in part) for part in setting.segments])
    emphasised: Vector = summed * np.array(setting.emphasis)
    return emphasised


def _matched(setting: Setting, weights: Vector) -> tuple[Match, ...]:
    scaled = len(weights) * weights / weights.sum()
    return tuple(
        Match(teacher, m, weight=float(weight))
        for m, (teacher, weight) in enumerate(zip(setting.ends, scaled, strict=True), start=1)
    )


def _patient(setting: Setting, teachers: tuple[int, ...]) -> tuple[Match, ...]:
    if not teachers:
        raise BadSetting(
            "PKD matches every layer but the last, and a student of one layer has no other",
            next_step="a student of two blocks or more",
        )
    weight = setting.student_layers / len(teachers)
    return tuple(
        Match(teacher, m, loss="pkd", weight=weight) for m, teacher in enumerate(teachers, start=1)
    )
