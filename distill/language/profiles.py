"""Which stored importance of layers belongs to some weights. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from storage.records import LayerProfile

LISTWISE = "listwise"
"""The loss whose importance counts: of ranking, which is what is distilled."""


def largest(
    profiles: Iterable[LayerProfile], criterion: str, belongs: Callable[[str], bool]
) -> LayerProfile | None:
    """Return the profile of a criterion and some weights, of several that of most requests.

    Args:
        profiles: of a category.
        criterion: its name, e.g. 'fisher-empirical'.
        belongs: says of a model's key whether it is of these weights.

    >>> one, two = (
    ...     LayerProfile(k, 1, "w", "taylor-listwise", n, (), (), (), "a")
    ...     for k, n in (("x", 8), ("y", 64))
    ... )
    >>> largest([one, two], "taylor", lambda key: key == "w").key
    'y'
    """
    found = [
        one
        for one in profiles
        if one.criterion == f"{criterion}-{LISTWISE}" and belongs(one.weights)
    ]
    return max(found, key=lambda one: (one.requests, one.key), default=None)
