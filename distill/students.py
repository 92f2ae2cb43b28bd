"""Students by name, of both families, as values of a configuration.

A sequential student sees items and answers in milliseconds; one that reads text is a Llama,
cut from the teacher or from scratch, and takes the teacher's place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from distill.language.settings import CUTS, FRESH
from distill.methods import SIZES, describe
from storage.errors import BadSetting, nearest


def students() -> tuple[str, ...]:
    """Return the names of all students, sequential ones first.

    >>> students()
    ('standard', 'small', 'deep', 'wide', 'gru4rec', 'micro', 'tiny', 'compact', 'cut-50', ...)
    """
    return (*SIZES, *FRESH, *CUTS)


def reads_text(name: str) -> bool:
    """Whether a student of that name is a Llama.

    >>> reads_text("micro"), reads_text("standard")
    (True, False)
    """
    return name in FRESH or name in CUTS


def described() -> list[tuple[str, str, str]]:
    """Return of every student its name, what it reads, and how large it is.

    >>> described()[0]
    ('standard', 'items', 'width 64, 2 blocks')
    """
    return [
        *((name, "items", describe(shape)) for name, shape in SIZES.items()),
        *(
            (name, "text", f"from scratch: {layers} layers, width {hidden}, {heads} heads")
            for name, (layers, hidden, heads) in FRESH.items()
        ),
        *(
            (name, "text", f"the teacher less {cut:.1%} of its layers")
            for name, cut in CUTS.items()
        ),
    ]


def values_of(name: str) -> dict[str, Any]:
    """Return what a name means, as values that `config_files.overridden` takes.

    Raises:
        BadSetting: there is no such student, with the nearest.

    >>> values_of("micro")
    {'language': {'making': 'fresh', 'layers': 4, 'hidden': 384, 'heads': 6}}
    >>> values_of("cut-75")
    {'language': {'making': 'cut', 'cut': 0.75}}
    """
    if name in SIZES:
        return {"student": {"network": asdict(SIZES[name])}}
    if name in FRESH:
        layers, hidden, heads = FRESH[name]
        return {"language": {"making": "fresh", "layers": layers, "hidden": hidden, "heads": heads}}
    if name in CUTS:
        return {"language": {"making": "cut", "cut": CUTS[name]}}
    raise BadSetting(
        f"no student {name!r}{nearest(name, students())}", next_step="recsys methods --students"
    )


def shape_values(
    *, text: bool, layers: int | None, hidden: int | None, heads: int | None
) -> dict[str, Any]:
    """Return the values of layers, width and heads for a student of either family.

    >>> shape_values(text=False, layers=4, hidden=None, heads=2)
    {'student': {'network': {'blocks': 4, 'heads': 2}}}
    >>> shape_values(text=True, layers=2, hidden=128, heads=None)
    {'language': {'layers': 2, 'hidden': 128}}
    """
    names = ("layers", "hidden", "heads") if text else ("blocks", "width", "heads")
    given: Mapping[str, int | None] = dict(zip(names, (layers, hidden, heads), strict=True))
    shape = {name: value for name, value in given.items() if value is not None}
    if not shape:
        return {}
    return {"language": shape} if text else {"student": {"network": shape}}
