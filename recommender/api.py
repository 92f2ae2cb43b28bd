"""The library in three lines: open a category, name a person, read what comes next.

    from recommender.api import Recommender
    with Recommender.open("movielens-100k") as shop:
        print([item.title for item in shop.recommend("196", n=5).items])

Apart because the command line, the terminal UI and a user's own program all come in by this
door, and none of them should have to know what lies behind it. Whatever needs torch is
imported where a teacher is asked, and nowhere else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from recommender.config import Settings, resolve
from recommender.ranking import Ranker, Ranking
from recommender.sequential.student import StudentRanker
from storage.errors import BadSetting, UnknownName
from storage.records import Category, IntArray, Log, Run
from storage.store import Store

if TYPE_CHECKING:
    from recommender.baselines import ItemKNN, Popularity
    from recommender.embeddings import TextEncoder
    from recommender.teacher import TeacherRanker

RANKERS = ("student", "student:RUN", "teacher", "teacher:MODEL", "popularity", "item-knn")


@dataclass(frozen=True, slots=True)
class Recommended:
    """One item of an answer."""

    rank: int
    id: str
    title: str
    score: float
    tied: bool = False
    """Not told apart from the item above: their difference is below the teacher's own noise."""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One ranker's answer for one person."""

    ranker: str
    """Who answered, e.g. 'student' or 'teacher'."""
    items: tuple[Recommended, ...]
    seconds: float
    """The answer alone, without loading."""
    notices: tuple[str, ...] = ()
    """What the user should know: items left out, another ranker that stood in."""
    run: str = ""
    """Which student answered, by run and name; empty for other rankers."""


class Recommender:
    """One category, ready to answer. Close it, or use it in a `with`."""

    def __init__(
        self,
        store: Store,
        category: Category,
        settings: Settings,
        *,
        encoder: TextEncoder | None = None,
    ) -> None:
        """Stand on an open store; `open` is the usual way in."""
        self.store = store
        self.encoder = encoder
        self.category = category
        self.settings = settings
        self._rankers: dict[str, Ranker] = {}
        self._closing = ExitStack()

    @classmethod
    def open(
        cls,
        category: str,
        *,
        settings: Settings | None = None,
        encoder: TextEncoder | None = None,
    ) -> Recommender:
        """Open a category by name.

        Args:
            category: its name.
            settings: where the Store is, which models; None resolves environment and files.
            encoder: what makes vectors of titles for a teacher; None is the embedded one.

        Raises:
            UnknownName: no such category, with how to get data.

        >>> Recommender.open("No such shop")
        Traceback (most recent call last):
        ...
        storage.errors.UnknownName: ...
        """
        settings = settings or resolve().settings
        with ExitStack() as undone:
            store = undone.enter_context(Store.open(settings.db, settings.artifacts))
            made = cls(store, store.catalogue.category(category), settings, encoder=encoder)
            undone.pop_all()
        return made

    def __enter__(self) -> Recommender:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the Store, and whatever a teacher keeps open."""
        self._closing.close()
        self.store.close()

    def recommend(
        self,
        user: str | None = None,
        n: int = 10,
        *,
        by: str = "student",
        history: Sequence[str] | None = None,
    ) -> Recommendation:
        """Return the best n items for a person, by their whole history.

        Args:
            user: a person of the data; None where `history` is given.
            n: how many items.
            by: one of `RANKERS`, or one of the settings' own. Without a student, 'student' is
                answered by the teacher over candidates, which the notices say.
            history: titles or ids, for a person who is not in the data.

        Raises:
            UnknownName: no such person, item, run or model.
            BadSetting: no such ranker.
        """
        past, notices = self._history(user, history)
        ranker, told = self.ranker(by)
        started = time.perf_counter()
        ranking = ranker.rank(past, n=n)
        seconds = time.perf_counter() - started
        notices += (*told, *ranking.notices)
        if ranking.left_out:
            notices += (
                f"{ranking.left_out:,} items are newer than the student and were left out; "
                f"retrain: recsys distill --category {self.category.name}",
            )
        if not ranking.items:
            notices += ("nothing is left to recommend: the person has every item it could name",)
        items = self._titled(ranking)
        if any(item.tied for item in items):
            notices += (
                f"~ marks what is not told apart from the item above: the teacher's own noise is "
                f"{ranking.resolution:.2f}",
            )
        return Recommendation(ranking.name, items, seconds, notices, self._which(by))

    def compare(
        self,
        user: str | None = None,
        n: int = 10,
        *,
        by: Sequence[str] = ("teacher", "student", "popularity"),
        history: Sequence[str] | None = None,
    ) -> list[Recommendation]:
        """Return the answers of several rankers to the same history, in the order named."""
        return [self.recommend(user, n, by=one, history=history) for one in by]

    def reasons(
        self,
        answer: Recommendation,
        *,
        user: str | None = None,
        history: Sequence[str] | None = None,
        by: str = "teacher",
    ) -> Iterator[tuple[Recommended, Iterator[str]]]:
        """Return each item of an answer with why it might suit the person, as a model writes it.

        Give `user` or `history` as to `recommend`; `by` is 'teacher' or 'teacher:MODEL'. The text
        is raw: `tui.text.safe_pieces` makes it safe to show. Nothing is asked before an item's
        iterator is read; closing it stops the model.

        Raises:
            BadSetting: `by` is no language model.
        """
        # Deferred: only a teacher gives reasons.
        from recommender.asking.explaining import explain, writer

        teacher = writer(by, self.ranker(by)[0] if by.partition(":")[0] == "teacher" else None)
        past = [int(item) for item in self._history(user, history)[0]]
        number, category = self.store.catalogue.item_number, self.category.id
        return (
            (item, explain(teacher.backend, teacher.texts, past, number(category, item.id)))
            for item in answer.items
        )

    def ranker(self, by: str) -> tuple[Ranker, tuple[str, ...]]:
        """Return a ranker by its name, opened once, and what should be said about it.

        Raises:
            BadSetting: no such ranker.
        """
        if by in self.settings.rankers:
            return self._kept(f"own:{by}", lambda: self._open_own(by)), ()
        kind, _, which = by.partition(":")
        if kind == "student":
            run = self._student(which)
            if run is not None:
                return self._kept(f"student:{run.id}", lambda: self._open_student(run)), ()
            answered, _ = self.ranker("teacher")
            return answered, (
                f"{self.category.name} has no student yet: the teacher answers, over candidates "
                f"from popularity, item-kNN and text; train one: "
                f"recsys distill --category {self.category.name}",
            )
        if kind == "teacher":
            spec = which or self.settings.teacher
            self._refuse_student(spec)
            return self._kept(f"teacher:{spec}", lambda: self._open_teacher(spec)), ()
        if by == "popularity":
            return self._kept(by, self._fit_popularity), ()
        if by == "item-knn":
            return self._kept(by, self._fit_knn), ()
        names = (*RANKERS, *self.settings.rankers)
        raise BadSetting(f"no ranker {by!r}: one of {', '.join(names)}")

    def _kept(self, key: str, make: Callable[[], Ranker]) -> Ranker:
        if key not in self._rankers:
            self._rankers[key] = make()
        return self._rankers[key]

    def _student(self, which: str) -> Run | None:
        if not which:
            return self.store.runs.best(self.category.id)
        run = self.store.runs.get(which)
        if run.category_id != self.category.id or run.kind != "student":
            listed = f"recsys runs list --category {self.category.name}"
            raise UnknownName(
                f"run {which!r} is no student of {self.category.name!r}",
                next_step=f"--by teacher:{which}" if run.kind == "teacher" else listed,
            )
        return run

    def _refuse_student(self, spec: str) -> None:
        """Refuse the run of a student as a teacher, which would be looked for on a server."""
        if any(run.id == spec and run.kind == "student" for run in self.store.runs.list()):
            raise BadSetting(
                f"run {spec!r} is a student that knows items by number: it is no teacher",
                next_step=f"--by student:{spec}",
            )

    def _which(self, by: str) -> str:
        kind, _, which = by.partition(":")
        run = self._student(which) if kind == "student" else None
        return f"{run.id}, {run.name}" if run else ""

    def measured_student(self, which: str = "") -> Run:
        """Return a student's run by id, or the best on validation, never a final one by default.

        Raises:
            UnknownName: there is none.
        """
        run = self._student(which) if which else self.store.runs.best(self.category.id, final=False)
        if run is None:
            raise UnknownName(
                f"{self.category.name!r} has no student yet",
                next_step=f"recsys distill --category {self.category.name}",
            )
        return run

    def _open_student(self, run: Run) -> Ranker:
        try:
            # A student is small: every byte is checked, for a damaged one answers without a word.
            path = self.store.artifacts.open(run.artifact, verify="full").path
        except UnknownName as error:
            raise UnknownName(
                f"the student of run {run.id!r} is no longer among the artifacts",
                next_step=f"recsys distill --category {self.category.name} trains it again",
            ) from error
        return StudentRanker.open(path, catalogue=self.category.items)

    def _open_teacher(self, spec: str) -> TeacherRanker:
        # Deferred: it imports torch, which a student's answer must not wait for.
        from recommender.serving import open_teacher_ranker

        ranker = open_teacher_ranker(
            self.store, self.category, self._log, spec, self.settings, encoder=self.encoder
        )
        self._closing.callback(ranker.close)
        return ranker

    def _open_own(self, name: str) -> Ranker:
        # Deferred: it is needed where the user brought a class.
        from recommender.own import Shop, open_ranker

        titles = self.store.catalogue.item_titles(self.category.id)
        return open_ranker(name, self.settings, Shop(self.category, titles, self._log))

    def _fit_popularity(self) -> Popularity:
        # Deferred: it imports scipy, of no use to a student's answer.
        from recommender.baselines import Popularity

        return Popularity.fit(self._log.item, self._log.items)

    def _fit_knn(self) -> ItemKNN:
        # Deferred: as above.
        from recommender.baselines import ItemKNN

        offsets = np.searchsorted(self._log.user, np.arange(self._log.people + 1))
        return ItemKNN.fit(self._log.item, offsets.astype(np.int64), self._log.items)

    @cached_property
    def _log(self) -> Log:
        return self.store.catalogue.log(self.category.id)

    def _history(
        self, user: str | None, history: Sequence[str] | None
    ) -> tuple[IntArray, tuple[str, ...]]:
        if (user is None) == (history is None):
            raise BadSetting("name a person or give a history, one of the two")
        if user is not None:
            number = self.store.catalogue.user_number(self.category.id, user)
            return self.store.catalogue.history(self.category.id, number), ()
        # Deferred: a person of the data needs no titles compared.
        from recommender.matching import match_items

        items, notices = match_items(self.store.catalogue, self.category, history or ())
        return np.array(items, dtype=np.int64), notices

    def _titled(self, ranking: Ranking) -> tuple[Recommended, ...]:
        items = self.store.catalogue.items_by_number(self.category.id, ranking.items)
        pairs = zip(items, ranking.scores, strict=True)
        above = (None, *ranking.scores)
        return tuple(
            Recommended(
                place,
                item.id,
                item.title,
                score,
                tied=last is not None and last - score < ranking.resolution,
            )
            for place, ((item, score), last) in enumerate(zip(pairs, above, strict=False), start=1)
        )
