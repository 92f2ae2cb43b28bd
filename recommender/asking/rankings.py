"""Rankings a model writes out as JSON: their schema, their repair, and several made one.

The road for servers that name no log-probabilities. A grammar makes the answer well-formed,
not right: llama.cpp's knows no `uniqueItems`, so that letters come twice and others are left
out, both of which were recorded. Repairs follow stated rules and are marked.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

LIMIT_PER_LETTER = 12
"""Tokens for each letter of the answer: white space and quotes take several."""


@dataclass(frozen=True, slots=True)
class ReadRanking:
    """A ranking of all labels, and what had to be mended."""

    order: tuple[int, ...]
    """Indices of the labels, best first; empty where the answer cannot be read."""
    repaired: tuple[str, ...] = ()
    """What was done, in words."""
    left_out: tuple[int, ...] = ()
    """Labels that were not named; they come last."""

    @property
    def scores(self) -> tuple[float, ...]:
        """One number a label, in the order of the labels: how many are ranked below it.

        Labels that were left out share the mean of the last places.

        >>> ReadRanking((2, 0, 1)).scores, ReadRanking((1, 0, 2), (), (0, 2)).scores
        ((1.0, 0.0, 2.0), (0.5, 2.0, 0.5))
        """
        count = len(self.order)
        found = [0.0] * count
        for place, label in enumerate(self.order):
            shared = (len(self.left_out) - 1) / 2
            found[label] = shared if label in self.left_out else float(count - 1 - place)
        return tuple(found)


def ranking_schema(labels: Sequence[str]) -> dict[str, object]:
    """Return the JSON schema of an answer that orders all labels.

    >>> ranking_schema("AB")["required"]
    ['ranking']
    """
    count = len(labels)
    items = {"type": "string", "enum": list(labels)}
    array = {"type": "array", "items": items, "minItems": count, "maxItems": count}
    return {"type": "object", "properties": {"ranking": array}, "required": ["ranking"]}


def read_ranking(text: str, labels: Sequence[str]) -> ReadRanking:
    """Read a ranking; a letter that comes again counts the first time, those left out come last.

    An answer that cannot be read, or that names fewer than half of the labels, is none.

    >>> read_ranking('{"ranking": ["B", "A", "B"]}', "ABC")
    ReadRanking(order=(1, 0, 2), repaired=('B came again', 'C was left out'), left_out=(2,))
    >>> read_ranking('{"ranking": ["B"', "ABC").order
    ()
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):  # the latter where brackets open without end
        return ReadRanking(())
    named = found.get("ranking") if isinstance(found, dict) else None
    if not isinstance(named, list):
        return ReadRanking(())
    place = {label: n for n, label in enumerate(labels)}
    order: list[int] = []
    repaired: list[str] = []
    for one in named:
        label = one.strip() if isinstance(one, str) else ""
        if label not in place:
            repaired.append(f"{label[:8]!r} is no letter offered")
        elif place[label] in order:
            repaired.append(f"{label} came again")
        else:
            order.append(place[label])
    if 2 * len(order) < len(labels):
        return ReadRanking(())
    absent = tuple(n for n in range(len(labels)) if n not in order)
    repaired += [f"{labels[n]} was left out" for n in absent]
    return ReadRanking((*order, *absent), tuple(repaired), absent)
