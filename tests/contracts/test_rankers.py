"""Every ranker of ours is held to the contract, and the contract is shown to be able to fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recommender.asking.answering import Texts
from recommender.backends import Prompt
from recommender.backends.scripted import ScriptedBackend
from recommender.baselines import ItemKNN, Popularity
from recommender.candidates import TextNeighbours
from recommender.contracts import RankerContract
from recommender.ranking import Ranker, Ranking
from recommender.scoring import Scoring
from recommender.sequential.student import StudentRanker
from recommender.teacher import TeacherRanker
from storage.records import IntArray, Log
from storage.store import Store
from tests.cli import shop
from tests.tiny import Letters

TITLES = [f"Item {number:02d}" for number in range(shop.ITEMS)]
VECTORS = Letters().encode(TITLES)


def by_number(prompt: Prompt, titles: Sequence[str]) -> list[float]:
    """Like later items better, wherever they stand."""
    return [-4.0 + int(title[-2:]) / 10 for title in titles]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    shop.build(folder)
    shop.add_student(folder)
    return folder


@pytest.fixture(scope="module")
def log(built: Path) -> Log:
    with Store.open(str(built / "recsys.sqlite"), built / "artifacts") as store:
        return store.catalogue.log(store.catalogue.category(shop.NAME).id)


class TestPopularity(RankerContract):
    items = shop.ITEMS

    @pytest.fixture(autouse=True)
    def _take(self, log: Log) -> None:
        self.log = log

    def ranker(self) -> Ranker:
        return Popularity.fit(self.log.item, self.log.items)


class TestItemKNN(TestPopularity):
    def ranker(self) -> Ranker:
        offsets = np.searchsorted(self.log.user, np.arange(self.log.people + 1))
        return ItemKNN.fit(self.log.item, offsets.astype(np.int64), self.log.items)


class TestTextNeighbours(RankerContract):
    items = shop.ITEMS

    def ranker(self) -> Ranker:
        return TextNeighbours(VECTORS)


class TestStudent(RankerContract):
    items = shop.ITEMS

    @pytest.fixture(autouse=True)
    def _take(self, built: Path) -> None:
        self.built = built

    def ranker(self) -> Ranker:
        with Store.open(str(self.built / "recsys.sqlite"), self.built / "artifacts") as store:
            run = store.runs.get("distilled-1")
            return StudentRanker.open(store.artifacts.open(run.artifact).path)


class TestTeacher(RankerContract):
    """More candidates than are lettered at once, so that groups are judged too."""

    items = shop.ITEMS
    scoring = Scoring("letters", 1.0, 0, {}, orders=4)

    def ranker(self) -> Ranker:
        counts = Popularity(np.arange(1, self.items + 1))
        return TeacherRanker(
            ScriptedBackend(by_number),
            Texts(TITLES, "products", 5),
            self.scoring,
            VECTORS,
            (counts, TextNeighbours(VECTORS)),
            offered=14,
        )


class TestTeacherByLikelihood(TestTeacher):
    scoring = Scoring("minus+cosine", 1.0, 0, {})


class TestTeacherByRanking(TestTeacher):
    scoring = Scoring("ranking+cosine", 1.0, 0, {}, orders=2)


class Wrong:
    """A ranker whose answers are changed."""

    name = "wrong"

    def __init__(self, change: Callable[..., Ranking]) -> None:
        self.inner = Popularity(np.arange(shop.ITEMS)[::-1])
        self.change = change

    def rank(
        self, history: IntArray, *, candidates: IntArray | None = None, n: int = 10
    ) -> Ranking:
        found = self.inner.rank(history, candidates=candidates, n=n)
        return self.change(found, history=history, candidates=candidates, n=n)


def with_history(found: Ranking, *, history: IntArray, n: int, **_: Any) -> Ranking:
    if not len(history):
        return found
    items = (int(history[0]), *found.items)[:n]
    return replace(found, items=items, scores=(99.0, *found.scores)[:n])


def without_candidates(found: Ranking, *, history: IntArray, n: int, **_: Any) -> Ranking:
    return Popularity(np.arange(shop.ITEMS)).rank(history, n=n)


def too_many(found: Ranking, *, history: IntArray, candidates: IntArray | None, n: int) -> Ranking:
    return Popularity(np.arange(shop.ITEMS)).rank(history, candidates=candidates, n=n + 1)


def worst_first(found: Ranking, **_: Any) -> Ranking:
    return replace(found, items=found.items[::-1], scores=found.scores[::-1])


def twice(found: Ranking, *, n: int, **_: Any) -> Ranking:
    items = (*found.items[:1], *found.items)[:n]
    return replace(found, items=items, scores=(*found.scores[:1], *found.scores)[:n])


def silent(found: Ranking, *, history: IntArray, **_: Any) -> Ranking:
    return found if len(history) else replace(found, items=(), scores=())


def beyond(found: Ranking, **_: Any) -> Ranking:
    return replace(found, items=tuple(item + 9 for item in found.items))


def unscored(found: Ranking, **_: Any) -> Ranking:
    return replace(found, scores=found.scores[1:])


def nameless(found: Ranking, **_: Any) -> Ranking:
    return replace(found, name="")


def infinite(found: Ranking, **_: Any) -> Ranking:
    return replace(found, scores=tuple(float("-inf") for _ in found.scores))


def writing(found: Ranking, *, history: IntArray, **_: Any) -> Ranking:
    history.sort()
    return found


class Restless(Wrong):
    """Answers another thing each time."""

    def __init__(self) -> None:
        super().__init__(self.cut)
        self.asked = 0

    def cut(self, found: Ranking, **_: Any) -> Ranking:
        self.asked += 1
        by = self.asked % 3
        return replace(found, items=found.items[by:], scores=found.scores[by:])


WRONG: Mapping[str, tuple[Callable[[], Ranker], str, str]] = {
    "the history": (lambda: Wrong(with_history), "test_it_never", "from the history"),
    "no candidate": (lambda: Wrong(without_candidates), "test_it_keeps", "offered after"),
    "out of nothing": (lambda: Wrong(without_candidates), "test_nothing_to_choose", "answered"),
    "too many": (lambda: Wrong(too_many), "test_it_answers_no_more", "asked for"),
    "worst first": (lambda: Wrong(worst_first), "test_it_answers_no_more", "best first"),
    "one twice": (lambda: Wrong(twice), "test_it_keeps", "came twice"),
    "no empty history": (lambda: Wrong(silent), "test_an_empty_history", "no answer"),
    "no such item": (lambda: Wrong(beyond), "test_it_never", "no items of 16"),
    "a score short": (lambda: Wrong(unscored), "test_it_answers_no_more", "items, 0 scores"),
    "no number": (lambda: Wrong(infinite), "test_it_answers_no_more", "no numbers"),
    "no name": (lambda: Wrong(nameless), "test_it_has_a_name", "a ranking needs a name"),
    "another each time": (Restless, "test_the_same_person", "and then"),
    "writes": (lambda: Wrong(writing), "test_the_same_person", "written into"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_broken_ranker_fails_the_test_that_is_meant_for_it(what: str) -> None:
    made, name, said = WRONG[what]

    class Broken(RankerContract):
        items = shop.ITEMS

        def ranker(self) -> Ranker:
            return made()

    (test,) = [one for one in dir(Broken) if one.startswith(name)]
    with pytest.raises(AssertionError, match=said):
        getattr(Broken(), test)()


def test_a_contract_without_a_ranker_says_so() -> None:
    with pytest.raises(NotImplementedError, match="overrides ranker"):
        RankerContract().test_it_has_a_name()
