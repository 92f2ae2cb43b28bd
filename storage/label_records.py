"""The records of the label store: what was asked, what came back, and how sure it is.

Apart from the other records because they describe one thing, teachers; `storage.records`
hands them on, so that there is one place to import records from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Status = Literal["ok", "declined", "no_opinion", "wrong_format", "truncated"]
STATUSES: tuple[Status, ...] = ("ok", "declined", "no_opinion", "wrong_format", "truncated")
"""What `SoftLabel.status` may be."""


@dataclass(frozen=True, slots=True)
class LabelRequest:
    """One question to a teacher: this history, these candidates.

    `key` is the hash of everything that decides the answer: the texts shown (titles of
    history and candidates, in order), the template, the way of scoring, the model's digest
    and precision. Asking the same twice costs nothing.
    """

    key: str
    category_id: int
    purpose: str
    """'choose', 'gate' or 'train': which slice of the data it belongs to; 'ask' for a question
    somebody put by hand."""
    user: int
    event: int
    """Row of the target in the category's Log, -1 for a request without a target."""
    history: tuple[int, ...]
    candidates: tuple[int, ...]
    """In the order they are offered."""
    target: int
    """Index into `candidates` of what the person really chose; -1 where nobody knows."""
    teacher: str
    """`ModelCard.key` of who is asked."""
    method: str
    """'likelihood', 'letters', 'ranking', 'generate' or 'similarity'."""
    template: str = ""
    """Version of the wording and the options it was asked with; part of the key."""
    shift: int = 0
    """By how many places the candidates were rotated against the order they were drawn in:
    candidates[i] is drawn[(i + shift) % C]."""

    @property
    def drawn(self) -> tuple[int, ...]:
        """The candidates in the order they were drawn, whatever order they are offered in.

        >>> LabelRequest("k", 1, "ask", 0, -1, (1,), (8, 9, 7), -1, "smol", "letters", "1", 1).drawn
        (7, 8, 9)
        """
        count = len(self.candidates)
        return tuple(self.candidates[(place - self.shift) % count] for place in range(count))


@dataclass(frozen=True, slots=True)
class SoftLabel:
    """What a teacher answered: raw scores, one a candidate, before any temperature."""

    key: str
    """The request's key."""
    scores: tuple[float, ...]
    """In the order the candidates were offered."""
    tokens: tuple[int, ...]
    """How many tokens each score sums over (1 for letters)."""
    status: str
    """'ok'; 'declined': it named none of the candidates; 'no_opinion': it only repeats the order
    it was offered; 'wrong_format': it cannot be read; 'truncated': it was cut off. Only 'ok' is
    ever a label; the others are kept so that they are not asked again."""
    seconds: float
    details: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LabelFailure:
    """An attempt that brought no answer. The request is asked again by the next run."""

    key: str
    """The request's key."""
    at: str
    """ISO 8601, UTC."""
    status: str
    """'timeout' or 'error'."""
    message: str
    host: str
    """Who was asked."""
    seconds: float
    """Until it was given up."""


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """How far the answers of one teacher move when the same is asked again.

    A difference below it says nothing.
    """

    teacher: str
    """`ModelCard.key`."""
    server: str
    """Name and version of what ran the model."""
    options: str
    """The settings it ran with."""
    measured_at: str
    """ISO 8601, UTC."""
    floor: float
    """Nats: the largest move of one log-probability."""
    median: float
    """Nats: the median move."""
    flips: int
    """Answers whose best letter changed."""
    comparisons: int
    """Pairs of answers."""
    details: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LabelStatistics:
    """What the requests of one teacher, method and purpose came to, those of one status."""

    teacher: str
    method: str
    purpose: str
    status: str
    """Of the answers; empty for requests that have none yet."""
    requests: int
    answers: int
    """Fewer than requests where several ask the same."""
    median: float
    """Seconds an answer took; NaN where there is none."""
    p95: float
    """Seconds 95 % of the answers took at most; NaN where there is none."""
    failures: int
    """Attempts at these requests that brought no answer."""
