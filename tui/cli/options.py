"""The options that several commands share, and the settings and Store they lead to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from storage.errors import BadSetting, StoreMissing, UnknownName

if TYPE_CHECKING:
    from recommender.config import ResolvedSettings, Settings
    from storage.records import Category
    from storage.store import Store

WAYS_TO_GET_DATA = (
    "there is no data yet; three ways to get some: `recsys data sample` (a small synthetic "
    "shop, offline), `recsys data pull movielens-100k` (or another public set), "
    "`recsys data import PATH --category NAME` (your own)"
)

Db = Annotated[
    str | None,
    typer.Option("--db", metavar="URL", help="Database: a SQLAlchemy URL or a SQLite file."),
]
CategoryName = Annotated[
    str, typer.Option("--category", "-c", metavar="NAME", help="Category, see `recsys data list`.")
]
OptionalCategory = Annotated[
    str | None,
    typer.Option(
        "--category", "-c", metavar="NAME", help="May be left out when the person is in one."
    ),
]
Teacher = Annotated[
    str | None,
    typer.Option(
        "--teacher",
        metavar="MODEL",
        help="Who answers: 'embedded', a name from `recsys models list`, a path, a hub id, or a "
        "model of the Ollama server ('llama3.1:8b').",
    ),
]
Teachers = Annotated[
    list[str] | None,
    typer.Option(
        "--teacher",
        metavar="MODEL",
        help="Who is asked: a model of the Ollama server ('llama3.1:8b'), 'embedded', 'minilm', "
        "a name from `recsys models list`, a path or a hub id; repeat it for several.",
    ),
]
Hosts = Annotated[
    list[str] | None,
    typer.Option(
        "--host",
        metavar="URL",
        help="An Ollama server, e.g. box:11434; repeat it for several. Default: OLLAMA_HOST, "
        "else this machine.",
    ),
]
TeacherMode = Annotated[
    Literal["auto", "likelihood", "letters", "ranking", "generate", "embedding"] | None,
    typer.Option("--teacher-mode", help="How the teacher is asked; 'auto' takes what it can."),
]
NumCtx = Annotated[
    int | None,
    typer.Option(
        "--num-ctx", metavar="N", min=256, help="Tokens of context the Ollama server gives it."
    ),
]
ItemFields = Annotated[
    str | None,
    typer.Option(
        "--item-fields",
        metavar="FIELD,…",
        help="What prompts show beside titles: brand, price, category.",
    ),
]
HistoryLength = Annotated[
    int | None,
    typer.Option(
        "--history-length",
        metavar="N",
        min=1,
        max=200,
        help="How many of a person's latest items the teacher is shown.",
    ),
]
Orders = Annotated[
    int | None,
    typer.Option(
        "--orders",
        metavar="N",
        min=0,
        max=20,
        help="In how many rotations letters are asked; 0 is 4 on a server, 1 in this process.",
    ),
]
Candidates = Annotated[
    int | None, typer.Option(min=2, max=100, help="Items offered in one question.")
]
Pull = Annotated[
    bool, typer.Option("--pull", help="Pull a model that the Ollama server does not have.")
]
Concurrency = Annotated[
    str,
    typer.Option(
        metavar="N", help="Questions under way at once on each server; 'auto' finds what pays."
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        metavar="MODEL",
        help="Whose layers are measured: a directory, a GGUF file or a hub id.",
    ),
]
SplitName = Annotated[
    Literal["temporal", "leave-last-out"],
    typer.Option("--split", help="One moment for everybody, or everybody's last row."),
]
MinRating = Annotated[
    float | None,
    typer.Option("--min-rating", help="Lower ratings are no positives; on the source's scale."),
]
MaxUsers = Annotated[
    int, typer.Option("--max-users", min=0, help="People to evaluate on; 0 is all.")
]
Device = Annotated[
    str | None, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda or mps.")
]
Seed = Annotated[int | None, typer.Option("--seed", help="The one seed of everything random.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def resolved(**flags: object) -> ResolvedSettings:
    """Resolve the settings with the flags that were given; None was not given."""
    # Imported here: `recsys --help` needs no settings.
    from recommender.config import resolve

    return resolve(flags)


def settings(**flags: object) -> Settings:
    """Resolve the settings, where nobody asks for their origins."""
    return resolved(**flags).settings


def several(named: Sequence[str] | None, found: Settings) -> tuple[str, ...]:
    """Return the teachers that were named, each once, or the one of the settings."""
    return tuple(dict.fromkeys(named or (found.teacher,)))


NAMED_OTHERWISE = {"hosts": "host", "in_flight": "concurrency"}
"""Settings whose flag is called something else."""


def given(found: ResolvedSettings, *, besides: Sequence[str] = ()) -> str:
    """Return the flags that were typed, to be printed behind another command.

    >>> from recommender.config import resolve
    >>> given(resolve({"seed": 3, "hosts": ("a", "b")}, environ={}))
    ' --host a --host b --seed 3'
    """
    words = ""
    for name, origin in found.origins.items():
        if not origin.startswith("flag --") or name in besides:
            continue
        value = getattr(found.settings, name)
        flag = f"--{NAMED_OTHERWISE.get(name, name).replace('_', '-')}"
        if name == "hosts":
            words += "".join(f" {flag} {one}" for one in value)
        else:
            shown = ",".join(value) if isinstance(value, tuple) else str(value)
            words += f" {flag} {shown}"
    return words


def in_flight(concurrency: str) -> int | None:
    """Read '--concurrency': None leaves it to the settings.

    Raises:
        BadSetting: neither 'auto' nor a number from 1 to 64.
    """
    if concurrency == "auto":
        return None
    if not concurrency.isdigit() or not 1 <= int(concurrency) <= 64:
        raise BadSetting(
            f"--concurrency {concurrency!r} is neither 'auto' nor a number from 1 to 64",
            next_step="--concurrency auto",
        )
    return int(concurrency)


@contextmanager
def opened(found: Settings, *, create: bool = False) -> Iterator[Store]:
    """Open the Store that the settings name, and close it again.

    Args:
        found: the settings.
        create: make it where there is none, as what brings data does.

    Raises:
        StoreMissing: there is none, with the ways to get data where it usually is.
    """
    with _open(found, create=create) as store:
        yield store


@contextmanager
def opened_if_any(found: Settings) -> Iterator[Store | None]:
    """Open the Store; None where nothing was imported yet, which is an answer to what there is.

    Raises:
        StoreMissing: there is none where it was said to be.
    """
    try:
        store = _open(found, create=False)
    except StoreMissing:
        if not found.has_usual_db:
            raise
        yield None
        return
    with store:
        yield store


def _open(found: Settings, *, create: bool) -> Store:
    # Imported here: the database library takes longer to load than `recsys --help` may.
    from storage.store import Store

    try:
        return Store.open(found.db, found.artifacts, create=create)
    except StoreMissing as error:
        if found.has_usual_db:
            raise StoreMissing(WAYS_TO_GET_DATA) from error
        raise


def category_of(store: Store, name: str | None, user: str | None) -> Category:
    """Return the named category, or the only one that the person is in.

    Raises:
        UnknownName: nobody of that id is in any category.
        BadSetting: the person is in several, or nothing says which category is meant.
    """
    everything = store.catalogue.categories()
    if not everything:
        raise UnknownName(WAYS_TO_GET_DATA)
    if name is not None:
        return store.catalogue.category(name)
    if user is None:
        found, whose = everything, "there are several categories"
    else:
        found = store.catalogue.categories_of_user(user)
        whose = f"user {user!r} is in several categories"
    if not found:
        raise UnknownName(f"no user {user!r} in any category", next_step="recsys data list")
    if len(found) > 1:
        names = ", ".join(repr(category.name) for category in found)
        raise BadSetting(f"{whose}: {names}", next_step=f"--category {found[0].name}")
    return found[0]


def require_category(found: Settings, name: str) -> None:
    """Check before anything expensive that a category is there.

    Raises:
        UnknownName: it is not; with the three ways to get data where there is none at all.
    """
    with opened(found) as store:
        category_of(store, name, None)


def labelled(category: Category) -> str:
    """Return the name to show for a category: synthetic data is never shown as real."""
    return f"{category.name} (synthetic sample)" if category.synthetic else category.name
