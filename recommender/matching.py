"""What a person typed, found in the catalogue: ids as they are, titles by likeness.

Apart because a wrong guess here is a wrong recommendation: what was understood is always
said, and what could mean several things is shown with all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from rapidfuzz import fuzz, process, utils

from storage.catalogue import Catalogue
from storage.errors import UnknownName
from storage.records import Category

SURE = 90.0
"""Likeness (0 to 100) from which a title counts as found."""
SHOWN = 3


def match_items(
    catalogue: Catalogue, category: Category, wanted: Sequence[str]
) -> tuple[list[int], tuple[str, ...]]:
    """Return the item numbers of ids or titles, and what was understood by inexact ones.

    An id is taken first; then a title as it is; then the title that is most alike. Where
    several items have it, or several titles are as alike as the best, the first is taken and
    others are shown.

    Raises:
        UnknownName: nothing is alike enough, with the nearest titles.
    """
    titles = catalogue.item_titles(category.id)
    found: list[int] = []
    notices: list[str] = []
    for text in wanted:
        number = catalogue.find_item(category.id, text)
        if number is None:
            number, others = _by_title(text, titles, category)
            notices += _understood(catalogue, category, text, number, others)
        found.append(number)
    return found, tuple(notices)


def _by_title(text: str, titles: Sequence[str], category: Category) -> tuple[int, list[int]]:
    """Return the item that was meant, and others that may have been."""
    same = [number for number, title in enumerate(titles) if title == text]
    if same:
        return same[0], same[1 : SHOWN + 1]
    near = process.extract(
        text, titles, scorer=fuzz.WRatio, processor=utils.default_process, limit=SHOWN + 1
    )
    if not near or near[0][1] < SURE:
        names = ", ".join(repr(title) for title, _, _ in near[:SHOWN])
        raise UnknownName(
            f"no item {text!r} in {category.name!r}; the nearest titles are {names}",
            next_step="give an id, or more of the title",
        )
    _, best, number = near[0]
    return number, [other for _, score, other in near[1:] if score == best]


def _understood(
    catalogue: Catalogue, category: Category, text: str, number: int, others: Sequence[int]
) -> list[str]:
    """Say what was understood, unless it is what was typed and nothing else."""
    taken, *rest = catalogue.items_by_number(category.id, [number, *others])
    if rest:
        also = ", ".join(f"{item.title!r} ({item.id})" for item in rest)
        return [f"{text!r} was taken as {taken.title!r} ({taken.id}); it could also be {also}"]
    title = taken.title or taken.id
    return [] if title == text else [f"{text!r} was taken as {title!r}"]
