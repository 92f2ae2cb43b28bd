"""One ranker made ready to be watched, having seen nothing that is held out.

Apart from `api`, whose rankers know everything, and from the leaderboard, which measures over
the whole catalogue: here a ranker need only rank, and a student must not wait for the log.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recommender.config import Settings
from recommender.events import Event, Progress
from recommender.people import protocol_of
from recommender.protocol import Protocol
from recommender.ranking import Ranker
from recommender.splits import Split, positives, split_as
from storage.errors import BadSetting, UnknownName
from storage.records import Category, Run
from storage.store import Store

if TYPE_CHECKING:
    from recommender.teacher import TeacherRanker

Say = Callable[[str], None]
"""Hears what is done just now."""


FITTED = ("popularity", "item-knn")
"""What is counted out of the log."""


@dataclass(frozen=True, eq=False, slots=True)
class Live:
    """A ranker, and what is known of it."""

    ranker: Ranker
    about: str
    sees_all: bool = False
    explains: bool = False
    notices: tuple[str, ...] = ()
    teacher: TeacherRanker | None = None
    """The ranker, where it is a language model: it says how far it is."""


def open_live(store: Store, category: Category, by: str, settings: Settings, *, say: Say) -> Live:
    """Open a ranker by its name, fitted on the train rows of the category's protocol.

    Args:
        store: with the category.
        category: whose items are ranked.
        by: 'student', 'student:RUN', 'teacher', 'teacher:MODEL', 'popularity', 'item-knn' or a
            name of the settings' own rankers.
        settings: device, models, hosts.
        say: hears what is done just now, for what takes long.

    Raises:
        UnknownName: no such run or model.
        BadSetting: no such ranker.
        Offline, BackendError: a server does not answer.
    """
    protocol = protocol_of(store, category)
    kind, _, which = by.partition(":")
    if kind == "student" and by not in settings.rankers:
        return _student(store, category, which, protocol)
    if kind == "teacher" and by not in settings.rankers:
        return _teacher(store, category, which or settings.teacher, protocol, settings, say)
    if by in FITTED or by in settings.rankers:
        return _other(store, category, by, protocol, settings, say)
    names = ("student", "student:RUN", "teacher", "teacher:MODEL", *FITTED, *settings.rankers)
    raise BadSetting(f"no ranker {by!r}: one of {', '.join(names)}")


def _student(store: Store, category: Category, which: str, protocol: Protocol) -> Live:
    # Deferred: onnxruntime, of no use to the other rankers.
    from recommender.sequential.student import StudentRanker

    run = _run(store, category, which)
    folder = store.artifacts.open(run.artifact, verify="full").path
    ranker = StudentRanker.open(folder, catalogue=category.items)
    low = run.config.get("min_rating")
    other = (run.config.get("split"), low) != (protocol.split, protocol.min_rating)
    notices: tuple[str, ...] = ()
    if run.final:
        notices = ("trained on everything: nothing is held out from it",)
    elif other:
        notices = ("trained on another split: what is held out here it may have seen",)
    return Live(ranker, f"{run.id}, {run.name}", sees_all=run.final or other, notices=notices)


def _run(store: Store, category: Category, which: str) -> Run:
    step = f"recsys distill --category {category.name}"
    if not which:
        best = store.runs.best(category.id, final=False)
        if best is None:
            raise UnknownName(f"{category.name!r} has no student yet", next_step=step)
        return best
    run = store.runs.get(which)
    if run.category_id != category.id or run.kind != "student":
        if run.kind == "teacher":
            step = f"--by teacher:{which}"
        raise UnknownName(f"run {which!r} is no student of {category.name!r}", next_step=step)
    return run


def _teacher(
    store: Store,
    category: Category,
    spec: str,
    protocol: Protocol,
    settings: Settings,
    say: Say,
) -> Live:
    say("reading the log")
    # Deferred: torch and scipy, of no use to a student.
    from recommender.serving import open_teacher_ranker

    train = _split(store, category, protocol).train_log()
    say(f"loading {spec}")
    ranker = open_teacher_ranker(
        store, category, train, spec, settings, hear=lambda event: _say_how_far(event, say)
    )
    card = ranker.backend.describe()
    return Live(ranker, card.name, explains="text" in card.abilities, teacher=ranker)


def _say_how_far(event: Event, say: Say) -> None:
    if isinstance(event, Progress):
        say(f"{event.stage}: {event.done:,} of {event.total:,}")


def _other(
    store: Store,
    category: Category,
    by: str,
    protocol: Protocol,
    settings: Settings,
    say: Say,
) -> Live:
    say("reading the log")
    # Deferred: scipy, of no use to a student.
    from recommender.leaderboard import open_measurable
    from recommender.own import Shop, open_ranker

    split = _split(store, category, protocol)
    if by in settings.rankers:
        titles = store.catalogue.item_titles(category.id)
        shop = Shop(category, titles, split.train_log())
        return Live(open_ranker(by, settings, shop), settings.rankers[by])
    say("counting")
    ranker = open_measurable(store, category, split, by, protocol, settings)
    return Live(ranker, f"{split.train_log().item.size:,} training rows")


def _split(store: Store, category: Category, protocol: Protocol) -> Split:
    log = positives(store.catalogue.log(category.id), protocol.min_rating)
    return split_as(log, protocol.split)
