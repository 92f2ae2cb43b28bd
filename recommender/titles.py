"""Find items by what a person types: an id, a title, or nearly a title.

Apart from the Store because it is a judgement, not a look-up: what is close enough to be
meant, and what must be asked back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from storage.errors import UnknownName

CLOSE = 80.0
"""Similarity (0 to 100) from which a title can be meant."""

CLEAR = 5.0
"""How far the best must be ahead of the second to be taken without asking."""

SHOWN = 3


@dataclass(frozen=True, slots=True)
class Found:
    """What a typed text was taken for."""

    text: str
    item: int
    exact: bool
    """False where the title only resembles the text: worth saying."""


def find_items(texts: Sequence[str], ids: Sequence[str], titles: Sequence[str]) -> list[Found]:
    """Return the item number each text means: an id, a title, or clearly one title.

    Upper and lower case do not matter, and a title that begins or holds the text is closer
    than one that only resembles it.

    Raises:
        UnknownName: a text resembles no title, or several as well; it shows the nearest.

    >>> [f.item for f in find_items(["b2", "blue pen"], ["a1", "b2"], ["Blue Pen", "Ink"])]
    [1, 0]
    """
    by_id = {key: number for number, key in enumerate(ids)}
    lowered = [title.casefold() for title in titles]
    return [_find(text, by_id, lowered, titles) for text in texts if text.strip()]


def _find(text: str, by_id: dict[str, int], lowered: list[str], titles: Sequence[str]) -> Found:
    if text in by_id:
        return Found(text, by_id[text], exact=True)
    wanted = text.casefold().strip()
    same = [number for number, title in enumerate(lowered) if title == wanted]
    if len(same) == 1:
        return Found(text, same[0], exact=True)
    if same:
        raise UnknownName(
            f"{len(same)} items are titled {text!r}; name one by its id: "
            + ", ".join(repr(key) for key, number in by_id.items() if number in same[:SHOWN])
        )
    near = _nearest(wanted, lowered)
    if near and near[0][1] >= CLOSE and (len(near) == 1 or near[0][1] - near[1][1] >= CLEAR):
        return Found(text, near[0][0], exact=False)
    shown = ", ".join(repr(titles[number]) for number, _ in near[:SHOWN])
    if near and near[0][1] >= CLOSE:
        raise UnknownName(f"{text!r} can mean several items: {shown}; name one in full")
    raise UnknownName(f"no item like {text!r}" + (f"; the nearest are {shown}" if shown else ""))


def _nearest(wanted: str, lowered: list[str]) -> list[tuple[int, float]]:
    """Return up to SHOWN item numbers with similarity, the best first."""
    holding = [number for number, title in enumerate(lowered) if wanted in title]
    if holding:
        # All hold the text whole: only being the only one makes it clear.
        return [
            (number, 100.0) for number in sorted(holding, key=lambda n: len(lowered[n]))[:SHOWN]
        ]
    # Imported here: most questions name an id or a title in full.
    from rapidfuzz import fuzz, process

    found = process.extract(wanted, lowered, scorer=fuzz.WRatio, limit=SHOWN, score_cutoff=50.0)
    return [(number, score) for _, score, number in found]
