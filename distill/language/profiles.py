"""Which stored importance of layers belongs to some weights. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from storage.records import LayerProfile

LISTWISE = "listwise"
"""The loss whose importance counts: of ranking, which is what is distilled."""
RANDOM_TWIN = " random-init "
"""Stands in the name of weights that were drawn, behind the key of those they stand beside."""


def largest(
    profiles: Iterable[LayerProfile],
    criterion: str,
    belongs: Callable[[str], bool],
    *,
    rather: str = "",
) -> LayerProfile | None:
    """Return the profile of a criterion and some weights, of several that of most requests.

    Of several with as many, the first: one that is measured later changes nothing.

    Args:
        profiles: of a category, the one made first in front.
        criterion: its name, e.g. 'fisher-empirical'.
        belongs: says of a model's key whether it is of these weights.
        rather: key of the one to take of several with as many requests, where it is there.

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
        if one.criterion == f"{criterion}-{LISTWISE}"
        and belongs(one.weights)
        and RANDOM_TWIN not in one.weights
    ]
    return max(found, key=lambda one: (one.requests, one.key == rather), default=None)
