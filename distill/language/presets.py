"""Published methods that compare token by token, as lists of matches.

Each is a function of the teacher's depth L and of `ends`, g(1) … g(M): the teacher's output each
student layer stands for. A student from scratch stands for them evenly, as in the papers
(algorithms.md §7); a cut for what it kept (§2.4), by every method alike. Weights sum to M, so
that every arm of a comparison has one layer-loss budget, whatever the paper's own was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from distill.matches import Match


def fitnets(teacher_layers: int, ends: Sequence[int], until: float) -> tuple[Match, ...]:
    """Match the middle layers, in the first stage alone (FitNets 1412.6550).

    The paper trains layers up to the hinted one and then everything on what the teacher says;
    `until` is the share of the steps at which it does. Its hint is half a squared error of states.

    >>> fitnets(30, (8, 15, 23, 30), 0.5)
    (Match(teacher=15, student=2, ... loss='mse', weight=4.0, ... ends=0.5),)
    """
    middle = max(1, len(ends) // 2)
    return (Match(ends[middle - 1], middle, loss="mse", weight=float(len(ends)), ends=until),)


def attention_transfer(teacher_layers: int, ends: Sequence[int]) -> tuple[Match, ...]:
    """Match where every layer looks (1612.03928, in the form for transformers: KL by row).

    >>> [(one.teacher, one.student) for one in attention_transfer(30, (15, 30))]
    [(15, 1), (30, 2)]
    """
    return tuple(
        Match(teacher, m, "attention", "attention-kl", projection="none")
        for m, teacher in enumerate(ends, start=1)
    )


def tinybert(teacher_layers: int, ends: Sequence[int]) -> tuple[Match, ...]:
    """Match the embedding, and states and attention scores of every few layers (1909.10351).

    One of each a layer and one embedding, alike; the paper trains stage by stage, here all at
    once.

    >>> [(one.teacher, one.student, one.feature) for one in tinybert(4, (4,))]
    [(0, 0, 'hidden'), (4, 1, 'hidden'), (4, 1, 'attention-scores')]
    """
    matches = [Match(0, 0, loss="mse")]
    for m, teacher in enumerate(ends, start=1):
        matches.append(Match(teacher, m, loss="mse"))
        matches.append(Match(teacher, m, "attention-scores", "scores-mse", projection="none"))
    return _within(matches, len(ends))


def minilm(teacher_layers: int, ends: Sequence[int]) -> tuple[Match, ...]:
    """Match attention and value relations of the last layers (MiniLM 2002.10957).

    >>> [(one.teacher, one.student, one.feature) for one in minilm(30, (8, 15, 23, 30))]
    [(30, 4, 'attention'), (30, 4, 'values')]
    """
    last = (teacher_layers, len(ends))
    return _within(
        [
            Match(*last, "attention", "attention-kl", projection="none"),
            Match(*last, "values", "relation-kl", projection="none"),
        ],
        len(ends),
    )


def minilmv2(teacher_layers: int, ends: Sequence[int]) -> tuple[Match, ...]:
    """Match relations of queries, keys and values of one layer (MiniLMv2 2012.15828).

    The student's last with the teacher's at three quarters: for deep teachers the paper finds
    an upper middle layer best; below 24 layers it takes the last.

    >>> [(one.teacher, one.feature) for one in minilmv2(32, (8, 16, 24, 32))]
    [(24, 'queries'), (24, 'keys'), (24, 'values')]
    """
    upper = teacher_layers if teacher_layers < 24 else round(0.75 * teacher_layers)
    return _within(
        [
            Match(upper, len(ends), feature, "relation-kl", projection="none")
            for feature in ("queries", "keys", "values")
        ],
        len(ends),
    )


def minitron(teacher_layers: int, ends: Sequence[int]) -> tuple[Match, ...]:
    """Match states of every layer; the engine balances them with what is said (2407.14679).

    >>> [one.loss for one in minitron(30, (15, 30))]
    ['mse', 'mse']
    """
    return tuple(Match(teacher, m, loss="mse") for m, teacher in enumerate(ends, start=1))


def distilbert(teacher_layers: int, ends: Sequence[int]) -> tuple[Match, ...]:
    """Match the direction of the last states (DistilBERT 1910.01108).

    The paper starts from every other layer of the teacher: a cut kept evenly.

    >>> [(one.teacher, one.student, one.loss) for one in distilbert(30, (8, 15, 23, 30))]
    [(30, 4, 'cosine')]
    """
    return (Match(teacher_layers, len(ends), loss="cosine", weight=float(len(ends))),)


def _within(matches: list[Match], student_layers: int) -> tuple[Match, ...]:
    share = student_layers / len(matches)
    return tuple(replace(one, weight=share) for one in matches)
