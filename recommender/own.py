"""Classes of the user's own, named in `recsys.toml`: loaded, made, and looked over before use.

    rankers = { shelf = "my_module:Shelf" }

    class Shelf:                                       # my_module.py, beside recsys.toml
        name = "shelf"
        def __init__(self, shop: Shop) -> None: ...
        def rank(self, history, *, candidates=None, n=10) -> Ranking: ...

Apart because what comes from here is code that none of us has seen: what is wrong with it is said
in a sentence that names the place. Whether it answers as it should is a matter of
`recommender.contracts`.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import cast

from recommender.config import Settings
from recommender.ranking import Ranker
from storage.errors import BadSetting, RecsysError
from storage.records import Category, Log

TAKEN = ("student", "teacher", "popularity", "item-knn")
"""Names that mean a ranker of ours."""


@dataclass(frozen=True, eq=False, slots=True)
class Shop:
    """What a ranker of one's own is made with: `Shelf(shop)`."""

    category: Category
    titles: Sequence[str]
    """One an item number."""
    log: Log
    """All that is known of people; where rankers are measured, the train rows and no others."""


def open_ranker(name: str, settings: Settings, shop: Shop) -> Ranker:
    """Load and make the ranker that the settings know by a name.

    Raises:
        BadSetting: its class cannot be loaded or made, or is no ranker.
    """
    if name.partition(":")[0] in TAKEN:
        raise BadSetting(
            f"{name!r} is a ranker of ours, and one of yours cannot be called that",
            next_step="another name under rankers in recsys.toml",
        )
    place = settings.rankers[name]
    made = construct(place, "ranker", settings.folder, shop)
    lacking = [] if callable(getattr(made, "rank", None)) else ["rank()"]
    called = getattr(made, "name", None)
    lacking += [] if isinstance(called, str) and called.strip() else ["name"]
    refuse_lacking(place, "ranker", lacking)
    return cast("Ranker", made)


def construct(place: str, what: str, folder: Path | None, *arguments: object) -> object:
    """Make an object of the class behind 'module:Class'.

    Args:
        place: where the class is.
        what: 'backend' or 'ranker', for the errors.
        folder: of `recsys.toml`; None is the working directory.
        arguments: for the class.

    Raises:
        BadSetting: it cannot be loaded, or fails when it is made.

    >>> construct("collections:Counter", "backend", None, "aab")["a"]
    2
    """
    made_of = load_class(place, what, folder)
    try:
        return made_of(*arguments)
    except RecsysError:
        raise
    except Exception as error:
        raise _broken(f"the {what} {place!r} cannot be made", error) from error


def load_class(place: str, what: str, folder: Path | None = None) -> Callable[..., object]:
    """Return the class behind 'module:Class', its module being looked for in a folder first.

    Args:
        place: where the class is.
        what: 'backend', 'ranker' or, functions, 'weighting' and 'method': for the errors.
        folder: of `recsys.toml`; None is the working directory.

    Raises:
        BadSetting: there is no such module or class, or the module cannot be imported.

    >>> load_class("collections:Counter", "backend").__name__
    'Counter'
    """
    module, _, name = place.partition(":")
    kind, step = _kind_and_step(what)
    if not all(part.isidentifier() for part in (*module.split("."), name)):
        raise BadSetting(f"{place!r} does not name a {kind}", next_step=step)
    beside = str((folder or Path.cwd()).absolute())
    if beside not in sys.path:
        sys.path.insert(0, beside)
    importlib.invalidate_caches()  # the file may be younger than the last look into its folder
    try:
        loaded = importlib.import_module(module)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and _is_part(error.name or "", module):
            raise BadSetting(
                f"the {what} {place!r} cannot be loaded: there is no module {error.name!r} in "
                f"{beside!r}, nor among what is installed",
                next_step=step,
            ) from error
        raise _broken(f"the {what} {place!r} cannot be loaded", error) from error
    found = getattr(loaded, name, None)
    if found is not None and not callable(found):
        raise BadSetting(f"{place!r} is {found!r}, and no {kind}", next_step=step)
    if found is None:
        near = get_close_matches(name, dir(loaded), n=1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        where = getattr(loaded, "__file__", None) or "built in"
        raise BadSetting(f"{module!r} ({where}) has no {kind} {name!r}{meant}", next_step=step)
    return cast("Callable[..., object]", found)


def _kind_and_step(what: str) -> tuple[str, str]:
    if what in ("weighting", "method"):
        return "function", 'name it "my_module:my_function", the module beside recsys.toml'
    return (
        "class",
        f'{what}s = {{ NAME = "my_module:MyClass" }} in recsys.toml, the module beside it',
    )


def refuse_lacking(place: str, what: str, lacking: Sequence[str]) -> None:
    """Refuse an object that has not all that its protocol asks for.

    Raises:
        BadSetting: something is lacking.

    >>> refuse_lacking("mine:Mine", "ranker", ["rank()"])
    Traceback (most recent call last):
    ...
    storage.errors.BadSetting: the ranker 'mine:Mine' has no rank(); next: ...
    """
    if lacking:
        base = ", which recommender.backends.Refusing has" if what == "backend" else ""
        raise BadSetting(
            f"the {what} {place!r} has no {', '.join(lacking)}",
            next_step=f"add it{base}, and test it by recommender.contracts."
            f"{what.capitalize()}Contract",
        )


def _is_part(missing: str, module: str) -> bool:
    return f"{module}.".startswith(f"{missing}.")


def _broken(what: str, error: BaseException) -> BadSetting:
    """Return the error for code that failed: what it raised, and where to look."""
    said = " ".join(str(error).split())
    *_, last = traceback.extract_tb(error.__traceback__)
    raised_here = last.filename == __file__ or last.filename.startswith("<")
    return BadSetting(
        f"{what}: {type(error).__name__}: {said}" if said else f"{what}: {type(error).__name__}",
        next_step="" if raised_here else f"look at {last.filename}, line {last.lineno}",
    )
