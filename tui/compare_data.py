"""What the Compare screen asks the Store, each as one question for a thread.

Apart from the screen because here, in a thread, things may be loaded that take a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from recommender.config import Settings
    from recommender.people import Person
    from recommender.protocol import Protocol
    from storage.feedback import Value
    from storage.records import Category, Item
    from storage.store import Store

Opinion = tuple["Item", int]
Who = Callable[["Store", "Protocol"], str]
"""Finds the id of somebody."""
FIRST, NEXT = 50, 500
"""People who are looked through for one with something held out: at the start, and by key."""


@dataclass(frozen=True, slots=True)
class Found:
    """A person, and what is known besides."""

    person: Person
    protocol: Protocol
    opinions: dict[int, int]


def looking(
    category: Category, who: str | Who, protocol: Protocol | None
) -> Callable[[Store], Found]:
    """Return the question for a person; the protocol is worked out where it is not known."""

    def look(store: Store) -> Found:
        # Imported here, in a thread: it loads the database.
        from recommender.people import person, protocol_of

        how = protocol or protocol_of(store, category)
        user = who if isinstance(who, str) else who(store, how)
        opinions = store.feedback.of(category.id, user)
        return Found(person(store, category, user, how), how, opinions)

    return look


def numbered(category: Category, number: int) -> Who:
    """Return who finds the person of a number; behind the last is the first."""
    return lambda store, how: store.browsing.user_at(category.id, number % category.people)


def with_held_out(category: Category, number: int, most: int) -> Who:
    """Return who finds the next person from a number on with something held out.

    Where none of so many people has, it is the person of the number.
    """

    def find(store: Store, how: Protocol) -> str:
        # Imported here, in a thread: it loads the database.
        from recommender.people import person

        for at in range(min(most, category.people)):
            user = store.browsing.user_at(category.id, (number + at) % category.people)
            if person(store, category, user, how).held_out is not None:
                return user
        return store.browsing.user_at(category.id, number % category.people)

    return find


def saying(
    category: Category, user: str, item: int, value: int
) -> Callable[[Store], dict[int, int]]:
    """Return the question that keeps an opinion, 0 for none, and gives all of the person's."""

    def say(store: Store) -> dict[int, int]:
        if value:
            store.feedback.set(category.id, user, item, cast("Value", value))
        else:
            store.feedback.clear(category.id, user, item)
        return store.feedback.of(category.id, user)

    return say


def named(category: Category, opinions: dict[int, int]) -> Callable[[Store], list[Opinion]]:
    """Return the question for the items that opinions are of, by number."""

    def look(store: Store) -> list[Opinion]:
        found = store.catalogue.items_by_number(category.id, sorted(opinions))
        return [(item, opinions[item.number]) for item in found]

    return look


def rankers(category: Category, settings: Settings) -> Callable[[Store], list[tuple[str, str]]]:
    """Return the question for everything that a column can be, with what it is."""

    def look(store: Store) -> list[tuple[str, str]]:
        # Imported here, in a thread: it is needed when somebody asks.
        from recommender.models import known_models

        found = [
            ("student", "the best on validation"),
            ("teacher", settings.teacher),
            ("popularity", "what everybody has"),
            ("item-knn", "what goes together"),
        ]
        found += [(name, place) for name, place in settings.rankers.items()]
        models = [m for m in known_models(settings.models) if m.present is not False]
        found += [(f"teacher:{m.name}", m.about) for m in models]
        found += [(f"teacher:{name}", place) for name, place in settings.backends.items()]
        runs = [run for run in store.runs.list(category.id) if run.kind == "student"]
        found += [(f"student:{run.id}", run.name) for run in reversed(runs) if run.artifact]
        return found

    return look


def file_name(person: str, at: datetime) -> str:
    """Return what a saved comparison is called, without an ending.

    >>> file_name("../é 7", datetime(2026, 11, 23, 9, 5))
    '20261123-090500----é-7'
    """
    who = "".join(c if c.isalnum() else "-" for c in person)[:40]
    return f"{at:%Y%m%d-%H%M%S}-{who}"


async def keep(path: Path, text: str) -> None:
    """Write a new file in a thread, its folder made.

    Raises:
        OSError: it cannot be written, or is there already.
    """

    def write() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)

    await asyncio.to_thread(write)
