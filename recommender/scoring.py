"""From what a teacher measured to one score a candidate, and which way is chosen.

A language model gives the log-probability of a title given a history. That favours titles
that are probable anywhere, so the unconditional log-probability may be taken off; and what
it says may be added to what title embeddings say. Which of these is best differs by
catalogue, so it is measured on a slice of validation and kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recommender.calibration import fit_temperature, negative_log_likelihood

Array = npt.NDArray[np.float64]

WAYS = (
    "likelihood",
    "half",
    "minus",
    "letters",
    "likelihood+cosine",
    "half+cosine",
    "minus+cosine",
    "letters+cosine",
)
"""`minus` is the likelihood less the unconditional one, `half` less half of it; `+cosine` adds
the similarity of title embeddings."""

TAKEN_OFF = {"likelihood": 0.0, "half": 0.5, "minus": 1.0}
"""How much of the unconditional log-probability is taken off."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of the candidates of one request, each array (C,).

    `cosine` is the similarity of the candidate's title to the history's titles.
    """

    target: int
    likelihood: Array | None = None
    unconditional: Array | None = None
    letters: Array | None = None
    cosine: Array | None = None


@dataclass(frozen=True, slots=True)
class Scoring:
    """A way of scoring with its temperature, and what each way reached where it was chosen.

    `table` maps each way to (MRR, NLL in nats at its own best temperature).
    """

    way: str
    temperature: float
    requests: int
    table: Mapping[str, tuple[float, float]]


def standardise(scores: npt.ArrayLike) -> Array:
    """Shift and scale to mean 0 and standard deviation 1 within the request.

    A request whose candidates all score the same becomes all zeros: it says nothing.

    >>> standardise([1.0, 3.0]).tolist()
    [-1.0, 1.0]
    >>> standardise([2.0, 2.0]).tolist()
    [0.0, 0.0]
    """
    values = np.asarray(scores, dtype=np.float64)
    spread = float(values.std())
    centred: Array = values - values.mean()
    return centred / spread if spread > 0 else np.zeros_like(centred)


def combine(way: str, evidence: Evidence) -> Array:
    """Return one score a candidate, by the way named.

    A single source keeps its own unit (nats); a sum of two is a sum of standardised scores.

    Raises:
        ValueError: an unknown way, or evidence that the way needs and the request lacks.

    >>> request = Evidence(
    ...     0, likelihood=np.array([-9.0, -7.0]), unconditional=np.array([-8.0, -3.0])
    ... )
    >>> combine("likelihood", request).tolist(), combine("minus", request).tolist()
    ([-9.0, -7.0], [-1.0, -4.0])
    """
    if way not in WAYS:
        raise ValueError(f"unknown way of scoring {way!r}; one of {', '.join(WAYS)}")
    source, _, with_cosine = way.partition("+")
    if source == "letters":
        score = _needed(evidence.letters, way)
    else:
        score = _needed(evidence.likelihood, way)
        if TAKEN_OFF[source]:
            score = score - TAKEN_OFF[source] * _needed(evidence.unconditional, way)
    if with_cosine:
        return standardise(score) + standardise(_needed(evidence.cosine, way))
    return score


def _needed(values: Array | None, way: str) -> Array:
    if values is None:
        raise ValueError(f"scoring by {way!r} needs evidence that this request lacks")
    return values


def available(evidence: Evidence) -> tuple[str, ...]:
    """Return the ways this evidence allows.

    >>> available(Evidence(0, likelihood=np.zeros(2), cosine=np.zeros(2)))
    ('likelihood', 'likelihood+cosine')
    """
    both = evidence.likelihood is not None and evidence.unconditional is not None
    have = {
        "likelihood": evidence.likelihood is not None,
        "half": both,
        "minus": both,
        "letters": evidence.letters is not None,
    }
    return tuple(
        way
        for way in WAYS
        if have[way.partition("+")[0]] and (evidence.cosine is not None or "+" not in way)
    )


def reciprocal_rank(scores: npt.ArrayLike, target: int) -> float:
    """Return 1 / (1 + number of other candidates scored at least as high).

    >>> reciprocal_rank([1.0, 2.0, 2.0], 1), reciprocal_rank([1.0, 2.0, 3.0], 2)
    (0.5, 1.0)
    """
    values = np.asarray(scores, dtype=np.float64)
    return 1.0 / float((values >= values[target]).sum())


def choose_scoring(requests: Sequence[Evidence], ways: Sequence[str] = ()) -> Scoring:
    """Choose the way with the highest mean reciprocal rank on these requests.

    Args:
        requests: a slice of validation that is used for nothing else.
        ways: what may be chosen; empty means all that the evidence allows.

    Raises:
        ValueError: no requests, or no way that the evidence of all of them allows.

    >>> good, poor = np.array([0.0, 5.0]), np.array([-1.0, -9.0])
    >>> slice_ = [Evidence(1, likelihood=poor, unconditional=poor - good)] * 3
    >>> choose_scoring(slice_).way
    'minus'
    """
    if not requests:
        raise ValueError("no requests to choose a way of scoring on")
    allowed = [w for w in (ways or WAYS) if all(w in available(r) for r in requests)]
    if not allowed:
        raise ValueError(f"none of {', '.join(ways or WAYS)} is allowed by the evidence")
    targets = [request.target for request in requests]
    table: dict[str, tuple[float, float]] = {}
    temperatures: dict[str, float] = {}
    for way in allowed:
        scores = [combine(way, request) for request in requests]
        temperatures[way] = fit_temperature(scores, targets)
        mrr = float(np.mean([reciprocal_rank(s, t) for s, t in zip(scores, targets, strict=True)]))
        table[way] = (mrr, negative_log_likelihood(scores, targets, temperatures[way]))
    best = max(table, key=lambda way: (table[way][0], -table[way][1]))
    return Scoring(best, temperatures[best], len(requests), table)
