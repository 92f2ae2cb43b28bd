"""From what a teacher measured to one score a candidate, and which way is chosen.

A language model gives the log-probability of a title given a history. That favours titles
that are probable anywhere, so the unconditional log-probability may be taken off; and what
it says may be added to what title embeddings say. Which of these is best differs by
catalogue, so it is measured on a slice of validation and kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from recommender.calibration import fit_temperature, negative_log_likelihood

Array = npt.NDArray[np.float64]

SOURCES = ("likelihood", "half", "minus", "letters", "ranking", "generate", "similarity")
"""`minus` is the likelihood less the unconditional one, `half` less half of it; `letters` and
`ranking` are averaged over orders; `generate` is how near a title the model named is."""

METHODS = {
    "likelihood": "likelihood",
    "half": "likelihood",
    "minus": "likelihood",
    "letters": "letters",
    "ranking": "ranking",
    "generate": "generate",
    "similarity": "similarity",
}
"""What a teacher is asked for each."""

WAYS = (*SOURCES, *(f"{source}+cosine" for source in SOURCES if source != "similarity"))
"""`+cosine` adds the similarity of title embeddings."""

TAKEN_OFF = {"likelihood": 0.0, "half": 0.5, "minus": 1.0}
"""How much of the unconditional log-probability is taken off."""


LEAST_SHARE = 0.5
"""A way of scoring that says nothing of more requests than this is not chosen."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of the candidates of one request, each array (C,).

    `cosine` is the similarity of the candidate's title to the history's titles.
    """

    target: int
    likelihood: Array | None = None
    unconditional: Array | None = None
    letters: Array | None = None
    ranking: Array | None = None
    generate: Array | None = None
    similarity: Array | None = None
    cosine: Array | None = None

    def with_(self, source: str, values: Array | None) -> Evidence:
        """Return a copy that holds what one source says.

        >>> Evidence(0).with_("letters", np.zeros(2)).letters.tolist()
        [0.0, 0.0]
        """
        changed: dict[str, Any] = {source: values}
        return replace(self, **changed)


@dataclass(frozen=True, slots=True)
class Scoring:
    """A way of scoring with its temperature, and what each way reached where it was chosen.

    `table` maps each way to (MRR, NLL in nats at its own best temperature).
    """

    way: str
    temperature: float
    requests: int
    table: Mapping[str, tuple[float, float]]
    prior: tuple[float, ...] = ()
    """Letters: what each place gets whoever stands there; empty where it was not measured."""
    orders: int = 1
    """Letters and rankings: in how many rotations each question is asked."""

    @property
    def method(self) -> str:
        """What a teacher is asked.

        >>> Scoring("minus+cosine", 1.0, 0, {}).method
        'likelihood'
        """
        return METHODS[self.way.partition("+")[0]]


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
    if source not in TAKEN_OFF:
        score = _needed(getattr(evidence, source), way)
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
        **{
            source: getattr(evidence, source) is not None
            for source in SOURCES
            if source not in TAKEN_OFF
        },
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

    A way must be allowed by the evidence of at least half of the requests; where it is not, the
    request counts as ranked last.

    Raises:
        ValueError: no requests, or no way that is allowed often enough.

    >>> good, poor = np.array([0.0, 5.0]), np.array([-1.0, -9.0])
    >>> slice_ = [Evidence(1, likelihood=poor, unconditional=poor - good)] * 3
    >>> choose_scoring(slice_).way
    'minus'
    """
    if not requests:
        raise ValueError("no requests to choose a way of scoring on")
    having = {w: [r for r in requests if w in available(r)] for w in (ways or WAYS)}
    allowed = [way for way, some in having.items() if len(some) >= LEAST_SHARE * len(requests)]
    if not allowed:
        raise ValueError(f"none of {', '.join(ways or WAYS)} is allowed by the evidence")
    table: dict[str, tuple[float, float]] = {}
    temperatures: dict[str, float] = {}
    for way in allowed:
        some = having[way]
        scores, targets = [combine(way, r) for r in some], [r.target for r in some]
        temperatures[way] = fit_temperature(scores, targets)
        found = sum(reciprocal_rank(s, t) for s, t in zip(scores, targets, strict=True))
        # No opinion is the last place.
        found += sum(1 / _candidates(r) for r in requests if way not in available(r))
        nll = negative_log_likelihood(scores, targets, temperatures[way])
        table[way] = (found / len(requests), nll)
    best = max(table, key=lambda way: (table[way][0], -table[way][1]))
    return Scoring(best, temperatures[best], len(requests), table)


def _candidates(evidence: Evidence) -> int:
    """Return how many candidates a request has, by whatever is known of them."""
    known = (getattr(evidence, name) for name in (*SOURCES[3:], "likelihood", "cosine"))
    return max((len(values) for values in known if values is not None), default=1)
