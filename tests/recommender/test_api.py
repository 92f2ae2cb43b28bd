from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recommender.api import Recommendation, Recommender
from recommender.baselines import ItemKNN, Popularity
from recommender.config import Settings
from recommender.models import register
from recommender.scoring import Scoring
from recommender.sequential.export import write_student
from recommender.sequential.sasrec import SASRec
from recommender.sequential.shape import NetworkConfig
from recommender.sequential.student import StudentRanker
from recommender.serving import UNMEASURED, chosen_scoring, live_scoring
from storage.errors import BadSetting, Offline, UnknownName
from storage.records import Run
from storage.store import Store
from tests.conftest import CLOSED
from tests.tiny import SHOP, Letters, add_shop, open_llama

ITEMS = 307
KNOWN = 290
"""How many items there were when the older student was trained."""


def student(store: Store, category: int, name: str, items: int, selection: float) -> Run:
    config = NetworkConfig(width=8, blocks=1, heads=1, max_len=10)
    network = SASRec(items, config, seed=items)
    weights = {key: weight.numpy() for key, weight in network.state_dict().items()}
    with store.artifacts.writing("student", {"name": name}) as path:
        write_student(path, weights, config, np.arange(items), {"name": name})
    run = Run(
        id=name,
        category_id=category,
        kind="student",
        name="distilled",
        seed=0,
        config={},
        status="done",
        created_at="2026-11-23T12:00:00+00:00",
        artifact=store.artifacts.key("student", {"name": name}),
        selection=selection,
    )
    store.runs.add(run)
    return run


@pytest.fixture(scope="module")
def home(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A data folder with a shop, two students, and a teacher that has a name."""
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("home"),
        teacher="tiny",
        device="cpu",
        precision="float32",
        hosts=(CLOSED,),
    )
    register(settings.models, "tiny", str(llama))
    with Store.open(settings.db, settings.artifacts) as store:
        shop = add_shop(store, people=40)
        add_shop(store, people=12, name="New shop")
        best = student(store, shop.id, "best-1", ITEMS, 0.5)
        student(store, shop.id, "older-1", KNOWN, 0.3)
        other = store.catalogue.category("New shop").id
        store.runs.add(replace(best, id="other-1", category_id=other, status="failed"))
    return settings


@pytest.fixture
def shop(home: Settings) -> Iterator[Recommender]:
    with Recommender.open(SHOP, settings=home, encoder=Letters()) as opened:
        yield opened


@pytest.fixture
def new_shop(home: Settings) -> Iterator[Recommender]:
    with Recommender.open("New shop", settings=home, encoder=Letters()) as opened:
        yield opened


def past(shop: Recommender, user: str) -> np.ndarray:
    catalogue = shop.store.catalogue
    return catalogue.history(shop.category.id, catalogue.user_number(shop.category.id, user))


def ids(answer: Recommendation, shop: Recommender) -> list[int]:
    return [shop.store.catalogue.item_number(shop.category.id, item.id) for item in answer.items]


def test_the_best_student_answers_by_default(shop: Recommender) -> None:
    answer = shop.recommend("S003", n=7)
    history = past(shop, "S003")
    best = shop.store.artifacts.open(shop.store.runs.get("best-1").artifact).path
    expected = StudentRanker.open(best).rank(history, n=7)
    assert ids(answer, shop) == list(expected.items)
    assert [item.score for item in answer.items] == list(expected.scores)
    assert [item.rank for item in answer.items] == [1, 2, 3, 4, 5, 6, 7]
    assert answer.items[0].title == shop.store.catalogue.item_titles(1)[expected.items[0]]
    assert (answer.ranker, answer.notices) == ("student", ())
    assert answer.run == "best-1, distilled"
    assert not set(ids(answer, shop)) & set(history.tolist())
    assert shop.recommend("S003", n=7, by="student:best-1").items == answer.items


def test_a_student_is_opened_once(shop: Recommender) -> None:
    first, _ = shop.ranker("student")
    assert shop.ranker("student:best-1")[0] is first
    assert shop.ranker("student:older-1")[0] is not first


def test_items_newer_than_the_student_are_left_out_and_counted(shop: Recommender) -> None:
    answer = shop.recommend("S003", n=300, by="student:older-1")
    assert max(ids(answer, shop)) < KNOWN
    assert answer.notices == (
        "17 items are newer than the student and were left out; "
        f"retrain: recsys distill --category {SHOP}",
    )


def test_baselines_answer_by_the_whole_log(shop: Recommender) -> None:
    log = shop.store.catalogue.log(shop.category.id)
    history = past(shop, "S005")
    popular = shop.recommend("S005", n=5, by="popularity")
    assert ids(popular, shop) == list(Popularity.fit(log.item, ITEMS).rank(history, n=5).items)
    assert popular.ranker == "popularity"
    offsets = np.concatenate([[0], np.cumsum(np.bincount(log.user, minlength=log.people))])
    knn = ItemKNN.fit(log.item, offsets, ITEMS).rank(history, n=5)
    near = shop.recommend("S005", n=5, by="item-knn")
    assert (ids(near, shop), near.ranker) == (list(knn.items), "item-knn")


def test_the_teacher_answers_by_title_likelihood(shop: Recommender, llama: Path) -> None:
    answer = shop.recommend("S005", n=4, by="teacher")
    assert answer.ranker == "teacher"
    assert len(answer.items) == 4
    assert not set(ids(answer, shop)) & set(past(shop, "S005").tolist())
    assert shop.recommend("S005", n=4, by="teacher:tiny").items == answer.items
    by_path = shop.recommend("S005", n=4, by=f"teacher:{llama}")
    assert by_path.items == answer.items


def test_the_teacher_scores_as_the_last_distillation_chose(shop: Recommender, llama: Path) -> None:
    backend = open_llama(llama)
    card = backend.describe()
    store, category, settings = shop.store, shop.category, shop.settings
    assert chosen_scoring(store, category, card.key) is None
    assert live_scoring(store, category, backend, settings) == UNMEASURED["likelihood"]
    chosen = Run(
        "teacher-1",
        category.id,
        "teacher",
        "teacher tiny",
        0,
        {"model": card.key, "scoring": {"way": "half", "temperature": 3.5}},
        "done",
        "2026-11-23T12:00:00+00:00",
    )
    later = replace(
        chosen,
        id="teacher-2",
        config={"model": card.key, "scoring": {"way": "likelihood", "temperature": 4}},
        created_at="2026-11-23T12:00:01+00:00",
    )
    other = replace(
        later, id="teacher-3", config={**later.config, "model": "big"}, created_at="2027"
    )
    for run in (later, chosen, other):
        store.runs.add(run)
    assert chosen_scoring(store, category, card.key) == Scoring("likelihood", 4.0, 0, {})
    assert live_scoring(store, category, backend, settings) == Scoring("likelihood", 4.0, 0, {})
    assert chosen_scoring(store, category, "unheard of") is None


def test_letters_are_scored_live_with_the_prior_and_orders_of_the_distillation(
    shop: Recommender,
) -> None:
    scoring = {"way": "letters", "temperature": 2, "orders": 4, "prior": [0.5, -0.25, -0.25]}
    run = Run(
        "teacher-4",
        shop.category.id,
        "teacher",
        "teacher lettered",
        0,
        {"model": "lettered", "scoring": scoring},
        "done",
        "2026-11-23T12:00:02+00:00",
    )
    shop.store.runs.add(run)
    found = chosen_scoring(shop.store, shop.category, "lettered")
    assert found == Scoring("letters", 2.0, 0, {}, prior=(0.5, -0.25, -0.25), orders=4)


def test_a_mode_that_was_asked_for_is_kept_to(shop: Recommender, llama: Path) -> None:
    backend = open_llama(llama)
    asked = {
        mode: shop.settings.model_copy(update={"teacher_mode": mode})
        for mode in ("letters", "generate", "ranking", "embedding")
    }
    for mode in ("letters", "generate"):
        found = live_scoring(shop.store, shop.category, backend, asked[mode])
        assert found == UNMEASURED[mode]
    for mode, method in (("ranking", "ranking"), ("embedding", "similarity")):
        with pytest.raises(BadSetting, match=f"cannot be asked by '{method}': it can by likeli"):
            live_scoring(shop.store, shop.category, backend, asked[mode])


def test_without_a_student_the_teacher_stands_in_and_says_so(new_shop: Recommender) -> None:
    answer = new_shop.recommend("S003", n=3)
    assert answer.ranker == "teacher"
    assert answer.items == new_shop.recommend("S003", n=3, by="teacher").items
    (notice,) = answer.notices
    assert notice.startswith("New shop has no student yet: the teacher answers")
    assert notice.endswith("recsys distill --category New shop")


def test_several_answer_side_by_side(shop: Recommender) -> None:
    answers = shop.compare("S004", n=2, by=("popularity", "student", "item-knn"))
    assert [answer.ranker for answer in answers] == ["popularity", "student", "item-knn"]
    assert answers[1].items == shop.recommend("S004", n=2).items


def test_a_history_of_titles_and_ids(shop: Recommender) -> None:
    titles = shop.store.catalogue.item_titles(shop.category.id)
    item = shop.store.catalogue.items_by_number(shop.category.id, [7])[0]
    answer = shop.recommend(history=[titles[4], item.id], n=3)
    expected = shop.ranker("student")[0].rank(np.array([4, 7]), n=3)
    assert ids(answer, shop) == list(expected.items)
    assert answer.notices == ()


def test_a_title_that_could_mean_several_is_said(shop: Recommender) -> None:
    answer = shop.recommend(history=["16MP Mirrorless Camera"], n=3)
    (notice,) = answer.notices
    assert "was taken as 'Norvik One 16MP Mirrorless Camera'" in notice
    assert "it could also be" in notice
    assert 0 not in ids(answer, shop)


def test_an_empty_history_is_answered_by_popularity_and_named_so(shop: Recommender) -> None:
    answer = shop.recommend(history=[], n=3)
    assert ids(answer, shop) == [306, 305, 304]
    assert answer.ranker == "student (by popularity: history unknown)"


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"user": "S999"}, UnknownName, r"no user 'S999' in 'Tiny shop'.*'S0"),
        ({"history": ["Submarine"]}, UnknownName, "no item 'Submarine'.*nearest"),
        ({"user": "S001", "by": "oracle"}, BadSetting, "no ranker 'oracle'.*popularity"),
        ({"user": "S001", "by": "student:none"}, UnknownName, "no run 'none'"),
        ({"user": "S001", "by": "student:other-1"}, UnknownName, "no student of 'Tiny shop'"),
        ({"user": "S001", "by": "teacher:nobody"}, Offline, f"{CLOSED}.*'nobody'.*embedded"),
        ({"user": "S001", "by": "teacher:tinyy"}, UnknownName, "no teacher 'tinyy'.*'tiny'"),
        ({"user": "S001", "by": "teacher:other-1"}, BadSetting, "no teacher.*--by student:other-1"),
        ({"user": "S001", "by": "teacher:no/body.gguf"}, UnknownName, "no model 'no/body.gguf'"),
        ({"user": "S001", "by": "teacher:embedded"}, Offline, "recsys models fetch"),
        ({}, BadSetting, "one of the two"),
        ({"user": "S001", "history": ["E0001"]}, BadSetting, "one of the two"),
    ],
)
def test_what_cannot_be_answered_says_why(
    shop: Recommender, arguments: dict[str, object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        shop.recommend(**arguments)  # type: ignore[arg-type]


def test_an_unknown_category_leaves_nothing_open(home: Settings) -> None:
    with pytest.raises(UnknownName, match="did you mean 'Tiny shop'"):
        Recommender.open("Tiny shp", settings=home)


def test_the_student_to_be_measured(shop: Recommender, new_shop: Recommender) -> None:
    assert shop.measured_student().id == "best-1"
    assert shop.measured_student("older").id == "older-1"
    with pytest.raises(UnknownName, match="has no student yet"):
        new_shop.measured_student()


def test_a_final_student_answers_and_is_not_measured(home: Settings) -> None:
    with Recommender.open(SHOP, settings=home) as shop:
        best = shop.store.runs.get("best-1")
        shop.store.runs.add(replace(best, id="best-1-final", final=True))
        try:
            shop.recommend("S001", n=1)
            assert "student:best-1-final" in shop._rankers
            assert shop.measured_student().id == "best-1"
        finally:
            shop.store.runs.update("best-1-final", status="failed")
